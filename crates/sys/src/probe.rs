//! A probe: one packet of a kind, sent from the namespace of the thread that opens it, and what came of it.
//!
//! Owns its socket, its bytes and the waiting. Who sends it where, and what follows from the outcome, is the caller's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection to this port is made and closed.
    Tcp(u16),
    /// An empty datagram to this port; to port 53 a question that a name server answers by itself.
    Udp(u16),
    /// An echo request.
    Echo,
}

impl Kind {
    fn port(self) -> Option<u16> {
        match self {
            Self::Tcp(port) | Self::Udp(port) => Some(port),
            Self::Echo => None,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A connection, or an answer, after so long.
    Answered(Duration),
    /// Nothing within so long.
    Silence(Duration),
    /// An error of the kernel: its own, or what an ICMP message or a reset told it.
    Refused(Errno),
}

/// A probe, ready to be sent.
#[derive(Debug)]
pub struct Probe {
    socket: OwnedFd,
    kind: Kind,
    to: IpAddr,
    number: u16,
}

impl Probe {
    /// Opens it in the network namespace of this thread. `number` is its source port, or the identifier of an echo request;
    /// a free one where absent. *Privilege*: CAP_NET_RAW there for an echo request. *Errors*: a port in use; a family that
    /// the kernel has not.
    pub fn open(kind: Kind, to: IpAddr, number: Option<u16>) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let (sort, protocol) = match (kind, to.is_ipv4()) {
            (Kind::Tcp(_), _) => (SocketType::STREAM, None),
            (Kind::Udp(_), _) => (SocketType::DGRAM, None),
            (Kind::Echo, true) => (SocketType::RAW, Some(ipproto::ICMP)),
            (Kind::Echo, false) => (SocketType::RAW, Some(ipproto::ICMPV6)),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, sort, flags, protocol)?;
        let number = match (kind, number) {
            (Kind::Echo, Some(number)) => number,
            (Kind::Echo, None) => {
                let mut bytes = [0; 2];
                rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
                u16::from_ne_bytes(bytes)
            }
            (_, number) => {
                let any: IpAddr =
                    if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                rustix::net::bind(&socket, &SocketAddr::new(any, number.unwrap_or(0)))?;
                SocketAddr::try_from(rustix::net::getsockname(&socket)?).map_or(0, |address| address.port())
            }
        };
        Ok(Self { socket, kind, to, number })
    }

    /// Its source port, or the identifier of its echo request: what it is recognised by on its way.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Sends it and waits for what comes of it.
    pub fn send(&self, timeout: Duration) -> Outcome {
        let start = Instant::now();
        match self.exchange(start, start + timeout) {
            Ok(true) => Outcome::Answered(start.elapsed()),
            Ok(false) | Err(Errno::TIMEDOUT) => Outcome::Silence(start.elapsed()),
            Err(e) => Outcome::Refused(e),
        }
    }

    fn exchange(&self, start: Instant, end: Instant) -> Result<bool, Errno> {
        let to = SocketAddr::new(self.to, self.kind.port().unwrap_or(0));
        match rustix::net::connect(&self.socket, &to) {
            Ok(()) if matches!(self.kind, Kind::Tcp(_)) => return Ok(true),
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => return Err(e),
        }
        let wanted = match self.kind {
            Kind::Tcp(_) => PollFlags::OUT,
            Kind::Udp(port) => {
                rustix::net::send(&self.socket, datagram(port), SendFlags::empty())?;
                PollFlags::IN
            }
            Kind::Echo => {
                rustix::net::send(&self.socket, &echo(self.to.is_ipv4(), self.number), SendFlags::empty())?;
                PollFlags::IN
            }
        };
        let mut now = start;
        while now < end {
            let mut poll = [PollFd::new(&self.socket, wanted)];
            let left = end - now;
            let timespec = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match rustix::event::poll(&mut poll, Some(&timespec)) {
                Ok(0) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
                Ok(_) => {
                    sockopt::socket_error(&self.socket)??;
                    if matches!(self.kind, Kind::Tcp(_)) || self.is_answered()? {
                        return Ok(true);
                    }
                }
            }
            now = Instant::now();
        }
        Ok(false)
    }

    /// Reads what came; whether it is the answer.
    fn is_answered(&self) -> Result<bool, Errno> {
        let mut buffer = [0; 2048];
        let length = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, length)) => length.min(buffer.len()),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(e) => return Err(e),
        };
        if self.kind != Kind::Echo {
            return Ok(true);
        }
        match self.to.is_ipv4() {
            true => {
                let header = usize::from(buffer[0] & 0xf) * 4;
                read_icmp(buffer.get(header..length).unwrap_or(&[]), self.number, true)
            }
            false => read_icmp(&buffer[..length], self.number, false),
        }
    }
}

