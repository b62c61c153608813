//! The process that stays behind with a whole machine: the hypervisor's parent, its console's hub, its networks' keeper.
//!
//! ```text
//! command --fork--> supervisor: networks, disks, hypervisor; listens; moves the console; ends with the machine
//! ```
//! It holds the lock of the run folder as long as it is responsible. Whoever finds that lock free knows that it is dead; the
//! hypervisor died with it by the parent-death signal.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_spec::vm::{VmSpec, VmState};
use holm_sys::detach;
use holm_vm::qmp::Event as Said;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::SocketType;
use rustix::process::Signal;

use super::console::Console;
use super::protocol::{Answer, Ask};
use super::{boot, snapshot};
use crate::error::chain;
use crate::layout::{FolderLock, now_ns};
use crate::supervisor::SOCKET;
use crate::supervisor::network::Attached;
use crate::wire::{self, Received};
use crate::{Error, Event, Roots, event};

/// How long what is left of a hypervisor may take to die.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two presses of the power button: a guest that is just booting does not notice the first.
const PRESS_AGAIN: Duration = Duration::from_secs(5);
/// Most commands that are connected at once.
const MAX_CLIENTS: usize = 64;

/// What a supervisor is given.
pub(super) struct Launch<'a> {
    pub(super) roots: &'a Roots,
    pub(super) spec: VmSpec,
    pub(super) state: VmState,
    pub(super) lock: FolderLock,
    /// The moment to begin at, instead of the power button.
    pub(super) restore: Option<String>,
}

/// Forks the supervisor. The first packet on the socket tells whether the machine runs.
pub(super) fn launch(request: Launch<'_>) -> Result<OwnedFd, Error> {
    let Launch { roots, spec, state, lock, restore } = request;
    let failed = |e: std::io::Error| Error::io("make the supervisor of", spec.name.as_str(), e);
    let (control, theirs) = wire::pair(SocketType::SEQPACKET).map_err(failed)?;
    let folder = lock.path().to_owned();
    let copy = lock.fd().try_clone().map_err(failed)?;
    let mut parts = Some((copy, theirs));
    let mut run = || {
        let Some((lock, control)) = parts.take() else { return 125 };
        let Ok(mut kept) = detach::keep_only(vec![lock, control]) else { return 125 };
        let (Some(control), Some(lock)) = (kept.pop(), kept.pop()) else { return 125 };
        let lock = FolderLock::from_parts(lock, folder.clone());
        live(roots, &spec, state.clone(), lock, control, restore.as_deref())
    };
    detach::spawn_detached(&mut run).map_err(failed)?;
    Ok(control)
}

fn live(
    roots: &Roots,
    spec: &VmSpec,
    mut state: VmState,
    lock: FolderLock,
    control: OwnedFd,
    restore: Option<&str>,
) -> i32 {
    let _ = rustix::thread::set_name(c"holm-machine");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let _ = rustix::process::chdir("/");
    let last = std::mem::take(&mut state.addresses);
    let begun = boot::join(roots, spec, &last).and_then(|attached| {
        let begun = begin(roots, spec, state, attached.as_ref(), restore);
        begun.map(|(running, state, console)| (running, state, console, attached)).inspect_err(|_| {
            let _ = roots.networks().release_all(&spec.id);
        })
    });
    match begun {
        Ok((running, state, console, attached)) => {
            let supervisor = Supervisor::new(roots, spec, state, lock, running, console, attached);
            supervisor.map_or(125, |mut supervisor| supervisor.run(control))
        }
        Err(e) => {
            let _ = lock.remove_folder();
            let answer = Answer::Failed { message: reason(&e), hint: e.hint() };
            let _ = wire::send(control.as_fd(), &answer, &[]);
            125
        }
    }
}

/// The reason of a failure to start, which the command says in its own words.
fn reason(error: &Error) -> String {
    match error {
        Error::Vm { message, .. } => message.clone(),
        other => chain(other),
    }
}

