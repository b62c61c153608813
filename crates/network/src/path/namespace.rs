//! The sender's own network namespace: its links, addresses, the route that the kernel picks there, the next hop.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::network::Endpoint;
use holm_sys::netlink::{Protocol, Socket};
use holm_sys::process::{clone_flag, setns};
use holm_sys::route::{self, Address, Link, Neighbour, Route};
use ipnet::IpNet;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::report::{Hop, Place};
use crate::Error;
use crate::attach::own_netns;

/// Neighbour states: nobody answers yet, or any more. *Source*: linux/neighbour.h, `NUD_INCOMPLETE`, `NUD_FAILED`.
const UNKNOWN: u16 = 0x1 | 0x20;

/// Opens the network namespace of a process.
pub(super) fn of(pid: i32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/ns/net");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| Error::io("open", path, e))
}

/// Does something in another network namespace; in this one where there is none. What is made there, sockets above all,
/// stays there. *Order*: the caller has one thread.
pub(super) fn within<T>(netns: Option<BorrowedFd<'_>>, act: impl FnOnce() -> T) -> Result<T, Error> {
    let Some(netns) = netns else { return Ok(act()) };
    let failed = |e: io::Error| Error::io("enter", "the container's network namespace", e);
    let own = own_netns()?;
    setns(netns, clone_flag::NEWNET).map_err(failed)?;
    let done = act();
    setns(own.as_fd(), clone_flag::NEWNET).map_err(failed)?;
    Ok(done)
}

/// What the kernel says of a namespace, and of the way to one address from it.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub route: Result<Route, Errno>,
    pub neighbours: Vec<Neighbour>,
}

impl Inside {
    pub(super) fn link(&self, index: Option<u32>) -> Option<&Link> {
        self.links.iter().find(|link| Some(link.index) == index)
    }

    /// Name of the link that packets leave by.
    pub(super) fn out(&self) -> Option<&str> {
        let route = self.route.as_ref().ok()?;
        self.link(route.link).map(|link| link.name.as_str())
    }

    /// That nobody answers for the next hop, in words, where that is so.
    pub(super) fn silent(&self, to: IpAddr) -> Option<String> {
        let route = self.route.as_ref().ok()?;
        let hop = route.gateway.unwrap_or(to);
        let fits = |n: &&Neighbour| Some(n.index) == route.link && n.address == hop && n.state & UNKNOWN != 0;
        self.neighbours.iter().find(fits)?;
        let what = if hop == to { "" } else { ", which is the next hop" };
        Some(format!("nobody on `{}` answers for {hop}{what}", self.out().unwrap_or("?")))
    }

    /// Addresses of a link, as a person reads them.
    fn addresses_of(&self, index: u32) -> String {
        let own = self.addresses.iter().filter(|a| a.index == index && !is_link_local(a.address));
        own.map(|a| format!("{}/{}", a.address, a.prefix)).collect::<Vec<_>>().join(", ")
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}

/// Asks the kernel. `incoming` is the link of a packet that comes from elsewhere, with its source.
pub(super) fn gather(
    netns: Option<BorrowedFd<'_>>,
    to: IpAddr,
    incoming: Option<(IpAddr, &str)>,
) -> Result<Inside, Error> {
    let mut socket =
        within(netns, || Socket::open(Protocol::Route))?.map_err(|e| Error::io("open", "rtnetlink socket", e))?;
    let failed = |e: io::Error| Error::io("list", "links", e);
    let links = route::links(&mut socket).map_err(failed)?;
    let addresses = route::addresses(&mut socket).map_err(failed)?;
    let neighbours = route::neighbours(&mut socket).map_err(failed)?;
    let (from, link) = match incoming {
        Some((from, link)) => (Some(from), links.iter().find(|l| l.name == link).map(|l| l.index)),
        None => (None, None),
    };
    let route =
        route::route_to(&mut socket, to, from, link).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL));
    Ok(Inside { links, addresses, route, neighbours })
}

