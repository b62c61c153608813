//! Published ports: taken on the host before anything starts, held as long as the container runs.
//!
//! A taken port is a bound socket, so no other program can have it and a second container is told. Packets never reach the
//! socket where the firewall translates them; TCP over IPv6 to a container without an IPv6 address, and to ::1, does, and
//! [`crate::relay`] passes it on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use holm_spec::network::{Endpoint, Protocol, PublishSpec, PublishedPort};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::{Error, Roots};

/// How often a free port is looked for that fits both families.
const TRIES: usize = 64;
/// Connections that may wait to be passed on.
const BACKLOG: i32 = 128;

/// A port that is held.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) port: PublishedPort,
    /// Sockets, one of each family that the port is published on.
    pub(crate) sockets: Vec<(IpAddr, OwnedFd)>,
}

/// Takes every port that is asked for. *Errors*: one is taken; none is held then.
pub(crate) fn hold(roots: &Roots, wanted: &[PublishSpec]) -> Result<Vec<Held>, Error> {
    wanted.iter().map(|one| hold_one(roots, one)).collect()
}

fn hold_one(roots: &Roots, wanted: &PublishSpec) -> Result<Held, Error> {
    let addresses = match wanted.host_ip {
        Some(ip) => vec![ip],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let (first, last) = wanted.host_ports;
    let mut refused = None;
    let candidates: Box<dyn Iterator<Item = u16>> = match first {
        0 => Box::new(std::iter::repeat_n(0, TRIES)),
        _ => Box::new(first..=last),
    };
    for candidate in candidates {
        match bind_all(&addresses, candidate, wanted.protocol) {
            Ok((port, sockets)) => return Ok(Held { port: published(wanted, port), sockets }),
            Err(e) => refused = Some((candidate, e)),
        }
    }
    let (port, (address, errno)) = refused.unwrap_or((first, (addresses[0], Errno::ADDRINUSE)));
    if errno == Errno::ADDRINUSE {
        let owner = owner(roots, port, wanted.protocol);
        return Err(Error::PortTaken { port, protocol: wanted.protocol, address, owner });
    }
    if errno == Errno::ADDRNOTAVAIL {
        return Err(Error::invalid(format!("address {address} for published ports"), "this host does not have it"));
    }
    Err(Error::io("publish port", format!("{address} {port}/{}", wanted.protocol), errno))
}

fn published(wanted: &PublishSpec, host_port: u16) -> PublishedPort {
    PublishedPort {
        host_ip: wanted.host_ip,
        host_port,
        container_port: wanted.container_port,
        protocol: wanted.protocol,
        interfaces: wanted.interfaces.clone(),
        from: wanted.from.clone(),
    }
}

type Bound = (u16, Vec<(IpAddr, OwnedFd)>);

fn bind_all(addresses: &[IpAddr], port: u16, protocol: Protocol) -> Result<Bound, (IpAddr, Errno)> {
    let mut port = port;
    let mut sockets = Vec::new();
    for address in addresses {
        match bind(*address, port, protocol) {
            Ok((socket, bound)) => {
                port = bound;
                sockets.push((*address, socket));
            }
            // A host without IPv6, or without SCTP: there is nobody who could take it either.
            Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) if protocol == Protocol::Sctp || address.is_ipv6() => {}
            Err(e) => return Err((*address, e)),
        }
    }
    if port == 0 {
        return Err((addresses[0], Errno::PROTONOSUPPORT));
    }
    Ok((port, sockets))
}

fn bind(address: IpAddr, port: u16, protocol: Protocol) -> Result<(OwnedFd, u16), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Udp => (SocketType::DGRAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, number)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Connections that are just ending must not keep the port from its next owner.
    if protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
    // Only a socket that listens keeps others off in spite of that option.
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    let bound = rustix::net::getsockname(&socket)?;
    let port = SocketAddr::try_from(bound).map_or(port, |address| address.port());
    Ok((socket, port))
}

/// The first port of these endpoints that another endpoint has too.
pub(crate) fn conflict(roots: &Roots, endpoints: &[Endpoint]) -> Result<Option<Error>, Error> {
    for network in roots.live_networks()? {
        for other in roots.endpoints_of(&network)? {
            let mut wanted = endpoints.iter().filter(|e| e.container != other.container).flat_map(|e| &e.ports);
            let same =
                |p: &&PublishedPort| other.ports.iter().any(|o| o.host_port == p.host_port && o.protocol == p.protocol);
            if let Some(port) = wanted.find(same) {
                let owner = format!("container `{}`", other.name);
                let address = port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
                return Ok(Some(Error::PortTaken { port: port.host_port, protocol: port.protocol, address, owner }));
            }
        }
    }
    Ok(None)
}

/// Who has a port, as far as is known here.
fn owner(roots: &Roots, port: u16, protocol: Protocol) -> String {
    for network in roots.live_networks().unwrap_or_default() {
        for endpoint in roots.endpoints_of(&network).unwrap_or_default() {
            if endpoint.ports.iter().any(|p| p.host_port == port && p.protocol == protocol) {
                return format!("container `{}`", endpoint.name);
            }
        }
    }
    "another program".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests_support::roots;

    fn wanted(ip: Option<&str>, ports: (u16, u16), protocol: Protocol) -> PublishSpec {
        PublishSpec {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_ports: ports,
            container_port: 80,
            protocol,
            interfaces: Vec::new(),
            from: Vec::new(),
        }
    }

    #[test]
    fn a_port_is_held_once_and_a_range_gives_the_next() {
        let (_folder, roots) = roots();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let first = hold_one(&roots, &wanted(None, (0, 0), protocol)).unwrap();
            let port = first.port.host_port;
            assert!(port > 0 && first.sockets.len() == 2);
            let taken = hold_one(&roots, &wanted(Some("127.0.0.1"), (port, port), protocol)).unwrap_err();
            assert!(taken.to_string().contains("another program has it"), "{taken}");
            if let Some(next) = port.checked_add(20) {
                let other = hold_one(&roots, &wanted(Some("127.0.0.1"), (port, next), protocol)).unwrap();
                assert!(other.port.host_port > port);
            }
        }
    }

    #[test]
    fn an_address_that_the_host_lacks_is_said_to_be_so() {
        let (_folder, roots) = roots();
        let error = hold_one(&roots, &wanted(Some("192.0.2.1"), (4711, 4711), Protocol::Tcp)).unwrap_err();
        assert!(error.to_string().contains("this host does not have it"), "{error}");
    }
}