/// Makes the hypervisor and has it go on.
fn begin(
    roots: &Roots,
    spec: &VmSpec,
    mut state: VmState,
    attached: Option<&Attached>,
    restore: Option<&str>,
) -> Result<(boot::Running, VmState, Console), Error> {
    let mut running = boot::start(roots, spec, attached, &mut state)?;
    let made = (|| {
        if let Some(moment) = restore {
            snapshot::load(spec, moment, &mut running.qmp)?;
        }
        let console = running.console.try_clone().map_err(|e| Error::io("open", "the console", e))?;
        let console =
            Console::new(console, &roots.vm(spec.name.as_str())).map_err(|e| Error::io("open", "the console", e))?;
        running
            .qmp
            .execute("cont", None, &[], KILL_PATIENCE)
            .map_err(|e| super::failed("start", spec.name.as_str(), chain(&e), None))?;
        Ok(console)
    })();
    match made {
        Ok(console) => Ok((running, state, console)),
        Err(e) => {
            end(running);
            Err(e)
        }
    }
}

/// Kills a hypervisor and takes its group away.
fn end(running: boot::Running) {
    let _ = rustix::process::pidfd_send_signal(&running.init.pidfd, Signal::KILL);
    if let Some(group) = running.group {
        let _ = group.kill_all(KILL_PATIENCE);
        while detach::reap_any().is_some() {}
        let _ = group.remove();
    }
}

/// A command that is connected.
struct Client {
    number: u32,
    socket: OwnedFd,
}

struct Supervisor<'a> {
    roots: &'a Roots,
    spec: &'a VmSpec,
    state: VmState,
    lock: Option<FolderLock>,
    listener: Option<OwnedFd>,
    signals: OwnedFd,
    running: Option<boot::Running>,
    console: Console,
    attached: Option<Attached>,
    clients: Vec<Client>,
    next: u32,
    /// Who has the line to the guest agent.
    lent: Option<u32>,
    kill_at: Option<Instant>,
    press_at: Option<Instant>,
    /// Somebody asked it to end.
    stopped: bool,
    code: i32,
}

