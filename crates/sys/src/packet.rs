//! Packets over a unix socket, with descriptors: what every pair of Holm's own processes talks through.
//!
//! Owns the socket calls. What the bytes mean is for those who send them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

/// Most descriptors that come with one packet.
pub const MAX_DESCRIPTORS: usize = 4;

/// What was received.
#[derive(Debug)]
pub enum Received {
    /// A packet, and its descriptors, which are closed at exec.
    Packet(Vec<u8>, Vec<OwnedFd>),
    /// The peer hung up.
    Closed,
    /// Nothing is there (non-blocking sockets).
    Nothing,
}

/// A connected pair, closed at exec.
pub fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// Sends one packet. On a stream socket it may be sent in part; the number of bytes that were is returned.
///
/// *Errors*: `WouldBlock` on a non-blocking socket whose peer does not read; `InvalidInput` for more descriptors than
/// [`MAX_DESCRIPTORS`].
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MAX_DESCRIPTORS || (!fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Receives one packet of at most `max_bytes`; the rest of a longer one is lost. Not for streams, where nothing says how long
/// what comes is: see [`receive_some`].
pub fn receive(socket: BorrowedFd<'_>, max_bytes: usize) -> io::Result<Received> {
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
    receive_some(socket, length.min(max_bytes))
}

/// Receives what is there of a stream, at most `max_bytes`; of packets the next, with its rest lost.
pub fn receive_some(socket: BorrowedFd<'_>, max_bytes: usize) -> io::Result<Received> {
    let mut bytes = vec![0u8; max_bytes];
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
    bytes.truncate(message.bytes);
    Ok(Received::Packet(bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn packets_keep_their_bounds_and_carry_descriptors() {
        let (a, b) = pair(SocketType::SEQPACKET).unwrap();
        rustix::io::ioctl_fionbio(&b, true).unwrap();
        assert!(matches!(receive(b.as_fd(), 10).unwrap(), Received::Nothing));
        assert_eq!(send(a.as_fd(), b"one", &[a.as_fd(), b.as_fd()]).unwrap(), 3);
        send(a.as_fd(), b"more than fits", &[]).unwrap();
        let Received::Packet(bytes, fds) = receive(b.as_fd(), 10).unwrap() else { panic!("no packet") };
        assert_eq!((bytes.as_slice(), fds.len()), (&b"one"[..], 2));
        let Received::Packet(bytes, _) = receive(b.as_fd(), 10).unwrap() else { panic!("no packet") };
        assert_eq!(bytes, b"more than ");
        let many = [a.as_fd(); MAX_DESCRIPTORS + 1];
        assert_eq!(send(a.as_fd(), b"x", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        drop((a, fds));
        assert!(matches!(receive(b.as_fd(), 10).unwrap(), Received::Closed));
    }
}
