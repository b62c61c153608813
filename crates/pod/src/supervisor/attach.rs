//! Attached clients: a bounded queue of output for each, and their input.
//!
//! The client that started the container in the foreground is waited for without end, as any reader of a pipe would be;
//! one that attached later and takes nothing for a minute is cut off. A dead one is gone at once.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use holm_spec::protocol::Frame;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::Supervisor;

/// A queue above this holds the container's output back.
const QUEUE_BYTES: usize = 256 * 1024;
/// How long a client that attached later may take nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most attached clients.
pub(super) const MAX_STREAMS: usize = 32;

/// One attached client.
pub(super) struct Stream {
    pub number: u32,
    pub socket: OwnedFd,
    queue: VecDeque<u8>,
    raw: bool,
    feeds: bool,
    foreground: bool,
    full_since: Option<Instant>,
}

impl Stream {
    /// The client that started the container: the end of its input is the end of the container's.
    pub(super) fn foreground(number: u32, socket: OwnedFd, feeds: bool, raw: bool) -> Self {
        let _ = rustix::io::ioctl_fionbio(&socket, true);
        Self { number, socket, queue: VecDeque::new(), raw, feeds, foreground: true, full_since: None }
    }

    /// A client that attached to a running container.
    pub(super) fn later(number: u32, socket: OwnedFd, feeds: bool, raw: bool) -> Self {
        Self { foreground: false, ..Self::foreground(number, socket, feeds, raw) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() > QUEUE_BYTES
    }

    /// Whether all that was queued was sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn cut_at(&self) -> Option<Instant> {
        self.full_since.filter(|_| !self.foreground).map(|since| since + PATIENCE)
    }

    pub(super) fn interest(&self, wants_input: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        if self.feeds && wants_input {
            flags |= PollFlags::IN;
        }
        if !self.queue.is_empty() {
            flags |= PollFlags::OUT;
        }
        flags
    }

    /// Queues output.
    pub(super) fn push(&mut self, number: u8, bytes: &[u8]) {
        if !self.raw {
            // Output comes in pieces of at most 64 KiB.
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.queue.extend(Frame { stream: number, length }.to_bytes());
        }
        self.queue.extend(bytes);
    }

    /// Sends what the client takes; false when it is gone.
    fn write(&mut self) -> bool {
        while !self.queue.is_empty() {
            let (front, _) = self.queue.as_slices();
            match rustix::net::send(&self.socket, front, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => {
                    self.queue.drain(..n);
                    self.full_since = None;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        if self.is_full() {
            self.full_since.get_or_insert_with(Instant::now);
        }
        true
    }
}

impl Supervisor {
    pub(super) fn write_streams(&mut self) {
        self.streams.retain_mut(Stream::write);
    }

    pub(super) fn stream_ready(&mut self, number: u32, flags: PollFlags) {
        let Some(at) = self.streams.iter().position(|s| s.number == number) else { return };
        let stream = &mut self.streams[at];
        let mut gone = flags.intersects(PollFlags::ERR | PollFlags::NVAL);
        if flags.contains(PollFlags::OUT) {
            gone |= !stream.write();
        }
        let mut ended = flags.contains(PollFlags::HUP);
        if flags.contains(PollFlags::IN) && stream.feeds {
            let mut buffer = vec![0u8; 16 * 1024];
            match rustix::io::read(&stream.socket, &mut buffer) {
                Ok(0) => ended = true,
                Ok(n) => {
                    // Input sent just before hanging up still counts.
                    ended = false;
                    if let Some(running) = &mut self.running {
                        running.pump.queue_input(&buffer[..n]);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => gone = true,
            }
        }
        let stream = &mut self.streams[at];
        if (ended || gone) && stream.feeds {
            stream.feeds = false;
            let last = stream.foreground;
            if let Some(running) = self.running.as_mut().filter(|_| last) {
                running.pump.end_input();
            }
        }
        if gone || (ended && flags.contains(PollFlags::HUP)) {
            self.streams.remove(at);
        }
        self.give_input();
    }

    /// Gives attached clients what is queued for them, then lets them go. Nothing else depends on it any more.
    pub(super) fn flush_streams(&mut self) {
        loop {
            self.write_streams();
            self.streams.retain(|s| !s.queue.is_empty());
            let now = Instant::now();
            self.streams.retain(|s| s.cut_at().is_none_or(|at| at > now));
            if self.streams.is_empty() {
                return;
            }
            for stream in &mut self.streams {
                stream.full_since.get_or_insert(now);
            }
            let wait = self.streams.iter().filter_map(Stream::cut_at).min().map(|at| at.saturating_duration_since(now));
            let wait = wait.map(|d| rustix::event::Timespec {
                tv_sec: d.as_secs().cast_signed(),
                tv_nsec: d.subsec_nanos().into(),
            });
            let mut polls: Vec<_> = self.streams.iter().map(|s| PollFd::new(&s.socket, PollFlags::OUT)).collect();
            let _ = rustix::event::poll(&mut polls, wait.as_ref());
        }
    }
}
