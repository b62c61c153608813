//! A container in a virtual machine: what is asked of its agent, and what comes of the answers.
//!
//! Owns the supervisor's end of the conversation. The process at the other end attends the machine and stands for the
//! container's first process (`holm_vm::monitor`); how both are made is in `boot`. Nothing here waits for the guest, which may
//! never answer.

mod boot;
mod share;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_container::Stdio;
use holm_spec::guest::{Exec, FIRST_PROCESS, ToGuest, ToHost};
use holm_spec::oci::runtime::{ConsoleSize, Process};
use holm_spec::protocol::Reply;
use holm_sys::process::Child;
use holm_vm::monitor::FromMonitor;
use holm_vm::monitor::wire::{Received, ask, hear};
use rustix::process::Signal;

use super::exec::ExecRun;
use super::{Inside, Running, Supervisor, Task};
use crate::plan::guest_exec;
use crate::wire;

/// Most requests that wait for an answer.
const MAX_PENDING: usize = 1024;

/// Who waits for an answer.
#[derive(Debug)]
enum Pending {
    /// A command that added a process.
    Exec { client: u32, number: u32, detach: bool },
    /// A health check.
    Check { number: u32 },
    /// A command that asked the agent itself.
    Client(u32),
    /// Nobody: a failure changes nothing.
    Nobody,
}

/// A machine that runs, as the supervisor knows it.
#[derive(Debug)]
pub(super) struct Guest {
    attendant: Child,
    control: OwnedFd,
    pending: BTreeMap<u32, Pending>,
    next: u32,
    oom: bool,
    oom_told: bool,
    /// Why the machine ended, where it did so by itself.
    lost: Option<String>,
}

impl Guest {
    fn new(attendant: Child, control: OwnedFd) -> Self {
        Self { attendant, control, pending: BTreeMap::new(), next: 0, oom: false, oom_told: false, lost: None }
    }

    pub(super) fn pid(&self) -> i32 {
        self.attendant.pid
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.attendant.pidfd.as_fd()
    }

    pub(super) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Whether the guest's kernel killed something in the container for memory.
    pub(super) fn saw_oom(&self) -> bool {
        self.oom
    }

    /// Whether an event has told so.
    pub(super) fn has_told_oom(&self) -> bool {
        self.oom_told
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Sends a request whose answer is for `pending`. *Errors*: the attendant does not read, or is gone.
    fn ask(
        &mut self,
        pending: Pending,
        fds: &[BorrowedFd<'_>],
        request: impl FnOnce(u32) -> ToGuest,
    ) -> std::io::Result<()> {
        if self.pending.len() >= MAX_PENDING {
            return Err(std::io::Error::other("its machine does not answer"));
        }
        let id = self.number();
        ask(self.control.as_fd(), &request(id), fds)?;
        self.pending.insert(id, pending);
        Ok(())
    }
}

/// The streams of a process, its input only where it is open.
fn descriptors(stdio: &Stdio, input: bool) -> Vec<BorrowedFd<'_>> {
    match stdio {
        Stdio::Terminal => Vec::new(),
        Stdio::Fds { stdin, stdout, stderr } if input => vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        Stdio::Fds { stdout, stderr, .. } => vec![stdout.as_fd(), stderr.as_fd()],
    }
}

impl Supervisor {
    fn guest_mut(&mut self) -> Option<&mut Guest> {
        self.running.as_mut().and_then(Running::guest_mut)
    }

    /// What an added process is to be. The error is a text and docker's exit code.
    pub(super) fn guest_exec(
        &mut self,
        asked: &Process,
        user: Option<&str>,
        privileged: bool,
    ) -> Result<Exec, (String, i32)> {
        let process = self.number().max(FIRST_PROCESS + 1);
        let running = self.running.as_ref().ok_or_else(|| ("it does not run".to_owned(), 1))?;
        let (spec, image) = (&self.record.spec, &self.record.image_config);
        guest_exec(spec, image, &running.spec, asked, user, privileged)
            .map(|exec| Exec { process, ..exec })
            .map_err(|e| (crate::error::chain(&e), 126))
    }

    /// Adds a process for a command, which is told once the agent has answered.
    pub(super) fn exec_in_guest(
        &mut self,
        client: u32,
        exec: Exec,
        detach: bool,
        stdio: Stdio,
    ) -> Result<(), (String, i32)> {
        let number = exec.process;
        let pending = Pending::Exec { client, number, detach };
        self.start_in_guest(pending, exec, &stdio)?;
        let (task, client) = (Task::Guest(number), (!detach).then_some(client));
        self.execs.push(ExecRun { number, task, _pidfd: None, terminal: None, client });
        Ok(())
    }

