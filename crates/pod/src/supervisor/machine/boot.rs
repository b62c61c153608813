//! Starting a container in a virtual machine: what it needs of the host, the process that attends it, its first words.
//!
//! ```text
//! supervisor                        attendant (forked, no exec)         hypervisor
//!   plan, disks, taps, group
//!   fork ------------------------->  makes what serves its folders, and
//!                                    it (holm_container) ------------->  shut in: namespaces, group, filter, no rights
//!                                    gives up all rights
//!   <- Booted ---------------------  hears the agent's hello
//!   -- Setup, Run + streams ------>  passes them on
//!   <- Started --------------------
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holm_container::Stdio;
use holm_container::cgroup::Cgroup;
use holm_spec::container::{MachineSpec, Profile};
use holm_spec::guest::{Disk, Mounted, Run, Setup, ToGuest, ToHost};
use holm_spec::oci::runtime::ConsoleSize;
use holm_sys::process::{self, Child, Fork};
use holm_vm::machine::{Share, VmmPlan};
use holm_vm::monitor::wire::{Received, ask, hear};
use holm_vm::monitor::{self, FromMonitor, MonitorParts, Patience};
use holm_vm::virtiofs::ServerPlan;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::SocketType;

use super::super::pump::Pump;
use super::super::{Inside, Running, Supervisor, files, network, source};
use super::{descriptors, lost_text};
use crate::layout::now_ns;
use crate::machine::{self, Kept, Planned, Prepared, Vmm};
use crate::plan::{Facts, guest_run, host_name, hypervisor_resources, machine_size};
use crate::{Error, filter, wire};

/// How long a machine may take until its program runs before another is tried: an emulated one takes two seconds on a quiet host.
const FIRST_TIMEOUT: Duration = Duration::from_secs(25);
/// How long the other one may take, on a busy host.
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);
/// Random bytes that a guest's pool gets.
const ENTROPY_BYTES: usize = 64;

impl Supervisor {
    /// Starts the container in a machine of its own; the PID that stands for it. A machine whose guest says nothing is
    /// booted once more, cold and with more patience. *Errors*: nothing is left.
    pub(in super::super) fn boot_machine(
        &mut self,
        asked: &MachineSpec,
        console: Option<ConsoleSize>,
    ) -> Result<i32, Error> {
        self.silent.set(false);
        match self.try_machine(asked, console, FIRST_TIMEOUT) {
            Err(e) if self.silent.get() => {
                self.emit("machine_silent", &[("error", crate::error::chain(&e))]);
                let cold = MachineSpec { template: false, ..asked.clone() };
                self.try_machine(&cold, console, BOOT_TIMEOUT)
            }
            other => other,
        }
    }

    fn try_machine(
        &mut self,
        asked: &MachineSpec,
        console: Option<ConsoleSize>,
        limit: Duration,
    ) -> Result<i32, Error> {
        let (shares, sources) = self.shares()?;
        let facts = self.guest_facts(sources);
        let size = machine_size(&self.record.spec);
        let prepared = machine::prepare(&self.roots, &self.id, &self.record, asked, size)?;
        let name = host_name(&self.record.spec, &facts);
        let run = self.guest_run(&facts, &name, console)?;
        let setup = self.setup(&name, shares.mounted)?;
        let planned = self.planned(prepared, shares.connections)?;
        let (state, wish) = (planned.state, planned.wish);
        let group_path = self.group_path();
        let kvm = state.accelerator == "kvm";
        let resources = hypervisor_resources(&self.record.spec, &facts, size, kvm)?;
        let group = self.group_of(&resources, &group_path)?;
        let made = self.attended((planned.vmm, shares.servers), planned.resumed, group.as_ref(), setup, (&run, limit));
        let (attendant, control, pump) = match made {
            Ok(made) => made,
            Err(e) => {
                let _ =
                    group.map(|group| group.kill_all(super::super::end::KILL_PATIENCE).and_then(|()| group.remove()));
                return Err(e);
            }
        };
        let pid = attendant.pid;
        let made_path = group.as_ref().map_or_else(String::new, |g| g.path().to_owned());
        let inside = Inside::machine(attendant, control);
        let (spec, since) = (*run.spec, Instant::now());
        self.running = Some(Running { inside, spec, cgroup: group, pump, since, ended: None });
        self.state.machine = Some(state);
        self.begin_health();
        self.started(pid, &made_path);
        if let Some(wish) = wish {
            machine::make_in_background(&self.roots, wish, self.hierarchy.clone(), resources);
        }
        Ok(pid)
    }

