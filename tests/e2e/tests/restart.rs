//! Restart policies.

use std::time::Duration;

use holm_kit::{BUSYBOX, Leaks, Scratch, kill, wait_until};

fn restarts(scratch: &Scratch, name: &str) -> u32 {
    scratch.inspect(name, "{{.RestartCount}}").parse().unwrap()
}

#[test]
fn on_failure_gives_up_after_its_count() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("fails", &["--restart", "on-failure:3"], &["sh", "-c", "echo again; exit 1"]);
    scratch.wait_for_status("fails", "exited");
    assert_eq!(restarts(&scratch, "fails"), 3);
    scratch.holm(["logs", "fails"]).ok().says("again\nagain\nagain\nagain");
    scratch.detached("works", &["--restart", "on-failure:3"], &["true"]);
    scratch.wait_for_status("works", "exited");
    assert_eq!(restarts(&scratch, "works"), 0);
    scratch.holm(["rm", "fails", "works"]).ok();
    leaks.assert_none();
}

#[test]
fn always_starts_again_until_the_user_stops_it() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("stays", &["--restart", "always"], &["sleep", "1000"]);
    let first: i32 = scratch.inspect("stays", "{{.State.Pid}}").parse().unwrap();
    kill(first, 9);
    wait_until("it runs again", Duration::from_secs(10), || {
        let state = scratch.inspect("stays", "{{.State.Status}} {{.State.Pid}}");
        state.starts_with("running") && !state.ends_with(&format!(" {first}"))
    });
    assert_eq!(restarts(&scratch, "stays"), 1);
    scratch.holm(["stop", "-t", "0", "stays"]).ok();
    assert_eq!(scratch.inspect("stays", "{{.State.Status}}"), "exited");
    scratch.holm(["rm", "stays"]).ok();
    leaks.assert_none();
}

#[test]
fn back_off_grows_and_a_stop_during_it_is_heard_at_once() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("loop", &["--restart", "unless-stopped"], &["sh", "-c", "exit 1"]);
    wait_until("it was restarted a few times", Duration::from_secs(20), || restarts(&scratch, "loop") >= 3);
    let output = scratch.holm(["stop", "loop"]).ok();
    assert!(output.elapsed < Duration::from_secs(3), "{output}");
    assert_eq!(scratch.inspect("loop", "{{.State.Status}}"), "exited");
    let count = restarts(&scratch, "loop");
    assert!(count < 12, "no back-off: {count} restarts");
    scratch.holm(["rm", "loop"]).ok();
    leaks.assert_none();
}

#[test]
fn policy_is_changed_while_it_runs_and_nonsense_is_refused() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("u", &[], &["sleep", "1000"]);
    scratch.holm(["update", "--restart", "always", "u"]).ok();
    let first = scratch.inspect("u", "{{.State.Pid}}");
    kill(first.parse().unwrap(), 9);
    wait_until("it runs again", Duration::from_secs(10), || {
        let state = scratch.inspect("u", "{{.State.Status}} {{.State.Pid}}");
        state.starts_with("running") && !state.ends_with(&format!(" {first}"))
    });
    scratch.holm(["rm", "-f", "u"]).ok();
    for policy in ["sometimes", "on-failure:x", "on-failure:-1", "always:3"] {
        let output = scratch.run(["-d", "--name", "n", "--restart", policy, BUSYBOX, "true"]).run().calm();
        assert!(matches!(output.exit_code(), 2 | 125), "{policy}: {output}");
    }
    let output = scratch.run(["--rm", "--restart", "always", BUSYBOX, "true"]).run();
    assert!(matches!(output.exit_code(), 2 | 125), "{output}");
    leaks.assert_none();
}

/// The parent of a container's init.
fn supervisor(scratch: &Scratch, name: &str) -> i32 {
    let init = scratch.inspect(name, "{{.State.Pid}}");
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

#[test]
fn supervisor_told_to_end_is_no_stop_by_the_user_and_boot_starts_it_again() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let names = ["always", "unless", "stopped", "plain"];
    for (name, policy) in names.iter().zip(["always", "unless-stopped", "unless-stopped", "no"]) {
        scratch.detached(
            name,
            &["--restart", policy],
            &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
        );
    }
    scratch.holm(["stop", "stopped"]).ok();
    for name in ["always", "unless", "plain"] {
        kill(supervisor(&scratch, name), 15);
    }
    for name in names {
        scratch.wait_for_status(name, "exited");
    }
    scratch.holm(["system", "boot"]).ok().says("always\nunless");
    assert_eq!(scratch.inspect("unless", "{{.State.Status}}"), "running");
    scratch.holm(["system", "boot"]).ok().says("");
    scratch.holm(["rm", "-f"]).args(names).ok();
    leaks.assert_none();
}
