//! A whole machine's serial console: to its log, to who is attached, and back.
//!
//! The guest writes without end, and who is attached may not read: both are bounded by dropping what is oldest or does not fit.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holm_sys::packet::{self, Received};
use rustix::event::PollFlags;
use rustix::net::SocketType;

/// Most bytes of the log; there is one older one.
const LOG_BYTES: u64 = 4 << 20;
/// What one who attaches hears of what was said before.
const LATELY_BYTES: usize = 16 << 10;
/// Most bytes of input that wait for the guest.
const INPUT_BYTES: usize = 64 << 10;
/// Most who are attached at once.
const MAX_STREAMS: usize = 64;
/// Most bytes read at once.
const READ_BYTES: usize = 16 << 10;

/// The console of a machine.
pub(super) struct Console {
    guest: OwnedFd,
    log: Option<File>,
    log_bytes: u64,
    path: PathBuf,
    lately: VecDeque<u8>,
    input: VecDeque<u8>,
    streams: Vec<OwnedFd>,
}

impl Console {
    /// With a fresh log in this folder. A log that cannot be written is none.
    pub(super) fn new(guest: OwnedFd, folder: &Path) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&guest, true)?;
        let path = folder.join("console.log");
        let mut console = Self {
            guest,
            log: None,
            log_bytes: 0,
            path,
            lately: VecDeque::new(),
            input: VecDeque::new(),
            streams: Vec::new(),
        };
        console.turn_log();
        Ok(console)
    }

    fn turn_log(&mut self) {
        let _ = std::fs::rename(&self.path, self.path.with_extension("log.1"));
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path);
        (self.log, self.log_bytes) = (opened.ok(), 0);
    }

    /// Adds one who hears and speaks; the other end.
    pub(super) fn attach(&mut self) -> io::Result<OwnedFd> {
        if self.streams.len() >= MAX_STREAMS {
            return Err(io::Error::other("too many are attached to it"));
        }
        let (ours, theirs) = packet::pair(SocketType::STREAM)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let (first, second) = self.lately.as_slices();
        for part in [first, second] {
            let _ = packet::send(ours.as_fd(), part, &[]);
        }
        self.streams.push(ours);
        Ok(theirs)
    }

    /// What is waited for: the guest first, then each who is attached.
    pub(super) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let guest = if self.input.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        // Who types faster than the guest reads waits.
        let full = self.input.len() >= INPUT_BYTES;
        let stream = if full { PollFlags::empty() } else { PollFlags::IN };
        std::iter::once((self.guest.as_fd(), guest)).chain(self.streams.iter().map(move |s| (s.as_fd(), stream)))
    }

    /// Moves what is there. `ready` is in the order of [`Console::interests`].
    pub(super) fn turn(&mut self, ready: &[PollFlags]) {
        let streams = ready.get(1..).unwrap_or_default();
        let mut at = 0;
        let input = &mut self.input;
        self.streams.retain(|stream| {
            let flags = streams.get(at).copied().unwrap_or(PollFlags::empty());
            at += 1;
            flags.is_empty() || hear(stream, input)
        });
        if ready.first().is_some_and(|flags| !flags.is_empty()) {
            self.hear_guest();
        }
        self.feed();
    }

    /// Takes what the guest said; whether there was anything.
    pub(super) fn hear_guest(&mut self) -> bool {
        let Ok(Received::Packet(bytes, _)) = packet::receive_some(self.guest.as_fd(), READ_BYTES) else { return false };
        if let Some(log) = &mut self.log {
            let _ = log.write_all(&bytes);
            self.log_bytes += bytes.len() as u64;
        }
        if self.log_bytes >= LOG_BYTES {
            self.turn_log();
        }
        self.lately.extend(&bytes);
        let old = self.lately.len().saturating_sub(LATELY_BYTES);
        self.lately.drain(..old);
        // Who does not read misses it; the log has it.
        self.streams.retain(|stream| {
            packet::send(stream.as_fd(), &bytes, &[]).map_or_else(|e| e.kind() == io::ErrorKind::WouldBlock, |_| true)
        });
        true
    }

    fn feed(&mut self) {
        while !self.input.is_empty() {
            match packet::send(self.guest.as_fd(), self.input.as_slices().0, &[]) {
                Ok(sent) if sent > 0 => drop(self.input.drain(..sent)),
                _ => return,
            }
        }
    }
}

/// Takes what one who is attached types; false when it hung up.
fn hear(stream: &OwnedFd, input: &mut VecDeque<u8>) -> bool {
    match packet::receive_some(stream.as_fd(), READ_BYTES) {
        Ok(Received::Packet(bytes, _)) => {
            input.extend(bytes);
            true
        }
        Ok(Received::Nothing) => true,
        Ok(Received::Closed) | Err(_) => false,
    }
}