/// What an error number means on a packet's way.
pub(super) fn errno_words(errno: Errno) -> String {
    match errno {
        Errno::NETUNREACH => "no route (ENETUNREACH)".to_owned(),
        Errno::HOSTUNREACH => "nobody there answers, or a router on the way gave up (EHOSTUNREACH)".to_owned(),
        Errno::CONNREFUSED => "refused (ECONNREFUSED)".to_owned(),
        Errno::ACCESS => "a route prohibits it (EACCES)".to_owned(),
        Errno::PERM => "the firewall does not let it out (EPERM)".to_owned(),
        Errno::INVAL => "a route says to throw it away (EINVAL)".to_owned(),
        Errno::TIMEDOUT => "no answer (ETIMEDOUT)".to_owned(),
        Errno::NETDOWN => "its link is down (ENETDOWN)".to_owned(),
        Errno::CONNRESET => "reset (ECONNRESET)".to_owned(),
        other => std::io::Error::from(other).to_string(),
    }
}

/// Whose links the sender's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// The host's own.
    Host,
    /// Those of this process's network namespace.
    Container(i32),
    /// Those inside a virtual machine, which only its records and its agent know.
    Machine,
}

/// The sender as its container's records have it.
#[derive(Clone, Debug)]
pub(super) struct Sender<'a> {
    pub name: &'a str,
    pub ground: Ground,
    pub endpoints: &'a [Endpoint],
    /// Names of its networks that are internal.
    pub internal: Vec<&'a str>,
}

impl Sender<'_> {
    /// A command to type in the sender's namespace.
    fn command(&self, line: &str) -> String {
        match self.ground {
            Ground::Container(pid) => format!("nsenter --net=/proc/{pid}/ns/net {line}"),
            Ground::Machine => format!("holm exec {} {line}", self.name),
            Ground::Host => line.to_owned(),
        }
    }
}

/// Judges the sender's namespace.
pub(super) fn judge(inside: &Inside, sender: &Sender<'_>, to: IpAddr) -> Hop {
    let Sender { name, .. } = sender;
    let looked_at = match sender.ground {
        Ground::Container(_) => format!("links and routes in `{name}`"),
        Ground::Machine => format!("links and routes that the machine `{name}` was given (not looked at inside)"),
        Ground::Host => "links and routes of the host".to_owned(),
    };
    let stop = |reason: String| Hop::stop(Place::Sender, looked_at.clone(), reason);
    let local = inside.addresses.iter().any(|a| a.address == to) || to.is_loopback();
    if !local && sender.ground != Ground::Host && !inside.links.iter().any(|link| !link.loopback) {
        return stop(format!("`{name}` is on no network: it has loopback only")).hint("holm run --network bridge …");
    }
    let v4 = to.is_ipv4();
    for endpoint in sender.endpoints {
        let towards = inside.out().is_none_or(|out| out == endpoint.link);
        let link = inside.links.iter().find(|link| link.name == endpoint.link);
        match link {
            Some(link) if !link.up && towards => {
                return stop(format!("link `{}` of `{name}` is down", endpoint.link))
                    .hint(sender.command(&format!("ip link set {} up", endpoint.link)));
            }
            None if inside.route.is_err() => {
                return stop(format!("link `{}` of `{name}` is gone", endpoint.link))
                    .hint(format!("holm restart {name}"));
            }
            _ => {}
        }
        let lost = endpoint
            .addresses
            .iter()
            .map(IpNet::addr)
            .find(|a| a.is_ipv4() == v4 && !inside.addresses.iter().any(|found| found.address == *a));
        if let (Some(address), true) = (lost, towards) {
            return stop(format!("`{name}` lost its address {address} on link `{}`", endpoint.link))
                .hint(format!("holm restart {name}"));
        }
    }
    let route = match &inside.route {
        Ok(route) if matches!(route.kind, 1 | 2) => route,
        Ok(_) => return stop(format!("a route of `{name}` says that {to} is not reached")),
        Err(errno) => return no_route(sender, to, *errno, looked_at),
    };
    let link = inside.link(route.link);
    let out = link.map_or("?", |link| link.name.as_str());
    let addresses = link.map(|link| inside.addresses_of(link.index)).unwrap_or_default();
    let next = match route.gateway {
        _ if local => format!("{to} is its own address"),
        Some(gateway) => format!("{to} through {gateway}"),
        None => format!("{to} directly"),
    };
    let found = if local { next } else { format!("{out} is up with {addresses}; {next}") };
    if let Some(link) = link.filter(|link| !link.running && !link.loopback) {
        return Hop::note(Place::Sender, looked_at, format!("{found}; {} has no carrier", link.name));
    }
    match inside.silent(to).filter(|_| !local) {
        Some(silent) => Hop::note(Place::Sender, looked_at, format!("{found}; {silent}")),
        None => Hop::ok(Place::Sender, looked_at, found),
    }
}

