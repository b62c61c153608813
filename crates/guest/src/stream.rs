//! The two directions of a stream, each between the channel and a descriptor of a process, and the credit that bounds it.
//!
//! An [`Outlet`] reads from its descriptor no more than the host gave credit for, so one that the host does not read holds back
//! its own process alone. An [`Inlet`] holds what its process has not read yet, which the credit that was given bounds.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::guest::{INITIAL_CREDIT, MAX_DATA_BYTES};
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::error::Error;
use crate::port::Port;

/// Credit is given back in pieces of this size: a frame for each keystroke would only make work.
const CREDIT_STEP: u32 = INITIAL_CREDIT / 4;

/// From a descriptor to the host.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) stream: u32,
    fd: Option<OwnedFd>,
    credit: u32,
}

impl Outlet {
    /// `fd` must not block.
    pub(crate) fn new(stream: u32, fd: OwnedFd) -> Self {
        Self { stream, fd: Some(fd), credit: INITIAL_CREDIT }
    }

    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let fd = self.fd.as_ref().filter(|_| self.credit > 0)?;
        Some((fd.as_fd(), PollFlags::IN))
    }

    /// The host takes more. *Errors*: more than can be.
    pub(crate) fn add_credit(&mut self, bytes: u32) -> Result<(), Error> {
        let beyond = || Error::Violation(format!("it gives stream {} credit beyond 32 bits", self.stream));
        self.credit = self.credit.checked_add(bytes).ok_or_else(beyond)?;
        Ok(())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.fd.is_none()
    }

    /// Takes what is there once. `last` is for a process that has ended: what is not there now never comes from it, though
    /// others may still hold the other end.
    pub(crate) fn take(&mut self, last: bool, buffer: &mut [u8], port: &mut Port) {
        let Some(fd) = self.fd.as_ref().filter(|_| self.credit > 0) else { return };
        let most = buffer.len().min(MAX_DATA_BYTES).min(self.credit as usize);
        match rustix::io::read(fd, &mut buffer[..most]) {
            Ok(n) if n > 0 => {
                self.credit = self.credit.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
                port.data(self.stream, &buffer[..n]);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if !last => {}
            // The end; a terminal says EIO once nobody has its other side open.
            Ok(_) | Err(_) => {
                self.fd = None;
                port.end(self.stream);
            }
        }
    }
}

/// From the host to a descriptor.
#[derive(Debug)]
pub(crate) struct Inlet {
    pub(crate) stream: u32,
    /// Where it goes; what comes is thrown away without one.
    fd: Option<OwnedFd>,
    queue: VecDeque<u8>,
    /// Bytes that the host may still send.
    granted: u32,
    /// Bytes that went through and that the host was not told of.
    spent: u32,
    ends: bool,
    is_terminal: bool,
}

impl Inlet {
    /// `fd` must not block.
    pub(crate) fn new(stream: u32, fd: OwnedFd, is_terminal: bool) -> Self {
        let (granted, queue) = (INITIAL_CREDIT, VecDeque::new());
        Self { stream, fd: Some(fd), queue, granted, spent: 0, ends: false, is_terminal }
    }

    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let fd = self.fd.as_ref().filter(|_| !self.queue.is_empty())?;
        Some((fd.as_fd(), PollFlags::OUT))
    }

    /// Takes what the host sent. *Errors*: more than it had credit for, or behind the end.
    pub(crate) fn put(&mut self, bytes: &[u8], port: &mut Port) -> Result<(), Error> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let beyond = || Error::Violation(format!("it sends stream {} more than it has credit for", self.stream));
        self.granted = self.granted.checked_sub(length).ok_or_else(beyond)?;
        if self.ends {
            return Err(Error::Violation(format!("it sends on stream {}, which it has ended", self.stream)));
        }
        self.queue.extend(bytes);
        self.give(port);
        Ok(())
    }

    /// The host has no more.
    pub(crate) fn end(&mut self, port: &mut Port) {
        self.ends = true;
        self.give(port);
    }

    /// Writes what the process takes now.
    pub(crate) fn give(&mut self, port: &mut Port) {
        while let Some(fd) = self.fd.as_ref().filter(|_| !self.queue.is_empty()) {
            match rustix::io::write(fd, self.queue.as_slices().0) {
                Ok(n) => {
                    self.queue.drain(..n);
                    self.spent += u32::try_from(n).unwrap_or(0);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Nobody reads it any more.
                Err(_) => self.fd = None,
            }
        }
        if self.fd.is_none() {
            self.spent += u32::try_from(self.queue.len()).unwrap_or(0);
            self.queue.clear();
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(0);
            // A terminal has no end of its own: whoever sits there types it.
            if self.ends && !self.is_terminal {
                self.fd = None;
            }
        }
        if self.spent >= CREDIT_STEP && !self.ends {
            port.credit(self.stream, self.spent);
            self.granted += self.spent;
            self.spent = 0;
        }
    }
}