/// A message of ICMP: whether it answers the echo request. *Errors*: it says that somebody cannot pass our request on.
fn read_icmp(message: &[u8], number: u16, v4: bool) -> Result<bool, Errno> {
    let [kind, code, ..] = message else { return Ok(false) };
    let number_at = |at: usize| message.get(at..at + 2) == Some(&number.to_be_bytes()[..]);
    // The refused packet stands behind eight bytes: its own header, then the request with its number.
    let inner = if v4 { 8 + message.get(8).map_or(20, |first| usize::from(first & 0xf) * 4) } else { 8 + 40 };
    match (*kind, v4) {
        (0, true) | (129, false) => Ok(number_at(4)),
        (3, true) | (1, false) if number_at(inner + 4) => Err(match (v4, code) {
            (true, 0) | (false, 0) => Errno::NETUNREACH,
            (true, 9 | 10 | 13) | (false, 1) => Errno::ACCESS,
            _ => Errno::HOSTUNREACH,
        }),
        _ => Ok(false),
    }
}

/// To a name server a question that it answers by itself, RFC 6761 section 6.3; to anybody else nothing that could do
/// something.
fn datagram(port: u16) -> &'static [u8] {
    // Number 1, "recurse", one question: the address (1) of `localhost`, class internet (1).
    if port == 53 { b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01" } else { &[] }
}

fn echo(v4: bool, number: u16) -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = if v4 { 8 } else { 128 };
    message[4..6].copy_from_slice(&number.to_be_bytes());
    message[7] = 1;
    message[8..].copy_from_slice(b"holmpath");
    if v4 {
        // The kernel sums up ICMPv6 itself. Source: RFC 3542, section 3.1.
        let sum = message.chunks(2).fold(0u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX);
        message[2..4].copy_from_slice(&(!folded).to_be_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_requests_sum_up_and_answers_are_told_from_refusals() {
        let sent = echo(true, 0xabcd);
        let sum = sent.chunks(2).fold(0u32, |sum, p| sum + u32::from(u16::from_be_bytes([p[0], p[1]])));
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        let mut answer = sent;
        answer[0] = 0;
        assert_eq!(read_icmp(&answer, 0xabcd, true), Ok(true));
        assert_eq!(read_icmp(&answer, 1, true), Ok(false));
        assert_eq!(read_icmp(&sent, 0xabcd, true), Ok(false));
        let mut refused = vec![3, 13, 0, 0, 0, 0, 0, 0, 0x45];
        refused.resize(28, 0);
        refused.extend(sent);
        assert_eq!(read_icmp(&refused, 0xabcd, true), Err(Errno::ACCESS));
        assert_eq!(read_icmp(&refused, 1, true), Ok(false));
        for short in [&[][..], &[3], &[3, 0, 0], &[1, 0, 0, 0]] {
            assert_eq!(read_icmp(short, 0, true), Ok(false));
        }
    }

    #[test]
    fn a_connection_is_made_refused_and_answered() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let try_it = |kind| Probe::open(kind, address.ip(), None).unwrap().send(Duration::from_secs(5));
        assert!(matches!(try_it(Kind::Tcp(address.port())), Outcome::Answered(_)));
        drop(listener);
        assert_eq!(try_it(Kind::Tcp(address.port())), Outcome::Refused(Errno::CONNREFUSED));
        assert_eq!(try_it(Kind::Udp(address.port())), Outcome::Refused(Errno::CONNREFUSED));
        // A listener on the port may belong to a test beside this one: only its own echo is asked for.
        assert!(matches!(try_it(Kind::Echo), Outcome::Answered(_) | Outcome::Refused(_)));
    }
    #[test]
    fn it_is_known_by_the_number_asked_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let probe = Probe::open(Kind::Tcp(address.port()), address.ip(), Some(free)).unwrap();
        assert_eq!(probe.number(), free);
        assert!(matches!(probe.send(Duration::from_secs(5)), Outcome::Answered(_)));
        assert_eq!(listener.accept().unwrap().1.port(), free);
    }
}
