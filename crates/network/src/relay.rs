//! Passing on what reaches a published port's own socket: connections that the firewall cannot translate.
//!
//! That is `[::1]` of the host, IPv6 to a container without an IPv6 address, and everything while somebody has flushed the
//! firewall. It is done by a process of its own, which a supervisor starts when something comes and which ends when it has
//! had nothing to do for a while: most never run.

mod datagram;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_spec::network::{Endpoint, Protocol};
use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::port::Held;

/// Idle time after which the process ends.
const IDLE: Duration = Duration::from_secs(10);

/// A socket of a published port, and where what comes to it goes.
#[derive(Debug)]
pub struct Relayed<'a> {
    /// The socket, bound; for TCP it listens.
    pub socket: BorrowedFd<'a>,
    /// The container's address and port.
    pub target: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
}

/// The sockets that can be passed on. A target of the socket's own family is preferred.
pub(crate) fn of<'a>(endpoints: &[Endpoint], held: &'a [Held]) -> Vec<Relayed<'a>> {
    let Some(endpoint) = endpoints.iter().find(|e| !e.ports.is_empty()) else { return Vec::new() };
    let addresses: Vec<IpAddr> = endpoint.addresses.iter().map(IpNet::addr).collect();
    let mut found = Vec::new();
    for held in held.iter().filter(|h| h.port.protocol != Protocol::Sctp) {
        for (address, socket) in &held.sockets {
            let same = addresses.iter().find(|a| a.is_ipv4() == address.is_ipv4());
            if let Some(target) = same.or(addresses.first()) {
                let target = SocketAddr::new(*target, held.port.container_port);
                found.push(Relayed { socket: socket.as_fd(), target, protocol: held.port.protocol });
            }
        }
    }
    found
}

/// A socket that this process owns.
#[derive(Debug)]
pub struct Source {
    /// See [`Relayed::socket`].
    pub socket: OwnedFd,
    /// See [`Relayed::target`].
    pub target: SocketAddr,
    /// See [`Relayed::protocol`].
    pub protocol: Protocol,
}

/// Passes on until nothing has come for ten seconds; the exit code of its process.
pub fn run(sources: &[Source]) -> i32 {
    let mut streams = stream::Streams::default();
    let mut datagrams = datagram::Datagrams::default();
    let mut quiet_since = Instant::now();
    loop {
        let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut polls: Vec<PollFd<'_>> = sources.iter().map(|s| PollFd::new(&s.socket, PollFlags::IN)).collect();
        let own = polls.len();
        streams.interests(&mut polls);
        let streams_end = polls.len();
        datagrams.interests(&mut polls);
        if rustix::event::poll(&mut polls, Some(&timeout)).is_err_and(|e| e != rustix::io::Errno::INTR) {
            return 1;
        }
        let ready: Vec<PollFlags> = polls.iter().map(PollFd::revents).collect();
        drop(polls);
        let now = Instant::now();
        if ready.iter().any(|flags| !flags.is_empty()) || !streams.is_empty() {
            quiet_since = now;
        }
        streams.turn(&ready[own..streams_end]);
        datagrams.turn(sources, &ready[streams_end..], now);
        for (source, _) in sources.iter().zip(&ready).filter(|(_, flags)| !flags.is_empty()) {
            match source.protocol {
                Protocol::Tcp => streams.accept(source),
                Protocol::Udp => datagrams.take(source, now),
                Protocol::Sctp => {}
            }
        }
        if now.duration_since(quiet_since) > IDLE {
            return 0;
        }
    }
}
