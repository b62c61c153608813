//! A machine behind a tap: it answers ARP, ICMP echo and UDP (with what it was sent), and sends what a test has it send.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec};

/// Bytes of the virtio-net header.
const HEADER: usize = 10;
/// No test waits longer for anything.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// The machine.
pub(crate) struct Guest {
    fd: OwnedFd,
    pub(crate) mac: [u8; 6],
    ip: Ipv4Addr,
}

/// A datagram that it sends.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) mac: [u8; 6],
    pub(crate) from: SocketAddrV4,
    pub(crate) to: ([u8; 6], SocketAddrV4),
    pub(crate) text: &'a str,
}

impl Guest {
    pub(crate) fn new(fd: OwnedFd, mac: [u8; 6], ip: Ipv4Addr) -> Self {
        Self { fd, mac, ip }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Answers until the socket has a datagram, and gives it.
    #[track_caller]
    pub(crate) fn serve_until(&self, socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        self.serve_while_silent(socket.as_fd());
        let mut text = [0; 2000];
        let (length, from) = socket.recv_from(&mut text).unwrap();
        (text[..length].to_vec(), from)
    }

    /// Answers until a process ends.
    pub(crate) fn serve_while_runs(&self, mut child: Child) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        self.serve_while_silent(pidfd.as_fd());
        child.wait().unwrap()
    }

    /// Answers until the other descriptor can be read or is at its end.
    #[track_caller]
    pub(crate) fn serve_while_silent(&self, other: std::os::fd::BorrowedFd<'_>) {
        loop {
            let mut polls = [PollFd::new(&self.fd, PollFlags::IN), PollFd::from_borrowed_fd(other, PollFlags::IN)];
            assert!(rustix::event::poll(&mut polls, Some(&PATIENCE)).unwrap() > 0, "nothing comes");
            if !polls[1].revents().is_empty() {
                return;
            }
            let mut frame = [0; 2000];
            let length = rustix::io::read(&self.fd, &mut frame).unwrap();
            if let Some(answer) = self.answer(&frame[HEADER..length]) {
                self.write(&answer);
            }
        }
    }

    fn write(&self, frame: &[u8]) {
        let all = [&[0; HEADER], frame].concat();
        assert_eq!(rustix::io::write(&self.fd, &all).unwrap(), all.len());
    }

    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut answer = frame.to_vec();
        answer[..6].copy_from_slice(&frame[6..12]);
        answer[6..12].copy_from_slice(&self.mac);
        match (frame[12], frame[13]) {
            (8, 6) if frame[21] == 1 && frame[38..42] == self.ip.octets() => {
                answer[21] = 2;
                answer[22..28].copy_from_slice(&self.mac);
                answer[28..32].copy_from_slice(&self.ip.octets());
                answer[32..42].copy_from_slice(&frame[22..32]);
            }
            (8, 0) if frame[30..34] == self.ip.octets() => {
                answer[26..30].copy_from_slice(&frame[30..34]);
                answer[30..34].copy_from_slice(&frame[26..30]);
                match frame[23] {
                    1 if frame[34] == 8 => {
                        answer[34] = 0;
                        answer[36..38].fill(0);
                        let sum = checksum(&answer[34..14 + usize::from(length_of(frame))]);
                        answer[36..38].copy_from_slice(&sum.to_be_bytes());
                    }
                    17 => {
                        assert_eq!(udp_checksum(&frame[14..]), 0, "the sum of a datagram that arrives");
                        answer[34..36].copy_from_slice(&frame[36..38]);
                        answer[36..38].copy_from_slice(&frame[34..36]);
                        // None: IPv4 may do without.
                        answer[40..42].fill(0);
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(answer)
    }

    /// Sends a datagram, forged or not.
    pub(crate) fn udp(&self, sent: &Sent<'_>) {
        let length = u16::try_from(28 + sent.text.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(sent.from.ip().octets());
        packet.extend(sent.to.1.ip().octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(sent.from.port().to_be_bytes());
        packet.extend(sent.to.1.port().to_be_bytes());
        packet.extend((length - 20).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(sent.text.bytes());
        self.write(&[&sent.to.0[..], &sent.mac, &[8, 0], &packet].concat());
    }

    /// Says to everybody by ARP that an address is its own.
    pub(crate) fn claim(&self, address: Ipv4Addr) {
        let mut frame = [&[0xff; 6][..], &self.mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
        for _ in 0..2 {
            frame.extend(self.mac);
            frame.extend(address.octets());
        }
        self.write(&frame);
    }
}

fn length_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[16], frame[17]])
}

/// Zero for a datagram that is whole. *Source*: RFC 768.
fn udp_checksum(packet: &[u8]) -> u16 {
    let end = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    checksum(&[&packet[12..20], &[0, 17], &packet[24..26], &packet[20..end]].concat())
}

/// *Source*: RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
