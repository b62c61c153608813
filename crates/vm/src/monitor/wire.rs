//! What a supervisor and a monitor say to each other: one JSON document a packet, with descriptors.
//!
//! ```text
//! supervisor                       monitor              a SOCK_SEQPACKET pair
//!   |  -- ToGuest (+ streams) ------>  |                 descriptors of the streams that the request opens
//!   |  <- Booted, Guest, Lost -------  |                 with `Started` the master side of a terminal, where there is one
//! ```
//! The streams: `Run` and `Exec` bring standard input (left out where it is not open), output and error output, or nothing for a
//! process with a terminal; `TarOut` and `TarChanges` one to write to; `TarIn` one to read from. Numbers of requests are below
//! [`OWN_REQUESTS`]; above are the monitor's own. A document of more than [`MAX_INLINE_BYTES`] travels as a file in memory,
//! the first of the descriptors of an empty object.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::guest::{MAX_MESSAGE_BYTES, ToGuest, ToHost};
use holm_sys::packet::{self, MAX_DESCRIPTORS};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Most bytes of a document in its packet.
pub const MAX_INLINE_BYTES: usize = 64 * 1024;
/// Most bytes of a document.
const MAX_BYTES: usize = MAX_MESSAGE_BYTES + 64 * 1024;
/// Requests of the supervisor's have smaller numbers.
pub const OWN_REQUESTS: u32 = 1 << 31;
/// What stands in the packet where the document does not.
const ELSEWHERE: &[u8] = b"{}";

/// From the monitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromMonitor {
    /// The agent is there. Requests are passed on from now on.
    Booted {
        /// Release of the guest's kernel.
        kernel: String,
        /// From the kernel's start, as the guest says, nanoseconds.
        boot_ns: u64,
    },
    /// What the agent says: an answer, or of its own accord.
    Guest(ToHost),
    /// Something is wrong that the machine may live with: its guest was told too. Said once.
    Trouble {
        /// What.
        reason: String,
    },
    /// The machine is lost, and the monitor ends.
    Lost {
        /// Why.
        reason: String,
        /// The last that its kernel and its hypervisor said.
        console: String,
    },
}

/// What was received.
#[derive(Debug)]
pub enum Received<T> {
    /// A document and its descriptors.
    Packet(T, Vec<OwnedFd>),
    /// The peer hung up.
    Closed,
    /// Nothing is there (non-blocking sockets).
    Nothing,
    /// Something that is no document of this kind.
    Garbage(String),
}

/// Sends a request to the monitor.
pub fn ask(control: BorrowedFd<'_>, request: &ToGuest, streams: &[BorrowedFd<'_>]) -> io::Result<()> {
    send(control, request, streams)
}

/// Receives what the monitor says.
pub fn hear(control: BorrowedFd<'_>) -> io::Result<Received<FromMonitor>> {
    receive(control)
}

/// Sends one document. *Errors*: `WouldBlock` on a non-blocking socket whose peer does not read.
pub(super) fn send<T: Serialize>(socket: BorrowedFd<'_>, document: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(document)?;
    if bytes.len() <= MAX_INLINE_BYTES {
        return packet::send(socket, &bytes, fds).map(|_| ());
    }
    if bytes.len() > MAX_BYTES || fds.len() == MAX_DESCRIPTORS {
        let text = format!("a document of {} bytes, where {MAX_BYTES} are the most", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let file = rustix::fs::memfd_create(c"holm-packet", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW)?;
    let all: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd()).chain(fds.iter().copied()).collect();
    packet::send(socket, ELSEWHERE, &all).map(|_| ())
}

/// Receives one document.
pub(super) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Received<T>> {
    let (mut bytes, mut fds) = match packet::receive(socket, MAX_INLINE_BYTES)? {
        packet::Received::Packet(bytes, fds) => (bytes, fds),
        packet::Received::Closed => return Ok(Received::Closed),
        packet::Received::Nothing => return Ok(Received::Nothing),
    };
    if bytes == ELSEWHERE && !fds.is_empty() {
        match read_file(fds.remove(0).as_fd()) {
            Ok(content) => bytes = content,
            Err(e) => return Ok(Received::Garbage(e.to_string())),
        }
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Received::Packet(value, fds)),
        Err(e) => Ok(Received::Garbage(e.to_string())),
    }
}

/// Reads a file in memory that nobody can change or make wait.
fn read_file(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let seals = rustix::fs::fcntl_get_seals(file)?;
    let length = usize::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(usize::MAX);
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) || length > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no document in memory"));
    }
    let mut bytes = vec![0; length];
    let mut at = 0;
    while at < length {
        match rustix::io::pread(file, &mut bytes[at..], at as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => at += n,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::SocketType;

    #[test]
    fn documents_of_any_size_arrive_with_their_descriptors() {
        let (a, b) = packet::pair(SocketType::SEQPACKET).unwrap();
        for length in [1, MAX_INLINE_BYTES, MAX_MESSAGE_BYTES] {
            let sent = FromMonitor::Lost { reason: "x".repeat(length), console: String::new() };
            send(a.as_fd(), &sent, &[a.as_fd()]).unwrap();
            let Received::Packet(got, fds) = receive::<FromMonitor>(b.as_fd()).unwrap() else { panic!("no packet") };
            assert!(got == sent && fds.len() == 1, "{length}");
        }
        let huge = FromMonitor::Lost { reason: "x".repeat(2 * MAX_MESSAGE_BYTES), console: String::new() };
        assert_eq!(send(a.as_fd(), &huge, &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_descriptor_that_is_no_sealed_memory_is_garbage() {
        let (a, b) = packet::pair(SocketType::SEQPACKET).unwrap();
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let open = rustix::fs::memfd_create(c"x", MemfdFlags::ALLOW_SEALING).unwrap();
        for fd in [read.as_fd(), open.as_fd()] {
            packet::send(a.as_fd(), ELSEWHERE, &[fd]).unwrap();
            assert!(matches!(hear(b.as_fd()).unwrap(), Received::Garbage(_)));
        }
    }
}