impl<'a> Supervisor<'a> {
    fn new(
        roots: &'a Roots,
        spec: &'a VmSpec,
        state: VmState,
        lock: FolderLock,
        running: boot::Running,
        console: Console,
        attached: Option<Attached>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            roots,
            spec,
            state,
            listener: Some(wire::listen(lock.fd().as_fd(), SOCKET)?),
            lock: Some(lock),
            signals: detach::child_signal_fd()?,
            running: Some(running),
            console,
            attached,
            clients: Vec::new(),
            next: 0,
            lent: None,
            kill_at: None,
            press_at: None,
            stopped: false,
            code: 0,
        })
    }

    /// Lives until the machine has ended; the exit code of the process.
    fn run(&mut self, control: OwnedFd) -> i32 {
        self.record_start();
        let warnings = self.attached.as_ref().map(|a| a.joined.notes.clone()).unwrap_or_default();
        let _ = wire::send(control.as_fd(), &Answer::Started { warnings }, &[]);
        drop(control);
        while self.running.is_some() {
            self.turn();
        }
        self.finish();
        0
    }

    fn record_start(&mut self) {
        if let Some(attached) = &mut self.attached {
            attached.attend(&self.roots.networks());
            let v4 = |e: &holm_spec::network::Endpoint| {
                let address = e.addresses.iter().find_map(|a| match a.addr() {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                });
                address.map(|address| (e.network.to_string(), address))
            };
            self.state.addresses = attached.joined.endpoints().iter().filter_map(v4).collect();
        }
        self.state.started_at_ns = now_ns();
        self.state.finished_at_ns = 0;
        self.state.error.clear();
        // A record that cannot be written keeps nobody from running it.
        let _ = self.roots.write_vm_state(self.spec.name.as_str(), &self.state);
    }

    /// Waits until something is ready, and does it.
    fn turn(&mut self) {
        let Some(ready) = self.wait() else { return };
        let consoles = ready.len() - FIXED - self.clients.len();
        self.console.turn(&ready[FIXED..FIXED + consoles]);
        for at in (0..self.clients.len()).rev() {
            if !ready[FIXED + consoles + at].is_empty() {
                self.hear_client(at);
            }
        }
        if !ready[0].is_empty() {
            self.signalled();
        }
        if !ready[1].is_empty() {
            self.accept();
        }
        if !ready[2].is_empty() {
            self.hear_hypervisor();
        }
        if let Some(attached) = &mut self.attached {
            if !ready[3].is_empty() {
                attached.keeper_ended(&self.roots.networks());
            }
            if !ready[4].is_empty() {
                attached.ports_ready();
            }
        }
        self.look_at_clock();
    }

    /// What became ready: signals, listener, QMP, keeper, ports; the console's; the clients.
    fn wait(&self) -> Option<Vec<PollFlags>> {
        let qmp = self.running.as_ref().map(|running| running.qmp.as_fd());
        let attached = self.attached.as_ref();
        let fixed: [Option<BorrowedFd<'_>>; FIXED] = [
            Some(self.signals.as_fd()),
            self.listener.as_ref().map(AsFd::as_fd),
            qmp,
            attached.and_then(Attached::keeper),
            attached.and_then(Attached::ports),
        ];
        // What is not there is never ready: the descriptor that stands for it is asked for nothing.
        let nothing = self.signals.as_fd();
        let mut polls: Vec<PollFd<'_>> = fixed
            .iter()
            .map(|fd| match fd {
                Some(fd) => PollFd::from_borrowed_fd(*fd, PollFlags::IN),
                None => PollFd::from_borrowed_fd(nothing, PollFlags::empty()),
            })
            .collect();
        polls.extend(self.console.interests().map(|(fd, what)| PollFd::from_borrowed_fd(fd, what)));
        polls.extend(self.clients.iter().map(|c| PollFd::new(&c.socket, PollFlags::IN)));
        let limit = self.kill_at.into_iter().chain(self.press_at).min().map(|at| {
            let rest = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: rest.as_secs().cast_signed(), tv_nsec: rest.subsec_nanos().into() }
        });
        match rustix::event::poll(&mut polls, limit.as_ref()) {
            Ok(_) => Some(polls.iter().map(PollFd::revents).collect()),
            Err(_) => None,
        }
    }

    fn signalled(&mut self) {
        while let Some(signal) = detach::take_signal(self.signals.as_fd()) {
            // As when the host goes down: the guest may end in order.
            if signal == Signal::TERM.as_raw() {
                self.stop(60);
            }
        }
        while let Some((pid, status)) = detach::reap_any() {
            let relay = self.attached.as_mut().is_some_and(|attached| attached.relay_ended(pid));
            if !relay && self.running.as_ref().is_some_and(|running| running.init.pid == pid) {
                self.ended(detach::exit_code(status));
            }
        }
    }

    /// The hypervisor has ended.
    fn ended(&mut self, code: i32) {
        while self.console.hear_guest() {}
        self.code = code;
        if let Some(running) = self.running.take() {
            end(running);
        }
    }

    fn hear_hypervisor(&mut self) {
        let Some(running) = &mut self.running else { return };
        // Its end is told by a signal; one that talks nonsense is not to be trusted any more.
        match running.qmp.read() {
            Ok(_) => {
                while let Some(event) = running.qmp.next_event() {
                    if let Said::Shutdown(reason) = event
                        && reason == "guest-shutdown"
                    {
                        self.stopped = true;
                    }
                }
            }
            Err(_) => drop(rustix::process::pidfd_send_signal(&running.init.pidfd, Signal::KILL)),
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while self.clients.len() < MAX_CLIENTS
            && let Ok(Some(socket)) = wire::accept(listener.as_fd())
        {
            self.next += 1;
            self.clients.push(Client { number: self.next, socket });
        }
    }

    fn hear_client(&mut self, at: usize) {
        let client = &self.clients[at];
        match wire::receive::<Ask>(client.socket.as_fd()) {
            Ok(Received::Packet(ask, _)) => self.answer(at, ask),
            Ok(Received::Nothing) => {}
            Ok(Received::Closed | Received::Garbage(_)) | Err(_) => {
                let gone = self.clients.remove(at);
                if self.lent == Some(gone.number) {
                    self.lent = None;
                }
            }
        }
    }

    fn answer(&mut self, at: usize, ask: Ask) {
        let refused = |message: String| Answer::Failed { message, hint: None };
        let moment = |done: Result<(), Error>| match done {
            Ok(()) => (Answer::Done, None),
            Err(e) => (Answer::Failed { message: reason(&e), hint: e.hint() }, None),
        };
        let Some(running) = &mut self.running else { return };
        let folder = self.roots.vm(self.spec.name.as_str());
        let (answer, fd) = match ask {
            // The end is the answer.
            Ask::Stop { timeout_s } => return self.stop(timeout_s),
            Ask::Console => match self.console.attach() {
                Ok(stream) => (Answer::Done, Some(stream)),
                Err(e) => (refused(e.to_string()), None),
            },
            Ask::Agent if self.lent.is_some() => (refused("another command is running in it".to_owned()), None),
            Ask::Agent => match running.agent.try_clone() {
                Ok(line) => {
                    self.lent = Some(self.clients[at].number);
                    (Answer::Done, Some(line))
                }
                Err(e) => (refused(e.to_string()), None),
            },
            Ask::Snapshot { name } => moment(snapshot::save(&folder, self.spec, &name, &mut running.qmp)),
            Ask::Restore { name } => moment(snapshot::load(self.spec, &name, &mut running.qmp)),
        };
        let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
        let _ = wire::send(self.clients[at].socket.as_fd(), &answer, &fds);
    }

    /// Presses the power button, and kills it after this many seconds.
    fn stop(&mut self, timeout_s: i64) {
        self.stopped = true;
        let now = Instant::now();
        let kill_at = u64::try_from(timeout_s).ok().map(|seconds| now + Duration::from_secs(seconds.min(1 << 31)));
        self.kill_at = self.kill_at.into_iter().chain(kill_at).min();
        self.press_at = Some(now);
        self.look_at_clock();
    }

    fn look_at_clock(&mut self) {
        let (now, Some(running)) = (Instant::now(), &mut self.running) else { return };
        if self.kill_at.is_some_and(|at| at <= now) {
            (self.kill_at, self.press_at) = (None, None);
            let _ = rustix::process::pidfd_send_signal(&running.init.pidfd, Signal::KILL);
        }
        if self.press_at.is_some_and(|at| at <= now) {
            self.press_at = Some(now + PRESS_AGAIN);
            let _ = running.qmp.ask("system_powerdown", None, &[]);
        }
    }

    /// Gives back what the machine had, and tells who waits.
    fn finish(&mut self) {
        if let Some(attached) = &mut self.attached {
            attached.end_relay();
        }
        self.attached = None;
        let _ = self.roots.networks().release_all(&self.spec.id);
        let name = self.spec.name.as_str();
        (self.state.pid, self.state.finished_at_ns) = (0, now_ns());
        self.state.cgroup_path.clear();
        if !self.stopped {
            self.state.error = format!("its hypervisor ended with {}", self.code);
        }
        let _ = self.roots.write_vm_state(name, &self.state);
        event::emit(&self.roots.run, &[Event::now("vm", "die", self.spec.id.as_str()).with("name", name)]);
        self.listener = None;
        if let Some(lock) = self.lock.take() {
            let _ = lock.remove_folder();
        }
        for client in &self.clients {
            let _ = wire::send(client.socket.as_fd(), &Answer::Stopped, &[]);
        }
    }
}

/// Descriptors before the console's, see [`Supervisor::wait`].
const FIXED: usize = 5;