fn no_route(sender: &Sender<'_>, to: IpAddr, errno: Errno, looked_at: String) -> Hop {
    let name = sender.name;
    let v4 = to.is_ipv4();
    let stop = |reason: String| Hop::stop(Place::Sender, looked_at.clone(), reason);
    let family = if v4 { "IPv4" } else { "IPv6" };
    let has_family = sender.endpoints.iter().any(|e| e.addresses.iter().any(|a| a.addr().is_ipv4() == v4));
    if sender.ground != Ground::Host && !sender.endpoints.is_empty() && !has_family {
        return stop(format!("`{name}` has no {family} address: none of its networks has an {family} subnet"))
            .hint("holm network create --ipv6 NAME");
    }
    let gateway = sender.endpoints.iter().flat_map(|e| &e.gateways).find(|g| g.is_ipv4() == v4);
    if let Some(gateway) = gateway {
        return stop(format!("`{name}` has no route to {to}: its default route is gone"))
            .hint(sender.command(&format!("ip route add default via {gateway}")));
    }
    if let Some(network) = sender.internal.first() {
        return stop(format!("`{name}` has no route to {to}: its network `{network}` is internal and has no way out"))
            .hint(format!("holm network connect bridge {name}"));
    }
    let who = if sender.ground != Ground::Host { format!("`{name}`") } else { "the host".to_owned() };
    stop(format!("{who} has no route to {to}: {}", errno_words(errno))).hint(sender.command("ip route"))
}

/// The subnet of these that holds an address.
pub(super) fn holds(subnets: &[holm_spec::network::Subnet], address: IpAddr) -> bool {
    subnets.iter().any(|s| match (s.subnet, address) {
        (IpNet::V4(net), IpAddr::V4(a)) => net.contains(&a),
        (IpNet::V6(net), IpAddr::V6(a)) => net.contains(&a),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests_support::container;

    fn link(index: u32, name: &str, up: bool) -> Link {
        Link {
            index,
            name: name.into(),
            kind: String::new(),
            up,
            running: up,
            loopback: name == "lo",
            master: None,
            peer: None,
            mtu: 1500,
            mac: None,
            isolated: false,
        }
    }

    fn inside(up: bool, route: Result<Route, Errno>) -> Inside {
        let address = Address { index: 2, address: "10.0.0.2".parse().unwrap(), prefix: 24 };
        Inside {
            links: vec![link(1, "lo", true), link(2, "eth0", up)],
            addresses: vec![address],
            route,
            neighbours: vec![],
        }
    }

    fn endpoint(gateways: &[&str]) -> Endpoint {
        Endpoint {
            container: container(1),
            name: "web".into(),
            network: "blue".parse().unwrap(),
            aliases: vec![],
            link: "eth0".into(),
            host_link: "hv1".into(),
            mac: holm_spec::network::MacAddress([2, 0, 0, 0, 0, 1]),
            addresses: vec!["10.0.0.2/24".parse().unwrap()],
            gateways: gateways.iter().map(|g| g.parse().unwrap()).collect(),
            ports: vec![],
            dns: vec![],
        }
    }

    fn check(inside: &Inside, gateways: &[&str], internal: &[&str], found: &str) {
        let endpoints = [endpoint(gateways)];
        let sender =
            Sender { name: "web", ground: Ground::Container(7), endpoints: &endpoints, internal: internal.to_vec() };
        assert_eq!(judge(inside, &sender, "192.0.2.9".parse().unwrap()).found, found);
    }

    #[test]
    fn a_namespace_without_a_way_says_why() {
        let none = || Err(Errno::NETUNREACH);
        check(&inside(false, none()), &["10.0.0.1"], &[], "link `eth0` of `web` is down");
        let gone = "`web` has no route to 192.0.2.9: its default route is gone";
        check(&inside(true, none()), &["10.0.0.1"], &[], gone);
        let internal = "`web` has no route to 192.0.2.9: its network `blue` is internal and has no way out";
        check(&inside(true, none()), &[], &["blue"], internal);
        let route = Route {
            to: None,
            gateway: Some("10.0.0.1".parse().unwrap()),
            link: Some(2),
            source: None,
            table: 254,
            kind: 1,
        };
        check(&inside(true, Ok(route)), &[], &[], "eth0 is up with 10.0.0.2/24; 192.0.2.9 through 10.0.0.1");
    }
}
