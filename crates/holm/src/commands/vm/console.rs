//! `vm console`: being at the serial console of a whole machine, both ways, until the machine ends or the keys are pressed.

use std::io::Write;
use std::os::fd::OwnedFd;

use holm_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::super::Outcome;
use super::super::context::Context;
use super::super::create::detach_keys;
use crate::args::vm::VmConsole;
use crate::error::Failure;
use crate::terminal::{self, DetachKeys, RawMode};

/// Most bytes moved at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Signals after which the terminal is put in order: SIGHUP, SIGINT, SIGTERM.
const ENDING: [i32; 3] = [1, 2, 15];

/// `holm vm console`
pub fn console(context: &Context, flags: &VmConsole) -> Outcome {
    let keys = detach_keys(context, flags.detach_keys.as_deref())?;
    let stream = context.engine()?.vm_console(&flags.machine).map_err(Failure::from)?.stream;
    let signals = SignalFd::new(&ENDING).map_err(|e| Failure::because("cannot receive signals", &e))?;
    let on_terminal = terminal::is_terminal(terminal::stdin());
    let _raw = if on_terminal { Some(RawMode::enter()?) } else { None };
    let mut at = Attended { stream, keys, on_terminal, reading: true };
    loop {
        if let Some(code) = at.turn(&signals)? {
            return Ok(code);
        }
    }
}

struct Attended {
    stream: OwnedFd,
    keys: DetachKeys,
    on_terminal: bool,
    reading: bool,
}

impl Attended {
    /// Moves what is there; the exit code at the end.
    fn turn(&mut self, signals: &SignalFd) -> Result<Option<u8>, Failure> {
        let input = if self.reading { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [
            PollFd::new(&self.stream, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
            PollFd::from_borrowed_fd(terminal::stdin(), input),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(failed(e)),
        }
        let [guest, signal, typed] = fds.map(|fd| fd.revents());
        if !guest.is_empty() && !self.show()? {
            return Ok(Some(0));
        }
        if !signal.is_empty()
            && let Some(signal) = signals.take()
        {
            return Ok(Some(u8::try_from(128 + signal).unwrap_or(255)));
        }
        Ok(if self.reading && !typed.is_empty() && self.type_in()? { Some(0) } else { None })
    }

    /// Shows what the guest says; false at its end.
    fn show(&self) -> Result<bool, Failure> {
        let mut buffer = vec![0; CHUNK_BYTES];
        match rustix::io::read(&self.stream, buffer.as_mut_slice()) {
            Ok(0) | Err(Errno::CONNRESET) => Ok(false),
            Ok(count) => {
                let mut out = std::io::stdout().lock();
                let shown = out.write_all(&buffer[..count]).and_then(|()| out.flush());
                shown.map(|()| true).map_err(|e| crate::output::failed(&e))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(e) => Err(failed(e)),
        }
    }

    /// Passes on what is typed; true where the person left.
    fn type_in(&mut self) -> Result<bool, Failure> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let bytes = match rustix::io::read(terminal::stdin(), buffer.as_mut_slice()) {
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            Ok(0) | Err(Errno::IO) => {
                // What was piped in has ended; the guest is still heard.
                self.reading = false;
                return Ok(false);
            }
            Ok(count) => &buffer[..count],
            Err(e) => return Err(failed(e)),
        };
        let (bytes, left) = match self.on_terminal {
            true => {
                let typed = self.keys.feed(bytes);
                (typed.bytes, typed.detach)
            }
            false => (bytes.to_vec(), false),
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(&self.stream, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                // The machine's end is noticed where it is heard.
                Err(_) => break,
            }
        }
        Ok(left)
    }
}

fn failed(error: Errno) -> Failure {
    Failure::because("cannot follow the console", &std::io::Error::from(error))
}
