//! Terminals, attach and detach.

use std::time::Duration;

use holm_kit::{BUSYBOX, Leaks, Scratch, Terminal, wait_until};

#[test]
fn run_on_a_terminal_has_size_echo_control_c_and_exit_code() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let mut terminal = Terminal::start(scratch.run(["-it", "--rm", "--name", "tty", BUSYBOX, "sh"]), 31, 97);
    terminal.send("test -t 0 -a -t 1 -a -t 2 && stty size; tty\n");
    terminal.expect("31 97");
    terminal.expect("/dev/");
    terminal.send("sleep 1000; echo sta'tus' $?\n");
    wait_until("sleep runs", Duration::from_secs(10), || {
        scratch.holm(["top", "tty"]).run().stdout.contains("sleep 1000")
    });
    terminal.send([3]);
    terminal.send("echo af'ter'\n");
    terminal.expect("after");
    terminal.resize(20, 50);
    wait_until("the new size arrives", Duration::from_secs(10), || {
        terminal.send("stty size | tr ' ' x; echo do'ne'\n");
        terminal.expect("done").contains("20x50")
    });
    terminal.send("exit 6\n");
    assert_eq!(terminal.finish().0, 6);
    leaks.assert_none();
}

#[test]
fn terminal_without_input_prints_with_carriage_returns() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let output = scratch.run(["--rm", "-t", BUSYBOX, "sh", "-c", "test -t 1 && echo tty"]).ok();
    assert_eq!(output.stdout, "tty\r\n");
    leaks.assert_none();
}

#[test]
fn interactive_terminal_wants_one_on_the_other_side() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let output = scratch.run(["--rm", "-it", BUSYBOX, "true"]).input("").run();
    assert_ne!(output.exit_code(), 0, "{output}");
    assert!(output.stderr.to_lowercase().contains("tty") || output.stderr.contains("terminal"), "{output}");
    leaks.assert_none();
}

#[test]
fn detach_keys_leave_it_running_and_attach_comes_back() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let mut terminal = Terminal::start(scratch.run(["-it", "--name", "shell", BUSYBOX, "sh"]), 24, 80);
    terminal.send("VAR=kept; echo rea'dy'\n");
    terminal.expect("ready");
    terminal.send([16, 17]);
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(scratch.inspect("shell", "{{.State.Status}}"), "running");
    let mut terminal = Terminal::start(scratch.holm(["attach", "shell"]), 24, 80);
    terminal.send("echo va'lue' $VAR\n");
    terminal.expect("value kept");
    terminal.send("exit 3\n");
    assert_eq!(terminal.finish().0, 3);
    assert_eq!(scratch.inspect("shell", "{{.State.ExitCode}}"), "3");
    scratch.holm(["rm", "shell"]).ok();
    leaks.assert_none();
}

#[test]
fn attach_to_a_detached_container_shows_what_comes_and_gives_its_code() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "while [ ! -e /go ]; do echo tick; sleep 0.05; done; echo last; exit 4";
    scratch.detached("ticker", &[], &["sh", "-c", script]);
    let mut first = scratch.holm(["attach", "ticker"]).start();
    let mut second = scratch.holm(["attach", "--no-stdin", "ticker"]).start();
    first.read_until("tick");
    second.read_until("tick");
    scratch.holm(["exec", "ticker", "touch", "/go"]).ok();
    for attached in [first, second] {
        attached.finish().code(4).mentions("last");
    }
    scratch.holm(["attach", "ticker"]).fails(1);
    scratch.holm(["rm", "ticker"]).ok();
    leaks.assert_none();
}

#[test]
fn start_attached_shows_output_and_code() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.create(["-i", "--name", "later", BUSYBOX, "sh", "-c", "read line; echo got $line; exit 2"]).ok();
    assert_eq!(scratch.inspect("later", "{{.State.Status}}"), "created");
    scratch.holm(["start", "-ai", "later"]).input("hello\n").fails(2).says("got hello");
    scratch.holm(["rm", "later"]).ok();
    leaks.assert_none();
}

#[test]
fn reader_that_goes_away_neither_stops_nor_blocks_the_container() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached(
        "busy",
        &["--log-driver", "none"],
        &["sh", "-c", "yes | head -c 30000000; touch /done; sleep 1000"],
    );
    for _ in 0..3 {
        let attached = scratch.holm(["attach", "--no-stdin", "busy"]).start();
        attached.signal(9);
        attached.finish();
    }
    wait_until("the container wrote everything", Duration::from_secs(30), || {
        scratch.holm(["exec", "busy", "test", "-e", "/done"]).run().status.success()
    });
    scratch.holm(["rm", "-f", "busy"]).ok();
    leaks.assert_none();
}
