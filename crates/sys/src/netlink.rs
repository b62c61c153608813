//! Netlink: sockets, and requests that are sent as one batch and answered at once.
//!
//! Owns the framing and the kernel's error reports. What a message means is in `route` and `nftables`.
//! *Source*: netlink(7), linux/netlink.h.

mod message;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

pub use message::{Attributes, Batch, Message, Reply, attributes};

use crate::process::check;

/// Message flags. *Source*: linux/netlink.h.
pub mod flag {
    /// A request.
    pub const REQUEST: u16 = 1;
    /// Answer also when it was done.
    pub const ACK: u16 = 4;
    /// Send back what was made.
    pub const ECHO: u16 = 8;
    /// Everything that matches.
    pub const DUMP: u16 = 0x300;
    /// Replace what is there.
    pub const REPLACE: u16 = 0x100;
    /// Fail if it is there.
    pub const EXCL: u16 = 0x200;
    /// Make it.
    pub const CREATE: u16 = 0x400;
    /// Add it at the end.
    pub const APPEND: u16 = 0x800;
    /// The listing changed while it was read.
    pub(super) const DUMP_INTR: u16 = 0x10;
}

/// Which part of the kernel is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// Why the kernel refused a batch.
#[derive(Debug)]
pub struct Refusal {
    /// Position in the batch of the message that failed first.
    pub index: usize,
    /// The kernel's error.
    pub source: io::Error,
    /// The kernel's own words, where it gives any.
    pub text: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{} ({text})", self.source),
            None => self.source.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    fn local(source: impl Into<io::Error>) -> Self {
        Self { index: 0, source: source.into(), text: None }
    }

    /// Whether the kernel said this.
    pub fn is(&self, errno: rustix::io::Errno) -> bool {
        self.source.raw_os_error() == Some(errno.raw_os_error())
    }
}

/// A netlink socket. It belongs to the network namespace in which it was opened, whatever its owner joins later.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// Room for one read; the kernel fills up to 32 KiB of a listing at once.
const READ_BYTES: usize = 64 * 1024;
/// Batches below this fit the kernel's usual buffer. *Source*: net/core/sock.c, `sysctl_wmem_default` 212992.
const ROOMY_BYTES: usize = 96 * 1024;

impl Socket {
    /// Opens a socket in this thread's network namespace.
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, number)?;
        let socket = Self { fd, sequence: 0 };
        // Words with errors, no copy of the request in them, and listings that only hold what was asked for.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            socket.set_option(libc::SOL_NETLINK, option, 1)?;
        }
        Ok(socket)
    }

    /// Hears what happens to this group of things too (`linux/rtnetlink.h`, `linux/netfilter/nfnetlink.h`).
    pub fn subscribe(&self, group: u32) -> io::Result<()> {
        self.set_option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group.cast_signed())
    }

    fn set_option(&self, level: i32, option: i32, value: i32) -> io::Result<()> {
        let size = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4);
        // SAFETY: the value is an int that lives over the call and its true size is given.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, (&raw const value).cast(), size).into() })
    }

    /// Sends all messages of a batch at once and reads what the kernel says to each. The kernel works on every one of them,
    /// also after one that failed.
    ///
    /// *Errors*: the first message that failed. What others made is there.
    pub fn send(&mut self, batch: &mut Batch) -> Result<(), Refusal> {
        self.exchange(batch, &mut |_| {}).map(|_| ())
    }

    /// As [`Socket::send`]; gives what the kernel answers besides.
    pub fn ask(&mut self, batch: &mut Batch) -> Result<Vec<Reply>, Refusal> {
        let mut replies = Vec::new();
        self.exchange(batch, &mut |reply| replies.push(reply))?;
        Ok(replies)
    }

    /// A batch goes out in one piece; the usual buffer takes about 200 KiB. *Privilege*: CAP_NET_ADMIN for more.
    fn make_room(&self, bytes: usize) -> io::Result<()> {
        if bytes < ROOMY_BYTES {
            return Ok(());
        }
        let wanted = i32::try_from(bytes.saturating_add(ROOMY_BYTES)).unwrap_or(i32::MAX);
        self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, wanted)
    }

    fn exchange(&mut self, batch: &mut Batch, sink: &mut dyn FnMut(Reply)) -> Result<(), Refusal> {
        let first = self.sequence + 1;
        let count = batch.number(first);
        self.sequence += count;
        self.make_room(batch.bytes().len()).map_err(Refusal::local)?;
        let sent = rustix::net::send(&self.fd, batch.bytes(), SendFlags::empty()).map_err(Refusal::local)?;
        if sent != batch.bytes().len() {
            return Err(Refusal::local(io::ErrorKind::WriteZero));
        }
        // The kernel has worked on all of it by now; its answers wait in the socket.
        let mut failure: Option<Refusal> = None;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let length = match rustix::net::recv(&self.fd, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((_, length)) => length.min(READ_BYTES),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                // More answers than the socket holds: they were errors or answers, and which is not known.
                Err(e) => return Err(failure.unwrap_or_else(|| Refusal::local(e))),
            };
            for part in message::split(&buffer[..length]) {
                let index = part.sequence.wrapping_sub(first);
                if index >= count {
                    continue;
                }
                match part.error() {
                    Some((0, _)) => {}
                    Some((errno, text)) if failure.is_none() => {
                        let source = io::Error::from_raw_os_error(errno);
                        failure = Some(Refusal { index: index as usize, source, text });
                    }
                    Some(_) => {}
                    None => sink(part.to_reply()),
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Lists: sends one message with [`flag::DUMP`] and reads to the end. A listing that changed under the reading is read
    /// again, a few times.
    pub fn dump(&mut self, batch: &mut Batch) -> io::Result<Vec<Reply>> {
        for _ in 0..8 {
            if let (replies, false) = self.dump_once(batch)? {
                return Ok(replies);
            }
        }
        // Better a listing that may miss a change than none.
        self.dump_once(batch).map(|(replies, _)| replies)
    }

    fn dump_once(&mut self, batch: &mut Batch) -> io::Result<(Vec<Reply>, bool)> {
        let sequence = self.sequence + 1;
        self.sequence += batch.number(sequence);
        rustix::net::send(&self.fd, batch.bytes(), SendFlags::empty())?;
        let mut replies = Vec::new();
        let mut interrupted = false;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let length = match rustix::net::recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, length)) => length.min(READ_BYTES),
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            for part in message::split(&buffer[..length]) {
                if part.sequence != sequence {
                    continue;
                }
                interrupted |= part.flags & flag::DUMP_INTR != 0;
                if part.is_done() {
                    return match part.done_error() {
                        0 => Ok((replies, interrupted)),
                        errno => Err(io::Error::from_raw_os_error(errno)),
                    };
                }
                match part.error() {
                    Some((0, _)) => {}
                    Some((errno, _)) => return Err(io::Error::from_raw_os_error(errno)),
                    None => replies.push(part.to_reply()),
                }
            }
        }
    }

    /// Takes what has come from groups that were subscribed to, without waiting; an empty list when there is nothing.
    /// *Errors*: `ENOBUFS` where more came than the socket holds: what happened must be looked up.
    pub fn take(&self) -> io::Result<Vec<Reply>> {
        let mut buffer = vec![0; READ_BYTES];
        match rustix::net::recv(&self.fd, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((_, length)) => Ok(message::split(&buffer[..length.min(READ_BYTES)]).map(|m| m.to_reply()).collect()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
