//! Packets between a command and a supervisor: one JSON document each, with descriptors.
//!
//! Owns the socket calls. The documents are in `holm_spec::protocol`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use holm_spec::protocol::MAX_PACKET_BYTES;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most descriptors that come with one packet.
const MAX_DESCRIPTORS: usize = 4;

/// A connected pair.
pub(crate) fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

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
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
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
    // How long it is, first: room for the longest would be a page fault for every 4 KiB of it.
    let length = loop {
        match rustix::net::recv(socket, &mut [0u8; 0], RecvFlags::PEEK | RecvFlags::TRUNC) {
            Ok((_, 0)) => return Ok(Received::Closed),
            Ok((_, length)) => break length,
            // A peer that ended with words of ours unread: that is told once, and then what it had said.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(e) => return Err(e.into()),
        }
    };
    let mut bytes = vec![0u8; length.min(MAX_PACKET_BYTES)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(e) => return Err(e.into()),
        }
    };
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    if message.bytes == 0 {
        return Ok(Received::Closed);
    }
    match serde_json::from_slice(&bytes[..message.bytes]) {
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
