//! UDP: a socket of its own for every client, so that answers find their way back.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Source;

/// A client that has been silent for so long is forgotten. *Source*: as long as the kernel remembers UDP that was answered,
/// `nf_conntrack_udp_timeout_stream`.
const FORGET: Duration = Duration::from_secs(120);
/// Most clients at once.
const MOST: usize = 1024;
/// Largest datagram.
const DATAGRAM_BYTES: usize = 65_535;

#[derive(Debug)]
struct Client {
    /// Which source it came to.
    source: i32,
    address: SocketAddr,
    server: OwnedFd,
    last: Instant,
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    clients: Vec<Client>,
}

impl Datagrams {
    /// Adds what is waited for: a place a client.
    pub(super) fn interests<'a>(&'a self, polls: &mut Vec<PollFd<'a>>) {
        polls.extend(self.clients.iter().map(|client| PollFd::new(&client.server, PollFlags::IN)));
    }

    /// Sends back what answers are there and forgets the silent.
    pub(super) fn turn(&mut self, sources: &[Source], ready: &[PollFlags], now: Instant) {
        let mut at = 0;
        self.clients.retain_mut(|client| {
            let flags = ready.get(at).copied().unwrap_or(PollFlags::empty());
            at += 1;
            if flags.is_empty() {
                return now.duration_since(client.last) < FORGET;
            }
            client.last = now;
            let source = sources.iter().find(|s| s.socket.as_raw_fd() == client.source);
            source.is_some_and(|source| client.answer(source))
        });
    }

    /// Passes on what clients sent.
    pub(super) fn take(&mut self, source: &Source, now: Instant) {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let received = rustix::net::recvfrom(&source.socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
            let Ok((_, length, Some(from))) = received else { return };
            let Ok(from) = SocketAddr::try_from(from) else { continue };
            let key = source.socket.as_raw_fd();
            let known = self.clients.iter().position(|c| c.source == key && c.address == from);
            let client = match known {
                Some(at) => &mut self.clients[at],
                None if self.clients.len() >= MOST => continue,
                None => {
                    let Some(server) = connect(source) else { continue };
                    self.clients.push(Client { source: key, address: from, server, last: now });
                    let Some(last) = self.clients.last_mut() else { continue };
                    last
                }
            };
            client.last = now;
            // A datagram may be lost; that is what they are.
            let _ = rustix::net::send(&client.server, &buffer[..length.min(DATAGRAM_BYTES)], SendFlags::DONTWAIT);
        }
    }
}

impl Client {
    /// Whether it goes on.
    fn answer(&self, source: &Source) -> bool {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            match rustix::net::recv(&self.server, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    let bytes = &buffer[..length.min(DATAGRAM_BYTES)];
                    let _ = rustix::net::sendto(&source.socket, bytes, SendFlags::DONTWAIT, &self.address);
                }
                Err(rustix::io::Errno::AGAIN) => return true,
                // Nobody listens there.
                Err(_) => return false,
            }
        }
    }
}

fn connect(source: &Source) -> Option<OwnedFd> {
    let family = if source.target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None).ok()?;
    rustix::net::connect(&socket, &source.target).ok()?;
    Some(socket)
}
