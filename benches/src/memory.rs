//! What stays in memory for an idle container beyond its own processes: proportional set size.

use std::process::Command;

use holm_kit::{Holm, pss_kib};

use crate::peer::{IMAGE, Peers};
use crate::report::Table;
use crate::runner::{Sample, time};

const MANY: usize = 10;

/// Measures it.
pub fn measure(peers: &Peers) -> Vec<Table> {
    let run_holm = || {
        let mut command = peers.holm();
        command.args(["run", "-d", "--network", "none"]);
        command
    };
    let run_docker = || {
        let mut command = peers.docker()?;
        command.args(["run", "-d", "--network", "none"]);
        Some(command)
    };
    let mut rows = Vec::new();
    let mut add =
        |name: &str, run: &dyn Fn() -> Option<Command>, engine: &dyn Fn() -> Option<Command>, count: usize| {
            if engine().is_some() {
                let values = keepers(run, engine, count);
                rows.push(Sample::new(name, values));
            }
        };
    add("holm supervisor", &|| Some(run_holm()), &|| Some(peers.holm()), 1);
    add("holm supervisor, ten of them", &|| Some(run_holm()), &|| Some(peers.holm()), MANY);
    add("podman's conmon", &|| peers.podman_run().map(detached), &|| peers.podman(), 1);
    add("podman's conmon, ten of them", &|| peers.podman_run().map(detached), &|| peers.podman(), MANY);
    add("docker's containerd-shim", &run_docker, &|| peers.docker(), 1);
    add("docker's containerd-shim, ten of them", &run_docker, &|| peers.docker(), MANY);
    let title = "Memory that stays for an idle container beyond its processes";
    vec![Table::new("memory", title, "KiB", rows).at_most(600.0).at_most_of("podman's conmon", 1.0)]
}

fn detached(mut command: Command) -> Command {
    command.arg("-d");
    command
}

/// Starts so many idle containers and returns the memory of the process that keeps each: the parent of its PID 1 and what
/// else descends from that.
fn keepers(run: &dyn Fn() -> Option<Command>, engine: &dyn Fn() -> Option<Command>, count: usize) -> Vec<f64> {
    let names: Vec<_> = (0..count).map(|at| format!("bench-idle-{at}")).collect();
    for name in &names {
        time(run().expect("an engine").args(["--name", name, IMAGE, "sleep", "100000"]));
    }
    // What a start leaves in memory for a moment is not what stays.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let values = names.iter().map(|name| {
        let mut inspect = engine().expect("an engine");
        let output = inspect.args(["inspect", "--format", "{{.State.Pid}}", name]).output().expect("inspect");
        let init: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a PID");
        let keeper = parent(init);
        #[expect(clippy::cast_precision_loss, reason = "kibibytes of a small process")]
        let kib = holm_kit::tree_pss_kib(&[keeper], &[init]) as f64;
        assert!(kib > 0.0, "no memory of process {keeper}: {}", pss_kib(keeper));
        kib
    });
    let values = values.collect();
    for name in &names {
        time(crate::peer::force_remove(&mut engine().expect("an engine"), name));
    }
    values
}

fn parent(pid: i32) -> i32 {
    let output = Holm::program("ps").args(["-o", "ppid=", "-p", &pid.to_string()]).ok();
    output.text().parse().expect("a PID")
}
