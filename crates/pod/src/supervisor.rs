//! The small process that stays with each running container: reaps it, pumps its output, keeps its state record, restarts
//! it by policy, checks its health, and answers commands.
//!
//! ```text
//!          boot ok                 init ended, policy says again
//! start ─────────▶ running/paused ─────────────────────────────▶ restarting ──back-off──▶ boot
//!   │ boot failed       │ init ended, for good                       │ stop
//!   ▼                   ▼                                            ▼
//!  told why          state record ▶ removal (--rm) ▶ run folder gone ▶ waiters told ▶ attached streams flushed ▶ exit
//! ```
//! It is forked by the command without exec, has one thread, and holds the lock of its folder in the run root as long as it
//! is responsible. Whoever finds that lock free knows that it is dead; its container died with it by the parent-death signal.

mod attach;
mod boot;
mod client;
mod end;
mod exec;
mod files;
mod health;
mod launch;
pub(crate) mod machine;
pub(crate) mod network;
mod pump;
mod restart;
mod source;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_container::cgroup::{Cgroup, Hierarchy};
use holm_container::rootfs::Rootfs;
use holm_container::seccomp::Program;
use holm_spec::ContainerId;
use holm_spec::container::RestartPolicy;
use holm_spec::oci::runtime::Spec;
use holm_spec::protocol::Reply;
use holm_spec::state::{ContainerState, Status};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::layout::{FolderLock, Record};
use crate::{Event, Roots, event, log, wire};

pub(crate) use launch::{Launch, launch};
pub(crate) use restart::wanted_after_boot;
pub(crate) use source::{bind as bind_source, block_devices};

use attach::Stream;
use client::Client;
use exec::ExecRun;
use health::Checker;

/// Name of the socket in the run folder.
pub(crate) const SOCKET: &str = "control.sock";
/// Quiet time after which memory that is not needed is given back.
const TIDY_AFTER: Duration = Duration::from_millis(50);

/// How long a `--rm` container in the foreground runs before commands are told of it, unless it is heard of before.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(2);

/// A container's processes and what is open because of them.
struct Running {
    inside: Inside,
    spec: Spec,
    cgroup: Option<Cgroup>,
    pump: pump::Pump,
    since: Instant,
    /// Docker's exit code once init has ended.
    ended: Option<i32>,
}

/// What the container's processes are in.
enum Inside {
    /// Namespaces of the host's kernel.
    Shared {
        /// The first process.
        init: holm_container::Init,
        /// Its root file system.
        rootfs: Rootfs,
        /// The filter that added processes get too.
        seccomp: Option<Program>,
    },
    /// A virtual machine.
    Machine(machine::Guest),
}

impl Running {
    /// The child that stands for the container: its first process, or the one that attends its machine.
    fn pid(&self) -> i32 {
        match &self.inside {
            Inside::Shared { init, .. } => init.pid,
            Inside::Machine(guest) => guest.pid(),
        }
    }

    fn pidfd(&self) -> BorrowedFd<'_> {
        match &self.inside {
            Inside::Shared { init, .. } => init.pidfd.as_fd(),
            Inside::Machine(guest) => guest.pidfd(),
        }
    }

    /// Its root file system, where the host can see it.
    fn rootfs(&self) -> Option<&Rootfs> {
        match &self.inside {
            Inside::Shared { rootfs, .. } => Some(rootfs),
            Inside::Machine(_) => None,
        }
    }

    fn guest(&self) -> Option<&machine::Guest> {
        match &self.inside {
            Inside::Shared { .. } => None,
            Inside::Machine(guest) => Some(guest),
        }
    }

    fn guest_mut(&mut self) -> Option<&mut machine::Guest> {
        match &mut self.inside {
            Inside::Shared { .. } => None,
            Inside::Machine(guest) => Some(guest),
        }
    }
}

/// A process beside the container's first: a child, or one in its machine, by the number it was given there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Child(i32),
    Guest(u32),
}

