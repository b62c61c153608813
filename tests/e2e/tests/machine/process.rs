//! Processes of a v2 group: frozen and killed as a whole.

use holm_kit::Machine;

use crate::{control, detached, inspect};

pub fn pause_stops_and_unpause_lets_go(machine: &mut Machine) {
    detached(machine, "box", "", "sh -c 'while :; do sleep 0.01; done'");
    machine.run("holm pause box").ok();
    assert_eq!(control(machine, "box", &["cgroup.freeze", "cgroup.events"]), ["1", "populated 1,frozen 1"]);
    assert_eq!(inspect(machine, "box", "{{.State.Status}}"), "paused");
    machine.run("holm exec box true").code(1).complains("paused");
    machine.run("holm unpause box").ok();
    assert_eq!(control(machine, "box", &["cgroup.freeze", "cgroup.events"]), ["0", "populated 1,frozen 0"]);
    machine.run("holm exec box true").ok();
    machine.run("holm pause box && holm stop -t 1 box && holm rm box").ok();
}

pub fn all_processes_of_the_group_are_killed(machine: &mut Machine) {
    let script = "for i in 1 2 3; do setsid sleep 4321 & done; touch /ready; sleep 4321";
    detached(machine, "host", "--pid host", &format!("sh -c '{script}'"));
    machine.wait_until_says("pgrep -c -f '^sleep 4321'", "4");
    machine.run("holm kill host && holm wait host").ok();
    machine.wait_until_says("pgrep -f '^sleep 4321'", "");
    machine.run("holm rm host").ok();
    detached(machine, "host", "--pid host", &format!("sh -c '{script}'"));
    machine.wait_until_says("pgrep -c -f '^sleep 4321'", "4");
    machine.run("pkill -KILL holm-pod; holm ps").ok();
    machine.wait_until_says("pgrep -f '^sleep 4321'", "");
    assert_eq!(inspect(machine, "host", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    machine.run("holm rm host").ok();
}
