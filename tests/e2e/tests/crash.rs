//! kill -9 of the command and of the supervisor at many points of run, stop, pull and rm. After the next commands nothing
//! is leaked and nothing is lost.
//!
//! The points are spread evenly over the measured length of the whole operation, so they are bounded, and printed.

use std::io::Write;
use std::time::{Duration, Instant};

use holm_kit::{BUSYBOX, Entry, FakeRegistry, Holm, Image, Layer, Leaks, Scratch, Tar, busybox_layer, kill};

const POINTS: u32 = 40;

/// Runs an operation once to its end for its length, then `POINTS` times with a kill in between, each followed by `check`.
fn at_many_points(what: &str, operation: impl Fn() -> Holm, mut prepare: impl FnMut(), mut check: impl FnMut(&str)) {
    prepare();
    let whole = operation().ok().elapsed;
    check(&format!("{what}, whole"));
    let mut unfinished = 0;
    for point in 0..POINTS {
        prepare();
        let delay = whole * point / (POINTS - 4);
        let running = operation().start();
        wait_exactly(delay);
        running.signal(9);
        let ended_by_itself = running.finish().status.code().is_some();
        unfinished += u32::from(!ended_by_itself);
        check(&format!("{what}, killed after {delay:?} of {whole:?}"));
    }
    let _ =
        writeln!(std::io::stderr(), "{what}: {whole:?} long, killed at {POINTS} points, {unfinished} before the end");
    assert!(unfinished > 0, "{what}: no kill came before the end");
}

/// Spins: a sleep is too coarse for operations of a few milliseconds.
fn wait_exactly(delay: Duration) {
    let start = Instant::now();
    while start.elapsed() < delay {
        std::hint::spin_loop();
    }
}

/// The next commands a user would type bring everything in order.
fn clean(scratch: &Scratch, leaks: &Leaks<'_>, what: &str) {
    scratch.holm(["ps", "-a"]).ok();
    for id in scratch.holm(["ps", "-aq"]).ok().text().lines() {
        let output = scratch.holm(["rm", "-f", id]).run().calm();
        assert_eq!(output.exit_code(), 0, "{what}: {output}");
    }
    scratch.holm(["ps", "-aq"]).ok().says("");
    let start = Instant::now();
    let mut found = leaks.found();
    while !found.is_empty() && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
        found = leaks.found();
    }
    assert!(found.is_empty(), "{what}: left behind:\n{}", found.join("\n"));
}

#[test]
fn command_killed_in_run() {
    let _turn = crate::alone();
    let scratch = Scratch::with_busybox();
    scratch.holm(["volume", "create", "vol"]).ok();
    let leaks = Leaks::before(&scratch);
    let check = |what: &str| {
        clean(&scratch, &leaks, what);
        scratch.run(["--rm", "--name", "victim", BUSYBOX, "true"]).ok();
    };
    let run = || scratch.run(["--rm", "--name", "victim", "-v", "vol:/v", BUSYBOX, "sleep", "0.01"]);
    at_many_points("run --rm", run, || {}, |what| check(what));
    let run = || scratch.run(["-d", "--name", "victim", "-v", "vol:/v", BUSYBOX, "sleep", "1000"]);
    at_many_points("run -d", run, || {}, |what| check(what));
    scratch.holm(["volume", "rm", "vol"]).ok();
}

#[test]
fn command_killed_in_stop_and_rm() {
    let _turn = crate::alone();
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let start = || drop(scratch.detached("victim", &[], &["sleep", "1000"]));
    at_many_points("stop", || scratch.holm(["stop", "-t", "0", "victim"]), start, |what| clean(&scratch, &leaks, what));
    at_many_points("rm -f", || scratch.holm(["rm", "-f", "victim"]), start, |what| clean(&scratch, &leaks, what));
    let ended = || drop(scratch.run(["--name", "victim", BUSYBOX, "true"]).ok());
    at_many_points("rm", || scratch.holm(["rm", "victim"]), ended, |what| clean(&scratch, &leaks, what));
}