    /// Facts as they are in the guest: nothing of the host's that a plan could name. `sources` are the guest's paths.
    fn guest_facts(&self, sources: Vec<PathBuf>) -> Facts {
        let block_devices = source::block_devices(&self.record.spec.limits);
        Facts { sources, block_devices, ..Facts::default() }
    }

    fn guest_run(&self, facts: &Facts, name: &str, console: Option<ConsoleSize>) -> Result<Run, Error> {
        let (spec, image) = (&self.record.spec, &self.record.image_config);
        let networks = self.attached.as_ref().map(network::Attached::files).unwrap_or_default();
        let own = files::for_guest(spec, name, &networks);
        let seccomp = match &spec.security.seccomp {
            Profile::Named(path) => Some(filter::text(path).map_err(|message| self.failed(message, 125))?),
            Profile::Default | Profile::Unconfined => None,
        };
        let mut run = guest_run(spec, image, facts, own, seccomp)?;
        if let Some(process) = &mut run.spec.process {
            process.console_size = console.filter(|_| process.terminal);
        }
        Ok(run)
    }

    fn setup(&self, name: &str, shares: Vec<Mounted>) -> Result<Setup, Error> {
        let mut entropy = [0u8; ENTROPY_BYTES];
        rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::io("read", "random bytes", e))?;
        Ok(Setup {
            clock_ns: now_ns(),
            entropy: entropy.iter().map(|byte| format!("{byte:02x}")).collect(),
            host_name: name.to_owned(),
            links: self.attached.as_ref().map(|a| holm_network::guest_links(&a.joined)).unwrap_or_default(),
            root: Disk { serial: machine::ROOT.to_owned(), file_system: "erofs".to_owned() },
            changes: Some(Disk { serial: machine::CHANGES.to_owned(), file_system: "ext4".to_owned() }),
            shares,
        })
    }

    /// The machine, with taps on the container's networks and connections to what serves its folders.
    fn planned(&self, prepared: Prepared, shares: Vec<Share>) -> Result<Planned, Error> {
        let networks = self.roots.networks();
        let taps = match &self.attached {
            Some(attached) => networks.connect_taps(&attached.joined)?,
            None => Vec::new(),
        };
        prepared.plan(&self.roots, taps.into_iter().map(|tap| tap.fd).collect(), shares)
    }

    /// Makes the attendant and the machine, and hears that the program runs.
    fn attended(
        &self,
        (plan, servers): (VmmPlan, Vec<ServerPlan>),
        resumed: Option<(Kept, OwnedFd)>,
        group: Option<&Cgroup>,
        setup: Setup,
        run: (&Run, Duration),
    ) -> Result<(Child, OwnedFd, Pump), Error> {
        let failed = |e: std::io::Error| self.failed(format!("cannot make its virtual machine: {e}"), 125);
        let (ours, theirs) = wire::pair(SocketType::SEQPACKET).map_err(failed)?;
        let (mut pump, stdio) = Pump::open(self.record.spec.tty, self.record.spec.interactive).map_err(failed)?;
        let attendant = match process::fork().map_err(failed)? {
            Fork::Child => {
                let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
                let _ = rustix::thread::set_name(c"holm-vm");
                drop((ours, pump, stdio));
                let state = resumed.map(|(_, state)| state);
                process::exit_now(attend(
                    self.id.as_str(),
                    (plan, servers),
                    state,
                    group,
                    theirs,
                    !self.record.spec.auto_remove,
                ))
            }
            Fork::Parent(child) => child,
        };
        drop((theirs, plan, servers));
        let kept = resumed.map(|(kept, _)| kept);
        let talked = self.talk(ours.as_fd(), kept.as_ref(), setup, run, &stdio);
        drop(stdio);
        match talked {
            Ok(console) => {
                if let Some(master) = console {
                    pump.set_terminal(master).map_err(failed)?;
                }
                rustix::io::ioctl_fionbio(&ours, true).map_err(|e| failed(e.into()))?;
                Ok((attendant, ours, pump))
            }
            Err(e) => {
                let _ = rustix::process::pidfd_send_signal(&attendant.pidfd, rustix::process::Signal::KILL);
                let ended = rustix::process::WaitIdOptions::EXITED;
                let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(attendant.pidfd.as_fd()), ended);
                Err(e)
            }
        }
    }

    /// Sets the machine up and starts the program; the master side of its terminal. The attendant bounds how long it takes.
    fn talk(
        &self,
        control: BorrowedFd<'_>,
        resumed: Option<&Kept>,
        setup: Setup,
        (run, limit): (&Run, Duration),
        stdio: &Stdio,
    ) -> Result<Option<OwnedFd>, Error> {
        let failed = |e: std::io::Error| self.failed(format!("cannot reach its virtual machine: {e}"), 125);
        let begin = || {
            // The clock is the guest's from here on, so it is read late.
            let setup = Box::new(Setup { clock_ns: now_ns(), ..setup.clone() });
            ask(control, &ToGuest::Setup { id: 1, setup }, &[])?;
            let streams = descriptors(stdio, run.stdin);
            ask(control, &ToGuest::Run { id: 2, run: Box::new(run.clone()) }, &streams)
        };
        if resumed.is_some() {
            // Its agent said hello before it was saved.
            begin().map_err(failed)?;
        }
        let end = Instant::now() + limit;
        loop {
            if !readable(control, end.saturating_duration_since(Instant::now())).map_err(failed)? {
                self.silent.set(true);
                resumed.inspect(|kept| kept.discard());
                return Err(self.failed(format!("its virtual machine says nothing for {limit:?}"), 125));
            }
            match hear(control).map_err(failed)? {
                Received::Packet(FromMonitor::Booted { .. }, _) => begin().map_err(failed)?,
                Received::Packet(FromMonitor::Guest(ToHost::Started { .. }), fds) => return Ok(fds.into_iter().next()),
                Received::Packet(FromMonitor::Guest(ToHost::Failed { message, code, .. }), _) => {
                    return Err(self.failed(message, code));
                }
                Received::Packet(FromMonitor::Lost { reason, console }, _) => {
                    // Whatever it was, the next start does not begin there.
                    resumed.inspect(|kept| kept.discard());
                    return Err(self.failed(lost_text(&reason, &console), 125));
                }
                // A disk that cannot be written now cannot be either when the container runs, and it is said then.
                Received::Packet(FromMonitor::Guest(_) | FromMonitor::Trouble { .. }, _) => {}
                Received::Closed | Received::Nothing => {
                    return Err(self.failed("what attends its virtual machine ended".to_owned(), 125));
                }
                Received::Garbage(why) => {
                    return Err(self.failed(format!("cannot read its machine's words: {why}"), 125));
                }
            }
        }
    }
}

