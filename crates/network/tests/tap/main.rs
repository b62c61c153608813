//! Virtual machines on networks, without any: the test itself is the machine behind a tap and speaks ARP, ICMP and UDP.
//!
//! Every test has a network namespace of its own. *Privilege*: root.

mod guest;
mod host;
mod path;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use guest::Sent;
use holm_sys::route;
use host::{Host, at, published};

#[test]
fn a_container_and_a_machine_of_one_network_reach_each_other() {
    let host = Host::new();
    host.network("blue", "10.5.0.0/24", &[]);
    let container = host.container(1, "blue", "10.5.0.5");
    let machine = host.machine(2, "blue", "10.5.0.6", &[]);
    let ping = container.spawn(Command::new("ping").args(["-c", "1", "-W", "10", "10.5.0.6"]).stdout(Stdio::null()));
    let answered = machine.guest.serve_while_runs(ping);
    assert!(answered.success(), "ping: {answered}");
    // Its sum is left to the device by the container's kernel, and the machine has said that it does no such work.
    let socket = container.udp(4000);
    socket.send_to(&[7; 1400], "10.5.0.6:5000").unwrap();
    assert_eq!(machine.guest.serve_until(&socket), ([7; 1400].to_vec(), "10.5.0.6:5000".parse().unwrap()));
    // The host itself, from the gateway's address.
    let socket = std::net::UdpSocket::bind("10.5.0.1:0").unwrap();
    socket.send_to(b"host", "10.5.0.6:5000").unwrap();
    assert_eq!(machine.guest.serve_until(&socket).0, b"host");
    host.finish(vec![container.joined, machine.joined]);
}

#[test]
fn what_a_machine_is_told_is_what_a_container_is_given() {
    let host = Host::new();
    host.network("blue", "10.5.0.0/24", &[("isolation", "routed"), ("mtu", "1400")]);
    let container = host.container(1, "blue", "10.5.0.5");
    let machine = host.machine(2, "blue", "10.5.0.6", &[]);
    let told = holm_network::guest_links(&machine.joined).remove(0);
    let given = container.link_like(&told.name);
    assert_eq!((told.mtu, told.addresses.len()), (Some(given.mtu), given.addresses.len()));
    assert_eq!(told.addresses[0].to_string(), "10.5.0.6/32");
    let as_told = holm_network::guest_links(&container.joined).remove(0);
    assert_eq!((given.mac, given.addresses), (as_told.mac.0, as_told.addresses));
    assert_eq!(given.routes, told.routes, "routes of the kernel, routes of the records");
    host.finish(vec![container.joined, machine.joined]);
}

#[test]
fn forged_senders_never_arrive() {
    let host = Host::new();
    host.network("blue", "10.5.0.0/24", &[]);
    let victim = host.container(1, "blue", "10.5.0.5");
    let machine = host.machine(2, "blue", "10.5.0.6", &[]);
    let (guest, to) = (&machine.guest, (victim.mac(), at("10.5.0.5:4000")));
    let socket = victim.udp(4000);
    let honest = Sent { mac: guest.mac, from: at("10.5.0.6:5000"), to, text: "honest" };
    for (forged, of) in [
        (Sent { from: at("10.5.0.1:5000"), text: "gateway", ..honest }, "the gateway's address"),
        (Sent { from: at("10.5.0.5:5000"), text: "victim", ..honest }, "the victim's address"),
        (Sent { from: at("192.0.2.99:5000"), text: "outside", ..honest }, "a stranger's address"),
        (Sent { mac: [2, 0x66, 0, 0, 0, 1], text: "hardware", ..honest }, "another hardware address"),
    ] {
        let before = host.dropped("a forged sender");
        guest.udp(&forged);
        guest.udp(&honest);
        let (text, from) = guest.serve_until(&socket);
        assert_eq!((text.as_slice(), from), ("honest".as_bytes(), SocketAddr::from(at("10.5.0.6:5000"))), "{of}");
        assert_eq!(host.dropped("a forged sender"), before + 1, "{of}");
    }
    for claim in ["10.5.0.1", "10.5.0.5", "192.0.2.7"] {
        let before = host.dropped("a forged sender");
        guest.claim(claim.parse::<Ipv4Addr>().unwrap());
        assert_eq!(host.dropped("a forged sender"), before + 1, "ARP: {claim}");
    }
    host.finish(vec![victim.joined, machine.joined]);
}

