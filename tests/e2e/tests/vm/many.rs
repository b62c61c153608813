//! Many machines at once and many after each other, with nothing left over.

use std::time::Duration;

use holm_kit::{BUSYBOX, Isolation, Leaks, Scratch};

/// Where instructions are emulated, machines that start together wait for each other.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn ten_at_once_start_answer_and_go() {
    let scratch = Scratch::isolated(Isolation::Vm).with_templates();
    scratch.sh("true").ok();
    let leaks = Leaks::before(&scratch);
    let names: Vec<String> = (0..10).map(|at| format!("m{at}")).collect();
    let together = |line: &dyn Fn(&str) -> holm_kit::Holm| -> Vec<holm_kit::Output> {
        let started: Vec<_> = names.iter().map(|name| line(name).limit(PATIENCE).start()).collect();
        started.into_iter().map(|one| one.finish().ok()).collect()
    };
    let options = ["--memory", "64m", "--hostname"];
    together(&|name| scratch.run(["-d", "--name", name]).args(options).args([name, BUSYBOX, "sleep", "1000"]));
    for (name, output) in names.iter().zip(together(&|name| scratch.holm(["exec", name, "hostname"]))) {
        output.says(name);
    }
    together(&|name| scratch.holm(["rm", "-f", name]));
    scratch.holm(["ps", "-aq"]).ok().says("");
    leaks.assert_none();
}

/// Twenty-five, since a start takes seconds where instructions are emulated.
#[test]
fn cycles_leave_everything_as_it_was() {
    let scratch = Scratch::isolated(Isolation::Vm).with_templates();
    scratch.sh("true").ok();
    let leaks = Leaks::before(&scratch);
    let room = || {
        let output = holm_kit::Holm::program("du").args(["-sk"]).args([scratch.data_root(), scratch.run_root()]).ok();
        output.text().lines().map(|line| line.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let before_kib = room();
    scratch.detached("again", &[], &["true"]);
    scratch.holm(["wait", "again"]).ok().says("0");
    for cycle in 0..24 {
        match cycle % 3 {
            0 => {
                scratch.holm(["start", "again"]).ok();
                scratch.holm(["wait", "again"]).ok().says("0");
            }
            _ => drop(scratch.sh("true").ok()),
        }
    }
    scratch.holm(["rm", "again"]).ok();
    leaks.assert_none();
    let after_kib = room();
    assert!(after_kib <= before_kib + 1024, "{before_kib} KiB before, {after_kib} KiB after");
}
