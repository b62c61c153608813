//! The channel to the host: frames in and out of the virtio-serial port, without ever waiting for it.
//!
//! The port's device behaves in its own way: it reads as empty (0 bytes) and is hung up as long as nobody has the host's end
//! open, takes nothing then, and goes on where it was when somebody has. So a hang-up is no end; the kernel tells by SIGIO when
//! it is over. *Source*: drivers/char/virtio_console.c.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::guest::{Decoder, Frame, Kind, MAX_DATA_BYTES, MAX_MESSAGE_BYTES, ToHost, encode};
use holm_sys::signal::tell_changes;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Doing, Error};

/// Bytes that wait for the host, from which on no more output is taken from processes.
const CROWDED: usize = 256 * 1024;
/// Bytes that wait for the host, from which on no more of it is listened to: answers are longer than questions.
const OVERFULL: usize = 4 * MAX_MESSAGE_BYTES;

/// The guest's end.
#[derive(Debug)]
pub(crate) struct Port {
    fd: OwnedFd,
    decoder: Decoder,
    /// What waits for the host, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    connected: bool,
}

impl Port {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).doing(|| format!("open `{}`", path.display()))?;
        Ok(Self { fd, decoder: Decoder::default(), out: Vec::new(), sent: 0, connected: true })
    }

    /// What to wait for; nothing while the host is away.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::OUT, self.waiting() > 0);
        flags.set(PollFlags::IN, self.waiting() < OVERFULL);
        self.connected.then_some((self.fd.as_fd(), flags))
    }

    fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Whether the host is behind with what it was sent.
    pub(crate) fn is_crowded(&self) -> bool {
        self.waiting() >= CROWDED
    }

    pub(crate) fn tell(&mut self, message: &ToHost) -> Result<(), Error> {
        let text = serde_json::to_vec(message).map_err(|e| Error::refused(format!("write a message: {e}")))?;
        encode(Kind::Message, 0, &text, &mut self.out);
        Ok(())
    }

    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8]) {
        encode(Kind::Data, stream, bytes, &mut self.out);
    }

    pub(crate) fn end(&mut self, stream: u32) {
        encode(Kind::End, stream, &[], &mut self.out);
    }

    pub(crate) fn credit(&mut self, stream: u32, bytes: u32) {
        encode(Kind::Credit, stream, &bytes.to_le_bytes(), &mut self.out);
    }

    /// Writes what the host takes now. *Errors*: the port is broken.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        while self.connected && self.waiting() > 0 {
            match rustix::io::write(&self.fd, &self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(e) => return Err(Error::Call { what: "write to the host".into(), source: e.into() }),
            }
        }
        if self.waiting() == 0 {
            self.sent = 0;
            if self.out.capacity() > 2 * CROWDED { self.out = Vec::new() } else { self.out.clear() }
        } else if self.sent > CROWDED {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Reads once. *Errors*: the port is broken.
    pub(crate) fn read(&mut self) -> Result<(), Error> {
        let mut buffer = [0; MAX_DATA_BYTES];
        match rustix::io::read(&self.fd, &mut buffer) {
            // Nobody at the other end; the poll says so too.
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Ok(n) => {
                self.decoder.push(&buffer[..n]);
                Ok(())
            }
            Err(e) => Err(Error::Call { what: "read from the host".into(), source: e.into() }),
        }
    }

    /// The next whole frame that was read.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, Error> {
        self.decoder.next_frame().map_err(|e| Error::Violation(format!("it sends {e}")))
    }

    /// The poll found the port hung up: nobody has the host's end open. It is left alone until [`Port::look_again`].
    pub(crate) fn hung_up(&mut self) -> Result<(), Error> {
        let what = || "wait for the host".to_owned();
        tell_changes(self.fd.as_fd(), true).doing(what)?;
        // Somebody may have come between the poll and that; no signal says so.
        let mut now = [PollFd::new(&self.fd, PollFlags::empty())];
        rustix::event::poll(&mut now, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).doing(what)?;
        self.connected = !now[0].revents().contains(PollFlags::HUP);
        Ok(())
    }

    /// Something has changed at the port.
    pub(crate) fn look_again(&mut self) -> Result<(), Error> {
        if !self.connected {
            self.connected = true;
            tell_changes(self.fd.as_fd(), false).doing(|| "listen to the host".into())?;
        }
        Ok(())
    }
}
