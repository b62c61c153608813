//! `holm run` at its plainest: output, input, exit codes, names, environment, what `--rm` and `-d` mean.

use holm_kit::{BUSYBOX, Leaks, Scratch, sha256};

#[test]
fn run_is_pid_one_of_few_with_its_own_hostname() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.sh("echo $$").ok().says("1");
    scratch.sh("ls /proc | grep -c '^[0-9]'").ok().says("3");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let inside = scratch.sh("hostname").ok();
    assert_ne!(inside.text(), host.trim());
    assert_eq!(inside.text().len(), 12, "the short id");
    scratch
        .run(["--rm", "--hostname", "isle", BUSYBOX, "sh", "-c", "hostname; cat /etc/hostname"])
        .ok()
        .says("isle\nisle");
    scratch.run(["--rm", "--hostname", "isle", BUSYBOX, "cat", "/etc/hosts"]).ok().mentions("isle");
    leaks.assert_none();
}

#[test]
fn exit_code_is_that_of_the_program() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for code in [0, 1, 7, 125, 255] {
        scratch.sh(&format!("exit {code}")).fails(code);
    }
    leaks.assert_none();
}

#[test]
fn missing_program_is_127_and_what_cannot_be_run_is_126() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", BUSYBOX, "no-such-program"]).fails(127).complains("no-such-program");
    scratch.run(["--rm", BUSYBOX, "/no/such/program"]).fails(127).complains("/no/such/program");
    scratch.run(["--rm", BUSYBOX, "/etc/passwd"]).fails(126).complains("/etc/passwd");
    scratch.run(["--rm", BUSYBOX, "/etc"]).fails(126).complains("/etc");
    leaks.assert_none();
}

#[test]
fn end_by_signal_is_128_and_its_number() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for (signal, number) in [("KILL", 9), ("USR1", 10)] {
        let mut running = scratch.run(["--rm", "--name", "victim", "--init", BUSYBOX, "sh", "-c"]);
        running = running.arg("echo ready; exec sleep 1000");
        let mut running = running.start();
        running.read_until("ready");
        scratch.holm(["kill", "-s", signal, "victim"]).ok();
        assert_eq!(running.finish().exit_code(), 128 + number);
    }
    leaks.assert_none();
}

#[test]
fn signal_to_the_command_reaches_the_program() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "trap 'echo caught; exit 42' TERM; echo ready; while :; do sleep 0.05; done";
    let mut running = scratch.sh(script).start();
    running.read_until("ready");
    running.signal(15);
    let output = running.finish().code(42);
    assert_eq!(output.text(), "caught");
    leaks.assert_none();
}

#[test]
fn output_streams_stay_apart_and_whole() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let output = scratch.sh("echo out; echo err >&2").ok();
    assert_eq!((output.text(), output.stderr.trim()), ("out", "err"));
    let output = scratch.sh("yes 0123456789abcde | head -c 20000000").ok();
    assert_eq!(output.stdout.len(), 20_000_000);
    assert_eq!(sha256(output.stdout.as_bytes()), sha256(&b"0123456789abcde\n".repeat(1_250_000)));
    scratch.sh("printf 'no newline at the end'").ok().says("no newline at the end");
    leaks.assert_none();
}

#[test]
fn input_is_fed_with_i_and_empty_without() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let bytes = b"some bytes \xff\x00 and more\n".repeat(200_000);
    let digest = sha256(&bytes).replace("sha256:", "");
    scratch.run(["--rm", "-i", BUSYBOX, "sha256sum"]).input(bytes).ok().mentions(&digest);
    scratch.run(["--rm", BUSYBOX, "wc", "-c"]).input("ignored").ok().says("0");
    scratch.run(["--rm", "-i", BUSYBOX, "true"]).input(vec![b'x'; 1_000_000]).ok();
    leaks.assert_none();
}

