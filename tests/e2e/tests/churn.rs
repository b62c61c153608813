//! Many cycles and many containers, with nothing left over.

use std::io::Write;
use std::time::{Duration, Instant};

use holm_kit::{BUSYBOX, Leaks, Scratch};

fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Descriptors of this process and blocks of the data root's file system are as they were.
fn disk_kib(scratch: &Scratch) -> u64 {
    let output = holm_kit::Holm::program("du").args(["-sk"]).arg(scratch.data_root()).ok();
    output.text().split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number from du")
}

#[test]
fn thousand_cycles_of_run_leave_everything_as_it_was() {
    let _turn = crate::alone();
    let scratch = Scratch::with_busybox();
    scratch.run(["--rm", BUSYBOX, "true"]).ok();
    let leaks = Leaks::before(&scratch);
    let before_kib = disk_kib(&scratch);
    let start = Instant::now();
    const CYCLES: u32 = 1000;
    for cycle in 0..CYCLES {
        match cycle % 4 {
            0 => {
                scratch.run(["--name", "again", BUSYBOX, "true"]).ok();
                scratch.holm(["rm", "again"]).ok();
            }
            1 => {
                scratch.detached("again", &[], &["sleep", "1000"]);
                scratch.holm(["rm", "-f", "again"]).ok();
            }
            _ => drop(scratch.run(["--rm", BUSYBOX, "true"]).ok()),
        }
        assert!(start.elapsed() < Duration::from_secs(240), "only {cycle} cycles in {:?}", start.elapsed());
    }
    let rate = f64::from(CYCLES) / start.elapsed().as_secs_f64();
    tell(&format!("{CYCLES} cycles of run and rm: {rate:.0} a second"));
    leaks.assert_none();
    let after_kib = disk_kib(&scratch);
    assert!(after_kib <= before_kib + 1024, "{before_kib} KiB before, {after_kib} KiB after");
}

#[test]
fn hundred_containers_at_once_start_stop_and_go() {
    let _turn = crate::alone();
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    const COUNT: usize = 100;
    let names: Vec<_> = (0..COUNT).map(|at| format!("c{at}")).collect();
    let start = Instant::now();
    let script = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
    let running: Vec<_> = names
        .iter()
        .map(|name| {
            scratch.run(["-d", "--name", name, BUSYBOX, "sh", "-c", script]).limit(Duration::from_secs(120)).start()
        })
        .collect();
    for run in running {
        run.finish().ok();
    }
    let started = start.elapsed();
    assert_eq!(scratch.holm(["ps", "-q"]).ok().text().lines().count(), COUNT);
    let stopping: Vec<_> =
        names.iter().map(|name| scratch.holm(["stop", name]).limit(Duration::from_secs(120)).start()).collect();
    for stop in stopping {
        stop.finish().ok();
    }
    let stopped = start.elapsed();
    assert_eq!(scratch.holm(["ps", "-q"]).ok().text().lines().count(), 0);
    let removing: Vec<_> = names.iter().map(|name| scratch.holm(["rm", name]).start()).collect();
    for remove in removing {
        remove.finish().ok();
    }
    tell(&format!(
        "{COUNT} containers at once: up after {started:?}, down after {stopped:?}, gone after {:?}",
        start.elapsed()
    ));
    leaks.assert_none();
}

#[test]
fn one_name_wanted_by_many_at_once_goes_to_one() {
    let _turn = crate::alone();
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let running: Vec<_> =
        (0..20).map(|_| scratch.run(["-d", "--name", "wanted", BUSYBOX, "sleep", "1000"]).start()).collect();
    let won = running.into_iter().map(|run| run.finish().exit_code()).filter(|code| *code == 0).count();
    assert_eq!(won, 1);
    let removing: Vec<_> = (0..10).map(|_| scratch.holm(["rm", "-f", "wanted"]).start()).collect();
    for remove in removing {
        let output = remove.finish().calm();
        assert!(output.exit_code() <= 1, "{output}");
    }
    scratch.holm(["ps", "-aq"]).ok().says("");
    leaks.assert_none();
}
