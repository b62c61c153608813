//! The lifecycle from outside: making a container's process, starting it, and adding processes to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::oci::runtime::{Linux, NamespaceKind, Process, Spec};
use holm_sys::process::{self, Child, Fork, clone_flag};
use rustix::mount::MountPropagationFlags;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions};

use crate::cgroup::Entry;
use crate::channel::{self, Channel, Message, Start};
use crate::error::{Doing, StartError};
use crate::hook::{HookPlan, Told};
use crate::init::{self, InitPlan};
use crate::namespace::{self, NamespacePlan};
use crate::process::ProcessPlan;
use crate::rootfs::Rootfs;
use crate::seccomp::{Listener, Program};
use crate::{device, join, mount, sysctl};

/// Where a process's standard streams go.
#[derive(Debug)]
pub enum Stdio {
    /// To these descriptors.
    Fds {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error output.
        stderr: OwnedFd,
    },
    /// To a terminal that is made in the container; its master side is handed out.
    Terminal,
}

/// What a container is made from.
pub struct Create<'a> {
    /// Identifier, as hooks see it.
    pub id: &'a str,
    /// The bundle's configuration.
    pub spec: &'a Spec,
    /// The bundle's folder, for relative paths; none where there is no folder.
    pub bundle: Option<&'a Path>,
    /// The root file system.
    pub rootfs: &'a Rootfs,
    /// The standard streams.
    pub stdio: Stdio,
    /// The control group the process is born in; the caller's own where absent.
    pub cgroup: Option<Entry>,
    /// The compiled system call filter.
    pub seccomp: Option<&'a Program>,
    /// Run the program at once; otherwise it waits for [`Init::start`].
    pub start_now: bool,
    /// Run a reaping init as PID 1 and the program as its child.
    pub init: bool,
    /// Hold on to its mount namespace, see [`Init::mounts`].
    pub hold_mounts: bool,
    /// Descriptors that the program gets besides the standard streams, as 3, 4, 5 and so on.
    pub files: Vec<OwnedFd>,
}

/// What is done to the namespaces of a new process from outside: called with its PID as soon as it exists, while it sets
/// itself up. The program does not run before it has returned.
pub type Connect<'a> = &'a mut dyn FnMut(i32) -> Result<(), StartError>;

/// A container's first process.
#[derive(Debug)]
pub struct Init {
    /// PID on the host.
    pub pid: i32,
    /// Descriptor of the process.
    pub pidfd: OwnedFd,
    /// Master side of its terminal.
    pub console: Option<OwnedFd>,
    /// Its mount namespace, where that was asked for and is its own. While it is held its mounts stay, so the end of the
    /// process is told before the kernel takes them apart: milliseconds on a busy machine, since it waits for every CPU.
    pub mounts: Option<OwnedFd>,
    /// Until the program runs.
    channel: Option<Channel>,
    hooks: Option<HookPlan>,
    listener: Option<(Listener, Told)>,
}

/// Makes the container's process with all its namespaces and, if `start_now`, its program running.
///
/// *Privilege*: CAP_SYS_ADMIN. *Order*: the caller has a single thread and runs protected ([`holm_sys::exe::protect`]).
/// *Errors*: what failed; no process is left.
pub fn create(request: Create<'_>, connect: Option<Connect<'_>>) -> Result<Init, StartError> {
    let hooks = HookPlan::new(request.id, request.spec, request.bundle);
    let mut request = request;
    let (start_now, hold_mounts) = (request.start_now, request.hold_mounts);
    let runtime_hooks = hooks.as_ref().is_some_and(HookPlan::in_runtime);
    let start = match (start_now, connect.is_some()) {
        (true, false) => Start::AtOnce,
        // With hooks it waits for another word first.
        (true, true) if !runtime_hooks => Start::WhenTold,
        _ => Start::WhenAsked,
    };
    let listener = listener(request.seccomp, || Told::new(request.id, request.spec, request.bundle));
    let entry = request.cgroup.take();
    let plan = plan(&mut request, entry.as_ref(), hooks.as_ref(), start)?;
    let (ours, theirs) = channel::pair()?;
    let theirs = theirs.above(plan.process.first_free())?;
    let v2 = entry.as_ref().and_then(Entry::v2_folder);
    let child = spawn(
        &plan.namespaces,
        v2,
        |own: Option<Channel>| {
            drop(own);
            init::run(&plan, &theirs)
        },
        ours,
    )?;
    let (child, ours) = child;
    drop(theirs);
    let own_mounts = plan.namespaces.new & clone_flag::NEWNS != 0;
    drop(plan);
    let mounts = if hold_mounts && own_mounts { namespace::mounts_of(child.pid) } else { None };
    let mut init =
        Init { pid: child.pid, pidfd: child.pidfd, console: None, mounts, channel: Some(ours), hooks, listener };
    let done = connect.map_or(Ok(()), |connect| connect(init.pid)).and_then(|()| match start {
        Start::WhenTold => init.go_early(),
        Start::AtOnce | Start::WhenAsked => Ok(()),
    });
    let done = done.and_then(|()| init.listen()).and_then(|()| match (start_now, start) {
        (true, Start::WhenAsked) => init.start_waiting(),
        (true, Start::AtOnce | Start::WhenTold) => init.program_runs(),
        (false, _) => Ok(()),
    });
    done.map_err(|e| init.abandon(e))?;
    Ok(init)
}

