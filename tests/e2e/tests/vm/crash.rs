//! kill -9 of everything that a machine consists of, at its start, while it runs and at its end. Afterwards nothing is left,
//! the container has ended with the right code, starts again, and what it had made sure of is there.

use std::time::Duration;

use holm_kit::{Isolation, Leaks, Scratch, kill, wait_for, wait_until};

/// How long an ordinary step may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who is killed: their names.
const SUPERVISOR: &str = "holm-pod";
const ATTENDANT: &str = "holm-vm";
const HYPERVISOR: &str = "qemu-system-x86";

/// Says so when it runs, and ends at once when told to.
const SCRIPT: &str = "cat /kept; echo sure >/kept; sync; echo up; exec sleep 1000";

/// The process of that name on these roots.
fn find(scratch: &Scratch, name: &str) -> Option<i32> {
    let named = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    scratch.processes().into_iter().find(named)
}

fn all_gone(scratch: &Scratch) -> bool {
    [SUPERVISOR, ATTENDANT, HYPERVISOR].iter().all(|name| find(scratch, name).is_none())
}

/// The container has ended, with this code, and all that was its own ends with it.
#[track_caller]
fn ended(scratch: &Scratch, who: &str) {
    wait_until(&format!("all has ended after {who}"), PATIENCE, || all_gone(scratch));
    assert_eq!(scratch.inspect("victim", "{{.State.Status}}"), "exited", "after {who}");
}

#[test]
fn whoever_is_killed_while_it_runs_nothing_is_left_and_what_was_written_is_kept() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let mut starts = 1;
    scratch.detached("victim", &[], &["sh", "-c", SCRIPT]);
    for who in [SUPERVISOR, ATTENDANT, HYPERVISOR] {
        let ups = |scratch: &Scratch| scratch.holm(["logs", "victim"]).ok().stdout.matches("up").count();
        wait_until("it is up", PATIENCE, || ups(&scratch) == starts);
        kill(find(&scratch, who).expect(who), 9);
        ended(&scratch, who);
        assert_eq!(scratch.inspect("victim", "{{.State.ExitCode}}"), "137", "after {who}");
        scratch.holm(["start", "victim"]).ok();
        starts += 1;
        wait_until("it is up again", PATIENCE, || ups(&scratch) == starts);
        let kept = scratch.holm(["logs", "victim"]).ok().stdout.matches("sure").count();
        assert_eq!(kept, starts - 1, "what was made sure of, after {who}");
    }
    scratch.holm(["rm", "-f", "victim"]).ok();
    leaks.assert_none();
}

#[test]
fn whoever_is_killed_at_its_start_nothing_is_left() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    for who in [SUPERVISOR, ATTENDANT, HYPERVISOR] {
        let run = scratch.run(["-d", "--name", "victim", holm_kit::BUSYBOX, "sleep", "1000"]).start();
        let pid = wait_for(&format!("{who} is there"), PATIENCE, || find(&scratch, who));
        kill(pid, 9);
        let output = run.finish().calm();
        assert_ne!(output.exit_code(), 0, "killed {who}: {output}");
        wait_until(&format!("all has ended after {who}"), PATIENCE, || all_gone(&scratch));
        scratch.holm(["rm", "-f", "victim"]).run().calm();
        scratch.holm(["ps", "-aq"]).ok().says("");
        leaks.assert_none();
    }
}

#[test]
fn command_killed_at_a_start_leaves_all_or_nothing() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    for who in [SUPERVISOR, ATTENDANT, HYPERVISOR] {
        let run = scratch.run(["-d", "--name", "victim", holm_kit::BUSYBOX, "sleep", "1000"]).start();
        wait_for(&format!("{who} is there"), PATIENCE, || find(&scratch, who));
        run.signal(9);
        run.finish();
        scratch.holm(["rm", "-f", "victim"]).run().calm();
        scratch.holm(["ps", "-aq"]).ok().says("");
        leaks.assert_none();
    }
}

#[test]
fn whoever_is_killed_at_its_end_nothing_is_left() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    scratch.detached("victim", &[], &["sh", "-c", SCRIPT]);
    for who in [SUPERVISOR, ATTENDANT, HYPERVISOR] {
        let pid = find(&scratch, who).expect(who);
        let stop = scratch.holm(["stop", "-t", "1", "victim"]).start();
        wait_until("the stop is under way", PATIENCE, || {
            scratch.inspect("victim", "{{.State.Status}}") != "running" || {
                kill(pid, 9);
                true
            }
        });
        stop.finish().calm();
        ended(&scratch, who);
        scratch.holm(["start", "victim"]).ok();
    }
    scratch.holm(["rm", "-f", "victim"]).ok();
    leaks.assert_none();
}
