//! The pipes or the terminal between the container and the supervisor: output to the log and to attached clients, input from
//! them.
//!
//! A client that does not read fills its bounded queue; then the container's output is left in its pipe, so the container
//! waits as it would for any pipe. The log is written before a client is served, so it loses nothing.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_container::Stdio;
use holm_spec::oci::runtime::ConsoleSize;
use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::Supervisor;

/// Most bytes read at once, a pipe's usual size.
const READ_BYTES: usize = 64 * 1024;
/// Most bytes of input that wait for the container.
const INPUT_BYTES: usize = 64 * 1024;

/// This side of the container's streams.
#[derive(Debug, Default)]
pub(super) struct Pump {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    input: VecDeque<u8>,
    input_ends: bool,
}

impl Pump {
    /// Both sides of the streams; the container's side is for `container`.
    pub(super) fn open(tty: bool, interactive: bool) -> io::Result<(Self, Stdio)> {
        if tty {
            return Ok((Self::default(), Stdio::Terminal));
        }
        let (out, their_out) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (err, their_err) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (stdin, their_in) = if interactive {
            let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&ours, true)?;
            (Some(ours), theirs)
        } else {
            (None, rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
        };
        rustix::io::ioctl_fionbio(&out, true)?;
        rustix::io::ioctl_fionbio(&err, true)?;
        let stdio = Stdio::Fds { stdin: their_in, stdout: their_out, stderr: their_err };
        Ok((Self { stdout: Some(out), stderr: Some(err), stdin, ..Self::default() }, stdio))
    }

    /// Takes the terminal's master side.
    pub(super) fn set_terminal(&mut self, master: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&master, true)?;
        self.terminal = Some(master);
        Ok(())
    }

    /// Changes the terminal's size; nothing happens without one.
    pub(super) fn resize(&self, size: ConsoleSize) -> io::Result<()> {
        self.terminal.as_ref().map_or(Ok(()), |fd| resize(fd.as_fd(), size))
    }

    /// Whether more input can be taken from clients.
    pub(super) fn wants_input(&self) -> bool {
        (self.stdin.is_some() || self.terminal.is_some()) && self.input.len() < INPUT_BYTES && !self.input_ends
    }

    /// Queues input for the container.
    pub(super) fn queue_input(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() || self.terminal.is_some() {
            self.input.extend(bytes);
        }
    }

    /// Closes the container's input once what is queued was given.
    pub(super) fn end_input(&mut self) {
        self.input_ends = self.stdin.is_some();
    }

    /// Stream number, descriptor and what to wait for. Outputs are left alone while a client is behind.
    pub(super) fn interests(&self, crowded: bool) -> Vec<(u8, BorrowedFd<'_>, PollFlags)> {
        let mut list = Vec::with_capacity(3);
        let output = if crowded { None } else { Some(PollFlags::IN) };
        let input = if self.input.is_empty() && !self.input_ends { None } else { Some(PollFlags::OUT) };
        if let (Some(flags), Some(fd)) = (output, &self.stdout) {
            list.push((1, fd.as_fd(), flags));
        }
        if let (Some(flags), Some(fd)) = (output, &self.stderr) {
            list.push((2, fd.as_fd(), flags));
        }
        if let (Some(flags), Some(fd)) = (input, &self.stdin) {
            list.push((0, fd.as_fd(), flags));
        }
        if let Some(fd) = &self.terminal {
            if let Some(flags) = input {
                list.push((0, fd.as_fd(), flags));
            }
            if let Some(flags) = output {
                list.push((1, fd.as_fd(), flags));
            }
        }
        list
    }

    fn source(&mut self, number: u8) -> &mut Option<OwnedFd> {
        match number {
            2 => &mut self.stderr,
            _ if self.terminal.is_some() => &mut self.terminal,
            _ => &mut self.stdout,
        }
    }

    /// Reads once into the room of `buffer`, or `None` where nothing is there now. A closed stream is put away.
    fn read(&mut self, number: u8, buffer: &mut Vec<u8>) -> Option<()> {
        let source = self.source(number);
        let fd = source.as_ref()?;
        loop {
            match rustix::io::read(fd, rustix::buffer::spare_capacity(buffer)) {
                Ok(n) if n > 0 => return Some(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                // End of file; a terminal says EIO once nobody has its other side open.
                Ok(_) | Err(_) => {
                    *source = None;
                    return None;
                }
            }
        }
    }

    fn write_input(&mut self) {
        let Some(fd) = self.stdin.as_ref().or(self.terminal.as_ref()) else {
            self.input.clear();
            return;
        };
        while !self.input.is_empty() {
            let (front, _) = self.input.as_slices();
            match rustix::io::write(fd, front) {
                Ok(n) => drop(self.input.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.input.clear();
                    self.stdin = None;
                    return;
                }
            }
        }
        self.input.shrink_to(0);
        if self.input_ends {
            self.input_ends = false;
            self.stdin = None;
        }
    }
}

/// Sets the size of a terminal.
pub(super) fn resize(terminal: BorrowedFd<'_>, size: ConsoleSize) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

impl Supervisor {
    /// Takes output once; whether there was any.
    pub(super) fn take_output(&mut self, number: u8) -> bool {
        // Room, not zeroes: only the pages that are read into are touched.
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let Some(running) = &mut self.running else { return false };
        let Some(()) = running.pump.read(number, &mut buffer) else { return false };
        // A full disk must not stop the container; what could not be logged still reaches clients.
        let _ = self.log.take(number, &buffer);
        for stream in &mut self.streams {
            stream.push(number, &buffer);
        }
        self.write_streams();
        true
    }

    /// Takes all output that is there.
    pub(super) fn drain_output(&mut self) {
        for number in [1, 2] {
            while self.take_output(number) {}
        }
    }

    pub(super) fn give_input(&mut self) {
        if let Some(running) = &mut self.running {
            running.pump.write_input();
        }
    }
}