impl Init {
    /// Hears the process out until it waits for the start or runs its program; what it waits for meanwhile is done.
    fn listen(&mut self) -> Result<(), StartError> {
        let Some(channel) = &self.channel else { return Ok(()) };
        loop {
            match channel.hear()? {
                Message::Console(master) => self.console = Some(master),
                Message::Listener(fd) => {
                    hand_on(self.listener.as_ref(), fd, "creating", self.pid, self.pid)?;
                }
                Message::HooksDue => {
                    if let Some(plan) = &self.hooks {
                        plan.run_in_runtime(self.pid)?;
                    }
                    channel.go()?;
                }
                Message::Ready | Message::Closed => return Ok(()),
            }
        }
    }

    fn go_early(&self) -> Result<(), StartError> {
        self.channel.as_ref().map_or(Ok(()), Channel::go_early)
    }

    /// Runs the program of a container that was made without. *Errors*: what failed; no process is left.
    pub fn start(&mut self) -> Result<(), StartError> {
        self.start_waiting().map_err(|e| self.abandon(e))
    }

    fn start_waiting(&mut self) -> Result<(), StartError> {
        let Some(channel) = &self.channel else {
            return Err(StartError::refused("start the container: it was started before"));
        };
        channel.go()?;
        self.listen()?;
        self.program_runs()
    }

    fn program_runs(&mut self) -> Result<(), StartError> {
        self.channel = None;
        self.hooks.as_ref().map_or(Ok(()), |plan| plan.run_poststart(self.pid))
    }

    /// Ends and reaps the process after a failure. The container is at its end: what failing hooks there would say is less
    /// than the failure that led here.
    fn abandon(&self, error: StartError) -> StartError {
        end(self.pidfd.as_fd());
        if let Some(plan) = &self.hooks {
            plan.run_poststop();
        }
        error
    }
}

/// Who gets the listener of a filter that notifies, and what they are told of the container.
fn listener(seccomp: Option<&Program>, told: impl FnOnce() -> Told) -> Option<(Listener, Told)> {
    Some((seccomp?.listener.clone()?, told()))
}

fn hand_on(
    to: Option<&(Listener, Told)>,
    fd: OwnedFd,
    status: &str,
    init_pid: i32,
    pid: i32,
) -> Result<(), StartError> {
    let Some((listener, told)) = to else { return Ok(()) };
    listener.hand_on(fd.as_fd(), &told.version, pid, told.state(status, Some(init_pid)))
}

fn end(pidfd: BorrowedFd<'_>) {
    // Already dead is as good as killed, and the wait only takes what is there.
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
}

/// Runs the hooks of a container that has ended and was started: all of them, whatever fails. The failures change nothing and
/// are for a warning.
pub fn run_poststop_hooks(id: &str, spec: &Spec, bundle: Option<&Path>) -> Vec<StartError> {
    HookPlan::new(id, spec, bundle).map_or_else(Vec::new, |plan| plan.run_poststop())
}