#[test]
fn walls_between_networks_hold_for_machines() {
    let host = Host::new();
    host.network("blue", "10.6.0.0/24", &[]);
    host.network("red", "10.7.0.0/24", &[("isolation", "private")]);
    let other = host.container(1, "red", "10.7.0.9");
    let machine = host.machine(2, "blue", "10.6.0.6", &[]);
    let gateway = host.mac_of(&machine.bridge());
    let sent = Sent {
        mac: machine.guest.mac,
        from: at("10.6.0.6:5000"),
        to: (gateway, at("10.7.0.9:4000")),
        text: "through the gateway",
    };
    let before = host.dropped("networks do not reach each other");
    machine.guest.udp(&sent);
    assert_eq!(host.dropped("networks do not reach each other"), before + 1);
    let beside = host.machine(3, "red", "10.7.0.3", &[]);
    let link = host.link(&beside.link).expect("the tap");
    assert!(link.isolated && link.up && link.index == beside.index, "{link:?}");
    host.finish(vec![other.joined, machine.joined, beside.joined]);
}

#[test]
fn a_published_port_leads_to_a_machine() {
    let host = Host::new();
    host.network("blue", "10.5.0.0/24", &[]);
    let outside = host.outside();
    let machine = host.machine(1, "blue", "10.5.0.6", &[published()]);
    let socket = outside.udp(4000);
    socket.send_to(b"question", (host::HOST, 8053)).unwrap();
    let (text, from) = machine.guest.serve_until(&socket);
    assert_eq!((text.as_slice(), from), (b"question".as_slice(), SocketAddr::from((host::HOST, 8053))));
    let published = host.networks.published().unwrap();
    assert_eq!(published[0].standing, holm_network::Standing::Kernel);
    host.finish(vec![machine.joined]);
}

#[test]
fn a_holder_that_is_killed_leaves_nothing() {
    let host = Host::new();
    host.network("blue", "10.5.0.0/24", &[]);
    let machine = host.machine(1, "blue", "10.5.0.6", &[published()]);
    let (link, container) = (machine.link.clone(), machine.joined.endpoints()[0].container.clone());
    let mut holder = Command::new("sleep").arg("1000").stdin(machine.guest.into_fd()).spawn().unwrap();
    drop(machine.joined);
    assert!(host.link(&link).is_some(), "held by its holder alone");
    holder.kill().unwrap();
    holder.wait().unwrap();
    host.await_gone(&link);
    assert_eq!(host.networks.endpoints("blue").unwrap().len(), 1, "the record finds what is left");
    host.networks.release_all(&container).unwrap();
    host.finish(Vec::new());
}

#[test]
fn a_tap_that_is_still_held_is_deleted_and_made_again_by_its_name() {
    let host = Host::new();
    host.network("blue", "10.5.0.0/24", &[]);
    let machine = host.machine(1, "blue", "10.5.0.6", &[]);
    let again = host.networks.connect_taps(&machine.joined).unwrap();
    assert_eq!(host.link(&machine.link).map(|l| l.index), Some(again[0].index));
    host.networks.delete_link(&machine.joined.endpoints()[0]).unwrap();
    assert!(host.link(&machine.link).is_none());
    host.finish(vec![machine.joined]);
}

#[test]
fn a_machine_joins_one_more_network_and_leads_out_by_it() {
    let host = Host::new();
    host.network("inner", "10.8.0.0/24", &[("internal", "")]);
    host.network("blue", "10.5.0.0/24", &[]);
    let mut machine = host.machine(1, "inner", "10.8.0.6", &[]);
    let (more, taps) = host.more(&machine, "blue", 1);
    assert_eq!((taps.len(), taps[0].link.ends_with("-1")), (1, true));
    machine.joined.add(more);
    let changed = host.networks.lead_out_outside(&mut machine.joined).unwrap().expect("a way out");
    assert_eq!((changed.link.as_str(), changed.gateways.len()), ("eth1", 1));
    assert_eq!(holm_network::guest_links(&machine.joined)[1].routes.last().unwrap().to.prefix_len(), 0);
    host.finish(vec![machine.joined]);
}

#[test]
fn a_network_of_other_links_is_refused_before_anything_is_made() {
    let host = Host::new();
    host.macvlan("lan", "10.9.0.0/24");
    let joined = host.reserve(1, "lan", None, &[]);
    let refused = host.networks.connect_taps(&joined).unwrap_err();
    assert!(refused.to_string().contains("macvlan") && refused.hint().is_some(), "{refused}");
    let mut socket = holm_sys::netlink::Socket::open(holm_sys::netlink::Protocol::Route).unwrap();
    assert!(!route::links(&mut socket).unwrap().iter().any(|l| l.name.starts_with("hv")));
    host.finish(vec![joined]);
}
