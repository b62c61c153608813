//! create, start, stop, restart, kill, wait, pause, rename, rm, events, stats, top.

use std::time::Duration;

use holm_kit::{BUSYBOX, Leaks, Scratch, alive, wait_until};

#[test]
fn create_then_start_then_stop_then_start_again() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.create(["--name", "c", BUSYBOX, "sh", "-c", "echo run >> /count; exec sleep 1000"]).ok();
    assert_eq!(scratch.inspect("c", "{{.State.Status}} {{.State.Pid}}"), "created 0");
    scratch.holm(["start", "c"]).ok().says("c");
    let pid: i32 = scratch.inspect("c", "{{.State.Pid}}").parse().unwrap();
    assert!(alive(pid));
    scratch.holm(["stop", "-t", "0", "c"]).ok().says("c");
    assert_eq!(scratch.inspect("c", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}"), "exited 137 0");
    assert!(!alive(pid));
    scratch.holm(["stop", "c"]).ok();
    scratch.holm(["start", "c"]).ok();
    scratch.holm(["start", "c"]).ok();
    wait_until("the file of the first run is still there", Duration::from_secs(5), || {
        scratch.holm(["exec", "c", "cat", "/count"]).run().text() == "run\nrun"
    });
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}

#[test]
fn stop_asks_by_the_stop_signal_then_kills() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let polite = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done";
    scratch.detached("polite", &["--stop-signal", "SIGUSR1"], &["sh", "-c", polite]);
    scratch.detached(
        "deaf",
        &["--stop-timeout", "1"],
        &["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"],
    );
    for name in ["polite", "deaf"] {
        wait_until("its trap is set", Duration::from_secs(10), || scratch.holm(["logs", name]).run().text() == "ready");
    }
    let output = scratch.holm(["stop", "-t", "30", "polite"]).ok();
    assert!(output.elapsed < Duration::from_secs(5), "{output}");
    assert_eq!(scratch.inspect("polite", "{{.State.ExitCode}}"), "5");
    let output = scratch.holm(["stop", "deaf"]).ok();
    assert!(output.elapsed > Duration::from_millis(900) && output.elapsed < Duration::from_secs(5), "{output}");
    assert_eq!(scratch.inspect("deaf", "{{.State.ExitCode}}"), "137");
    scratch.holm(["rm", "polite", "deaf"]).ok();
    leaks.assert_none();
}

#[test]
fn stop_of_several_takes_no_longer_than_of_one() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let names = ["a", "b", "c", "d"];
    for name in names {
        scratch.detached(name, &[], &["sleep", "1000"]);
    }
    let output = scratch.holm(["stop", "-t", "1"]).args(names).ok();
    assert!(output.elapsed < Duration::from_secs(3), "{output}");
    scratch.holm(["rm"]).args(names).ok();
    leaks.assert_none();
}

#[test]
fn kill_sends_any_signal_and_refuses_nonsense() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done";
    scratch.detached("k", &[], &["sh", "-c", script]);
    wait_until("its trap is set", Duration::from_secs(10), || scratch.holm(["logs", "k"]).run().text() == "ready");
    scratch.holm(["kill", "--signal", "HUP", "k"]).ok();
    scratch.holm(["kill", "--signal", "1", "k"]).ok();
    wait_until("the signal arrives", Duration::from_secs(5), || {
        scratch.holm(["logs", "k"]).ok().text().contains("hup")
    });
    for signal in ["NOSUCH", "99", "0", "-1"] {
        let output = scratch.holm(["kill", &format!("--signal={signal}"), "k"]).run();
        assert_ne!(output.exit_code(), 0, "{signal}: {output}");
    }
    assert_eq!(scratch.inspect("k", "{{.State.Running}}"), "true");
    scratch.holm(["kill", "k"]).ok();
    scratch.wait_for_status("k", "exited");
    scratch.holm(["kill", "k"]).fails(1).complains("k");
    scratch.holm(["rm", "k"]).ok();
    leaks.assert_none();
}

#[test]
fn wait_returns_the_code_of_each() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for (name, code) in [("w1", "11"), ("w2", "0")] {
        let script = format!("while [ ! -e /go ]; do sleep 0.02; done; exit {code}");
        scratch.detached(name, &[], &["sh", "-c", &script]);
    }
    let waiting = scratch.holm(["wait", "w1", "w2"]).start();
    for name in ["w1", "w2"] {
        // The container may end before this one's own end is told.
        scratch.holm(["exec", name, "touch", "/go"]).run();
    }
    waiting.finish().ok().says("11\n0");
    scratch.holm(["wait", "w1"]).ok().says("11");
    scratch.holm(["wait", "absent"]).fails(1).complains("absent");
    scratch.holm(["rm", "w1", "w2"]).ok();
    leaks.assert_none();
}