#[test]
fn supervisor_killed_at_any_time_leaves_no_orphan_and_no_lie() {
    let _turn = crate::alone();
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for point in 0..20 {
        let before: Vec<i32> = supervisors(&scratch);
        let running = scratch.run(["-d", "--name", "victim", BUSYBOX, "sleep", "1000"]).start();
        wait_exactly(Duration::from_micros(500) * point);
        for pid in supervisors(&scratch) {
            if !before.contains(&pid) && pid != running.pid() {
                kill(pid, 9);
            }
        }
        running.finish().calm();
        let status = scratch.holm(["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
        if status.stdout.contains("running") {
            let pid: i32 = scratch.inspect("victim", "{{.State.Pid}}").parse().unwrap();
            assert!(holm_kit::alive(pid), "said to run and does not: {status}");
        }
        clean(&scratch, &leaks, &format!("supervisor killed at point {point}"));
    }
}

#[test]
fn supervisor_killed_under_a_running_container_is_noticed() {
    let _turn = crate::alone();
    let scratch = Scratch::with_busybox();
    scratch.holm(["volume", "create", "vol"]).ok();
    let leaks = Leaks::before(&scratch);
    scratch.detached("orphan", &["-v", "vol:/v"], &["sh", "-c", "echo data > /v/x; exec sleep 1000"]);
    holm_kit::wait_until("the data is there", Duration::from_secs(5), || {
        scratch.holm(["exec", "orphan", "cat", "/v/x"]).run().text() == "data"
    });
    let init: i32 = scratch.inspect("orphan", "{{.State.Pid}}").parse().unwrap();
    for pid in supervisors(&scratch) {
        if pid != init {
            kill(pid, 9);
        }
    }
    let output = scratch.holm(["ps", "-a", "--format", "{{.State}}"]).ok();
    let text = output.text();
    assert!(text == "exited" || (text == "running" && holm_kit::alive(init)), "{output}");
    let output = scratch.holm(["start", "orphan"]).run().calm();
    assert!(output.exit_code() <= 1, "{output}");
    scratch.holm(["rm", "-f", "orphan"]).ok();
    scratch.run(["--rm", "-v", "vol:/v", BUSYBOX, "sh", "-c", "cat /v/x && rm /v/x"]).ok().says("data");
    clean(&scratch, &leaks, "after the orphan");
}

#[test]
fn command_killed_in_pull_and_load() {
    let _turn = crate::alone();
    let scratch = Scratch::new();
    scratch.holm(["images"]).ok();
    let leaks = Leaks::before(&scratch);
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let layers = (0..3_u8).map(|at| {
        let files = (0..50).map(|file| Entry::file(format!("{at}/{file}"), &noise[file * 1000..][..60_000]));
        Layer::gzip(&Tar::new().with_all(files).finish())
    });
    let image = Image::new([busybox_layer()].into_iter().chain(layers));
    let registry = FakeRegistry::start(&image, |_, _| holm_kit::Answer::Honest);
    let reference = registry.reference("x:1");
    let layout = scratch.make_folder("layout");
    image.write_layout(&layout, "localhost/loaded:1");
    let check = |what: &str, name: &str| {
        let listed = scratch.holm(["images", "-q"]).ok();
        if !listed.text().is_empty() {
            scratch.run(["--rm", "--pull", "never", name, "cat", "/2/49"]).ok();
        }
        scratch.holm(["pull", "-q", &reference]).ok();
        scratch.run(["--rm", "--pull", "never", &reference, "sh", "-c", "cat /0/49 /2/49 | wc -c"]).ok().says("120000");
        scratch.holm(["rmi", "-f", &reference]).ok();
        scratch.holm(["image", "prune", "-a", "-f"]).ok();
        clean(&scratch, &leaks, what);
    };
    at_many_points("pull", || scratch.holm(["pull", "-q", &reference]), || {}, |what| check(what, &reference));
    let load = || scratch.holm(["load", "-q", "-i"]).arg(&layout);
    at_many_points("load", load, || {}, |what| check(what, "localhost/loaded:1"));
}

/// Processes of Holm's own on these roots: everything there that runs its binary.
fn supervisors(scratch: &Scratch) -> Vec<i32> {
    let own = holm_kit::holm_binary();
    let path = scratch.path().to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ours = [environment, line].iter().any(|bytes| String::from_utf8_lossy(bytes).contains(&path));
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        ours && (exe == own || exe.to_string_lossy().contains("holm"))
    })
    .collect()
}
