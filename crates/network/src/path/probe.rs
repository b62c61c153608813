//! The probe: one packet of the kind asked about, sent from the sender's namespace, and what came of it.
//!
//! Its socket is opened in the namespace by visiting it, and belongs to it from then on; no process is started.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use holm_sys::probe;
use rustix::event::Timespec;
use rustix::io::Errno;

use super::namespace;
use crate::Error;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection is made and closed.
    Tcp(u16),
    /// An empty datagram; a question to port 53.
    Udp(u16),
    /// An echo request.
    Echo,
}

impl Kind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Echo => "icmp",
        }
    }

    /// Its port.
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Tcp(port) | Self::Udp(port) => Some(port),
            Self::Echo => None,
        }
    }

    /// `80/tcp`, or `icmp`.
    pub(super) fn name(self) -> String {
        self.port().map_or_else(|| self.word().to_owned(), |port| format!("{port}/{}", self.word()))
    }

    /// The same to another port.
    pub(super) fn to_port(self, port: u16) -> Self {
        match self {
            Self::Tcp(_) => Self::Tcp(port),
            Self::Udp(_) => Self::Udp(port),
            Self::Echo => Self::Echo,
        }
    }

    pub(super) fn number(self, v4: bool) -> u8 {
        match (self, v4) {
            (Self::Tcp(_), _) => 6,
            (Self::Udp(_), _) => 17,
            (Self::Echo, true) => 1,
            (Self::Echo, false) => 58,
        }
    }
    fn sent(self) -> probe::Kind {
        match self {
            Self::Tcp(port) => probe::Kind::Tcp(port),
            Self::Udp(port) => probe::Kind::Udp(port),
            Self::Echo => probe::Kind::Echo,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A connection, or an answer.
    Answered(Duration),
    /// Nothing within the time.
    Silence(Duration),
    /// An error of the kernel: its own, or what an ICMP message or a reset told it.
    Refused(Errno),
    /// It was not sent.
    Unsent,
}

/// What a probe is recognised by on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub kind: Kind,
    pub to: IpAddr,
    pub number: u16,
}

/// A probe, ready to be sent.
#[derive(Debug)]
pub(super) struct Probe {
    socket: probe::Probe,
    kind: Kind,
    to: IpAddr,
}

pub(super) fn timespec(left: Duration) -> Timespec {
    Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
}

impl Probe {
    /// Opens it in a namespace. *Privilege*: CAP_NET_RAW there for an echo request.
    pub(super) fn open(netns: Option<BorrowedFd<'_>>, kind: Kind, to: IpAddr) -> Result<Self, Error> {
        let socket = namespace::within(netns, || probe::Probe::open(kind.sent(), to, None))?;
        let socket = socket.map_err(|e| Error::io("open", format!("{} socket of the sender", kind.word()), e))?;
        Ok(Self { socket, kind, to })
    }

    pub(super) fn seen(&self) -> Seen {
        Seen { kind: self.kind, to: self.to, number: self.socket.number() }
    }

    /// Sends it and waits for what comes of it.
    pub(super) fn send(&self, timeout: Duration) -> Outcome {
        match self.socket.send(timeout) {
            probe::Outcome::Answered(after) => Outcome::Answered(after),
            probe::Outcome::Silence(after) => Outcome::Silence(after),
            probe::Outcome::Refused(errno) => Outcome::Refused(errno),
        }
    }
}
