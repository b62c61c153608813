//! What comes back after the machine was started again.

use holm_kit::{BUSYBOX, Machine};

use crate::detached;

const STATES: &str = "for c in $(holm ps -a --format '{{.Names}}' | sort); do \
    echo $c $(holm inspect -f '{{.State.Status}}' $c); done";

/// One that says when it is asked to end: the machine goes down in order.
const POLITE: &str =
    "sh -c 'trap \"echo bye >>/log/end; exit 0\" TERM; echo up >>/log/end; while :; do sleep 0.1; done'";

const EXPECTED: &str = "always running\nalways-stopped running\nbroken exited\nfailed-stopped exited\nfailing running\n\
    finished exited\njoined running\nnever created\nno-policy exited\npolite running\nunless running\n\
    unless-stopped exited";

pub fn reboot_starts_what_the_policies_want(machine: &mut Machine) {
    // The one that cannot start is the oldest, so that it comes first.
    machine.run("mkdir /root/gone").ok();
    detached(machine, "broken", "--restart always --mount type=bind,source=/root/gone,target=/gone", "sleep 1000");
    for (name, policy) in
        [("always", "always"), ("unless", "unless-stopped"), ("failing", "on-failure"), ("no-policy", "no")]
    {
        detached(machine, name, &format!("--stop-timeout 1 --restart {policy}"), "sleep 1000");
    }
    detached(machine, "polite", "--restart unless-stopped -v ends:/log", POLITE);
    for (name, policy) in [("always", "always"), ("unless", "unless-stopped"), ("failed", "on-failure")] {
        detached(machine, &format!("{name}-stopped"), &format!("--stop-timeout 1 --restart {policy}"), "sleep 1000");
        machine.run(format!("holm stop -t 0 {name}-stopped")).ok();
    }
    detached(machine, "finished", "--restart on-failure", "true");
    machine.run(format!("holm create --name never --restart always {BUSYBOX} sleep 1000")).ok();
    machine
        .run(format!("holm run -d --name joined --stop-timeout 1 --restart always --network container:always {BUSYBOX} sleep 1000"))
        .ok();
    machine.wait_until_says("holm inspect -f '{{.State.Status}}' finished", "exited");
    machine.run("rmdir /root/gone").ok();
    machine.run("holm system boot --print-unit >/etc/systemd/system/holm.service && systemctl enable holm").ok();
    assert_eq!(machine.says("systemd-analyze verify holm.service 2>&1"), "");
    machine.reboot();
    settled(machine);
    let log = machine.says("cat /var/lib/holm/volumes/ends/*/end");
    assert_eq!(log, "up\nbye\nup", "it was not asked to end before the machine went down");
    machine.run("journalctl -u holm --no-pager").ok().mentions("/root/gone");
}

pub fn loss_of_power_starts_what_the_policies_want(machine: &mut Machine) {
    machine.lose_power();
    settled(machine);
    assert_eq!(machine.says("cat /var/lib/holm/volumes/ends/*/end"), "up\nbye\nup\nup");
}

fn settled(machine: &Machine) {
    machine.wait_until_says("systemctl show -P SubState holm", "exited");
    assert_eq!(machine.says(STATES), EXPECTED);
    assert_eq!(machine.says("systemctl is-active holm"), "active");
    // The unit's command has ended; what it started goes on.
    assert_eq!(machine.says("holm exec always echo alive"), "alive");
}

pub fn unit_stops_and_starts_its_containers(machine: &mut Machine) {
    machine.run("systemctl stop holm").ok();
    machine.wait_until_says("holm ps -q", "");
    machine.run("systemctl start holm").ok();
    assert_eq!(machine.says(STATES), EXPECTED);
    machine.run("holm rm -f $(holm ps -aq) && holm volume rm ends").ok();
    crate::nothing_is_left(machine);
}
