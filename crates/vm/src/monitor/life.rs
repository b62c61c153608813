//! The life of a monitor: one loop over the guest, the hypervisor, the supervisor and the local ends of streams.
//!
//! ```text
//! booting  -- Hello -->  running  -- first process ended, or could not be run -->  ending  -- hypervisor ended -->  over
//!    |                      |
//!    +----------------------+-- late, breach, hang, kernel or hypervisor dead -->  lost
//! ```

mod hear;
mod request;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use holm_spec::guest::{FIRST_PROCESS, ToGuest, ToHost};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::clock::{Clock, SLICE};
use super::console::Console;
use super::local::Locals;
use super::mux::Mux;
use super::wire::{self, FromMonitor, OWN_REQUESTS};
use super::{DIED, KILLED, NOT_UP, Patience};
use crate::machine::Ends;
use crate::qmp::Qmp;

/// How long a guest may take to switch itself off.
const OFF_WITHIN: Duration = Duration::from_secs(5);
/// How long a supervisor may take to hear the last.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Messages to the supervisor that may wait; no more of its requests are taken then.
const MAX_WAITING: usize = 64;

/// What bounds it.
pub(super) struct Limits {
    pub(super) boot: Duration,
    pub(super) graceful: bool,
    pub(super) restored: bool,
    pub(super) patience: Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Booting,
    Running,
    Ending { code: i32, until: Duration },
    Over { code: i32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Channel,
    Qmp,
    Console,
    Control,
    Vmm,
    Stream(u32),
}

/// A monitor at work.
pub(super) struct Life {
    channel: OwnedFd,
    channel_open: bool,
    qmp: Option<Qmp>,
    console: Option<OwnedFd>,
    console_copy: Option<OwnedFd>,
    control: OwnedFd,
    control_open: bool,
    vmm: OwnedFd,
    limits: Limits,
    phase: Phase,
    mux: Mux,
    locals: Locals,
    said: Console,
    clock: Clock,
    ticked: Duration,
    heard: Duration,
    ping: Option<(u32, Duration)>,
    next_own: u32,
    paused: bool,
    /// The supervisor was told that a disk failed.
    disk_failed: bool,
    /// Why the machine ended, as the hypervisor says.
    end: Option<String>,
    /// Requests whose failure ends the machine.
    vital: BTreeSet<u32>,
    /// Terminals whose process is being started, by request.
    masters: BTreeMap<u32, OwnedFd>,
    waiting: VecDeque<(FromMonitor, Option<OwnedFd>)>,
    buffer: Vec<u8>,
}

impl Life {
    pub(super) fn new(
        ends: Ends,
        control: OwnedFd,
        vmm: OwnedFd,
        console_copy: Option<OwnedFd>,
        limits: Limits,
    ) -> io::Result<Self> {
        for fd in [&ends.channel, &ends.console, &control] {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let mut qmp = Qmp::new(ends.qmp)?;
        // It is read by QEMU when it is up; a restored one is in this mode already and says so, which is dropped.
        let _ = qmp.begin();
        let phase = if limits.restored { Phase::Running } else { Phase::Booting };
        Ok(Self {
            channel: ends.channel,
            channel_open: true,
            qmp: Some(qmp),
            console: Some(ends.console),
            console_copy,
            control,
            control_open: true,
            vmm,
            phase,
            mux: Mux::new(limits.restored),
            limits,
            locals: Locals::default(),
            said: Console::default(),
            clock: Clock::new(),
            ticked: Duration::ZERO,
            heard: Duration::ZERO,
            ping: None,
            next_own: OWN_REQUESTS,
            paused: false,
            disk_failed: false,
            end: None,
            vital: BTreeSet::new(),
            masters: BTreeMap::new(),
            waiting: VecDeque::new(),
            buffer: Vec::new(),
        })
    }

    /// Lives until the machine has ended.
    pub(super) fn run(&mut self) -> i32 {
        loop {
            self.tell();
            self.send_to_guest();
            self.send_to_supervisor();
            self.locals.prune(&self.mux);
            if let Phase::Over { code } = self.phase {
                self.last_words();
                return code;
            }
            let asked = self.sleep();
            let ready = self.wait(asked);
            self.clock.wake(asked);
            for source in ready {
                self.serve(source);
            }
            self.watch();
        }
    }

    /// How long nothing need be done.
    fn sleep(&self) -> Duration {
        let until = |at: Duration| at.saturating_sub(self.clock.now()) + Duration::from_millis(1);
        match self.phase {
            Phase::Booting => until(self.limits.boot).min(SLICE),
            Phase::Ending { until: at, .. } => until(at).min(SLICE),
            _ => match self.ping {
                Some((_, sent)) => until(sent.max(self.heard) + self.limits.patience.hang_after).min(SLICE),
                None => until(self.heard + self.limits.patience.ping_after),
            },
        }
    }

    fn wait(&self, limit: Duration) -> Vec<Source> {
        let mut list: Vec<(Source, BorrowedFd<'_>, PollFlags)> = Vec::with_capacity(16);
        let wants = |out: bool| if out { PollFlags::OUT } else { PollFlags::empty() };
        if self.channel_open {
            let flags = PollFlags::IN | wants(!self.mux.outgoing().is_empty());
            list.push((Source::Channel, self.channel.as_fd(), flags));
        }
        if let Some(qmp) = &self.qmp {
            list.push((Source::Qmp, qmp.as_fd(), PollFlags::IN));
        }
        if let Some(console) = &self.console {
            list.push((Source::Console, console.as_fd(), PollFlags::IN));
        }
        if self.control_open {
            let requests = if self.takes_requests() { PollFlags::IN } else { PollFlags::empty() };
            list.push((Source::Control, self.control.as_fd(), requests | wants(!self.waiting.is_empty())));
        }
        list.push((Source::Vmm, self.vmm.as_fd(), PollFlags::IN));
        let streams = self.locals.interests(&self.mux);
        list.extend(streams.into_iter().map(|(stream, fd, flags)| (Source::Stream(stream), fd, flags)));
        let mut fds: Vec<PollFd<'_>> =
            list.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
        if rustix::event::poll(&mut fds, Some(&limit)).is_err() {
            return Vec::new();
        }
        // The hypervisor's end comes last, when what it said before has been heard.
        let mut ready: Vec<Source> =
            list.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|((source, ..), _)| *source).collect();
        ready.sort_by_key(|source| *source == Source::Vmm);
        ready
    }

    fn takes_requests(&self) -> bool {
        self.phase == Phase::Running && self.mux.takes_requests() && self.waiting.len() < MAX_WAITING
    }

    fn serve(&mut self, source: Source) {
        match source {
            Source::Channel => self.hear_guest(),
            Source::Qmp => self.hear_qmp(),
            Source::Console => self.hear_console(),
            Source::Control => self.hear_supervisor(),
            Source::Vmm => self.vmm_ended(),
            Source::Stream(stream) => self.locals.serve(stream, &mut self.mux, &mut self.buffer),
        }
    }

    /// What time brings.
    fn watch(&mut self) {
        let now = self.clock.now();
        if now - self.ticked >= Duration::from_secs(1) {
            self.ticked = now;
            self.mux.tick();
        }
        if self.paused {
            self.heard = now;
            self.ping = None;
        }
        match self.phase {
            Phase::Booting if now >= self.limits.boot => {
                let seconds = self.limits.boot.as_secs();
                self.lose(format!("the agent did not come up within {seconds} s"), NOT_UP);
            }
            Phase::Ending { code, until } if now >= until => self.kill(code),
            Phase::Running => match self.ping {
                Some((id, _)) if !self.mux.awaits(id) => self.ping = None,
                Some((_, sent)) if now - sent.max(self.heard) >= self.limits.patience.hang_after => {
                    self.lose(format!("the agent has said nothing for {} s", (now - self.heard).as_secs()), DIED);
                }
                None if now - self.heard >= self.limits.patience.ping_after => {
                    let id = self.own_number();
                    if self.mux.ask(&ToGuest::Ping { id }).is_ok() {
                        self.ping = Some((id, now));
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn own_number(&mut self) -> u32 {
        let id = self.next_own;
        self.next_own = id.checked_add(1).unwrap_or(OWN_REQUESTS);
        id
    }

    /// Takes what the guest told, and queues for the supervisor what is for it.
    fn tell(&mut self) {
        while let Some(message) = self.mux.next_told() {
            let mut with = None;
            let mut end = None;
            match &message {
                ToHost::Hello { kernel, uptime_ns, .. } => {
                    if self.phase == Phase::Booting {
                        self.phase = Phase::Running;
                    }
                    let booted = FromMonitor::Booted { kernel: kernel.clone(), boot_ns: *uptime_ns };
                    self.waiting.push_back((booted, None));
                    continue;
                }
                ToHost::Done { id, .. } | ToHost::Failed { id, .. } if *id >= OWN_REQUESTS => continue,
                ToHost::Started { id, .. } => {
                    with = self.masters.remove(id);
                    self.vital.remove(id);
                }
                ToHost::Done { id, .. } => drop(self.vital.remove(id)),
                ToHost::Failed { id, code, .. } => {
                    self.masters.remove(id);
                    end = Some(*code).filter(|_| self.vital.remove(id));
                }
                ToHost::Exited { process: FIRST_PROCESS, code, .. } => end = Some(*code),
                _ => {}
            }
            self.waiting.push_back((FromMonitor::Guest(message), with));
            if let Some(code) = end {
                self.end_machine(code);
            }
        }
    }

    fn end_machine(&mut self, code: i32) {
        if !matches!(self.phase, Phase::Booting | Phase::Running) {
            return;
        }
        let id = self.own_number();
        if !self.limits.graceful || self.mux.ask(&ToGuest::PowerOff { id }).is_err() {
            return self.kill(code);
        }
        self.phase = Phase::Ending { code, until: self.clock.now() + OFF_WITHIN };
    }

    fn send_to_guest(&mut self) {
        while self.channel_open && !self.mux.outgoing().is_empty() {
            match rustix::net::send(&self.channel, self.mux.outgoing(), rustix::net::SendFlags::NOSIGNAL) {
                Ok(n) => self.mux.sent(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.channel_open = false,
            }
        }
    }

    fn send_to_supervisor(&mut self) {
        while let Some((message, with)) = self.waiting.front() {
            let fds: Vec<BorrowedFd<'_>> = with.iter().map(AsFd::as_fd).collect();
            match wire::send(self.control.as_fd(), message, &fds) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Hung up, which is noticed, or too large to be told: whoever waits for it learns no less by waiting.
                Ok(()) | Err(_) => drop(self.waiting.pop_front()),
            }
        }
    }

    /// The hypervisor has ended: in order, or the machine is lost.
    fn vmm_ended(&mut self) {
        while self.channel_open && !matches!(self.phase, Phase::Over { .. }) {
            let before = self.heard;
            self.hear_guest();
            self.tell();
            if self.heard == before {
                break;
            }
        }
        self.drain();
        let waited = rustix::process::waitid(WaitId::PidFd(self.vmm.as_fd()), WaitIdOptions::EXITED);
        match self.phase {
            Phase::Ending { code, .. } => self.phase = Phase::Over { code },
            Phase::Over { .. } => {}
            Phase::Booting | Phase::Running => {
                let status = waited.ok().flatten();
                let signal = status.as_ref().and_then(|s| s.terminating_signal());
                let code = match self.phase {
                    _ if signal == Some(Signal::KILL.as_raw()) => KILLED,
                    Phase::Booting => NOT_UP,
                    _ => DIED,
                };
                let reason = match (self.end.take(), signal, status.and_then(|s| s.exit_status())) {
                    (Some(reason), ..) => reason,
                    (None, Some(signal), _) => format!("the hypervisor was killed by signal {signal}"),
                    (None, None, status) => format!("the hypervisor ended with status {}", status.unwrap_or(-1)),
                };
                self.say_lost(reason, code);
            }
        }
    }

    /// Takes what is left to be heard of the hypervisor.
    fn drain(&mut self) {
        for _ in 0..64 {
            self.hear_qmp();
            self.hear_console();
        }
    }

    fn lose(&mut self, reason: String, code: i32) {
        match self.phase {
            Phase::Ending { code, .. } => self.kill(code),
            Phase::Over { .. } => {}
            Phase::Booting | Phase::Running => {
                self.drain();
                self.end_vmm();
                self.say_lost(reason, code);
            }
        }
    }

    fn say_lost(&mut self, reason: String, code: i32) {
        let reason = super::check::text(&reason);
        self.waiting.push_back((FromMonitor::Lost { reason, console: self.said.last_lines() }, None));
        self.phase = Phase::Over { code };
    }

    /// A supervisor that is gone ends the machine, unless it is at its end anyway.
    fn supervisor_left(&mut self) {
        self.control_open = false;
        if !matches!(self.phase, Phase::Ending { .. }) {
            self.kill(KILLED);
        }
    }

    /// Ends the machine at once.
    fn kill(&mut self, code: i32) {
        self.end_vmm();
        self.phase = Phase::Over { code };
    }

    fn end_vmm(&self) {
        // One that has ended already is as good as killed, and the wait only takes what is there.
        let _ = rustix::process::pidfd_send_signal(&self.vmm, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(self.vmm.as_fd()), WaitIdOptions::EXITED);
    }

    /// Gives the supervisor and the local ends of streams a moment for what is theirs.
    fn last_words(&mut self) {
        let end = self.clock.now() + LAST_WORDS;
        loop {
            self.send_to_supervisor();
            let left: Vec<u32> = self.locals.interests(&self.mux).iter().map(|(stream, ..)| *stream).collect();
            for stream in left {
                self.locals.serve(stream, &mut self.mux, &mut self.buffer);
            }
            let rest = end.saturating_sub(self.clock.now());
            if self.waiting.is_empty() || rest.is_zero() {
                return;
            }
            let mut fds = [PollFd::new(&self.control, PollFlags::OUT)];
            let limit = Timespec { tv_sec: rest.as_secs().cast_signed(), tv_nsec: rest.subsec_nanos().into() };
            let _ = rustix::event::poll(&mut fds, Some(&limit));
            self.clock.wake(rest);
        }
    }
}
