//! The systemd driver against a real systemd.

use holm_kit::{BUSYBOX, Machine};

use crate::{control, detached, inspect};

const UNITS: &str = "systemctl list-units --all --plain --no-legend 'holm-*' | cut -d' ' -f1";

fn use_driver(machine: &Machine, driver: &str) {
    machine.run(format!("mkdir -p /etc/holm; echo 'cgroup-driver = \"{driver}\"' >/etc/holm/config.toml")).ok();
}

pub fn container_is_in_a_scope_with_its_limits(machine: &mut Machine) {
    use_driver(machine, "systemd");
    machine.run("holm info").ok().mentions("Cgroup driver: systemd");
    detached(machine, "box", "--memory 64m --pids-limit 33 --cpus 0.5", "sleep 1000");
    let unit = format!("holm-{}.scope", inspect(machine, "box", "{{.Id}}"));
    assert_eq!(machine.says(UNITS), unit);
    let group = machine.says(format!("systemctl show -P ControlGroup {unit}"));
    assert_eq!(group, format!("/system.slice/{unit}"));
    assert_eq!(machine.says(format!("systemctl show -P Delegate -P ActiveState {unit} | sort | xargs")), "active yes");
    let pid = inspect(machine, "box", "{{.State.Pid}}");
    assert_eq!(machine.says(format!("cat /proc/{pid}/cgroup")), format!("0::{group}/container"));
    let files = ["memory.max", "pids.max", "cpu.max"];
    assert_eq!(control(machine, "box", &files), ["67108864", "33", "50000 100000"]);
    machine.run("holm update --pids-limit 44 box && systemctl daemon-reload").ok();
    assert_eq!(control(machine, "box", &files), ["67108864", "44", "50000 100000"]);
    machine.run("holm exec box cat /proc/self/cgroup").ok().says("0::/");
    machine.run("holm pause box && holm unpause box").ok();
    machine.run("holm stats --no-stream --format '{{.PIDs}}' box").ok().says("1");
    machine.run("holm stop -t 1 box").ok();
    machine.wait_until_says(UNITS, "");
    machine.run("holm start box").ok();
    assert_eq!(machine.says(UNITS), unit);
    assert_eq!(control(machine, "box", &files), ["67108864", "44", "50000 100000"]);
    machine.run("holm rm -f box").ok();
    machine.wait_until_says(UNITS, "");
}

pub fn parent_slice_is_taken(machine: &mut Machine) {
    detached(machine, "box", "--cgroup-parent machine-test.slice --memory 64m", "sleep 1000");
    let id = inspect(machine, "box", "{{.Id}}");
    let unit = machine.says("systemctl list-units --plain --no-legend '*.scope' | cut -d' ' -f1 | grep -v init.scope");
    assert!(unit.contains(&id), "{unit}");
    let group = machine.says(format!("systemctl show -P ControlGroup {unit}"));
    assert_eq!(group, format!("/machine.slice/machine-test.slice/{unit}"));
    assert_eq!(control(machine, "box", &["memory.max"]), ["67108864"]);
    machine.run("holm rm -f box").ok();
    machine.wait_until_says(&format!("systemctl is-active {unit}"), "inactive");
}

/// systemd sees the kill in a group below its unit and must not take the unit down for it.
pub fn out_of_memory_restarts_in_the_scope(machine: &mut Machine) {
    let options = "--restart on-failure:2 --memory 16m --memory-swap 16m";
    detached(machine, "hog", options, "sh -c 'exec tail /dev/zero'");
    machine.wait_until_says("holm inspect -f '{{.State.Status}} {{.RestartCount}}' hog", "exited 2");
    assert_eq!(inspect(machine, "hog", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    machine.run("holm rm hog").ok();
    machine.wait_until_says(UNITS, "");
}

/// systemd forgets a unit some time after its last process: the next start must not trip over the old name.
pub fn restarts_find_their_name_free(machine: &mut Machine) {
    detached(machine, "box", "", "sleep 1000");
    machine.run("for i in 1 2 3 4 5 6; do holm restart -t 0 box >/dev/null || exit; done").ok();
    assert_eq!(inspect(machine, "box", "{{.State.Status}}"), "running");
    machine.run("holm rm -f box").ok();
    machine.run(format!("holm run --rm --network none {BUSYBOX} true")).ok();
    machine.wait_until_says(UNITS, "");
}

pub fn stopped_scope_and_killed_supervisor_leave_nothing(machine: &mut Machine) {
    detached(machine, "box", "", "sh -c 'trap exit TERM; while :; do sleep 0.1; done'");
    let unit = machine.says(UNITS);
    machine.run(format!("systemctl stop {unit}")).ok();
    machine.wait_until_says("holm inspect -f '{{.State.Status}}' box", "exited");
    machine.wait_until_says(UNITS, "");
    machine.run("holm start box && pkill -KILL holm-pod").ok();
    machine.wait_until_says("holm inspect -f '{{.State.Status}}' box", "exited");
    machine.run("holm rm box").ok();
    machine.wait_until_says(UNITS, "");
    assert_eq!(machine.says("systemctl --failed --plain --no-legend"), "");
    use_driver(machine, "auto");
}