fn plan<'a>(
    request: &mut Create<'a>,
    entry: Option<&'a Entry>,
    hooks: Option<&'a HookPlan>,
    start: Start,
) -> Result<InitPlan<'a>, StartError> {
    let spec = request.spec;
    let empty = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&empty);
    let Some(process) = &spec.process else {
        return Err(StartError::refused("start a container without a process"));
    };
    let namespaces = NamespacePlan::new(linux)?;
    let users = namespaces.user.as_ref().map(AsFd::as_fd);
    let mounts = mount::plan(&spec.mounts, request.bundle, linux.mount_label.as_deref(), users)?;
    let wants_groups = mounts.iter().any(|m| matches!(m.source, mount::MountSource::Cgroup));
    let view = match entry {
        Some(entry) if wants_groups => entry.view().doing(|| "show the control groups".into())?,
        _ => crate::CgroupView::None,
    };
    let sysctls = sysctl::plan(&linux.sysctl, &namespaces)?;
    let device_clones = if namespaces.user.is_some() { device::host_clones()? } else { Vec::new() };
    let stdio = match std::mem::replace(&mut request.stdio, Stdio::Terminal) {
        Stdio::Fds { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
        Stdio::Terminal => None,
    };
    let own_uts = namespaces.new & clone_flag::NEWUTS != 0;
    Ok(InitPlan {
        rootfs: request.rootfs.as_fd(),
        mounts,
        cgroup_tasks: entry.map(Entry::v1_tasks).unwrap_or_default(),
        cgroup_view: view,
        devices: linux.devices.clone(),
        device_clones,
        hostname: spec.hostname.clone().filter(|_| own_uts),
        domainname: spec.domainname.clone().filter(|_| own_uts),
        sysctls,
        masked: linux.masked_paths.iter().map(PathBuf::from).collect(),
        read_only: linux.readonly_paths.iter().map(PathBuf::from).collect(),
        read_only_root: spec.root.as_ref().is_some_and(|root| root.readonly),
        propagation: propagation(linux.rootfs_propagation.as_deref())?,
        root_path: request.bundle.zip(spec.root.as_ref()).map(|(bundle, root)| bundle.join(&root.path)),
        hooks,
        process: ProcessPlan::new(process, request.init)?.with_files(std::mem::take(&mut request.files)),
        seccomp: request.seccomp,
        stdio,
        start,
        uid: process.user.uid,
        namespaces,
    })
}

fn propagation(name: Option<&str>) -> Result<MountPropagationFlags, StartError> {
    Ok(match name.unwrap_or("") {
        "" | "rprivate" | "private" => MountPropagationFlags::PRIVATE,
        "rslave" | "slave" => MountPropagationFlags::DOWNSTREAM,
        // The container's tree must never write through to the host's before the change of root; volumes that are to be
        // shared carry their own propagation.
        "rshared" | "shared" => MountPropagationFlags::DOWNSTREAM,
        other => return Err(StartError::refused(format!("use root propagation `{}`", other.escape_debug()))),
    })
}

/// Forks into the namespaces of the plan and runs `body` there, which never returns. `ours` is closed in the child.
fn spawn(
    namespaces: &NamespacePlan,
    v2: Option<BorrowedFd<'_>>,
    body: impl FnOnce(Option<Channel>) -> i32,
    ours: Channel,
) -> Result<(Child, Channel), StartError> {
    let what = || "make the container's process".to_owned();
    if let Some(user) = &namespaces.user {
        return spawn_in_user_namespace(namespaces, user.as_fd(), v2, body, ours);
    }
    let forked = with_pid_namespace(namespaces.pid.as_ref().map(AsFd::as_fd), || process::clone3(namespaces.new, v2));
    match forked.doing(what)? {
        Fork::Child => process::exit_now(body(Some(ours))),
        Fork::Parent(child) => Ok((child, ours)),
    }
}

/// Runs `fork` so that its child lands in the PID namespace `pid`. The caller itself stays where it is: entering one only
/// counts for children.
pub(crate) fn with_pid_namespace(
    pid: Option<BorrowedFd<'_>>,
    fork: impl FnOnce() -> std::io::Result<Fork>,
) -> std::io::Result<Fork> {
    let Some(pid) = pid else { return fork() };
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    process::setns(pid, clone_flag::NEWPID)?;
    let forked = fork();
    if matches!(forked, Ok(Fork::Child)) {
        return forked;
    }
    let restored = process::setns(own.as_fd(), clone_flag::NEWPID);
    match (forked, restored) {
        (Ok(Fork::Parent(child)), Err(e)) => {
            end(child.pidfd.as_fd());
            Err(e)
        }
        (forked, _) => forked,
    }
}

