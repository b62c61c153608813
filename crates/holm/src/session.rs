//! A person or script in front of a running process: bytes both ways, signals, resizes, until it ends or is left.
//!
//! Owns the loop. One thread, one `poll`: nothing blocks but that, writes to our own output aside.
//!
//! ```text
//! our stdin  -> detach keys -> pending -> input of the process      (read only while nothing is pending)
//! our stdout <- frames or bytes <- output of the process
//! signals    -> kill or resize over the supervisor's connection;  Exited comes back on it
//! ```

mod frame;

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_pod::Connection;
use holm_spec::protocol::Reply;
use holm_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::{CODE_HOLM, Failure};
use crate::terminal::{self, DetachKeys, RawMode};
use frame::Frames;

/// Bytes moved at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Signals that are passed on. Job control stays with the shell that we run in.
const PROXIED: [i32; 8] = [1, 2, 3, 10, 12, 14, 15, 24];
/// Signals that end a session with a terminal: raw mode must not survive us.
const ENDING: [i32; 4] = [1, 2, 3, 15];
const SIGWINCH: i32 = 28;
/// After so many interrupts a person wants out.
const INTERRUPTS_MAX: u32 = 3;

/// Where the output of the process comes from.
pub enum Output {
    /// One stream of docker's frames.
    Framed(OwnedFd),
    /// A terminal: bytes as they are.
    Raw(OwnedFd),
    /// Two pipes.
    Pipes(OwnedFd, OwnedFd),
}

/// What is attached.
pub struct Session<'a> {
    /// The supervisor.
    pub control: &'a Connection,
    /// The exec; the container itself where absent.
    pub exec: Option<u32>,
    /// Output of the process.
    pub output: Output,
    /// Input of the process where ours is attached. For a stream, a duplicate of it.
    pub input: Option<OwnedFd>,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Keys that detach.
    pub detach: DetachKeys,
    /// Pass signals on.
    pub proxy: bool,
    /// Show output and error output.
    pub show: (bool, bool),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process ended.
    Exited(i32),
    /// The person left.
    Detached,
    /// A signal ended us.
    Signalled(i32),
}

impl End {
    /// The exit code of the command.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => u8::try_from(code & 0xff).unwrap_or(1),
            Self::Detached => 0,
            Self::Signalled(signal) => u8::try_from(128 + signal).unwrap_or(1),
        }
    }
}

struct State {
    frames: Frames,
    pending: Vec<u8>,
    reading: bool,
    exited: Option<i32>,
    control_open: bool,
    open: [bool; 2],
    interrupts: u32,
}

/// What `poll` said.
#[derive(Default)]
struct Ready {
    control: bool,
    signal: bool,
    out: [bool; 2],
    stdin: bool,
    sink: bool,
}

