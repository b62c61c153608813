//! The epoll descriptor and what its events mean.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::event::epoll::{EventData, EventFlags};

use super::slab::Key;

/// Whom an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A listener's datagrams.
    Datagrams(Key),
    /// A listener's connections.
    Connections(Key),
    /// A connection of a client.
    Client(Key),
    /// A question to a server.
    Server(Key),
}

const KIND_SHIFT: u32 = 56;

impl Token {
    fn number(self) -> u64 {
        let (kind, key) = match self {
            Self::Datagrams(key) => (0, key),
            Self::Connections(key) => (1, key),
            Self::Client(key) => (2, key),
            Self::Server(key) => (3, key),
        };
        kind << KIND_SHIFT | key
    }

    fn of(number: u64) -> Self {
        let key = number & ((1 << KIND_SHIFT) - 1);
        match number >> KIND_SHIFT {
            0 => Self::Datagrams(key),
            1 => Self::Connections(key),
            2 => Self::Client(key),
            _ => Self::Server(key),
        }
    }
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Bytes to read.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Bytes to read only.
    pub const READ: Self = Self { read: true, write: false };
    /// Room to write only.
    pub const WRITE: Self = Self { read: false, write: true };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// The descriptor.
pub struct Poll {
    fd: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    /// Most events of one look.
    const EVENTS: usize = 64;

    /// One that watches nothing.
    pub fn create() -> io::Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { fd, events: Vec::with_capacity(Self::EVENTS) })
    }

    /// Readable when there is an event.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Watches a socket until it is closed.
    pub fn add(&self, socket: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.fd, socket, EventData::new_u64(token.number()), interest.flags())?)
    }

    /// Watches it for something else.
    pub fn change(&self, socket: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, socket, EventData::new_u64(token.number()), interest.flags())?)
    }

    /// The events that there are now.
    pub fn look(&mut self, into: &mut Vec<Token>) {
        into.clear();
        self.events.clear();
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(&self.fd, spare_capacity(&mut self.events), Some(&now)).is_ok() {
            into.extend(self.events.iter().map(|event| Token::of(event.data.u64())));
        }
    }
}
