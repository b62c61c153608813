//! Virtual machines on a packet's way: nobody enters one, so its links are those that it was given, and its agent is asked
//! for the rest.
//!
//! Owns what follows from records; talking to agents is the caller's ([`Machines`]).

use std::net::IpAddr;
use std::time::Duration;

use holm_spec::guest::{self, Listening, Probed};
use holm_spec::network::{Endpoint, NetworkSpec};
use holm_sys::route::{Address, Link, Route};
use ipnet::IpNet;
use rustix::io::Errno;

use super::Member;
use super::namespace::Inside;
use super::probe::{Kind, Outcome, Seen};
use super::report::{Hop, Place};
use super::target::Scene;
use crate::Error;
use crate::attach::routes_of;

/// What only the agents of virtual machines can tell. *Errors*: why not, for a person.
pub trait Machines {
    /// Who listens in a machine.
    fn sockets(&self, machine: &Member) -> Result<Vec<Listening>, String>;
    /// Sends a packet from a machine and tells what came of it.
    fn probe(&self, machine: &Member, probe: guest::Probe) -> Result<Probed, String>;
}

/// Asks nobody.
#[derive(Clone, Copy, Debug)]
pub struct Unasked;

impl Machines for Unasked {
    fn sockets(&self, _: &Member) -> Result<Vec<Listening>, String> {
        Err("the machine's agent was not asked".to_owned())
    }

    fn probe(&self, _: &Member, _: guest::Probe) -> Result<Probed, String> {
        Err("the machine's agent was not asked to send a packet".to_owned())
    }
}

/// The number of the loopback link; those of networks follow.
const LOOPBACK: u32 = 1;
/// The main table and the local one. *Source*: linux/rtnetlink.h.
const TABLES: (u32, u32) = (254, 255);

/// A machine's links, addresses and its route to an address, as its records have them.
pub(super) fn inside(places: &[&(NetworkSpec, Endpoint)], to: IpAddr) -> Inside {
    let mut links = vec![link(LOOPBACK, "lo", 65_536, None)];
    let mut addresses = Vec::new();
    let mut routes: Vec<(IpNet, Option<IpAddr>, u32)> = Vec::new();
    for ((network, endpoint), index) in places.iter().zip(LOOPBACK + 1..) {
        links.push(link(index, &endpoint.link, network.mtu.unwrap_or(1500), Some(endpoint.mac.0)));
        for own in &endpoint.addresses {
            addresses.push(Address { index, address: own.addr(), prefix: own.prefix_len() });
            routes.push((own.trunc(), None, index));
        }
        routes.extend(routes_of(network, endpoint).into_iter().map(|r| (r.to, r.via, index)));
    }
    let route = |link, gateway, table, kind| Route { to: None, gateway, link: Some(link), source: None, table, kind };
    let route = if to.is_loopback() || addresses.iter().any(|a| a.address == to) {
        Ok(route(LOOPBACK, None, TABLES.1, 2))
    } else {
        // Of routes to equally many addresses the first counts.
        let fitting = routes.into_iter().filter(|(net, ..)| net.contains(&to));
        let best = fitting.reduce(|best, next| if next.0.prefix_len() > best.0.prefix_len() { next } else { best });
        best.map(|(_, gateway, link)| route(link, gateway, TABLES.0, 1)).ok_or(Errno::NETUNREACH)
    };
    Inside { links, addresses, route, neighbours: Vec::new() }
}

fn link(index: u32, name: &str, mtu: u32, mac: Option<[u8; 6]>) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind: String::new(),
        up: true,
        running: true,
        loopback: index == LOOPBACK,
        master: None,
        peer: None,
        mtu,
        mac,
        isolated: false,
    }
}

/// What the name servers of a machine's networks answer for a name of a container there, in the order of its networks and of
/// the families wanted. They answer their own networks' members only, so they cannot be asked from here.
pub(super) fn named(scene: &Scene, machine: &Member, name: &str, families: &[bool]) -> Option<(IpAddr, Hop)> {
    let served = scene.of(&machine.owner).into_iter().filter(|(network, _)| network.names);
    let beside: Vec<_> = served
        .flat_map(|(own, _)| scene.places.iter().filter(|(network, _)| network.name == own.name))
        .filter(|(_, e)| [&e.name].into_iter().chain(&e.aliases).any(|known| known.eq_ignore_ascii_case(name)))
        .flat_map(|(network, e)| e.addresses.iter().map(|a| (a.addr(), network.name.as_str())))
        .collect();
    let (address, on) = families.iter().find_map(|v4| beside.iter().find(|(a, _)| a.is_ipv4() == *v4))?;
    let looked_at = format!("records that the name servers of `{}` answer from (not asked inside)", machine.name);
    Some((*address, Hop::ok(Place::Name, looked_at, format!("{name} is {address} on `{on}`"))))
}

/// What a probe from a machine is to be known by: a number of the host's choice.
pub(super) fn seen(kind: Kind, to: IpAddr) -> Result<Seen, Error> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::io("read", "random bytes", e))?;
    let any = u16::from_ne_bytes(bytes);
    // Ports that no service of the machine's has by custom. *Source*: RFC 6335, section 6.
    let number = if kind == Kind::Echo { any } else { 49_152 | any };
    Ok(Seen { kind, to, number })
}

/// Has a machine send it.
pub(super) fn send(machines: &dyn Machines, member: &Member, seen: Seen, timeout: Duration) -> Result<Outcome, String> {
    let kind = match seen.kind {
        Kind::Tcp(port) => guest::ProbeKind::Tcp(port),
        Kind::Udp(port) => guest::ProbeKind::Udp(port),
        Kind::Echo => guest::ProbeKind::Echo,
    };
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let probe = guest::Probe { kind, to: seen.to, number: seen.number, timeout_ms };
    Ok(match machines.probe(member, probe)? {
        Probed::Answered(after_ns) => Outcome::Answered(Duration::from_nanos(after_ns)),
        Probed::Silence(after_ns) => Outcome::Silence(Duration::from_nanos(after_ns)),
        // A machine may say anything; what is no error number is as good as silence.
        Probed::Refused(errno) if (1..4096).contains(&errno) => Outcome::Refused(Errno::from_raw_os_error(errno)),
        Probed::Refused(_) => Outcome::Silence(timeout),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests_support::{endpoint, network};

    #[test]
    fn the_route_follows_from_records() {
        let mut blue = (network("blue", "10.5.0.0/24"), endpoint("blue", 1, "10.5.0.6/24"));
        blue.1.gateways = vec!["10.5.0.1".parse().unwrap()];
        let mut red = (network("red", "10.6.0.0/24"), endpoint("red", 1, "10.6.0.6/32"));
        red.0.isolation = holm_spec::network::Isolation::Routed;
        red.1.link = "eth1".to_owned();
        let check = |to: &str, out: Option<&str>, gateway: Option<&str>| {
            let inside = inside(&[&blue, &red], to.parse().unwrap());
            assert_eq!(inside.out(), out, "{to}");
            let through = inside.route.as_ref().ok().and_then(|r| r.gateway);
            assert_eq!(through, gateway.map(|g| g.parse().unwrap()), "{to}");
        };
        check("10.5.0.9", Some("eth0"), None);
        check("10.6.0.1", Some("eth1"), None);
        check("10.6.0.9", Some("eth1"), Some("10.6.0.1"));
        check("192.0.2.9", Some("eth0"), Some("10.5.0.1"));
        check("10.6.0.6", Some("lo"), None);
        check("fd00::1", None, None);
    }
}
