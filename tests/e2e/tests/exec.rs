//! `holm exec`: one more process in a running container.

use std::time::Duration;

use holm_kit::{BUSYBOX, Leaks, Scratch, Terminal, sha256, wait_until};

#[test]
fn exec_joins_the_container_and_returns_its_exit_code() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("box", &["-e", "GIVEN=1", "-w", "/tmp"], &["sleep", "1000"]);
    scratch.holm(["exec", "box", "ps", "-o", "pid,args"]).ok().mentions("sleep 1000");
    scratch.holm(["exec", "box", "sh", "-c", "echo $GIVEN; pwd"]).ok().says("1\n/tmp");
    for namespace in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let script =
            format!("a=$(readlink /proc/1/ns/{namespace}); b=$(readlink /proc/self/ns/{namespace}); test $a = $b");
        scratch.holm(["exec", "box", "sh", "-c", &script]).ok();
    }
    scratch.holm(["exec", "box", "sh", "-c", "exit 9"]).fails(9);
    scratch.holm(["exec", "box", "no-such-program"]).fails(127);
    scratch.holm(["exec", "box", "/etc/passwd"]).fails(126);
    scratch.holm(["exec", "absent", "true"]).fails(1).complains("absent");
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn exec_options_change_user_folder_and_environment() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("box", &[], &["sleep", "1000"]);
    let script = "id -u; id -G; pwd; echo $A; echo $HOME";
    let options = ["exec", "-u", "app", "-w", "/etc", "-e", "A=b", "box", "sh", "-c", script];
    let output = scratch.holm(options).ok();
    let lines: Vec<_> = output.text().lines().collect();
    assert_eq!((lines[0], lines[2], lines[3], lines[4]), ("1000", "/etc", "b", "/home/app"), "{output}");
    assert!(lines[1].split(' ').any(|group| group == "2000"), "{output}");
    for user in ["4294967296", "-1", "nobody-here"] {
        let output = scratch.holm(["exec", &format!("--user={user}"), "box", "id", "-u"]).run();
        assert!(output.exit_code() != 0 && output.text().is_empty(), "{user}: {output}");
    }
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn exec_is_confined_like_the_container() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("box", &["--pids-limit", "50"], &["sleep", "1000"]);
    let script = |pid: &str| format!("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/{pid}/status");
    let init = scratch.holm(["exec", "box", "sh", "-c", &script("1")]).ok();
    let exec = scratch.holm(["exec", "box", "sh", "-c", &script("self")]).ok();
    assert_eq!(init.text(), exec.text());
    let groups = ["exec", "box", "sh", "-c", "test \"$(cat /proc/1/cgroup)\" = \"$(cat /proc/self/cgroup)\""];
    scratch.holm(groups).ok();
    let privileged = "grep CapEff /proc/self/status";
    let output = scratch.holm(["exec", "--privileged", "box", "sh", "-c", privileged]).ok();
    assert_ne!(output.text(), scratch.holm(["exec", "box", "sh", "-c", privileged]).ok().text());
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn exec_carries_input_and_output_whole() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("box", &[], &["sleep", "1000"]);
    let bytes = b"0123456789\n".repeat(500_000);
    let digest = sha256(&bytes).replace("sha256:", "");
    scratch.holm(["exec", "-i", "box", "sha256sum"]).input(bytes).ok().mentions(&digest);
    scratch.holm(["exec", "box", "wc", "-c"]).input("ignored").ok().says("0");
    let output = scratch.holm(["exec", "box", "sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((output.text(), output.stderr.trim()), ("out", "err"));
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn exec_on_a_terminal_has_its_size_and_hears_of_changes() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("box", &[], &["sleep", "1000"]);
    let mut terminal = Terminal::start(scratch.holm(["exec", "-it", "box", "sh"]), 33, 99);
    terminal.send("stty size\n");
    terminal.expect("33 99");
    terminal.resize(44, 111);
    wait_until("the new size arrives", Duration::from_secs(10), || {
        terminal.send("stty size | tr ' ' x; echo do'ne'\n");
        terminal.expect("done").contains("44x111")
    });
    terminal.send("exit 5\n");
    assert_eq!(terminal.finish().0, 5);
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn detached_exec_runs_on_and_ends_with_the_container() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("box", &[], &["sleep", "1000"]);
    scratch.holm(["exec", "-d", "box", "sh", "-c", "echo x > /tmp/made; exec sleep 777"]).ok();
    wait_until("the exec wrote its file", Duration::from_secs(10), || {
        scratch.holm(["exec", "box", "cat", "/tmp/made"]).run().text() == "x"
    });
    scratch.holm(["exec", "box", "ps", "-o", "args"]).ok().mentions("sleep 777");
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn exec_right_after_start_and_into_one_that_ends_never_hangs() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for round in 0..20 {
        let name = format!("quick{round}");
        scratch.run(["-d", "--name", &name, BUSYBOX, "sleep", "0.05"]).ok();
        let output = scratch.holm(["exec", &name, "true"]).limit(Duration::from_secs(20)).run();
        assert!(matches!(output.exit_code(), 0 | 1 | 125 | 126 | 137), "{output}");
        scratch.holm(["rm", "-f", &name]).ok();
    }
    leaks.assert_none();
}

#[test]
fn many_execs_at_once_each_get_their_own_answer() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("box", &[], &["sleep", "1000"]);
    let running: Vec<_> =
        (0..24).map(|at| scratch.holm(["exec", "box", "sh", "-c", &format!("echo {at}; exit {at}")]).start()).collect();
    for (at, exec) in running.into_iter().enumerate() {
        exec.finish().code(i32::try_from(at).unwrap()).says(&at.to_string());
    }
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}