/// Whether there is something to hear within this time.
fn readable(socket: BorrowedFd<'_>, limit: Duration) -> std::io::Result<bool> {
    let mut polls = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    Ok(rustix::event::poll(&mut polls, Some(&limit))? > 0)
}

/// The attendant's life. *Order*: in the forked process, which has one thread.
fn attend(
    id: &str,
    (plan, servers): (VmmPlan, Vec<ServerPlan>),
    state: Option<OwnedFd>,
    group: Option<&Cgroup>,
    control: OwnedFd,
    graceful_end: bool,
) -> i32 {
    let served = servers.into_iter().try_for_each(|server| machine::serve(id, server, &plan.output, group));
    let started = served.and_then(|()| machine::start(id, plan, group)).and_then(|vmm| match &state {
        Some(state) => machine::resume(&vmm.ends.qmp, state).map(|()| vmm),
        None => Ok(vmm),
    });
    match started {
        Ok(Vmm { ends, process, user }) => monitor::run(MonitorParts {
            ends,
            control,
            vmm: process.pidfd,
            user,
            restored: state.is_some(),
            boot_timeout: BOOT_TIMEOUT,
            graceful_end,
            console_copy: None,
            patience: Patience::default(),
            confine: &mut machine::confine_attendant,
        }),
        Err(reason) => {
            let _ = wire::send(control.as_fd(), &FromMonitor::Lost { reason, console: String::new() }, &[]);
            125
        }
    }
}
