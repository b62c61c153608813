//! TCP connections: bytes copied both ways, each side's end passed on to the other.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType};

use super::Source;

/// Bytes that wait on one way of one connection.
const BUFFER_BYTES: usize = 64 * 1024;
/// Most connections at once; others wait in the listening socket.
const MOST: usize = 1024;

/// One way of a connection.
#[derive(Debug)]
struct Way {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were sent.
    sent: usize,
    /// The sender has ended.
    ended: bool,
    /// The receiver was told.
    told: bool,
}

impl Way {
    fn new() -> Self {
        Self { buffer: Vec::new(), sent: 0, ended: false, told: false }
    }

    fn wants_input(&self) -> bool {
        !self.ended && self.buffer.len() == self.sent
    }

    fn has_output(&self) -> bool {
        self.buffer.len() > self.sent
    }

    /// Moves what can be moved. *Errors*: the connection is broken.
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
        loop {
            if self.wants_input() {
                self.buffer.resize(BUFFER_BYTES, 0);
                self.sent = 0;
                let received = rustix::net::recv(from, self.buffer.as_mut_slice(), RecvFlags::DONTWAIT);
                let length = match received {
                    Ok((_, length)) => length,
                    Err(e) => {
                        self.buffer.clear();
                        return if matches!(e, Errno::AGAIN | Errno::INTR) { Ok(()) } else { Err(e) };
                    }
                };
                self.buffer.truncate(length);
                self.ended = length == 0;
            }
            if self.has_output() {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                match rustix::net::send(to, &self.buffer[self.sent..], flags) {
                    Ok(count) => self.sent += count,
                    Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                    Err(e) => return Err(e),
                }
            }
            if self.ended && !self.has_output() {
                if !self.told {
                    self.told = true;
                    // The other side may be gone altogether.
                    let _ = rustix::net::shutdown(to, Shutdown::Write);
                }
                return Ok(());
            }
        }
    }
}

#[derive(Debug)]
struct Connection {
    client: OwnedFd,
    server: OwnedFd,
    connected: bool,
    up: Way,
    down: Way,
}

impl Connection {
    fn interests(&self) -> [PollFlags; 2] {
        if !self.connected {
            return [PollFlags::empty(), PollFlags::OUT];
        }
        let of = |reads: &Way, writes: &Way| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads.wants_input());
            flags.set(PollFlags::OUT, writes.has_output());
            flags
        };
        [of(&self.up, &self.down), of(&self.down, &self.up)]
    }

    /// Whether it goes on.
    fn turn(&mut self) -> bool {
        if !self.connected {
            match rustix::net::sockopt::socket_error(&self.server) {
                Ok(Ok(())) => self.connected = true,
                _ => return false,
            }
        }
        let moved = self.up.pump(&self.client, &self.server).and(self.down.pump(&self.server, &self.client));
        moved.is_ok() && !(self.up.told && self.down.told)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Streams {
    connections: Vec<Connection>,
}

impl Streams {
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Adds what is waited for: two places a connection.
    pub(super) fn interests<'a>(&'a self, polls: &mut Vec<PollFd<'a>>) {
        for connection in &self.connections {
            let [client, server] = connection.interests();
            polls.push(PollFd::new(&connection.client, client));
            polls.push(PollFd::new(&connection.server, server));
        }
    }

    /// Goes on with the connections that are ready, in the order of [`Streams::interests`].
    pub(super) fn turn(&mut self, ready: &[PollFlags]) {
        let mut at = 0;
        self.connections.retain_mut(|connection| {
            let flags = ready.get(at..at + 2).unwrap_or(&[]);
            at += 2;
            flags.iter().all(|f| f.is_empty()) || connection.turn()
        });
    }

    /// Takes the connections that wait.
    pub(super) fn accept(&mut self, source: &Source) {
        while self.connections.len() < MOST {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(client) = rustix::net::accept_with(&source.socket, flags) else { return };
            // One that cannot be passed on is closed, which tells the client.
            if let Some(server) = connect(source) {
                let connection = Connection { client, server, connected: false, up: Way::new(), down: Way::new() };
                self.connections.push(connection);
            }
        }
    }
}

fn connect(source: &Source) -> Option<OwnedFd> {
    let family = if source.target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).ok()?;
    match rustix::net::connect(&socket, &source.target) {
        Ok(()) | Err(Errno::INPROGRESS) => Some(socket),
        Err(_) => None,
    }
}
