//! What a supervisor asks of a machine: passed on to the guest, with local ends for the streams that it opens.

use std::os::fd::{AsFd, OwnedFd};

use holm_spec::guest::{FIRST_PROCESS, ToGuest, ToHost, stream};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Life, OFF_WITHIN, Phase};
use crate::monitor::DIED;
use crate::monitor::local::terminal;
use crate::monitor::wire::{self, FromMonitor, OWN_REQUESTS, Received};

/// A request that starts a process.
struct Start {
    process: u32,
    terminal: bool,
    stdin: bool,
}

/// The process that a request starts.
fn start(request: &ToGuest) -> Option<Start> {
    match request {
        ToGuest::Run { run, .. } => {
            let terminal = run.spec.process.as_ref().is_some_and(|process| process.terminal);
            Some(Start { process: FIRST_PROCESS, terminal, stdin: run.stdin })
        }
        ToGuest::Exec { exec, .. } => {
            Some(Start { process: exec.process, terminal: exec.spec.terminal, stdin: exec.stdin })
        }
        _ => None,
    }
}

/// The stream that a request opens.
fn transfer(request: &ToGuest) -> Option<u32> {
    match request {
        ToGuest::TarOut { stream, .. } | ToGuest::TarIn { stream, .. } | ToGuest::TarChanges { stream, .. } => {
            Some(*stream)
        }
        _ => None,
    }
}

impl Life {
    pub(super) fn hear_supervisor(&mut self) {
        if !self.takes_requests() {
            let mut fds = [PollFd::new(&self.control, PollFlags::empty())];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if rustix::event::poll(&mut fds, Some(&now)).is_ok() && !fds[0].revents().is_empty() {
                self.supervisor_left();
            }
            return;
        }
        match wire::receive::<ToGuest>(self.control.as_fd()) {
            Ok(Received::Packet(request, fds)) => self.request(request, fds),
            Ok(Received::Nothing) => {}
            Ok(Received::Garbage(e)) => self.lose(format!("the supervisor sent what is no request: {e}"), DIED),
            Ok(Received::Closed) | Err(_) => self.supervisor_left(),
        }
    }

    fn request(&mut self, request: ToGuest, fds: Vec<OwnedFd>) {
        let id = request.id();
        if let Err(message) = self.pass_on(&request, fds) {
            self.waiting.push_back((FromMonitor::Guest(ToHost::Failed { id, message, code: 125 }), None));
        }
    }

    /// Passes a request on and takes the descriptors of its streams.
    fn pass_on(&mut self, request: &ToGuest, mut fds: Vec<OwnedFd>) -> Result<(), String> {
        let id = request.id();
        if id >= OWN_REQUESTS {
            return Err(format!("cannot pass on request {id}: its number is the monitor's own"));
        }
        let (started, transfer) = (start(request), transfer(request));
        let fits = match (&started, transfer) {
            (Some(start), _) if start.terminal => fds.is_empty(),
            (Some(start), _) => fds.len() == 3 || (fds.len() == 2 && !start.stdin),
            (None, Some(_)) => fds.len() == 1,
            (None, None) => fds.is_empty(),
        };
        if !fits {
            return Err(format!("cannot pass on request {id}: {} descriptors came with it", fds.len()));
        }
        let made = match &started {
            Some(start) if start.terminal => Some(terminal().map_err(|e| format!("cannot make a terminal: {e}"))?),
            _ => None,
        };
        self.mux.ask(request)?;
        match (started, made) {
            (Some(start), Some((master, input, output))) => {
                self.masters.insert(id, master);
                self.locals.add(stream(start.process, 0), input);
                self.locals.add(stream(start.process, 1), output);
            }
            (Some(start), None) => {
                let first = if fds.len() == 3 { 0 } else { 1 };
                for (number, fd) in (first..).zip(fds) {
                    if number > 0 || start.stdin {
                        self.locals.add(stream(start.process, number), fd);
                    }
                }
            }
            _ => transfer.into_iter().zip(fds.pop()).for_each(|(stream, fd)| self.locals.add(stream, fd)),
        }
        match request {
            ToGuest::Setup { .. } | ToGuest::Run { .. } => drop(self.vital.insert(id)),
            ToGuest::PowerOff { .. } => self.phase = Phase::Ending { code: 0, until: self.clock.now() + OFF_WITHIN },
            _ => {}
        }
        Ok(())
    }
}