    /// Adds a process that checks the container's health.
    pub(super) fn check_in_guest(&mut self, exec: Exec, stdio: Stdio) -> Result<Task, (String, i32)> {
        let number = exec.process;
        self.start_in_guest(Pending::Check { number }, exec, &stdio)?;
        Ok(Task::Guest(number))
    }

    fn start_in_guest(&mut self, pending: Pending, exec: Exec, stdio: &Stdio) -> Result<(), (String, i32)> {
        let guest = self.guest_mut().ok_or_else(|| ("it does not run".to_owned(), 1))?;
        let fds = descriptors(stdio, exec.stdin);
        let asked = guest.ask(pending, &fds, |id| ToGuest::Exec { id, exec: Box::new(exec) });
        asked.map_err(|e| (format!("cannot ask its machine: {e}"), 126))
    }

    pub(super) fn signal_in_guest(&mut self, process: u32, signal: i32) -> std::io::Result<()> {
        let guest = self.guest_mut().ok_or_else(|| std::io::Error::other("it does not run"))?;
        guest.ask(Pending::Nobody, &[], |id| ToGuest::Signal { id, process, signal })
    }

    pub(super) fn resize_in_guest(&mut self, process: Option<u32>, size: ConsoleSize) -> Result<(), String> {
        let process = process.unwrap_or(FIRST_PROCESS);
        let guest = self.guest_mut().ok_or("it does not run")?;
        let asked = guest.ask(Pending::Nobody, &[], |id| ToGuest::Resize { id, process, size });
        asked.map_err(|e| format!("cannot change the terminal's size: {e}"))
    }

    /// Stops or continues the process that attends the machine, with the machine.
    pub(super) fn hold_attendant(&self, signal: Signal) {
        if let Some(guest) = self.running.as_ref().and_then(Running::guest) {
            let _ = holm_sys::process::kill(guest.pid(), signal.as_raw());
        }
    }

    /// Passes a command's own request on. The number is ours; what changes the container goes other ways.
    pub(super) fn pass_to_guest(&mut self, client: u32, ask: ToGuest, fds: Vec<OwnedFd>) {
        let allowed = matches!(
            ask,
            ToGuest::Stats { .. }
                | ToGuest::Processes { .. }
                | ToGuest::TarOut { .. }
                | ToGuest::TarIn { .. }
                | ToGuest::TarChanges { .. }
                | ToGuest::Sockets { .. }
                | ToGuest::Probe { .. }
                | ToGuest::Stat { .. }
        );
        let number = self.number();
        let Some(guest) = self.guest_mut().filter(|_| allowed) else {
            return self.refuse(client, "it runs in no virtual machine", 1);
        };
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let asked = guest.ask(Pending::Client(client), &fds, |id| numbered(ask, id, number));
        if let Err(e) = asked {
            self.refuse(client, format!("cannot ask its machine: {e}"), 1);
        }
    }

    /// Hears what the attendant has to say.
    pub(super) fn guest_speaks(&mut self) {
        while let Some(guest) = self.guest_mut() {
            match hear(guest.control.as_fd()) {
                Ok(Received::Packet(message, fds)) => self.hear_guest(message, fds),
                Ok(Received::Nothing) => return,
                // Its end, which its exit tells, is all that can follow.
                Ok(Received::Closed | Received::Garbage(_)) | Err(_) => return self.attendant_is_silent(),
            }
        }
    }

    /// Takes what is left to hear of a machine that has ended.
    pub(super) fn hear_guest_out(&mut self) {
        self.guest_speaks();
        if let Some(lost) = self.guest_mut().and_then(|guest| guest.lost.take()) {
            self.state.error = lost;
        }
    }

    /// Nothing more comes: a socket that is only polled would not let the supervisor sleep.
    fn attendant_is_silent(&mut self) {
        if let Some(guest) = self.guest_mut()
            && let Ok((ours, _)) = wire::pair(rustix::net::SocketType::SEQPACKET)
        {
            // The other end is closed at once, which polls as an end too; so does its exit, which is taken first.
            guest.control = ours;
        }
    }