impl Session<'_> {
    /// Runs until the process ends or the session does. The terminal is in its old mode afterwards.
    pub fn run(mut self) -> Result<End, Failure> {
        let failed = |e: std::io::Error| Failure::because("cannot receive signals", &e).with_code(CODE_HOLM);
        let mut wanted = if self.tty { ENDING.to_vec() } else { Vec::new() };
        if self.proxy && !self.tty {
            wanted.extend(PROXIED);
        }
        if self.tty {
            wanted.push(SIGWINCH);
        }
        let signals = SignalFd::new(&wanted).map_err(failed)?;
        let feeds = self.input.is_some();
        let _raw =
            if self.tty && feeds && terminal::is_terminal(terminal::stdin()) { Some(RawMode::enter()?) } else { None };
        if self.tty {
            self.resize();
        }
        if let Some(input) = &self.input {
            // A process that does not read must not keep us from reading what it writes.
            rustix::io::ioctl_fionbio(input, true).map_err(|e| lost(&e.into()))?;
        }
        let second = matches!(self.output, Output::Pipes(..));
        let mut state = State {
            frames: Frames::default(),
            pending: Vec::new(),
            reading: feeds,
            exited: None,
            control_open: true,
            open: [true, second],
            interrupts: 0,
        };
        loop {
            if let Some(end) = self.turn(&mut state, &signals)? {
                return Ok(end);
            }
        }
    }

    fn turn(&mut self, state: &mut State, signals: &SignalFd) -> Result<Option<End>, Failure> {
        // A process that an exec left behind may hold its pipes for ever; what is in them now is all that is waited for.
        let drained_only = state.exited.is_some() && self.exec.is_some();
        if !state.open[0] && !state.open[1] && (state.exited.is_some() || !state.control_open) {
            return self.ended(state).map(Some);
        }
        let ready = self.wait(state, signals, drained_only)?;
        if ready.signal
            && let Some(end) = self.signalled(state, signals)
        {
            return Ok(Some(end));
        }
        for n in [0, 1] {
            if ready.out[n] {
                state.open[n] = self.copy_output(state, n)?;
            }
        }
        if ready.stdin && self.read_input(state)? {
            return Ok(Some(End::Detached));
        }
        if ready.sink || !state.pending.is_empty() {
            self.feed(state);
        }
        if ready.control {
            self.hear(state)?;
        }
        if drained_only && !ready.out[0] && !ready.out[1] {
            return self.ended(state).map(Some);
        }
        Ok(None)
    }

    fn ended(&self, state: &State) -> Result<End, Failure> {
        state.exited.map(End::Exited).ok_or_else(|| {
            Failure::new("cannot learn how the process ended: its supervisor is gone").with_code(CODE_HOLM)
        })
    }

    fn outputs(&self) -> [Option<BorrowedFd<'_>>; 2] {
        match &self.output {
            Output::Framed(fd) | Output::Raw(fd) => [Some(fd.as_fd()), None],
            Output::Pipes(out, error) => [Some(out.as_fd()), Some(error.as_fd())],
        }
    }

    fn wait(&self, state: &State, signals: &SignalFd, drained_only: bool) -> Result<Ready, Failure> {
        let outputs = self.outputs();
        let mut list: Vec<(u8, PollFd<'_>)> = Vec::with_capacity(6);
        if state.control_open {
            list.push((0, PollFd::new(self.control, PollFlags::IN)));
        }
        list.push((1, PollFd::new(signals, PollFlags::IN)));
        for (n, fd) in outputs.iter().enumerate() {
            if let Some(fd) = fd.filter(|_| state.open[n]) {
                list.push((if n == 0 { 2 } else { 3 }, PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            }
        }
        let stdin = terminal::stdin();
        if state.reading && state.pending.is_empty() {
            list.push((4, PollFd::from_borrowed_fd(stdin, PollFlags::IN)));
        }
        if let Some(input) = self.input.as_ref().filter(|_| !state.pending.is_empty()) {
            list.push((5, PollFd::new(input, PollFlags::OUT)));
        }
        let (kinds, mut fds): (Vec<u8>, Vec<PollFd<'_>>) = list.into_iter().unzip();
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, drained_only.then_some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(lost(&e.into())),
        }
        let mut ready = Ready::default();
        for (kind, fd) in kinds.iter().zip(&fds) {
            let happened = !fd.revents().is_empty();
            match kind {
                0 => ready.control = happened,
                1 => ready.signal = happened,
                2 => ready.out[0] = happened,
                3 => ready.out[1] = happened,
                4 => ready.stdin = happened,
                _ => ready.sink = happened,
            }
        }
        Ok(ready)
    }

    /// Copies one piece of output; false at its end.
    fn copy_output(&mut self, state: &mut State, n: usize) -> Result<bool, Failure> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let [first, second] = self.outputs();
        let Some(fd) = (if n == 0 { first } else { second }) else { return Ok(false) };
        let count = match rustix::io::read(fd, buffer.as_mut_slice()) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
            // The other side of a terminal that is closed; a supervisor that was killed.
            Err(Errno::IO | Errno::CONNRESET | Errno::PIPE) => return Ok(false),
            Err(e) => return Err(lost(&e.into())),
        };
        let (show_out, show_error) = self.show;
        match &self.output {
            Output::Framed(_) => {
                let write = |stream: u8, bytes: &[u8]| match stream {
                    2 if show_error => put_error(bytes),
                    1 if show_out => put(bytes),
                    _ => Ok(()),
                };
                state.frames.feed(&buffer[..count], write)?;
            }
            Output::Pipes(..) if n == 1 => put_error(&buffer[..count])?,
            Output::Raw(_) | Output::Pipes(..) => put(&buffer[..count])?,
        }
        Ok(true)
    }

    /// Reads our input; true where the person detached.
    fn read_input(&mut self, state: &mut State) -> Result<bool, Failure> {
        let mut buffer = vec![0; CHUNK_BYTES];
        match rustix::io::read(terminal::stdin(), buffer.as_mut_slice()) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal that hung up is at its end, too.
            Ok(0) | Err(Errno::IO) => {
                state.reading = false;
                self.close_input();
            }
            Ok(count) if self.tty => {
                let typed = self.detach.feed(&buffer[..count]);
                state.pending = typed.bytes;
                if typed.detach {
                    self.feed(state);
                    return Ok(true);
                }
            }
            Ok(count) => state.pending = buffer[..count].to_vec(),
            Err(e) => return Err(Failure::because("cannot read standard input", &std::io::Error::from(e))),
        }
        Ok(false)
    }

    /// Gives the process what is pending, as far as it takes it.
    fn feed(&mut self, state: &mut State) {
        let Some(input) = &self.input else { return };
        match rustix::io::write(input, &state.pending) {
            Ok(count) => {
                state.pending.drain(..count);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // It does not read any more; what it writes still counts.
            Err(_) => {
                state.pending.clear();
                state.reading = false;
                self.input = None;
            }
        }
    }

    fn close_input(&mut self) {
        if let (Some(input), false) = (self.input.take(), self.tty) {
            // A pipe is closed by dropping it; a stream goes on the other way.
            let _ = rustix::net::shutdown(&input, rustix::net::Shutdown::Write);
        }
    }

    fn hear(&mut self, state: &mut State) -> Result<(), Failure> {
        match self.control.receive() {
            Ok(Some((Reply::Exited { code }, _))) => state.exited = Some(code),
            Ok(Some((Reply::Failed { message, code, .. }, _))) if self.exec.is_some() && code >= 125 => {
                return Err(Failure::new(message).with_code(u8::try_from(code).unwrap_or(CODE_HOLM)));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => state.control_open = false,
        }
        if state.exited.is_some() {
            state.control_open = false;
        }
        Ok(())
    }

    fn signalled(&mut self, state: &mut State, signals: &SignalFd) -> Option<End> {
        while let Some(signal) = signals.take() {
            if signal == SIGWINCH {
                self.resize();
                continue;
            }
            if self.tty || !self.proxy {
                return Some(End::Signalled(signal));
            }
            // The supervisor may be just gone; the loop notices.
            let _ = self.control.kill(self.exec, signal);
            state.interrupts += u32::from(signal == 2 || signal == 15);
            if state.interrupts >= INTERRUPTS_MAX {
                crate::error::warn("three interrupts: leaving the container running");
                return Some(End::Signalled(signal));
            }
        }
        None
    }

    fn resize(&self) {
        if let Some(size) = terminal::size() {
            // As above.
            let _ = self.control.resize(self.exec, size);
        }
    }
}

fn lost(error: &std::io::Error) -> Failure {
    Failure::because("cannot follow the process", error).with_code(CODE_HOLM)
}

fn put(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| crate::output::failed(&e))
}

fn put_error(bytes: &[u8]) -> Result<(), Failure> {
    std::io::stderr().lock().write_all(bytes).map_err(|e| crate::output::failed(&e))
}