/// A user namespace owns what is made in it, so it is entered first, by a process in between that ends at once; the
/// container's process becomes the caller's own child all the same.
fn spawn_in_user_namespace(
    namespaces: &NamespacePlan,
    user: BorrowedFd<'_>,
    v2: Option<BorrowedFd<'_>>,
    body: impl FnOnce(Option<Channel>) -> i32,
    ours: Channel,
) -> Result<(Child, Channel), StartError> {
    let what = || "make the container's process in its user namespace".to_owned();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(what)?;
    let between = match process::fork().doing(what)? {
        Fork::Child => {
            let forked = process::setns(user, clone_flag::NEWUSER).and_then(|()| {
                let fork = || process::clone3(namespaces.new | clone_flag::PARENT, v2);
                with_pid_namespace(namespaces.pid.as_ref().map(AsFd::as_fd), fork)
            });
            let word = match forked {
                Ok(Fork::Child) => process::exit_now(body(Some(ours))),
                Ok(Fork::Parent(child)) => child.pid,
                Err(e) => -e.raw_os_error().unwrap_or(5),
            };
            let _ = rustix::io::write(&write, &word.to_le_bytes());
            process::exit_now(0)
        }
        Fork::Parent(between) => between,
    };
    drop(write);
    let mut word = [0; 4];
    let n = rustix::io::read(&read, &mut word).doing(what)?;
    rustix::process::waitid(WaitId::PidFd(between.pidfd.as_fd()), WaitIdOptions::EXITED).doing(what)?;
    let pid = if n == 4 { i32::from_le_bytes(word) } else { -5 };
    if pid <= 0 {
        return Err(StartError::setup(what(), std::io::Error::from_raw_os_error(-pid)));
    }
    // It is our own unreaped child, so its number cannot have been given to another.
    let known = rustix::process::Pid::from_raw(pid).ok_or_else(|| StartError::refused(what()))?;
    let pidfd = rustix::process::pidfd_open(known, PidfdFlags::empty()).doing(what)?;
    Ok((Child { pid, pidfd }, ours))
}

/// What a further process of a container is made from.
pub struct Join<'a> {
    /// The container's identifier.
    pub id: &'a str,
    /// The container's first process.
    pub init: BorrowedFd<'a>,
    /// Its PID on the host.
    pub init_pid: i32,
    /// The bundle's configuration.
    pub spec: &'a Spec,
    /// What to run.
    pub process: &'a Process,
    /// The standard streams.
    pub stdio: Stdio,
    /// The container's control group.
    pub cgroup: Option<Entry>,
    /// The compiled system call filter.
    pub seccomp: Option<&'a Program>,
}

/// A process that was added to a container.
#[derive(Debug)]
pub struct Joined {
    /// PID on the host.
    pub pid: i32,
    /// Descriptor of the process.
    pub pidfd: OwnedFd,
    /// Master side of its terminal.
    pub console: Option<OwnedFd>,
}

/// Runs one more process in all namespaces of a container.
///
/// *Privilege*: CAP_SYS_ADMIN. *Order*: the caller has a single thread and runs protected. *Errors*: what failed; no
/// process is left.
pub fn exec(request: Join<'_>) -> Result<Joined, StartError> {
    let plan = join::JoinPlan::new(&request)?;
    let listener = listener(request.seccomp, || Told::new(request.id, request.spec, None));
    let (ours, theirs) = channel::pair()?;
    let stdio = match request.stdio {
        Stdio::Fds { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
        Stdio::Terminal => None,
    };
    let v2 = request.cgroup.as_ref().and_then(Entry::v2_folder);
    let tasks = request.cgroup.as_ref().map(Entry::v1_tasks).unwrap_or_default();
    let what = || "make the process".to_owned();
    let child = match with_pid_namespace(Some(request.init), || process::clone3(0, v2)).doing(what)? {
        Fork::Child => {
            drop(ours);
            join::run(&plan, request.init, &tasks, stdio.as_ref(), request.seccomp, &theirs)
        }
        Fork::Parent(child) => child,
    };
    drop(theirs);
    let mut joined = Joined { pid: child.pid, pidfd: child.pidfd, console: None };
    let running = hear_until_it_runs(&mut joined, &ours, listener.as_ref(), request.init_pid);
    running.inspect_err(|_| end(joined.pidfd.as_fd()))?;
    Ok(joined)
}

fn hear_until_it_runs(
    joined: &mut Joined,
    channel: &Channel,
    listener: Option<&(Listener, Told)>,
    init_pid: i32,
) -> Result<(), StartError> {
    loop {
        match channel.hear()? {
            Message::Console(master) => joined.console = Some(master),
            Message::Listener(fd) => hand_on(listener, fd, "running", init_pid, joined.pid)?,
            Message::HooksDue => {}
            Message::Ready | Message::Closed => return Ok(()),
        }
    }
}

/// The namespaces that a container has of its own or shares, as flags for joining them.
pub(crate) fn flags_of(spec: &Spec) -> u64 {
    let kinds = spec.linux.iter().flat_map(|l| &l.namespaces).map(|n| n.kind);
    kinds.filter(|k| *k != NamespaceKind::Pid).fold(0, |bits, kind| bits | namespace::flag(kind))
}
