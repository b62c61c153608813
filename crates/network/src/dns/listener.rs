//! Sockets at which queries arrive: how they are made. Reads nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use holm_spec::Name;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// Most connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// The sockets of one address of a network.
pub(super) struct Listener {
    /// The network.
    pub network: Name,
    /// Datagrams.
    pub udp: OwnedFd,
    /// Connections.
    pub tcp: OwnedFd,
    /// No connection is accepted before this.
    pub paused_until: Option<Instant>,
}

/// Makes the sockets for datagrams and connections at an address, which need not exist yet. Port 0 gives both the same free
/// port.
///
/// The address is the network's gateway itself, so an answer leaves from where it was asked. `SO_REUSEADDR` is for TCP alone:
/// on UDP it would let a second server take the datagrams of the first without either noticing.
///
/// *Privilege*: CAP_NET_BIND_SERVICE for port 53.
pub fn listen(address: SocketAddr) -> io::Result<(OwnedFd, OwnedFd)> {
    let udp = bound(address, SocketType::DGRAM)?;
    let tcp = bound(SocketAddr::try_from(getsockname(&udp)?)?, SocketType::STREAM)?;
    rustix::net::listen(&tcp, BACKLOG)?;
    Ok((udp, tcp))
}

fn bound(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else {
        sockopt::set_ipv6_freebind(&socket, true)?;
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}
