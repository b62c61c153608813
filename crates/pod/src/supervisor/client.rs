//! Commands that talk to the supervisor: who they are, what they ask, what they are told.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_spec::oci::runtime::ConsoleSize;
use holm_spec::protocol::{Reply, Request};
use holm_spec::state::Status;
use rustix::net::SocketType;
use rustix::process::{Pid, Signal};

use super::attach::{MAX_STREAMS, Stream};
use super::{Stopping, Supervisor, Task};
use crate::error::chain;
use crate::plan::limits_of_update;
use crate::wire::{self, Received};

/// How long a virtual machine may take to kill a process before it is ended itself.
const GUEST_KILL_PATIENCE: Duration = Duration::from_secs(3);

/// Most connected commands.
const MAX_CLIENTS: usize = 128;

/// One connected command.
pub(super) struct Client {
    pub number: u32,
    pub socket: OwnedFd,
}

impl Client {
    pub(super) fn new(number: u32, socket: OwnedFd) -> Self {
        Self { number, socket }
    }
}

impl Supervisor {
    pub(super) fn accept(&mut self) {
        while let Some(Ok(Some(socket))) = self.listener.as_ref().map(|l| wire::accept(l.as_fd())) {
            if self.clients.len() >= MAX_CLIENTS {
                let message = format!("it has {MAX_CLIENTS} connections already, the most it takes");
                let _ = wire::send(socket.as_fd(), &Reply::Failed { message, hint: None, code: 125 }, &[]);
                continue;
            }
            let number = self.number();
            self.clients.push(Client::new(number, socket));
            self.serve(number);
        }
    }

    /// Sends a reply. A client that does not take it is hung up on.
    pub(super) fn reply(&mut self, client: Option<u32>, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let Some(at) = self.clients.iter().position(|c| Some(c.number) == client) else { return };
        if wire::send(self.clients[at].socket.as_fd(), reply, fds).is_err() {
            self.clients.remove(at);
        }
    }

    pub(super) fn refuse(&mut self, client: u32, message: impl Into<String>, code: i32) {
        self.reply(Some(client), &Reply::Failed { message: message.into(), hint: None, code }, &[]);
    }

    /// Takes what one client asks, one request at a time so that none is starved.
    pub(super) fn serve(&mut self, number: u32) {
        let Some(client) = self.clients.iter().find(|c| c.number == number) else { return };
        match wire::receive::<Request>(client.socket.as_fd()) {
            Ok(Received::Packet(request, fds)) => self.answer(number, request, fds),
            Ok(Received::Nothing) => {}
            Ok(Received::Garbage(why)) => self.refuse(number, format!("cannot read the request: {why}"), 125),
            Ok(Received::Closed) | Err(_) => {
                self.clients.retain(|c| c.number != number);
            }
        }
    }