#[test]
fn rm_removes_and_its_absence_keeps() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", "--name", "gone", BUSYBOX, "true"]).ok();
    scratch.holm(["inspect", "gone"]).fails(1);
    scratch.run(["--name", "kept", BUSYBOX, "sh", "-c", "exit 3"]).fails(3);
    assert_eq!(scratch.inspect("kept", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    scratch.holm(["ps", "-aq"]).ok().mentions(&scratch.inspect("kept", "{{.Id}}")[..12]);
    scratch.holm(["ps", "-q"]).ok().says("");
    scratch.holm(["rm", "kept"]).ok().says("kept");
    scratch.holm(["rm", "kept"]).fails(1).complains("kept");
    leaks.assert_none();
}

#[test]
fn detached_prints_its_id_and_outlives_the_command() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let output = scratch.detached("far", &[], &["sleep", "1000"]);
    let id = output.text();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{output}");
    assert_eq!(scratch.inspect("far", "{{.State.Running}} {{.Id}}"), format!("true {id}"));
    scratch.holm(["inspect", &id[..6]]).ok();
    scratch.holm(["rm", "far"]).fails(1).complains("far");
    scratch.holm(["rm", "-f", "far"]).ok();
    leaks.assert_none();
}

#[test]
fn name_taken_is_an_error_that_names_it() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("one", &[], &["sleep", "1000"]);
    scratch.run(["--rm", "--name", "one", BUSYBOX, "true"]).fails(125).complains("one");
    scratch.create(["--name", "one", BUSYBOX, "true"]).run().complains("one");
    assert_eq!(scratch.inspect("one", "{{.State.Running}}"), "true");
    for name in ["", "-x", "a/b", "../x", ".", "a b", "é"] {
        let output = scratch.run(["--rm", "--name", name, BUSYBOX, "true"]).run();
        assert!(matches!(output.exit_code(), 2 | 125), "name {name:?}: {output}");
    }
    scratch.holm(["rm", "-f", "one"]).ok();
    leaks.assert_none();
}

#[test]
fn environment_comes_from_image_flags_and_files() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let file = scratch.write("env", "# comment\nFILE=from file\n\nFROM_OUTSIDE\nA=overridden\n");
    let output = scratch
        .run(["--rm", "--env-file", file.to_str().unwrap(), "-e", "A=1", "-e", "EMPTY=", "-e", "B", "-e", "ABSENT"])
        .args([BUSYBOX, "env"])
        .env("B", "from the command")
        .env("FROM_OUTSIDE", "yes")
        .env("NOT_ASKED_FOR", "secret")
        .ok();
    let lines: Vec<_> = output.stdout.lines().collect();
    for line in ["FILE=from file", "A=1", "EMPTY=", "B=from the command", "FROM_OUTSIDE=yes", "HOME=/root"] {
        assert!(lines.contains(&line), "{line}: {output}");
    }
    for key in ["PATH=", "HOSTNAME="] {
        assert!(lines.iter().any(|line| line.starts_with(key)), "{key}: {output}");
    }
    output.clone().omits("ABSENT").omits("NOT_ASKED_FOR").omits("HOLM_");
    assert_eq!(lines.iter().filter(|line| line.starts_with("A=")).count(), 1, "{output}");
    leaks.assert_none();
}

#[test]
fn working_folder_is_made_where_it_is_missing() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.sh("pwd").ok().says("/");
    scratch.run(["--rm", "-w", "/tmp", BUSYBOX, "pwd"]).ok().says("/tmp");
    scratch.run(["--rm", "-w", "/made/by/run", BUSYBOX, "pwd"]).ok().says("/made/by/run");
    let output = scratch.run(["--rm", "-w", "relative", BUSYBOX, "pwd"]).run();
    assert_ne!(output.exit_code(), 0, "{output}");
    leaks.assert_none();
}

