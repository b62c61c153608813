//! Datagrams in batches: one call receives many, one call sends the replies. No protocol.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Most datagrams that one call takes.
pub const BATCH: usize = 32;

/// Room for a batch of received datagrams, at most `IN` bytes each, and for a reply to each, at most `OUT` bytes.
pub struct Batch<const IN: usize, const OUT: usize> {
    received: Box<[[u8; IN]]>,
    lengths: [usize; BATCH],
    peers: Box<[libc::sockaddr_in6]>,
    peer_lengths: [libc::socklen_t; BATCH],
    replies: Box<[[u8; OUT]]>,
    reply_lengths: [usize; BATCH],
    count: usize,
}

impl<const IN: usize, const OUT: usize> Default for Batch<IN, OUT> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const IN: usize, const OUT: usize> Batch<IN, OUT> {
    /// Empty room.
    pub fn new() -> Self {
        // SAFETY: an all-zero sockaddr_in6 is valid.
        let nobody: libc::sockaddr_in6 = unsafe { zeroed() };
        Self {
            received: vec![[0; IN]; BATCH].into_boxed_slice(),
            lengths: [0; BATCH],
            peers: vec![nobody; BATCH].into_boxed_slice(),
            peer_lengths: [0; BATCH],
            replies: vec![[0; OUT]; BATCH].into_boxed_slice(),
            reply_lengths: [0; BATCH],
            count: 0,
        }
    }

    /// Receives what waits on a socket, at most [`BATCH`] datagrams, without waiting; how many. A datagram longer than `IN`
    /// counts as empty. *Source*: recvmmsg(2).
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.count = 0;
        self.reply_lengths = [0; BATCH];
        // SAFETY: all-zero iovecs and mmsghdrs are valid.
        let (mut parts, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) = unsafe { (zeroed(), zeroed()) };
        for at in 0..BATCH {
            parts[at] = libc::iovec { iov_base: self.received[at].as_mut_ptr().cast(), iov_len: IN };
            headers[at].msg_hdr.msg_name = (&raw mut self.peers[at]).cast();
            headers[at].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            headers[at].msg_hdr.msg_iov = &raw mut parts[at];
            headers[at].msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: each header points to one iovec over IN writable bytes and to one address of the length told; all of them
        // live over the call and nothing else refers to them. A null time-out is allowed.
        let got = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as u32, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        let Ok(count) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        for (at, header) in headers.iter().enumerate().take(count) {
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            self.lengths[at] = if whole { (header.msg_len as usize).min(IN) } else { 0 };
            self.peer_lengths[at] = header.msg_hdr.msg_namelen;
        }
        self.count = count;
        Ok(count)
    }

    /// A received datagram, who sent it, and room for the reply; none where the sender has no internet address.
    pub fn datagram(&mut self, at: usize) -> Option<(&[u8], SocketAddr, &mut [u8; OUT])> {
        if at >= self.count {
            return None;
        }
        let peer = address(&self.peers[at], self.peer_lengths[at])?;
        Some((&self.received[at][..self.lengths[at]], peer, &mut self.replies[at]))
    }

    /// Says how long the reply is.
    pub fn reply(&mut self, at: usize, length: usize) {
        self.reply_lengths[at] = length.min(OUT);
    }

    /// Sends the replies, without waiting. What the kernel does not take is dropped, as a network would. *Source*: sendmmsg(2).
    pub fn send(&mut self, socket: BorrowedFd<'_>) {
        // SAFETY: all-zero iovecs and mmsghdrs are valid.
        let (mut parts, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) = unsafe { (zeroed(), zeroed()) };
        let mut filled = 0;
        for at in 0..self.count {
            if self.reply_lengths[at] == 0 {
                continue;
            }
            let base = self.replies[at].as_mut_ptr().cast();
            parts[filled] = libc::iovec { iov_base: base, iov_len: self.reply_lengths[at] };
            headers[filled].msg_hdr.msg_name = (&raw mut self.peers[at]).cast();
            headers[filled].msg_hdr.msg_namelen = self.peer_lengths[at];
            headers[filled].msg_hdr.msg_iov = &raw mut parts[filled];
            headers[filled].msg_hdr.msg_iovlen = 1;
            filled += 1;
        }
        let mut rest = &mut headers[..filled];
        while !rest.is_empty() {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: each header points to one iovec over that many initialised bytes and to an address of the length that
            // the kernel told; all of them live over the call.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, flags) };
            let sent = match usize::try_from(sent) {
                Ok(sent) => sent.max(1),
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => 1,
            };
            let done = sent.min(rest.len());
            rest = &mut rest[done..];
        }
    }
}

fn address(peer: &libc::sockaddr_in6, length: libc::socklen_t) -> Option<SocketAddr> {
    match libc::c_int::from(peer.sin6_family) {
        libc::AF_INET if length as usize >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: a sockaddr_in is shorter than a sockaddr_in6, is no more aligned, and any bytes of it are valid.
            let peer = unsafe { &*ptr::from_ref(peer).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(peer.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(peer.sin_port)).into())
        }
        libc::AF_INET6 if length as usize >= size_of::<libc::sockaddr_in6>() => {
            let ip = Ipv6Addr::from(peer.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(peer.sin6_port), 0, peer.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn batch_is_received_and_answered_each_to_its_sender() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(host).unwrap();
            let clients: Vec<_> = (0..3).map(|_| UdpSocket::bind(host).unwrap()).collect();
            for (at, client) in clients.iter().enumerate() {
                client.send_to(&[7; 4][..=at], server.local_addr().unwrap()).unwrap();
            }
            clients[0].send_to(&[1; 9], server.local_addr().unwrap()).unwrap();
            let mut batch = Batch::<8, 8>::new();
            assert_eq!(batch.receive(server.as_fd()).unwrap(), 4);
            for at in 0..3 {
                let (bytes, peer, reply) = batch.datagram(at).unwrap();
                assert_eq!((bytes, peer), (&[7; 4][..=at], clients[at].local_addr().unwrap()));
                reply[0] = at as u8;
                batch.reply(at, 1);
            }
            assert_eq!(batch.datagram(3).unwrap().0, b"", "one that is too long");
            assert!(batch.datagram(4).is_none());
            batch.send(server.as_fd());
            for (at, client) in clients.iter().enumerate() {
                let mut bytes = [0; 8];
                assert_eq!(client.recv(&mut bytes).unwrap(), 1);
                assert_eq!(usize::from(bytes[0]), at);
            }
            assert_eq!(batch.receive(server.as_fd()).unwrap(), 0);
        }
    }
}
