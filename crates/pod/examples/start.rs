//! Times starts and removals of a container with a static program, and shows the memory of an idle supervisor.
//!
//! `start LAYER COUNT`: LAYER is an unpacked root file system with `/bin/true` and `/bin/sleep`.

use std::path::PathBuf;
use std::time::Instant;

use holm_pod::{Engine, ImageRoot, RemoveOptions, Roots, StartIo};
use holm_spec::container::ContainerSpec;

fn spec(n: usize, command: &[&str], remove: bool) -> ContainerSpec {
    let mut spec: ContainerSpec = serde_json::from_value(serde_json::json!({
        "version": 1, "id": holm_pod::new_id().expect("random bytes"), "name": format!("start-{n}"), "created_at_ns": n,
        "image": "example", "image_id": format!("sha256:{}", "00".repeat(32)),
    }))
    .expect("a spec");
    spec.command = Some(command.iter().map(|w| (*w).to_owned()).collect());
    spec.auto_remove = remove;
    spec
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let layer = PathBuf::from(arguments.next().expect("a layer"));
    let count: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(20);
    let own = std::env::temp_dir().join(format!("holm-start-{}", std::process::id()));
    let folder = std::env::var_os("ROOT").map_or(own, PathBuf::from);
    let roots = Roots {
        data: folder.join("data"),
        run: folder.join("run"),
        cgroup_parent: "holm-example".into(),
        cgroup_driver: Default::default(),
        cni: Default::default(),
    };
    let engine = Engine::open(roots).expect("roots");
    let image = ImageRoot { layers: vec![layer], ..ImageRoot::default() };
    let mut times = Vec::new();
    for n in 0..count {
        let begin = Instant::now();
        engine.recover().expect("recover");
        let spec = engine.create_for_start(spec(n, &["/bin/true"], true), &image).expect("create");
        let started = engine.start(&spec.id, StartIo { attach: true, size: None }).expect("start");
        let running = begin.elapsed();
        let code = started.control.wait_exit().expect("wait");
        times.push((begin.elapsed(), running));
        assert_eq!(code, Some(0));
    }
    times.sort();
    if let (Some(best), Some(median)) = (times.first(), times.get(times.len() / 2)) {
        println!(
            "run --rm true: best {:?} (running after {:?}), median {:?} ({:?})",
            best.0, best.1, median.0, median.1
        );
    }
    if std::env::var_os("NO_IDLE").is_none() {
        let spec = engine.create(spec(count, &["/bin/sleep", "1000"], false), &image).expect("create");
        engine.start(&spec.id, StartIo::default()).expect("start");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let pid = engine.get(&spec.id).expect("state").state.supervisor_pid;
        println!("{}", std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("memory"));
        if std::env::var_os("MAPS").is_some() {
            println!("{}", std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("memory"));
        }
        engine.remove(&spec.id, RemoveOptions { force: true, volumes: true }).expect("remove");
    }
    if std::env::var_os("ROOT").is_none() {
        std::fs::remove_dir_all(&folder).expect("remove");
    }
}
