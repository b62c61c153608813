//! The channel between the process that starts a container and the container's process until it becomes the program.
//!
//! ```text
//! container's process            starter          a SOCK_SEQPACKET pair, closed by exec
//!   | -- 'C' + descriptor ------> |                the terminal's master side
//!   | -- 'H' -------------------> |                about to change the root; waits (only if hooks are due then)
//!   | <- 'G' -------------------- |                go
//!   | -- 'R' -------------------> |                set up; waits (only with `Start::WhenAsked`)
//!   | <- 'G' -------------------- |                go; with `Start::WhenTold` it may come long before it is waited for
//!   | -- 'L' + descriptor ------> |                the listener of a filter that notifies
//!   | -- 'E' kind errno text ---> |                failed; the process ends
//!   | -- (end of file) ---------> |                the program runs
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use crate::error::{Doing, StartError};

/// One end of the channel.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// When a container's process that is set up goes on to its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At once.
    AtOnce,
    /// When it has the word to go, which comes by itself: mostly it is there by then, so that nobody waits for anybody.
    WhenTold,
    /// When it has said that it is set up and has the word to go.
    WhenAsked,
}

/// What the starter hears.
pub(crate) enum Message {
    /// The terminal's master side.
    Console(OwnedFd),
    /// The listener of its system call filter.
    Listener(OwnedFd),
    /// Hooks are due; it waits.
    HooksDue,
    /// Set up.
    Ready,
    /// The program runs, or the process ended without a word.
    Closed,
}

/// Both ends: the starter's, the container's.
pub(crate) fn pair() -> Result<(Channel, Channel), StartError> {
    let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .doing(|| "make a channel".into())?;
    Ok((Channel(a), Channel(b)))
}

impl Channel {
    /// The same channel under a number that is not below `first`.
    pub(crate) fn above(self, first: i32) -> Result<Self, StartError> {
        if self.0.as_raw_fd() >= first {
            return Ok(self);
        }
        let moved = rustix::io::fcntl_dupfd_cloexec(&self.0, first).doing(|| "make a channel".into())?;
        Ok(Self(moved))
    }

    /// Sends a failure; there is nobody to tell if that fails too.
    pub(crate) fn send_error(&self, error: &StartError) {
        let _ = rustix::net::send(&self.0, &error.to_packet(), SendFlags::NOSIGNAL);
    }

    /// Sends the terminal's master side.
    pub(crate) fn send_console(&self, master: BorrowedFd<'_>) -> Result<(), StartError> {
        self.send_fd(b"C", master).doing(|| "hand out the terminal".into())
    }

    /// Sends the listener of the filter that is loaded. Nothing but `sendmsg` is called.
    pub(crate) fn send_listener(&self, listener: BorrowedFd<'_>) -> Result<(), StartError> {
        self.send_fd(b"L", listener).doing(|| "hand out the seccomp listener".into())
    }

    fn send_fd(&self, letter: &[u8], fd: BorrowedFd<'_>) -> std::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        rustix::net::sendmsg(&self.0, &[IoSlice::new(letter)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Says that all is set up and waits for the word to go.
    pub(crate) fn ready_and_wait(&self) -> Result<(), StartError> {
        self.say_and_wait(b"R")
    }

    /// Says that the starter's hooks are due and waits for the word to go.
    pub(crate) fn wait_for_hooks(&self) -> Result<(), StartError> {
        self.say_and_wait(b"H")
    }

    fn say_and_wait(&self, say: &[u8]) -> Result<(), StartError> {
        rustix::net::send(&self.0, say, SendFlags::NOSIGNAL).doing(|| "report to the supervisor".into())?;
        self.wait()
    }

    /// Waits for the word to go.
    pub(crate) fn wait(&self) -> Result<(), StartError> {
        let mut word = [0; 1];
        let (n, _) = rustix::net::recv(&self.0, &mut word, RecvFlags::empty()).doing(|| "wait for the start".into())?;
        if n == 1 && word == *b"G" { Ok(()) } else { Err(StartError::refused("start: the supervisor is gone")) }
    }

    /// Gives the word to go to one that has not asked. One that has ended meanwhile has told why, which [`Channel::hear`] hears.
    pub(crate) fn go_early(&self) -> Result<(), StartError> {
        match rustix::net::send(&self.0, b"G", SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(e) => Err(StartError::setup("start the container", e)),
        }
    }

    /// Gives the word to go.
    pub(crate) fn go(&self) -> Result<(), StartError> {
        rustix::net::send(&self.0, b"G", SendFlags::NOSIGNAL).doing(|| "start the container".into())?;
        Ok(())
    }

    /// Whether the other end is gone.
    pub(crate) fn is_hung_up(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::empty())];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(n) if n > 0)
    }

    /// Hears the next message. *Errors*: what the container's process said had failed.
    pub(crate) fn hear(&self) -> Result<Message, StartError> {
        let mut packet = [0; 2100];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            match rustix::net::recvmsg(self.0.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                // A process that died with our words unread resets the channel. That is told once; its own words come next.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                other => break other.doing(|| "hear from the container's process".into())?,
            }
        };
        match packet.get(..received.bytes) {
            Some([]) => Ok(Message::Closed),
            Some([b'E', rest @ ..]) => Err(StartError::from_packet(rest)),
            Some([b'R']) => Ok(Message::Ready),
            Some([b'H']) => Ok(Message::HooksDue),
            Some([letter @ (b'C' | b'L')]) => {
                let mut fds = control.drain().filter_map(|m| match m {
                    RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                    _ => None,
                });
                let fd = fds.next().ok_or_else(|| StartError::refused("take a descriptor of the container's"))?;
                Ok(if *letter == b'C' { Message::Console(fd) } else { Message::Listener(fd) })
            }
            _ => Err(StartError::refused("understand the container's process")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_of_one_that_left_the_word_to_go_unread_is_heard() {
        let (ours, theirs) = pair().unwrap();
        ours.go_early().unwrap();
        theirs.send_error(&StartError::refused("mount it"));
        drop(theirs);
        assert!(ours.hear().is_err_and(|e| e.to_string().contains("mount it")));
        assert!(matches!(ours.hear(), Ok(Message::Closed)));
        ours.go_early().unwrap();
    }

    #[test]
    fn word_that_came_early_is_waited_for_no_longer() {
        let (ours, theirs) = pair().unwrap();
        ours.go_early().unwrap();
        theirs.wait().unwrap();
        drop(ours);
        assert!(theirs.wait().is_err());
    }
}
