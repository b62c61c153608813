//! Connections of clients: who has how many, how long they may be idle, what is read and written when. Answers nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::poll::{Interest, Poll, Token};
use super::slab::{Key, Slab};
use super::stream::Stream;

/// Most connections of all clients.
pub const CONNECTIONS_MAX: usize = 64;
/// Most connections of one client.
pub const CONNECTIONS_PER_CLIENT: usize = 8;
/// Most queries of one connection that wait for others; more are read when one is answered.
pub const PIPELINE_MAX: usize = 32;
/// Bytes of answers that the client has not taken, from which no more is read.
const UNSENT_MAX: usize = 128 << 10;
/// Bytes of the longest query: real ones have less than 512.
const QUERY_MAX: usize = 4096;
/// Time without a whole query or answered byte after which it is closed. *Source*: RFC 7766, section 6.2.3: seconds.
pub const IDLE: Duration = Duration::from_secs(10);

/// One connection.
pub struct Connection {
    stream: Stream,
    /// The listener that it came to.
    pub listener: Key,
    /// The client.
    pub peer: SocketAddr,
    waiting: usize,
    active: Instant,
    interest: Interest,
}

impl Connection {
    /// The next query, as far as it may have one more now.
    pub fn read(&mut self, now: Instant) -> io::Result<Option<Vec<u8>>> {
        if self.waiting >= PIPELINE_MAX || self.stream.unsent() >= UNSENT_MAX {
            return Ok(None);
        }
        let message = self.stream.read()?;
        if message.is_some() {
            self.active = now;
        }
        Ok(message)
    }

    /// Adds an answer.
    pub fn write(&mut self, message: &[u8]) {
        self.stream.write(message);
    }

    /// One more query waits for others.
    pub fn wait(&mut self) {
        self.waiting += 1;
    }

    /// One query waits no longer.
    pub fn waited(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

/// All connections.
#[derive(Default)]
pub struct Connections {
    slab: Slab<Connection>,
}

impl Connections {
    /// Takes a connection over, unless there are too many already.
    pub fn add(&mut self, poll: &Poll, listener: Key, socket: OwnedFd, peer: SocketAddr, now: Instant) {
        let of_client = self.slab.iter().filter(|(_, other)| other.peer.ip() == peer.ip()).count();
        if self.slab.len() >= CONNECTIONS_MAX || of_client >= CONNECTIONS_PER_CLIENT {
            return;
        }
        // Without it a second answer would wait for the client's acknowledgement of the first.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        let stream = Stream::new(socket, QUERY_MAX);
        let connection = Connection { stream, listener, peer, waiting: 0, active: now, interest: Interest::READ };
        let key = self.slab.insert(|_| connection);
        let added = self.slab.get_mut(key).map(|new| poll.add(new.stream.as_fd(), Token::Client(key), Interest::READ));
        if !matches!(added, Some(Ok(()))) {
            self.slab.remove(key);
        }
    }

    /// The connection of this number.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        self.slab.get_mut(key)
    }

    /// Closes it.
    pub fn remove(&mut self, key: Key) {
        self.slab.remove(key);
    }

    /// It is watched for nothing, so an event says that it broke.
    pub fn is_broken_by_event(&mut self, key: Key) -> bool {
        let nothing = Interest { read: false, write: false };
        self.slab.get_mut(key).is_some_and(|connection| connection.interest == nothing)
    }

    /// Sends what can go, and watches for what may come next; closes it where there is nothing more to do.
    pub fn settle(&mut self, poll: &Poll, key: Key, now: Instant) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        let Ok(went) = connection.stream.flush() else {
            self.slab.remove(key);
            return;
        };
        if went {
            connection.active = now;
        }
        let (unsent, ended) = (connection.stream.unsent(), connection.stream.is_ended());
        let read = !ended && connection.waiting < PIPELINE_MAX && unsent < UNSENT_MAX;
        let interest = Interest { read, write: unsent > 0 };
        if ended && unsent == 0 && connection.waiting == 0 {
            self.slab.remove(key);
        } else if interest != connection.interest {
            connection.interest = interest;
            if poll.change(connection.stream.as_fd(), Token::Client(key), interest).is_err() {
                self.slab.remove(key);
            }
        }
    }

    /// Closes those of a listener.
    pub fn remove_of(&mut self, listener: Key) {
        self.remove_where(|connection| connection.listener == listener);
    }

    /// Closes those that have been idle for too long. Those that wait for others are not idle.
    pub fn expire(&mut self, now: Instant) {
        self.remove_where(|connection| connection.waiting == 0 && connection.active + IDLE <= now);
    }

    fn remove_where(&mut self, condition: impl Fn(&Connection) -> bool) {
        let keys: Vec<_> = self.slab.iter().filter(|(_, one)| condition(one)).map(|(key, _)| key).collect();
        for key in keys {
            self.slab.remove(key);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.slab.iter().filter(|(_, one)| one.waiting == 0).map(|(_, one)| one.active + IDLE).min()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }
}