/// A stop that was asked for.
struct Stopping {
    kill_at: Option<Instant>,
    /// It was sent SIGKILL.
    killed: bool,
}

struct Supervisor {
    roots: Roots,
    id: ContainerId,
    record: Record,
    state: ContainerState,
    hierarchy: Option<Hierarchy>,
    lock: Option<FolderLock>,
    listener: Option<OwnedFd>,
    signals: OwnedFd,
    log: log::Writer,
    running: Option<Running>,
    attached: Option<network::Attached>,
    /// The command that started it makes a network namespace for its first process meanwhile.
    borrows: bool,
    /// Locks and mounts of volumes, until the start is recorded.
    held: Vec<OwnedFd>,
    clients: Vec<Client>,
    streams: Vec<Stream>,
    execs: Vec<ExecRun>,
    health: Option<Checker>,
    /// The virtual machine that was just tried said nothing.
    silent: std::cell::Cell<bool>,
    stopping: Option<Stopping>,
    /// The supervisor was told to end, as when the machine goes down: no start follows this end, and it is no wish of the
    /// user's, so that `unless-stopped` starts the container again after the boot.
    ending: bool,
    restart: restart::Backoff,
    tidy_at: Option<Instant>,
    announce_at: Option<Instant>,
    next_number: u32,
    over: bool,
}

/// What became ready.
#[derive(Clone, Copy, Debug)]
enum Ready {
    Signal,
    Init,
    Listener,
    Client(u32),
    Stream(u32),
    Output(u8),
    Input,
    Health,
    Guest,
    Keeper,
    Ports,
}

impl Ready {
    /// Whether somebody is to hear of the container by it, which its end alone is not.
    fn is_heard(self, flags: PollFlags) -> bool {
        match self {
            Self::Signal | Self::Init => false,
            Self::Output(_) => flags.contains(PollFlags::IN),
            _ => true,
        }
    }
}

impl Supervisor {
    fn new(
        roots: Roots,
        id: ContainerId,
        record: Record,
        state: ContainerState,
        lock: FolderLock,
    ) -> std::io::Result<Self> {
        let _ = rustix::thread::set_name(c"holm-pod");
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        rustix::process::chdir("/")?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let signals = holm_sys::detach::child_signal_fd()?;
        let log = log::Writer::new(&roots.container(&id), record.spec.log.clone());
        Ok(Self {
            roots,
            id,
            record,
            state,
            hierarchy: Hierarchy::discover(std::path::Path::new("/sys/fs/cgroup")).ok(),
            lock: Some(lock),
            listener: None,
            signals,
            log,
            running: None,
            attached: None,
            borrows: false,
            held: Vec::new(),
            clients: Vec::new(),
            streams: Vec::new(),
            execs: Vec::new(),
            health: None,
            silent: std::cell::Cell::new(false),
            stopping: None,
            ending: false,
            restart: restart::Backoff::default(),
            tidy_at: None,
            announce_at: None,
            next_number: 1,
            over: false,
        })
    }

    /// The supervisor's life; its result is the exit code of the process.
    fn run(
        &mut self,
        control: OwnedFd,
        stream: Option<OwnedFd>,
        size: Option<holm_spec::oci::runtime::ConsoleSize>,
    ) -> i32 {
        let _ = rustix::io::ioctl_fionbio(&control, true);
        let number = self.number();
        self.clients.push(Client::new(number, control));
        if let Some(stream) = stream {
            let feeds = self.record.spec.interactive;
            let number = self.number();
            self.streams.push(Stream::foreground(number, stream, feeds, self.record.spec.tty));
        }
        self.state.stopped_by_user = false;
        self.state.restart_count = 0;
        // One who waits for the end need not wait for the socket and the record that others will want.
        let foreground = !self.streams.is_empty();
        match self.boot(size) {
            Ok(pid) if foreground && self.vanishes() => {
                self.tell_start(pid);
                self.announce_at = Some(Instant::now() + ANNOUNCE_AFTER);
            }
            Ok(pid) if foreground => {
                self.tell_start(pid);
                self.announce();
            }
            Ok(pid) => {
                self.announce();
                self.tell_start(pid);
            }
            Err(e) => self.fail_start(&e),
        }
        self.tidy_at = Some(Instant::now() + TIDY_AFTER);
        while !self.over {
            self.turn();
        }
        self.flush_streams();
        0
    }

