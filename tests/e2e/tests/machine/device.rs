//! The device program of control groups v2 in a kernel that enforces it.

use holm_kit::{BUSYBOX, Machine, Output};

use crate::detached;

fn sh(machine: &Machine, options: &str, script: &str) -> Output {
    machine.run(format!("holm run --rm --network none {options} {BUSYBOX} sh -c '{script}'"))
}

/// Every refusal must be the group's: the processes have the capability, and the nodes are there.
pub fn rules_hold(machine: &mut Machine) {
    let usual = "head -c 1 /dev/zero | wc -c; echo x >/dev/null; head -c 1 /dev/urandom | wc -c";
    sh(machine, "", usual).ok().says("1\n1");
    let refused = sh(machine, "", "mknod /dev/d b 254 0 && echo made; head -c 1 /dev/d").code(1);
    let refused = refused.says("made");
    assert!(refused.stderr.contains("Operation not permitted"), "{refused}");
    let write = "head -c 1 /dev/disk | wc -c; : >>/dev/disk";
    let refused = sh(machine, "--device /dev/vdb:/dev/disk:r", write).code(1).says("1");
    assert!(refused.stderr.contains("Operation not permitted"), "{refused}");
    sh(machine, "--device-cgroup-rule \"b 254:16 r\"", "mknod /dev/d b 254 16 && head -c 1 /dev/d | wc -c")
        .ok()
        .says("1");
    let refused =
        sh(machine, "--device-cgroup-rule \"b 254:16 r\"", "mknod /dev/d b 254 0 && head -c 1 /dev/d").code(1);
    assert!(refused.stderr.contains("Operation not permitted"), "{refused}");
    sh(machine, "--privileged", "head -c 1 /dev/vda | wc -c").ok().says("1");
}

pub fn rules_survive_an_update(machine: &mut Machine) {
    detached(machine, "box", "--memory 64m", "sleep 1000");
    machine.run("holm update --memory 80m --memory-swap 160m box").ok();
    let refused = machine.run("holm exec box sh -c 'mknod /dev/d b 254 0 && echo made; head -c 1 /dev/d'").code(1);
    assert!(refused.stderr.contains("Operation not permitted"), "{refused}");
    machine.run("holm exec --privileged box sh -c 'head -c 1 /dev/d'").code(1);
    machine.run("holm rm -f box").ok();
}
