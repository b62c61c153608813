//! AppArmor labels on a kernel that enforces them.

use holm_kit::{BUSYBOX, Machine};

use crate::detached;

const PROFILE: &str = "profile holm-test flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  network,
  signal,
  umount,
  deny /denied/** w,
}";

pub fn profile_confines(machine: &mut Machine) {
    machine.run(format!("apparmor_parser -r <<'END'\n{PROFILE}\nEND")).ok();
    detached(machine, "box", "--security-opt apparmor=holm-test", "sh -c 'mkdir /denied /free; sleep 1000'");
    let label = "holm-test (enforce)";
    machine.wait_until_says("holm exec box cat /proc/1/attr/current", label);
    assert_eq!(machine.says("holm exec box cat /proc/self/attr/current"), label);
    machine.wait_until_says("holm exec box ls -d /free", "/free");
    machine.run("holm exec box touch /free/x").ok();
    let refused = machine.run("holm exec box touch /denied/x").code(1);
    assert!(refused.stderr.contains("Permission denied"), "{refused}");
    assert_eq!(super::inspect(machine, "box", "{{.AppArmorProfile}}"), "holm-test");
    machine.run("holm rm -f box").ok();
    let run = "holm run --rm --network none --security-opt apparmor=holm-test";
    let cat = format!("{BUSYBOX} cat /proc/1/attr/current");
    machine.run(format!("{run} --security-opt no-new-privileges {cat}")).ok().says(label);
    machine.run(format!("{run} --userns auto {cat}")).ok().says(label);
    machine.run(format!("{run} --init {BUSYBOX} cat /proc/self/attr/current")).ok().says(label);
    machine
        .run(format!("holm run --rm --network none --security-opt apparmor=unconfined {cat}"))
        .ok()
        .says("unconfined");
}

pub fn unknown_profile_is_refused(machine: &mut Machine) {
    let run = format!("holm run --rm --network none --security-opt apparmor=no-such-profile {BUSYBOX} true");
    machine.run(run).code(125).complains("AppArmor label `no-such-profile`: no such profile is loaded");
    machine.run("holm ps -aq").ok().says("");
}
