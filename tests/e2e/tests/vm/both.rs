//! What an image does is the same in a container and in a virtual machine: one body for each test, run for both.

use holm_kit::{BUSYBOX, Isolation, Leaks, Scratch, wait_until};
use std::time::Duration;

/// How long an ordinary step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Defines each test twice, with one body.
macro_rules! both {
    ($($(#[$meta:meta])* fn $name:ident($scratch:ident: &Scratch) $body:block)*) => {
        mod body {
            use super::*;
            $($(#[$meta])* pub(super) fn $name($scratch: &Scratch) $body)*
        }
        both!(@each container, Isolation::Container, $($name)*);
        both!(@each vm, Isolation::Vm, $($name)*);
    };
    (@each $module:ident, $isolation:expr, $($name:ident)*) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $name() {
                    let scratch = Scratch::isolated($isolation);
                    let leaks = Leaks::before(&scratch);
                    super::body::$name(&scratch);
                    leaks.assert_none();
                }
            )*
        }
    };
}

both! {
    fn exit_codes_and_streams_are_the_programs(scratch: &Scratch) {
        scratch.sh("exit 7").fails(7);
        let output = scratch.sh("echo out; echo err >&2").ok();
        assert_eq!((output.text(), output.stderr.trim()), ("out", "err"));
        scratch.run(["--rm", BUSYBOX, "no-such-program"]).fails(127).complains("no-such-program");
        scratch.run(["--rm", BUSYBOX, "/etc/passwd"]).fails(126).complains("/etc/passwd");
    }

    fn input_reaches_the_program_and_large_output_arrives_whole(scratch: &Scratch) {
        scratch.run(["--rm", "-i", BUSYBOX, "wc", "-c"]).input(vec![b'x'; 3_000_000]).ok().says("3000000");
        let output = scratch.sh("yes 0123456789abcde | head -c 4000000").ok();
        assert_eq!(output.stdout.len(), 4_000_000);
    }

    fn program_sees_its_own_world(scratch: &Scratch) {
        let script = "echo $$; hostname; cat /etc/hostname; id -u; echo $GREETING; pwd; cat /proc/self/cgroup | head -1";
        let line = ["--rm", "--hostname", "isle", "-e", "GREETING=hello", "-w", "/tmp", BUSYBOX, "sh", "-c", script];
        let output = scratch.run(line).ok();
        let lines: Vec<&str> = output.text().lines().collect();
        assert_eq!(lines[..6], ["1", "isle", "isle", "0", "hello", "/tmp"]);
        assert!(lines[6].ends_with(":/"), "it sees its own control group as the root: {}", lines[6]);
        scratch.run(["--rm", "--user", "1000:1001", BUSYBOX, "id"]).ok().mentions("uid=1000(app) gid=1001");
        let capabilities = scratch.sh("grep Cap /proc/self/status").ok();
        capabilities.mentions("CapEff:\t00000000a80425fb").mentions("CapBnd:\t00000000a80425fb");
        scratch.sh("grep Seccomp: /proc/self/status").ok().says("Seccomp:\t2");
        scratch.sh("touch /proc/sys/kernel/x; mount -t tmpfs x /mnt").fails(1);
    }

    fn detached_one_is_listed_logs_and_stops(scratch: &Scratch) {
        let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
        scratch.detached("web", &[], &["sh", "-c", script]);
        wait_until("it is ready", PATIENCE, || scratch.holm(["logs", "web"]).ok().text() == "ready");
        scratch.holm(["ps", "--format", "{{.Names}} {{.State}}"]).ok().says("web running");
        scratch.holm(["stop", "-t", "20", "web"]).ok();
        scratch.holm(["logs", "web"]).ok().says("ready\nbye");
        assert_eq!(scratch.inspect("web", "{{.State.ExitCode}} {{.State.Status}}"), "3 exited");
        scratch.holm(["rm", "web"]).ok();
    }

    fn what_was_written_is_there_after_another_start(scratch: &Scratch) {
        let script = "cat /kept 2>/dev/null; echo once >>/kept; echo written; sleep 1000";
        scratch.detached("box", &[], &["sh", "-c", script]);
        wait_until("it has written", PATIENCE, || scratch.holm(["logs", "box"]).ok().text() == "written");
        scratch.holm(["stop", "-t", "0", "box"]).ok();
        scratch.holm(["start", "box"]).ok();
        wait_until("it says what it kept", PATIENCE, || {
            scratch.holm(["logs", "box"]).ok().text() == "written\nonce\nwritten"
        });
        scratch.holm(["rm", "-f", "box"]).ok();
    }

    fn processes_are_added_with_their_own_streams_and_codes(scratch: &Scratch) {
        scratch.detached("box", &["-e", "A=1"], &["sleep", "1000"]);
        scratch.holm(["exec", "box", "sh", "-c", "echo $A; exit 5"]).run().code(5).says("1");
        scratch.holm(["exec", "-i", "box", "cat"]).input("through").ok().says("through");
        scratch.holm(["exec", "-u", "7", "-e", "B=2", "-w", "/tmp", "box", "sh", "-c", "id -u; echo $B; pwd"]).ok().says("7\n2\n/tmp");
        scratch.holm(["exec", "box", "nothing-there"]).fails(127).complains("nothing-there");
        scratch.holm(["exec", "-d", "box", "sh", "-c", "echo written >/tmp/by-exec"]).ok();
        wait_until("the detached one has run", PATIENCE, || {
            scratch.holm(["exec", "box", "cat", "/tmp/by-exec"]).run().text() == "written"
        });
        scratch.holm(["top", "box"]).ok().mentions("sleep 1000");
        scratch.holm(["rm", "-f", "box"]).ok();
    }

    fn signals_arrive_and_kill_is_137(scratch: &Scratch) {
        scratch.detached("box", &[], &["sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done"]);
        wait_until("it is ready", PATIENCE, || scratch.holm(["logs", "box"]).ok().text() == "ready");
        scratch.holm(["kill", "-s", "USR1", "box"]).ok();
        wait_until("the signal came", PATIENCE, || scratch.holm(["logs", "box"]).ok().text() == "ready\nusr1");
        scratch.holm(["kill", "box"]).ok();
        scratch.holm(["wait", "box"]).ok().says("137");
        scratch.holm(["rm", "box"]).ok();
    }

    fn files_are_copied_both_ways_and_changes_are_told(scratch: &Scratch) {
        scratch.detached("box", &[], &["sleep", "1000"]);
        let file = scratch.write("in.txt", "from the host\n");
        scratch.holm(["cp", &file.display().to_string(), "box:/tmp/in.txt"]).ok();
        scratch.holm(["exec", "box", "cat", "/tmp/in.txt"]).ok().says("from the host");
        scratch.holm(["exec", "box", "sh", "-c", "echo from inside >/tmp/out.txt; rm /etc/group"]).ok();
        let out = scratch.path().join("out.txt");
        scratch.holm(["cp", "box:/tmp/out.txt", &out.display().to_string()]).ok();
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "from inside\n");
        scratch.holm(["diff", "box"]).ok().mentions("A /tmp/out.txt").mentions("D /etc/group");
        scratch.holm(["commit", "box", "localhost/changed"]).ok();
        scratch.run(["--rm", "--isolation", "container", "localhost/changed", "cat", "/tmp/out.txt"]).ok().says("from inside");
        scratch.holm(["rm", "-f", "box"]).ok();
        scratch.holm(["rmi", "localhost/changed"]).ok();
    }

    fn it_can_be_paused_and_measured(scratch: &Scratch) {
        let script = "i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 0.05; done";
        scratch.detached("box", &["--memory", "96m"], &["sh", "-c", script]);
        wait_until("it counts", PATIENCE, || {
            scratch.holm(["exec", "box", "cat", "/tmp/count"]).run().exit_code() == 0
        });
        scratch.holm(["pause", "box"]).ok();
        assert_eq!(scratch.inspect("box", "{{.State.Status}}"), "paused");
        scratch.holm(["unpause", "box"]).ok();
        scratch.holm(["exec", "box", "cat", "/tmp/count"]).ok();
        let stats = scratch.holm(["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "box"]).ok();
        let (tasks, memory) = stats.text().split_once(' ').unwrap();
        assert!((1..=4).contains(&tasks.parse::<u32>().unwrap()), "{stats}");
        assert!(memory.ends_with("/ 96MiB"), "{stats}");
        scratch.holm(["rm", "-f", "box"]).ok();
    }

    fn want_of_memory_is_told_as_such(scratch: &Scratch) {
        // It asks for more than it has and touches all of it.
        let script = "head -c 200m /dev/zero | tail -c 150m | wc -c";
        scratch.run(["--name", "eater", "--memory", "48m", BUSYBOX, "sh", "-c", script]).run();
        let killed = scratch.holm(["events", "--since", "1h", "--until", "0s", "--filter", "event=oom"]).ok();
        killed.mentions("eater");
        scratch.holm(["rm", "eater"]).ok();
    }

    fn it_is_started_again_by_policy(scratch: &Scratch) {
        scratch.detached("again", &["--restart", "on-failure:2"], &["sh", "-c", "echo run; exit 1"]);
        scratch.wait_for_status("again", "exited");
        scratch.holm(["logs", "again"]).ok().says("run\nrun\nrun");
        assert_eq!(scratch.inspect("again", "{{.RestartCount}}"), "2");
        scratch.holm(["rm", "again"]).ok();
    }

    fn health_is_checked(scratch: &Scratch) {
        let options = ["--health-cmd", "test -e /tmp/well", "--health-interval", "200ms", "--health-retries", "1"];
        scratch.detached("box", &options, &["sleep", "1000"]);
        let health = |word: &str| {
            wait_until(word, PATIENCE, || scratch.inspect("box", "{{.State.Health.Status}}") == word);
        };
        health("unhealthy");
        scratch.holm(["exec", "box", "touch", "/tmp/well"]).ok();
        health("healthy");
        scratch.holm(["rm", "-f", "box"]).ok();
    }

    fn root_may_be_read_only_and_have_memory_file_systems(scratch: &Scratch) {
        let script = "touch /x; echo fine >/scratch/y; cat /scratch/y";
        let line = ["--rm", "--read-only", "--tmpfs", "/scratch", BUSYBOX, "sh", "-c", script];
        let output = scratch.run(line).ok().says("fine");
        assert!(output.stderr.contains("Read-only file system"), "{output}");
    }
}
