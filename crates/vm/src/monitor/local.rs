//! The local ends of streams: descriptors that a supervisor or its clients gave, and terminals made here.
//!
//! A descriptor may be a user's own, shared with other processes, so it is not made non-blocking: it is asked before each
//! call whether it is ready, and never given more than a pipe that is ready takes at once.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use super::mux::Mux;

/// What a pipe that is ready takes without making its writer wait. *Source*: pipe(7), `PIPE_BUF`.
const PIECE_BYTES: usize = 4096;
/// Most bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// One end.
#[derive(Debug)]
struct Local {
    fd: OwnedFd,
    /// It never makes us wait.
    non_blocking: bool,
}

/// All of them, by stream.
#[derive(Debug, Default)]
pub(super) struct Locals {
    list: BTreeMap<u32, Local>,
}

impl Locals {
    /// Takes a descriptor for a stream.
    pub(super) fn add(&mut self, stream: u32, fd: OwnedFd) {
        let non_blocking = rustix::fs::fcntl_getfl(&fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
        self.list.insert(stream, Local { fd, non_blocking });
    }

    /// Stream, descriptor and what to wait for.
    pub(super) fn interests(&self, mux: &Mux) -> Vec<(u32, BorrowedFd<'_>, PollFlags)> {
        let wanted = |stream: u32| {
            let read = if mux.room(stream) > 0 { PollFlags::IN } else { PollFlags::empty() };
            let write = if mux.to_write(stream).is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            read | write
        };
        let all = self.list.iter().map(|(stream, local)| (*stream, local.fd.as_fd(), wanted(*stream)));
        all.filter(|(.., flags)| !flags.is_empty()).collect()
    }

    /// Does for a stream what can be done without waiting.
    pub(super) fn serve(&mut self, stream: u32, mux: &mut Mux, buffer: &mut Vec<u8>) {
        let Some(local) = self.list.get(&stream) else { return };
        let room = mux.room(stream).min(READ_BYTES);
        if room > 0 && local.is_ready(PollFlags::IN) {
            buffer.resize(room, 0);
            match rustix::io::read(&local.fd, &mut buffer[..room]) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                // End of file; a terminal says EIO once nobody has its other side open.
                Ok(0) | Err(_) => mux.read_ended(stream),
                Ok(n) => mux.read(stream, &buffer[..n]),
            }
        }
        while !mux.to_write(stream).is_empty() && local.is_ready(PollFlags::OUT) {
            let front = mux.to_write(stream);
            let most = if local.non_blocking { front.len() } else { PIECE_BYTES };
            match rustix::io::write(&local.fd, &front[..front.len().min(most)]) {
                Ok(n) => mux.wrote(stream, n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => mux.write_failed(stream),
            }
        }
    }

    /// Closes what is over.
    pub(super) fn prune(&mut self, mux: &Mux) {
        self.list.retain(|stream, _| mux.reads(*stream) || mux.writes(*stream));
    }
}

impl Local {
    fn is_ready(&self, flags: PollFlags) -> bool {
        let mut fds = [PollFd::new(&self.fd, flags)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(n) if n > 0)
    }
}

/// A terminal that passes every byte on as it is: the one that does the work is in the guest. The master side, and this side
/// for input and for output.
pub(super) fn terminal() -> io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    let mut mode = rustix::termios::tcgetattr(&slave)?;
    mode.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &mode)?;
    rustix::io::ioctl_fionbio(&slave, true)?;
    let again = rustix::io::fcntl_dupfd_cloexec(&slave, 3)?;
    Ok((master, slave, again))
}
