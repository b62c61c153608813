//! Packets between a command and a supervisor: one JSON document each, with descriptors.
//!
//! Owns the sockets in folders. The documents are in `holm_spec::protocol`, the socket calls in `holm_sys::packet`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use holm_spec::protocol::MAX_PACKET_BYTES;
use holm_sys::packet;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use packet::pair;

/// The address of `name` in `folder`. By descriptor, since a socket address has room for 107 bytes only.
fn address(folder: BorrowedFd<'_>, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?)
}

/// Connects to the socket `name` in `folder`.
pub(crate) fn connect(folder: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address(folder, name)?)?;
    Ok(socket)
}

/// Makes the socket `name` in `folder`, which only the owner can reach, and listens.
pub(crate) fn listen(folder: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    match rustix::net::bind(&socket, &address(folder, name)?) {
        Err(Errno::ADDRINUSE) => {
            rustix::fs::unlinkat(folder, name, rustix::fs::AtFlags::empty())?;
            rustix::net::bind(&socket, &address(folder, name)?)?;
        }
        other => other?,
    }
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// Accepts one connection of this very user; `None` when nobody waits. Others are hung up on.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(listener, flags) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::CONNABORTED) => return Ok(None),
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        let peer = rustix::net::sockopt::socket_peercred(&socket)?;
        if peer.uid == rustix::process::geteuid() || peer.uid.is_root() {
            return Ok(Some(socket));
        }
    }
}

/// Sends one packet. *Errors*: `WouldBlock` on a non-blocking socket whose peer does not read.
pub(crate) fn send<T: Serialize>(socket: BorrowedFd<'_>, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_PACKET_BYTES {
        let text = format!("the packet has {} bytes, the limit is {MAX_PACKET_BYTES}", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    packet::send(socket, &bytes, fds).map(|_| ())
}

/// One received packet.
pub(crate) enum Received<T> {
    /// A document and its descriptors.
    Packet(T, Vec<OwnedFd>),
    /// The peer hung up.
    Closed,
    /// Nothing is there (non-blocking sockets).
    Nothing,
    /// Something that is no document of ours.
    Garbage(String),
}

/// Receives one packet.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Received<T>> {
    let (bytes, fds) = match packet::receive(socket, MAX_PACKET_BYTES)? {
        packet::Received::Packet(bytes, fds) => (bytes, fds),
        packet::Received::Closed => return Ok(Received::Closed),
        packet::Received::Nothing => return Ok(Received::Nothing),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Received::Packet(value, fds)),
        Err(e) => Ok(Received::Garbage(e.to_string())),
    }
}

/// Whether a socket's peer can be reached now; for errors of `connect` that mean "nobody listens".
pub(crate) fn nobody_listens(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOENT | Errno::CONNREFUSED | Errno::CONNRESET)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_spec::protocol::{Reply, Request};
    use std::os::fd::AsFd;

    #[test]
    fn last_words_of_a_peer_that_left_something_unread_are_heard() {
        let (ours, theirs) = pair(SocketType::SEQPACKET).unwrap();
        send(ours.as_fd(), &Request::Namespace, &[]).unwrap();
        send(theirs.as_fd(), &Reply::Exited { code: 7 }, &[]).unwrap();
        drop(theirs);
        assert!(matches!(receive(ours.as_fd()), Ok(Received::Packet(Reply::Exited { code: 7 }, _))));
        assert!(matches!(receive::<Reply>(ours.as_fd()), Ok(Received::Closed)));
    }

    #[test]
    fn longest_packet_arrives_whole_and_nothing_is_told_from_closed() {
        let (ours, theirs) = pair(SocketType::SEQPACKET).unwrap();
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        assert!(matches!(receive::<String>(ours.as_fd()), Ok(Received::Nothing)));
        // Two bytes are the quotes.
        let text = "x".repeat(MAX_PACKET_BYTES - 2);
        send(theirs.as_fd(), &text, &[]).unwrap();
        assert!(matches!(receive::<String>(ours.as_fd()), Ok(Received::Packet(got, _)) if got == text));
        drop(theirs);
        assert!(matches!(receive::<String>(ours.as_fd()), Ok(Received::Closed)));
    }
}
