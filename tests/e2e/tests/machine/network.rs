//! Networks on the other kernel, and SCTP, which the kernel that runs the tests often lacks.

use holm_kit::{BUSYBOX, Entry, Image, Machine, busybox_layer, installed_layer};

const SOCAT: &str = "localhost/socat:test";

/// An image with socat.
pub fn socat() -> Entry {
    let image = Image::new([busybox_layer(), installed_layer(&["/usr/bin/socat"])]);
    Entry::file("root/socat.tar", image.docker_archive(SOCAT))
}

/// A neighbour of the machine: a namespace with its own socat, behind a pair of links.
pub fn neighbour_is_made(machine: &mut Machine) {
    machine.run("holm load -q -i /root/socat.tar").ok();
    machine.run(format!("mkdir /root/socat && holm create --network none --name socat {SOCAT} true")).ok();
    machine.run("holm export socat | tar -x -C /root/socat && holm rm socat").ok();
    let links = "ip netns add out; ip link add uplink type veth peer name inside netns out; \
                 ip address add 192.0.2.1/24 dev uplink; ip -6 address add 2001:db8::1/64 dev uplink nodad; \
                 ip -n out address add 192.0.2.2/24 dev inside; ip -n out -6 address add 2001:db8::2/64 dev inside nodad; \
                 ip link set uplink up; ip -n out link set inside up; ip -n out link set lo up";
    machine.run(format!("set -e; {links}")).ok();
}

pub fn names_and_ports_work(machine: &mut Machine) {
    machine.run("holm network create --ipv6 net").ok();
    let serve = "sh -c \"mkdir /www; echo I am web >/www/index.html; exec httpd -f -h /www\"";
    machine.run(format!("holm run -d --name web --stop-timeout 0 --network net -p 8080:80 {BUSYBOX} {serve}")).ok();
    let get = "printf \"GET / HTTP/1.0\\r\\n\\r\\n\"";
    let by_name = format!("holm run --rm --network net {BUSYBOX} sh -c '{get} | nc -w 5 web 80' | tail -n 1");
    machine.wait_until_says(&by_name, "I am web");
    for address in ["TCP4:192.0.2.1", "TCP6:[2001:db8::1]"] {
        let client = format!("ip netns exec out chroot /root/socat socat -t 5 - '{address}:8080'");
        machine.run(format!("{get} | {client}")).ok().mentions("I am web");
    }
}

pub fn sctp_is_published_and_found_by_name(machine: &mut Machine) {
    machine.run("modprobe sctp").ok();
    let options = "--stop-timeout 0 --network net -p 5000:5000/sctp";
    // An association has no half that could be closed alone: the server ends it after a line.
    let serve = "socat SCTP6-LISTEN:5000,fork,ipv6only=0 \"EXEC:head -n 1\"";
    machine.run(format!("holm run -d --name echo {options} {SOCAT} {serve}")).ok();
    for family in ["SCTP4", "SCTP6"] {
        let client = format!("socat -t 5 - {family}:echo:5000,shut-none");
        let script = format!("holm run --rm --network net {SOCAT} sh -c 'echo by {family} | {client}'");
        machine.wait_until_says(&script, &format!("by {family}"));
    }
    for address in ["SCTP4:192.0.2.1", "SCTP6:[2001:db8::1]"] {
        let client = format!("chroot /root/socat socat -t 5 - '{address}:5000,shut-none'");
        machine.run(format!("echo outside | ip netns exec out {client}")).ok().says("outside");
        machine.run(format!("echo host | {client}")).ok().says("host");
    }
    machine.run("holm network ports").ok().mentions("5000").mentions("sctp");
    let taken = machine.run(format!("holm run --rm -p 5000:5000/sctp {BUSYBOX} true")).code(125);
    taken.complains("cannot publish port 5000/sctp");
    machine.run("holm rm -f echo web && holm network rm net").ok();
    // It goes a second after its last container.
    machine.wait_until_says("ip -o link show type bridge | wc -l; nft list tables 2>/dev/null", "0");
}
