//! What goes on in a virtual machine stays there: whatever its root does, its neighbour is well, its end is told with a reason,
//! and nothing is left.
//!
//! The neighbour is a container, which shares more with the host than a machine does.

use std::time::Duration;

use holm_kit::{BUSYBOX, Isolation, Leaks, Scratch, wait_until};

/// How long an ordinary step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `attack` beside a neighbour, which must be well after it; then everything must be gone.
fn beside_a_neighbour(scratch: &Scratch, attack: impl FnOnce(&Scratch)) {
    let leaks = Leaks::before(scratch);
    scratch.detached("neighbour", &["--isolation", "container"], &["sleep", "1000"]);
    attack(scratch);
    scratch.holm(["exec", "neighbour", "echo", "well"]).ok().says("well");
    scratch.holm(["rm", "-f", "neighbour"]).ok();
    scratch.holm(["ps", "-aq"]).ok().says("");
    leaks.assert_none();
}

fn hostile(attack: impl FnOnce(&Scratch)) {
    beside_a_neighbour(&Scratch::isolated(Isolation::Vm), attack);
}

/// The one machine of a test, as root of it.
fn privileged(scratch: &Scratch, script: &str) {
    scratch.detached("bad", &["--privileged"], &["sh", "-c", script]);
}

#[test]
fn fork_bomb_stays_inside() {
    hostile(|scratch| {
        let bomb = "echo begun; f() { f | f & }; f; sleep 1000";
        scratch.detached("bad", &["--pids-limit", "40"], &["sh", "-c", bomb]);
        wait_until("it has begun", PATIENCE, || scratch.holm(["logs", "bad"]).ok().stdout.contains("begun"));
        let stats = scratch.holm(["stats", "--no-stream", "--format", "{{.PIDs}}", "bad"]).ok();
        assert!(stats.text().parse::<u32>().unwrap() <= 40, "{stats}");
        scratch.holm(["stop", "-t", "0", "bad"]).ok();
        assert_eq!(scratch.inspect("bad", "{{.State.ExitCode}}"), "137");
        scratch.holm(["rm", "bad"]).ok();
        // Without a limit it may do what it can: take its own machine down, which ends within a bound too.
        scratch.detached("bad", &["--memory", "32m"], &["sh", "-c", bomb]);
        scratch.holm(["exec", "neighbour", "echo", "well"]).ok().says("well");
        scratch.holm(["rm", "-f", "bad"]).ok();
    });
}

#[test]
fn full_host_disk_is_an_input_output_error_inside_and_told() {
    let mut scratch = Scratch::new();
    std::fs::create_dir_all(scratch.data_root()).unwrap();
    let small = ["-t", "tmpfs", "-o", "size=48m,mode=0755", "none"];
    holm_kit::Holm::program("mount").args(small).arg(scratch.data_root()).ok();
    scratch.import_busybox();
    scratch.isolate(Isolation::Vm);
    beside_a_neighbour(&scratch, |scratch| {
        let script = "dd if=/dev/zero of=/fill bs=1M count=200 conv=fsync; echo code $?; sleep 1000";
        scratch.detached("bad", &[], &["sh", "-c", script]);
        wait_until("the disk is full", PATIENCE, || {
            let events = scratch.holm(["events", "--since", "1h", "--until", "0s", "--filter", "event=io_error"]).ok();
            events.stdout.contains("is full")
        });
        // Its supervisor goes on: it answers, and ends the machine when it is told to.
        // There is no room for a record, either, but that of the old one.
        scratch.holm(["kill", "bad"]).ok();
        scratch.holm(["wait", "bad"]).ok().says("137");
        assert_eq!(scratch.inspect("bad", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
        let error = scratch.inspect("bad", "{{.State.Error}}");
        assert!(error.contains("is full"), "{error}");
        scratch.holm(["rm", "bad"]).ok();
        scratch.sh("echo room again >/x; cat /x").ok().says("room again");
    });
}

#[test]
fn panic_of_its_kernel_is_told_with_the_last_it_said() {
    hostile(|scratch| {
        privileged(scratch, "echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 1000");
        scratch.holm(["wait", "bad"]).ok().says("255");
        let error = scratch.inspect("bad", "{{.State.Error}}");
        assert!(error.contains("the guest's kernel died") && error.contains("Kernel panic"), "{error}");
        assert_eq!(scratch.inspect("bad", "{{.State.Status}}"), "exited");
        scratch.holm(["logs", "bad"]).ok().says("before");
        // Only what was written out is sure to be there; that it starts again is.
        scratch.holm(["start", "bad"]).ok();
        scratch.holm(["rm", "-f", "bad"]).ok();
    });
}

#[test]
fn machine_that_ends_by_itself_is_no_hang() {
    hostile(|scratch| {
        // The kernel ends a PID namespace whose processes ask for that: SIGHUP for a restart, SIGINT for the others.
        scratch.run(["--rm", "--privileged", BUSYBOX, "sh", "-c", "poweroff -f; sleep 1000"]).fails(130);
        privileged(scratch, "echo b >/proc/sysrq-trigger; sleep 1000");
        scratch.holm(["wait", "bad"]).ok().says("255");
        let error = scratch.inspect("bad", "{{.State.Error}}");
        assert!(error.contains("died or restarted"), "{error}");
        scratch.holm(["rm", "bad"]).ok();
    });
}

#[test]
fn garbage_on_the_agents_channel_ends_the_machine() {
    hostile(|scratch| {
        // The kernel gives the port to one process at a time, which is the agent. Root of the machine can take the device from
        // its driver and give it back, and then be first.
        let script = "
            dev=$(cat /sys/class/virtio-ports/vport*/dev); mknod /port c ${dev%:*} ${dev#*:}
            echo nonsense >/port && echo taken
            cd /sys/bus/virtio/drivers/virtio_console
            for d in virtio*; do echo $d >unbind; echo $d >bind; done
            until dev=$(cat /sys/class/virtio-ports/vport*/dev); do :; done
            rm /port; mknod /port c ${dev%:*} ${dev#*:}
            yes nonsense >/port; sleep 1000";
        privileged(scratch, script);
        scratch.holm(["wait", "bad"]).ok().says("255");
        let error = scratch.inspect("bad", "{{.State.Error}}");
        assert!(error.contains("the guest sent"), "{error}");
        scratch.holm(["logs", "bad"]).ok().omits("taken");
        scratch.holm(["rm", "bad"]).ok();
    });
}

#[test]
fn output_that_nobody_reads_holds_up_nobody_else() {
    hostile(|scratch| {
        let mut flood = scratch.run(["--name", "bad", BUSYBOX, "yes"]).start();
        flood.read_until("y\n");
        flood.signal(19);
        scratch.holm(["exec", "bad", "echo", "served"]).ok().says("served");
        scratch.holm(["rm", "-f", "bad"]).ok();
        flood.signal(18);
        flood.finish().code(137);
    });
}

#[test]
fn memory_hog_is_killed_inside_and_its_machine_lives() {
    hostile(|scratch| {
        let script = "tail /dev/zero; echo code $?; sleep 1000";
        scratch.detached("bad", &["--memory", "40m"], &["sh", "-c", script]);
        wait_until("it was killed", PATIENCE, || scratch.holm(["logs", "bad"]).ok().stdout.contains("code 137"));
        scratch.holm(["exec", "bad", "echo", "alive"]).ok().says("alive");
        scratch.holm(["rm", "-f", "bad"]).ok();
    });
}