    fn tell_start(&mut self, pid: i32) {
        let first = self.clients.first().map(|c| c.number);
        let mut warnings =
            self.running.as_ref().and_then(|r| r.cgroup.as_ref()).map_or_else(Vec::new, |g| g.warnings().to_vec());
        warnings.extend(self.attached.as_mut().map_or_else(Vec::new, |a| std::mem::take(&mut a.joined.notes)));
        self.reply(first, &Reply::Started { exec: 0, pid, warnings }, &[]);
    }

    /// Whether the container is gone after its first end.
    fn vanishes(&self) -> bool {
        self.record.spec.auto_remove && self.record.spec.restart == RestartPolicy::No
    }

    /// Writes the record of the start and listens for commands. A container that has ended by now and is removed at its end
    /// is on its way out, so nobody could use either.
    ///
    /// In the foreground the first two milliseconds of such a container come before it. Who asks for it meanwhile waits for
    /// the socket, and nothing that it writes is passed on before.
    fn announce(&mut self) {
        self.announce_at = None;
        if self.vanishes() && self.init_has_ended() {
            return;
        }
        self.listener = self.lock.as_ref().and_then(|lock| wire::listen(lock.fd().as_fd(), SOCKET).ok());
        self.record_start();
    }

    fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) {
        let wait = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = wait.map(|d| Timespec { tv_sec: d.as_secs().cast_signed(), tv_nsec: d.subsec_nanos().into() });
        let (tokens, mut polls) = self.interests();
        // A supervisor that has had nothing to do for a while has given its memory back and must not touch it to wait.
        let result = match self.tidy_at {
            Some(_) => rustix::event::poll(&mut polls, timeout.as_ref()).map_err(std::io::Error::from),
            None => holm_sys::idle::poll_in_little_memory(&mut polls, wait),
        };
        if result.is_err() {
            return;
        }
        let ready: Vec<(Ready, PollFlags)> = tokens
            .into_iter()
            .zip(&polls)
            .filter(|(_, poll)| !poll.revents().is_empty())
            .map(|(token, poll)| (token, poll.revents()))
            .collect();
        drop(polls);
        if self.announce_at.is_some() && ready.iter().any(|(token, flags)| token.is_heard(*flags)) {
            self.announce();
        }
        let active = !ready.is_empty();
        for (token, flags) in ready {
            self.handle(token, flags);
        }
        self.timers(active);
    }

    fn interests(&self) -> (Vec<Ready>, Vec<PollFd<'_>>) {
        let mut tokens = vec![Ready::Signal];
        let mut polls = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut add = |token, fd, flags| {
            tokens.push(token);
            polls.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(listener) = &self.listener {
            add(Ready::Listener, listener.as_fd(), PollFlags::IN);
        }
        for client in &self.clients {
            add(Ready::Client(client.number), client.socket.as_fd(), PollFlags::IN);
        }
        let crowded = self.streams.iter().any(Stream::is_full);
        let wants_input = self.running.as_ref().is_some_and(|r| r.pump.wants_input());
        for stream in &self.streams {
            add(Ready::Stream(stream.number), stream.socket.as_fd(), stream.interest(wants_input));
        }
        if let Some(running) = &self.running {
            add(Ready::Init, running.pidfd(), PollFlags::IN);
            if let Some(guest) = running.guest() {
                add(Ready::Guest, guest.control(), PollFlags::IN);
            }
            for (number, fd, flags) in running.pump.interests(crowded) {
                add(if number == 0 { Ready::Input } else { Ready::Output(number) }, fd, flags);
            }
        }
        if let Some(fd) = self.health.as_ref().and_then(Checker::output) {
            add(Ready::Health, fd, PollFlags::IN);
        }
        if let Some(attached) = &self.attached {
            let parts = [(Ready::Keeper, attached.keeper()), (Ready::Ports, attached.ports())];
            for (token, fd) in parts.into_iter().filter_map(|(token, fd)| Some((token, fd?))) {
                add(token, fd, PollFlags::IN);
            }
        }
        (tokens, polls)
    }

    fn handle(&mut self, token: Ready, flags: PollFlags) {
        match token {
            Ready::Signal | Ready::Init => self.take_signals(),
            Ready::Listener => self.accept(),
            Ready::Client(number) => self.serve(number),
            Ready::Stream(number) => self.stream_ready(number, flags),
            Ready::Output(number) => {
                self.take_output(number);
            }
            Ready::Input => self.give_input(),
            Ready::Health => self.health_output(),
            Ready::Guest => self.guest_speaks(),
            Ready::Keeper => self.keeper_ended(),
            Ready::Ports => self.ports_ready(),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let kill = self.stopping.as_ref().and_then(|s| s.kill_at);
        let health = self.health.as_ref().and_then(Checker::deadline);
        let stall = self.streams.iter().filter_map(Stream::cut_at).min();
        [kill, health, stall, self.restart.at(), self.tidy_at, self.announce_at].into_iter().flatten().min()
    }

    fn timers(&mut self, active: bool) {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.stopping.as_ref().and_then(|s| s.kill_at)) {
            self.kill_now();
        }
        if due(self.health.as_ref().and_then(Checker::deadline)) {
            self.health_due();
        }
        self.streams.retain(|s| !due(s.cut_at()));
        if due(self.restart.at()) {
            self.boot_again();
        }
        if due(self.announce_at) {
            self.announce();
        }
        if active {
            self.tidy_at = Some(now + TIDY_AFTER);
        } else if due(self.tidy_at) {
            self.tidy_at = None;
            holm_sys::detach::trim_heap();
        }
    }

    /// Takes SIGCHLD and reaps, takes SIGTERM as the end of the machine's or session's time.
    fn take_signals(&mut self) {
        while let Some(signal) = holm_sys::detach::take_signal(self.signals.as_fd()) {
            if signal == rustix::process::Signal::TERM.as_raw() {
                let signal = crate::plan::stop_signal(&self.record.spec, &self.record.image_config);
                self.ending = true;
                self.bring_down(signal, self.record.spec.stop_timeout_s.unwrap_or(10));
            }
        }
        while let Some((pid, status)) = holm_sys::detach::reap_any() {
            let code = holm_sys::detach::exit_code(status);
            if self.running.as_ref().is_some_and(|r| r.pid() == pid) {
                if let Some(running) = &mut self.running {
                    running.ended = Some(code);
                }
            } else if !self.health_ended(Task::Child(pid), code) && !self.relay_ended(pid) {
                self.exec_ended(Task::Child(pid), code);
            }
        }
        if let Some(code) = self.running.as_ref().and_then(|r| r.ended) {
            self.container_ended(code);
        }
    }

    fn emit(&self, action: &str, attributes: &[(&str, String)]) {
        let spec = &self.record.spec;
        let mut event = Event::now("container", action, self.id.as_str())
            .with("name", spec.name.as_str())
            .with("image", spec.image.as_str());
        for (key, value) in attributes {
            event = event.with(key, value.as_str());
        }
        event::emit(&self.roots.run, &[event]);
    }

    /// Writes the state record. A failure (a full disk) must not end the container: the next change tries again.
    fn save(&self) {
        let _ = self.roots.write_state(&self.id, &self.state);
    }

    fn become_status(&mut self, next: Status) {
        debug_assert!(self.state.status == next || self.state.status.may_become(next));
        self.state.status = next;
    }
}