    fn hear_guest(&mut self, message: FromMonitor, fds: Vec<OwnedFd>) {
        let told = match message {
            FromMonitor::Guest(told) => told,
            FromMonitor::Booted { .. } => return,
            FromMonitor::Trouble { reason } => {
                // The record may be what there is no room for; the history of events is elsewhere.
                self.emit("io_error", &[("reason", reason.clone())]);
                self.state.error = reason;
                return self.save();
            }
            FromMonitor::Lost { reason, console } => {
                if let Some(guest) = self.guest_mut() {
                    guest.lost = Some(lost_text(&reason, &console));
                }
                return;
            }
        };
        match told {
            ToHost::Exited { process, code, oom } => self.guest_task_ended(process, code, oom),
            ToHost::OutOfMemory => {
                if let Some(guest) = self.guest_mut() {
                    (guest.oom, guest.oom_told) = (true, true);
                }
                self.emit("oom", &[]);
            }
            ToHost::Started { id, pid } => self.guest_started(id, pid, fds),
            ToHost::Failed { id, ref message, code } => {
                let message = message.clone();
                self.guest_failed(id, message, code);
            }
            ToHost::Done { id, .. }
            | ToHost::Stats { id, .. }
            | ToHost::Processes { id, .. }
            | ToHost::Sockets { id, .. }
            | ToHost::Probed { id, .. }
            | ToHost::Stat { id, .. } => {
                if let Some(Pending::Client(client)) = self.guest_mut().and_then(|g| g.pending.remove(&id)) {
                    self.reply(Some(client), &Reply::Guest { tell: Box::new(told) }, &[]);
                }
            }
            ToHost::Hello { .. } => {}
        }
    }

    fn guest_started(&mut self, id: u32, pid: i32, fds: Vec<OwnedFd>) {
        let Some(pending) = self.guest_mut().and_then(|g| g.pending.remove(&id)) else { return };
        let Pending::Exec { client, number, detach } = pending else { return };
        self.emit("exec_start", &[("execID", number.to_string())]);
        let lent: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        self.reply(Some(client), &Reply::Started { exec: number, pid, warnings: Vec::new() }, &lent);
        if !detach {
            let terminal = fds.into_iter().next();
            self.execs.iter_mut().filter(|e| e.number == number).for_each(|e| {
                e.terminal = terminal.as_ref().and_then(|fd| fd.try_clone().ok());
            });
        }
    }

    fn guest_failed(&mut self, id: u32, message: String, code: i32) {
        match self.guest_mut().and_then(|g| g.pending.remove(&id)) {
            Some(Pending::Exec { client, number, .. }) => {
                self.execs.retain(|e| e.number != number);
                self.refuse(client, message, code);
            }
            Some(Pending::Check { number }) => {
                self.health_ended(Task::Guest(number), code);
            }
            Some(Pending::Client(client)) => self.refuse(client, message, code),
            Some(Pending::Nobody) | None => {}
        }
    }

    fn guest_task_ended(&mut self, process: u32, code: i32, oom: bool) {
        if process == FIRST_PROCESS {
            if let Some(guest) = self.guest_mut() {
                guest.oom |= oom;
            }
        } else if !self.health_ended(Task::Guest(process), code) {
            self.exec_ended(Task::Guest(process), code);
        }
    }
}

/// The same request with a number, and streams, of ours.
fn numbered(ask: ToGuest, number: u32, process: u32) -> ToGuest {
    let to = holm_spec::guest::stream(process, 0);
    let mut ask = ask;
    match &mut ask {
        ToGuest::TarOut { id, stream, .. } | ToGuest::TarIn { id, stream, .. } | ToGuest::TarChanges { id, stream } => {
            (*id, *stream) = (number, to);
        }
        ToGuest::Stats { id }
        | ToGuest::Processes { id }
        | ToGuest::Sockets { id }
        | ToGuest::Probe { id, .. }
        | ToGuest::Stat { id, .. } => *id = number,
        _ => {}
    }
    ask
}

/// Why a machine ended, with the last lines of its console where they help.
fn lost_text(reason: &str, console: &str) -> String {
    let console = console.trim();
    if console.is_empty() { reason.to_owned() } else { format!("{reason}; its console ended:\n{console}") }
}

impl Inside {
    /// The machine of a container that was just started.
    fn machine(attendant: Child, control: OwnedFd) -> Self {
        Self::Machine(Guest::new(attendant, control))
    }
}
