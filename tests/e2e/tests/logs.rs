//! `holm logs`: both streams, times, tail, since, follow, rotation.

use std::time::Duration;

use holm_kit::{BUSYBOX, Leaks, Scratch, wait_until};

#[test]
fn logs_keep_both_streams_apart_and_in_order() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "echo one; echo two >&2; printf 'no newline'";
    scratch.run(["--name", "l", BUSYBOX, "sh", "-c", script]).ok();
    let output = scratch.holm(["logs", "l"]).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\nno newline", "two\n"));
    scratch.holm(["logs", "--tail", "1", "l"]).ok().says("no newline");
    scratch.holm(["logs", "--tail", "0", "l"]).ok().says("");
    scratch.holm(["logs", "absent"]).fails(1).complains("absent");
    scratch.holm(["rm", "l"]).ok();
    leaks.assert_none();
}

#[test]
fn times_are_rfc_3339_and_bound_what_is_shown() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--name", "l", BUSYBOX, "sh", "-c", "echo early; sleep 1.2; echo late"]).ok();
    let output = scratch.holm(["logs", "-t", "l"]).ok();
    let times: Vec<_> = output.text().lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert!(times.iter().all(|time| time.contains('T') && time.ends_with('Z') && time.len() >= 20), "{output}");
    scratch.holm(["logs", "--since", &times[1], "l"]).ok().says("late");
    scratch.holm(["logs", "--until", &times[0], "l"]).ok().says("early");
    scratch.holm(["logs", "--since", "1h", "l"]).ok().says("early\nlate");
    scratch.holm(["logs", "--since", "0s", "l"]).ok().says("");
    assert_ne!(scratch.holm(["logs", "--since", "whenever", "l"]).run().exit_code(), 0);
    scratch.holm(["rm", "l"]).ok();
    leaks.assert_none();
}

#[test]
fn follow_shows_what_comes_and_ends_with_the_container() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "echo first; while [ ! -e /go ]; do sleep 0.02; done; echo last";
    scratch.detached("f", &[], &["sh", "-c", script]);
    let mut follower = scratch.holm(["logs", "-f", "f"]).start();
    follower.read_until("first");
    assert!(follower.is_running());
    scratch.holm(["exec", "f", "touch", "/go"]).ok();
    follower.finish().ok().mentions("last");
    scratch.holm(["rm", "f"]).ok();
    leaks.assert_none();
}

#[test]
fn rotation_keeps_size_and_count_and_loses_nothing_else() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let options = ["--log-opt", "max-size=20k", "--log-opt", "max-file=3"];
    scratch.detached("big", &options, &["sh", "-c", "seq 1 20000; sleep 1000"]);
    let mut follower = scratch.holm(["logs", "-f", "--tail", "1", "big"]).start();
    follower.read_until("20000");
    drop(follower);
    let output = scratch.holm(["logs", "big"]).ok();
    let numbers: Vec<u32> = output.text().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(*numbers.last().unwrap(), 20_000);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole after {:?}", numbers.first());
    assert!(numbers.len() < 15_000, "nothing was rotated away: {}", numbers.len());
    scratch.holm(["rm", "-f", "big"]).ok();
    leaks.assert_none();
}

#[test]
fn long_lines_and_odd_bytes_come_back_as_they_were() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'a\\tb\"c\\\\d\\033[31m\\n'";
    scratch.run(["--name", "odd", BUSYBOX, "sh", "-c", script]).ok();
    let output = scratch.holm(["logs", "odd"]).ok();
    let mut lines = output.stdout.lines();
    assert_eq!(lines.next().map(str::len), Some(100_000));
    assert_eq!(lines.next(), Some("a\tb\"c\\d\x1b[31m"));
    scratch.holm(["rm", "odd"]).ok();
    leaks.assert_none();
}

#[test]
fn log_driver_none_keeps_nothing_and_says_so() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--name", "mute", "--log-driver", "none", BUSYBOX, "echo", "unheard"]).ok().says("unheard");
    scratch.holm(["logs", "mute"]).fails(1).complains("none");
    scratch.holm(["rm", "mute"]).ok();
    let output = scratch.run(["--rm", "--log-driver", "smoke-signals", BUSYBOX, "true"]).run();
    assert!(matches!(output.exit_code(), 2 | 125), "{output}");
    leaks.assert_none();
}

#[test]
fn logs_of_a_fast_writer_are_complete_when_wait_returns() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for round in 0..10 {
        let name = format!("fast{round}");
        scratch.detached(&name, &[], &["seq", "1", "3000"]);
        scratch.holm(["wait", &name]).ok().says("0");
        let output = scratch.holm(["logs", &name]).ok();
        assert_eq!(output.text().lines().count(), 3000, "round {round}");
        scratch.holm(["rm", &name]).ok();
    }
    wait_until("nothing is left", Duration::from_secs(5), || leaks.found().is_empty());
}
