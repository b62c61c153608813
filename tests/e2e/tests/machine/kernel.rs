//! The other kernel: what `holm info` says of it, and where older ways have to do.

use holm_kit::{BUSYBOX, Machine};

use crate::detached;

pub fn info_tells_what_the_machine_is(machine: &mut Machine) {
    let kernel = machine.says("uname -r");
    let info = machine.run("holm info").ok().mentions(&format!("Kernel: {kernel}")).mentions("Cgroup version: 2");
    info.mentions("Cgroup driver: cgroupfs").mentions("apparmor");
    assert_eq!(machine.says("grep -c ' cgroup ' /proc/self/mounts || true"), "0", "there are v1 groups");
}

pub fn user_namespace_of_its_own(machine: &mut Machine) {
    detached(machine, "mapped", "--userns auto --memory 32m", "sleep 1000");
    let inside = machine.says(
        "holm exec mapped sh -c 'id -u; touch /file; stat -c %u /file /bin; awk \"{print \\$2}\" /proc/self/uid_map'",
    );
    let mut lines = inside.lines();
    assert_eq!([lines.next(), lines.next(), lines.next()], [Some("0"); 3], "{inside}");
    let first: u32 = lines.next().unwrap().parse().unwrap();
    assert!(first >= 100_000, "{inside}");
    let pid = super::inspect(machine, "mapped", "{{.State.Pid}}");
    assert_eq!(machine.says(format!("stat -c %u /proc/{pid}")), first.to_string());
    assert_eq!(super::control(machine, "mapped", &["memory.max"]), ["33554432"]);
    machine.run("holm exec mapped sh -c 'mknod /tmp/d b 254 0 || head -c 1 /dev/vda'").code(1);
    machine.run("holm rm -f mapped").ok();
}

pub fn many_layers_by_the_old_way(machine: &mut Machine) {
    machine.run("holm load -i /root/layers.tar").ok();
    let script = "ls / | grep -c layer-; echo changed >/layer-3; cat /layer-3";
    machine
        .run(format!("holm run --rm --network none localhost/layers:test sh -c '{script}'"))
        .ok()
        .says("40\nchanged");
    machine.run(format!("holm run --rm --network none --userns auto localhost/layers:test sh -c '{script}'")).ok();
    machine.run(format!("holm run --rm --network none --read-only {BUSYBOX} sh -c '! touch /x'")).ok();
}

pub fn log_is_calm(machine: &mut Machine) {
    let wrong = machine.run("dmesg --level emerg,alert,crit,err,warn | grep -i -e overlay -e bpf -e cgroup | grep -v -i -e 'out of memory' -e mem_cgroup");
    assert_eq!(wrong.text(), "", "the kernel complains of Holm");
}