#[test]
fn entrypoint_and_command_combine_as_in_docker() {
    let scratch = Scratch::with_busybox();
    let change = ["--change", r#"ENTRYPOINT ["echo","entry"]"#, "--change", r#"CMD ["default"]"#];
    scratch.holm(["import"]).args(change).args(["-", "localhost/entry:1"]).input(holm_kit::busybox_root_tar()).ok();
    let leaks = Leaks::before(&scratch);
    let image = "localhost/entry:1";
    scratch.run(["--rm", image]).ok().says("entry default");
    scratch.run(["--rm", image, "given"]).ok().says("entry given");
    scratch.run(["--rm", "--entrypoint", "printf", image, "%s-", "a", "b"]).ok().says("a-b-");
    scratch.run(["--rm", "--entrypoint", "", image, "echo", "bare"]).ok().says("bare");
    scratch.run(["--rm", "--entrypoint", "", image]).fails(125);
    leaks.assert_none();
}

#[test]
fn cidfile_holds_the_id_and_is_never_overwritten() {
    let scratch = Scratch::with_busybox();
    let path = scratch.path().join("cid");
    let file = path.to_str().unwrap();
    let leaks = Leaks::before(&scratch);
    let id = scratch.run(["-d", "--cidfile", file, "--name", "c", BUSYBOX, "true"]).ok().text().to_owned();
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), id);
    scratch.run(["--rm", "--cidfile", file, BUSYBOX, "true"]).fails(125).complains("cid");
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}

#[test]
fn init_reaps_orphans_and_passes_signals() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", "--init", BUSYBOX, "sh", "-c", "test $$ -ne 1 && echo not one"]).ok().says("not one");
    scratch.detached("tidy", &["--init"], &["sh", "-c", "(sleep 0.01 &) ; exec sleep 1000"]);
    scratch.wait_for_status("tidy", "running");
    holm_kit::wait_until("the orphan is reaped", std::time::Duration::from_secs(10), || {
        scratch.holm(["exec", "tidy", "pidof", "sleep"]).ok().text().split(' ').count() == 1
    });
    // The command line of the host, with its paths, is nobody's business inside.
    scratch.holm(["exec", "tidy", "cat", "/proc/1/cmdline"]).ok().omits("cgroup-parent");
    let seen =
        scratch.holm(["exec", "tidy", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/environ 2>&1"]).run();
    assert!(!seen.stdout.contains("--init") && !seen.stdout.contains("HOLM_"), "init shows the host's command: {seen}");
    let stopped = scratch.holm(["stop", "-t", "20", "tidy"]).ok();
    assert!(stopped.elapsed.as_secs() < 10, "SIGTERM did not pass: {stopped}");
    assert_eq!(scratch.inspect("tidy", "{{.State.ExitCode}}"), "143");
    scratch.holm(["rm", "tidy"]).ok();
    leaks.assert_none();
}

#[test]
fn log_level_shows_the_steps_and_is_quiet_otherwise() {
    let scratch = Scratch::with_busybox();
    let quiet = scratch.run(["--rm", BUSYBOX, "true"]).ok();
    assert_eq!(quiet.stderr, "", "{quiet}");
    let talk = scratch.holm(["--log-level", "debug", "run", "--rm", BUSYBOX, "true"]).ok();
    assert!(talk.stderr.contains("made from image sha256:") && talk.stderr.contains("runs as PID"), "{talk}");
}

#[test]
fn flags_that_change_nothing_are_taken() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let options =
        ["--name", "box", "--volume-driver", "local", "--disable-content-trust=false", "--isolation", "default"];
    scratch.run(options).args([BUSYBOX, "echo", "said"]).ok().says("said");
    scratch.holm(["logs", "--details", "box"]).ok().says("said");
    scratch.run(["--rm", "--volume-driver", "nfs", BUSYBOX, "true"]).fails(125).complains("nfs");
    scratch.holm(["rm", "box"]).ok();
    leaks.assert_none();
}