    fn answer(&mut self, client: u32, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Attach { stdin } => self.attach(client, stdin),
            Request::Resize { exec, size } => {
                let result = self.resize(exec, size);
                self.done(client, result);
            }
            Request::Exec { process, user, privileged, detach } => {
                self.exec(client, &process, user.as_deref(), privileged, detach, fds);
            }
            Request::Kill { exec, signal } => {
                let result = self.signal(exec, signal);
                self.done(client, result);
            }
            Request::Stop { signal, timeout_s } => self.stop(signal, timeout_s),
            // Every client is told of the end. A namespace that comes now was given up on.
            Request::Wait | Request::Namespace => {}
            Request::Pause => {
                let result = self.pause();
                self.done(client, result);
            }
            Request::Unpause => {
                let result = self.unpause();
                self.done(client, result);
            }
            Request::Connect { attachment } => {
                let result = self.connect_more(*attachment).map_err(|e| chain(&e));
                self.done(client, result);
            }
            Request::Disconnect { network } => {
                let result = self.disconnect(&network).map_err(|e| chain(&e));
                self.done(client, result);
            }
            Request::Guest { ask } => self.pass_to_guest(client, *ask, fds),
            Request::Reload => {
                let result = self.reload();
                self.done(client, result);
            }
        }
    }

    fn done(&mut self, client: u32, result: Result<(), String>) {
        match result {
            Ok(()) => self.reply(Some(client), &Reply::Done, &[]),
            Err(message) => self.refuse(client, message, 1),
        }
    }

    fn attach(&mut self, client: u32, stdin: bool) {
        if self.streams.len() >= MAX_STREAMS {
            return self.refuse(client, format!("{MAX_STREAMS} clients are attached already, the most it takes"), 1);
        }
        match wire::pair(SocketType::STREAM) {
            Ok((ours, theirs)) => {
                let number = self.number();
                let feeds = stdin && self.record.spec.interactive;
                self.streams.push(Stream::later(number, ours, feeds, self.record.spec.tty));
                self.reply(Some(client), &Reply::Attached, &[theirs.as_fd()]);
                self.emit("attach", &[]);
            }
            Err(e) => self.refuse(client, format!("cannot make a stream: {e}"), 1),
        }
    }

    fn resize(&mut self, exec: Option<u32>, size: ConsoleSize) -> Result<(), String> {
        let running = self.running.as_ref().ok_or("it does not run")?;
        let result = match exec {
            Some(number) => self.exec_by_number(number).ok_or("no such exec")?.resize(size),
            None => running.pump.resize(size),
        };
        if running.guest().is_some() {
            self.resize_in_guest(exec, size)?;
        }
        result.map_err(|e| format!("cannot change the terminal's size: {e}"))
    }

    /// Sends a signal to init or to an exec. To a frozen container it comes when it thaws.
    fn signal(&mut self, exec: Option<u32>, signal: i32) -> Result<(), String> {
        if !(1..=64).contains(&signal) {
            return Err(format!("cannot send signal {signal}: signals go from 1 to 64"));
        }
        let task = match exec {
            Some(number) => self.exec_by_number(number).ok_or("no such exec")?.task,
            None => self.first_task().ok_or("it does not run")?,
        };
        self.signal_task(task, signal).map_err(|e| format!("cannot send signal {signal}: {e}"))?;
        if exec.is_none() {
            if signal == Signal::KILL.as_raw() {
                self.thaw_if_paused();
            }
            self.emit("kill", &[("signal", signal.to_string())]);
        }
        Ok(())
    }

    /// Asks the container to stop and plans to kill it. It is not started again by policy.
    pub(super) fn stop(&mut self, signal: i32, timeout_s: i64) {
        self.state.stopped_by_user = true;
        self.bring_down(signal, timeout_s);
    }

    /// Sends the container its signal and plans to kill it. Whether it is started again was decided by the caller.
    pub(super) fn bring_down(&mut self, signal: i32, timeout_s: i64) {
        let Some(task) = self.first_task() else { return self.stop_waiting() };
        if timeout_s == 0 && signal == Signal::KILL.as_raw() {
            return self.kill_now();
        }
        let _ = self.signal_task(task, signal);
        self.emit("kill", &[("signal", signal.to_string())]);
        self.thaw_if_paused();
        let kill_at = u64::try_from(timeout_s).ok().and_then(|s| Instant::now().checked_add(Duration::from_secs(s)));
        self.stopping = Some(Stopping { kill_at, killed: false });
    }

    /// Kills the container. Without a PID namespace of its own the rest of it is killed when init has ended.
    pub(super) fn kill_now(&mut self) {
        let mut again = None;
        if let Some(task) = self.first_task() {
            self.thaw_if_paused();
            match task {
                // The machine's own kernel kills the process first, so that what it wrote reaches the disk.
                Task::Guest(_) if !self.stopping.as_ref().is_some_and(|s| s.killed) => {
                    let _ = self.signal_task(task, Signal::KILL.as_raw());
                    again = Some(Instant::now() + GUEST_KILL_PATIENCE);
                }
                _ => {
                    if let Some(pid) = self.running.as_ref().and_then(|r| Pid::from_raw(r.pid())) {
                        let _ = rustix::process::kill_process(pid, Signal::KILL);
                    }
                }
            }
            self.emit("kill", &[("signal", "9".to_owned())]);
        }
        self.stopping = Some(Stopping { kill_at: again, killed: true });
    }

    /// The container's first process.
    fn first_task(&self) -> Option<Task> {
        let running = self.running.as_ref()?;
        Some(match running.guest() {
            None => Task::Child(running.pid()),
            Some(_) => Task::Guest(holm_spec::guest::FIRST_PROCESS),
        })
    }

    /// Sends a signal. A child is our own and unreaped, so its number still means it.
    pub(super) fn signal_task(&mut self, task: Task, signal: i32) -> std::io::Result<()> {
        match task {
            Task::Child(pid) => holm_sys::process::kill(pid, signal),
            Task::Guest(process) => self.signal_in_guest(process, signal),
        }
    }

    fn thaw_if_paused(&mut self) {
        if self.state.status == Status::Paused {
            let _ = self.unpause();
        }
    }

    fn pause(&mut self) -> Result<(), String> {
        if self.state.status != Status::Running {
            return Err(format!("cannot pause it: it is {}", self.state.status.word()));
        }
        let group = self.running.as_ref().and_then(|r| r.cgroup.as_ref()).ok_or("it has no control group")?;
        group.freeze().map_err(|e| crate::error::chain(&e))?;
        self.hold_attendant(Signal::STOP);
        self.become_status(Status::Paused);
        self.save();
        self.emit("pause", &[]);
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), String> {
        if self.state.status != Status::Paused {
            return Err(format!("cannot unpause it: it is {}", self.state.status.word()));
        }
        let group = self.running.as_ref().and_then(|r| r.cgroup.as_ref()).ok_or("it has no control group")?;
        group.thaw().map_err(|e| crate::error::chain(&e))?;
        self.hold_attendant(Signal::CONT);
        self.become_status(Status::Running);
        self.save();
        self.emit("unpause", &[]);
        Ok(())
    }

    /// Takes over what `update` and `rename` changed on disk.
    fn reload(&mut self) -> Result<(), String> {
        let record = self.roots.read_record(&self.id).map_err(|e| crate::error::chain(&e))?;
        if record.spec.limits != self.record.spec.limits {
            let resources =
                limits_of_update(&record.spec.limits, &self.record.spec.limits).map_err(|e| crate::error::chain(&e))?;
            let running = self.running.as_mut().ok_or("it does not run")?;
            let group = running.cgroup.as_mut().ok_or("it has no control group")?;
            group.update(&resources).map_err(|e| crate::error::chain(&e))?;
        }
        let renamed = record.spec.name != self.record.spec.name;
        self.record = record;
        if renamed { self.rename_on_networks().map_err(|e| crate::error::chain(&e)) } else { Ok(()) }
    }
}
