//! Virtual machines on a KVM that works, which the machine that runs the tests often lacks: a machine in this machine.

use holm_kit::{BUSYBOX, Machine};

use crate::inspect;

/// `holm run --isolation vm OPTIONS BUSYBOX COMMAND` in the machine, which chooses what runs it.
fn run(options: &str, command: &str) -> String {
    format!("holm run --isolation vm --network none {options} {BUSYBOX} {command}")
}

/// It finds out by itself that a processor whose exits are dear is none that is emulated.
pub fn it_is_chosen_and_told(machine: &mut Machine) {
    machine.run(run("-d --name box --memory 64m", "sleep 1000")).ok();
    let format = "{{.State.Machine.Accelerator}} {{.State.Machine.Emulated}} {{.State.Machine.Profile}} reason={{.State.Machine.Reason}}";
    assert_eq!(inspect(machine, "box", format), "kvm false microvm reason=");
    let release = machine.says("uname -r");
    assert_eq!(inspect(machine, "box", "{{.State.Machine.Kernel}}"), release);
    // The processor is the one that KVM offers, and the guest knows that it is a guest of it.
    machine
        .run("holm exec box cat /sys/devices/system/clocksource/clocksource0/available_clocksource")
        .ok()
        .mentions("kvm-clock");
}

/// The program that the guest could take over has the device and next to nothing else.
pub fn hypervisor_is_shut_in_with_the_device(machine: &mut Machine) {
    let pid = machine.says("pgrep -f '^[^ ]*qemu-system-x86_64 '");
    let fields = "Gid|Groups|CapEff|CapBnd|NoNewPrivs|Seccomp";
    let facts = machine.says(format!(
        "cd /proc/{pid}; stat -c %g /dev/kvm; stat -c %u .; ls root/etc; ls -l fd | grep -c -- '-> /dev/kvm$'; \
        grep -E '^({fields}):' status; tr '\\0' ' ' <cmdline"
    ));
    let lines: Vec<Vec<&str>> = facts.lines().map(|line| line.split_whitespace().collect()).collect();
    let group = lines[0][0];
    assert!(lines[1][0].parse::<u32>().unwrap() >= 0x7800_0000, "a user that nobody is: {facts}");
    assert_eq!(lines[2..4], [["ld.so.cache"], ["1"]], "{facts}");
    assert_eq!(lines[4..6], [vec!["Gid:", group, group, group, group], vec!["Groups:"]], "{facts}");
    for (line, value) in lines[6..10].iter().zip(["0000000000000000", "0000000000000000", "1", "2"]) {
        assert_eq!(line[1], value, "{facts}");
    }
    let line = facts.lines().last().unwrap();
    for part in ["-accel kvm ", "-cpu host ", "-machine microvm,rtc=on "] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for part in ["nokaslr", "mitigations=off", "tsc_early_khz", "init_on_alloc"] {
        assert!(!line.contains(part), "{part}: {line}");
    }
    // What listens to the guest has no use for the device.
    let groups = machine.says("grep -E '^(Gid|Groups):' /proc/$(pgrep -x holm-vm)/status");
    assert!(!groups.split_whitespace().any(|word| word == group), "{groups}");
}

/// Root itself, in that group, could open this device and no disk.
pub fn control_group_lets_the_device_through(machine: &mut Machine) {
    let group = inspect(machine, "box", "{{.State.CgroupPath}}");
    let join = format!("echo $$ >/sys/fs/cgroup/{group}/cgroup.procs");
    let refused =
        machine.run(format!("{join} && exec 3<>/dev/kvm && echo opened && head -c 1 /dev/vda")).code(1).says("opened");
    assert!(refused.stderr.contains("Operation not permitted"), "{refused}");
}

pub fn programs_run_in_it(machine: &mut Machine) {
    machine.run("holm exec box sh -c 'echo out; echo err >&2; exit 5'").code(5).says("out");
    machine.run("echo through | holm exec -i box cat").ok().says("through");
    machine.run("holm exec box sh -c 'head -c 1000000 /dev/zero' | wc -c").ok().says("1000000");
    let seconds = machine.says("holm exec box date +%s; date +%s");
    let seconds: Vec<i64> = seconds.lines().map(|line| line.parse().unwrap()).collect();
    assert!(seconds[1] - seconds[0] < 30 && seconds[1] >= seconds[0] - 1, "its clock is the host's: {seconds:?}");
    machine.run("holm stop -t 0 box").ok();
    assert_eq!(inspect(machine, "box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    machine.run("holm rm box").ok();
}

pub fn it_can_be_insisted_on(machine: &mut Machine) {
    let output = machine.run(run("--rm --accel kvm", "sh -c 'echo hello; exit 7'")).code(7);
    output.says("hello");
}

/// A device that works and that none but root can open is of no use to a hypervisor that is not root.
pub fn device_for_root_alone_is_told(machine: &mut Machine) {
    machine.run("chmod 600 /dev/kvm").ok();
    let refused = machine.run(run("--rm --accel kvm", "true")).code(125);
    assert!(refused.stderr.contains("is for root alone") && refused.stderr.contains("chgrp kvm"), "{refused}");
    machine.run("chmod 660 /dev/kvm").ok();
}