#[test]
fn pause_freezes_and_stop_and_rm_thaw() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for name in ["p", "q"] {
        scratch.detached(name, &[], &["sh", "-c", "while :; do echo x >> /ticks; sleep 0.01; done"]);
        scratch.holm(["pause", name]).ok();
        assert_eq!(scratch.inspect(name, "{{.State.Status}} {{.State.Paused}}"), "paused true");
    }
    scratch.holm(["pause", "p"]).fails(1);
    scratch.holm(["exec", "p", "true"]).fails(1).complains("paused");
    scratch.holm(["unpause", "p"]).ok();
    scratch.holm(["unpause", "p"]).fails(1);
    scratch.holm(["exec", "p", "true"]).ok();
    scratch.holm(["pause", "p"]).ok();
    let output = scratch.holm(["stop", "-t", "1", "p"]).ok();
    assert!(output.elapsed < Duration::from_secs(10), "{output}");
    scratch.holm(["rm", "p"]).ok();
    scratch.holm(["rm", "-f", "q"]).ok();
    leaks.assert_none();
}

#[test]
fn rename_moves_the_name_and_frees_the_old_one() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("old", &[], &["sleep", "1000"]);
    scratch.detached("taken", &[], &["sleep", "1000"]);
    scratch.holm(["rename", "old", "taken"]).fails(1).complains("taken");
    scratch.holm(["rename", "old", "new"]).ok();
    assert_eq!(scratch.inspect("new", "{{.Name}}"), "/new");
    scratch.holm(["inspect", "old"]).fails(1);
    scratch.detached("old", &[], &["true"]);
    scratch.holm(["rm", "-f", "old", "new", "taken"]).ok();
    leaks.assert_none();
}

#[test]
fn restart_gives_a_new_process_and_keeps_the_files() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("r", &[], &["sleep", "1000"]);
    scratch.holm(["exec", "r", "touch", "/kept"]).ok();
    let before = scratch.inspect("r", "{{.State.Pid}}");
    scratch.holm(["restart", "-t", "0", "r"]).ok();
    assert_ne!(scratch.inspect("r", "{{.State.Pid}}"), before);
    scratch.holm(["exec", "r", "test", "-e", "/kept"]).ok();
    scratch.holm(["rm", "-f", "r"]).ok();
    leaks.assert_none();
}

#[test]
fn events_tell_the_story_in_order() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let mut live = scratch.holm(["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]).start();
    wait_until("the listener hears a first event", Duration::from_secs(10), || {
        scratch.run(["--rm", "--name", "probe", BUSYBOX, "true"]).ok();
        live.read_until("destroy probe").contains("start probe")
    });
    scratch.run(["--name", "story", BUSYBOX, "true"]).ok();
    scratch.holm(["rm", "story"]).ok();
    let text = live.read_until("destroy story");
    let order: Vec<_> = ["create story", "start story", "die story", "destroy story"]
        .map(|event| text.find(event).unwrap_or_else(|| panic!("no `{event}` in:\n{text}")))
        .to_vec();
    assert!(order.is_sorted(), "{text}");
    live.signal(2);
    live.finish();
    let past = scratch.holm(["events", "--since", "1h", "--until", "0s", "--filter", "container=story"]).ok();
    past.mentions("die").omits("probe");
    leaks.assert_none();
}

#[test]
fn top_and_stats_show_the_processes_and_what_they_use() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("t", &["--memory", "64m"], &["sleep", "1234"]);
    scratch.holm(["top", "t"]).ok().mentions("PID").mentions("sleep 1234");
    let row = "{{.Name}} {{.PIDs}} {{.MemUsage}} {{.CPUPerc}}";
    let output = scratch.holm(["stats", "--no-stream", "--format", row, "t"]).ok();
    let output = output.mentions("t 1 ").mentions("64MiB");
    assert!(output.text().ends_with('%'), "{output}");
    scratch.holm(["stats", "--no-stream"]).ok().mentions("NAME");
    scratch.holm(["rm", "-f", "t"]).ok();
    leaks.assert_none();
}

#[test]
fn rm_force_all_kinds_and_prune_takes_only_what_ended() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("runs", &[], &["sleep", "1000"]);
    scratch.create(["--name", "made", BUSYBOX, "true"]).ok();
    scratch.run(["--name", "ended", BUSYBOX, "true"]).ok();
    scratch.holm(["system", "prune", "--force"]).ok();
    scratch.holm(["ps", "-a", "--format", "{{.Names}}"]).ok().says("runs");
    scratch.holm(["rm", "-f", "runs"]).ok();
    scratch.holm(["rm", "-f", "absent"]).ok();
    leaks.assert_none();
}
