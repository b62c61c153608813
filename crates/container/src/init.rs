//! The container's first process, from its birth to its exec: one fixed order of steps, each from the plan.
//!
//! Order and reasons: control groups before the cgroup namespace (its root is where the process stands); mounts after
//! the change of root (no path of the host is reachable any more), unless hooks want to see both; sysctls before `/proc/sys` becomes read-only; masks
//! before the root becomes read-only; identity, filter and exec last ([`crate::process`]).

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::oci::runtime::Device;
use holm_sys::mount::{MountAttr, attr, mount_setattr};
use holm_sys::process::{self, clone_flag};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Signal};

use crate::cgroup_view::CgroupView;
use crate::channel::{Channel, Start};
use crate::error::{Doing, StartError};
use crate::hook::HookPlan;
use crate::mount::MountStep;
use crate::mount::apply::{self, Applied};
use crate::namespace::NamespacePlan;
use crate::process::ProcessPlan;
use crate::seccomp::Program;
use crate::{device, label, terminal};

/// Everything the container's process needs, made before it exists.
pub(crate) struct InitPlan<'a> {
    pub namespaces: NamespacePlan,
    pub rootfs: std::os::fd::BorrowedFd<'a>,
    pub mounts: Vec<MountStep>,
    pub cgroup_tasks: Vec<std::os::fd::BorrowedFd<'a>>,
    pub cgroup_view: CgroupView,
    pub devices: Vec<Device>,
    pub device_clones: Vec<(&'static str, OwnedFd)>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub sysctls: Vec<(PathBuf, String)>,
    pub masked: Vec<PathBuf>,
    pub read_only: Vec<PathBuf>,
    pub read_only_root: bool,
    pub propagation: MountPropagationFlags,
    /// Where the bundle says that the root is, for hooks.
    pub root_path: Option<PathBuf>,
    pub hooks: Option<&'a HookPlan>,
    pub process: ProcessPlan,
    pub seccomp: Option<&'a Program>,
    pub stdio: Option<[OwnedFd; 3]>,
    pub start: Start,
    pub uid: u32,
}

/// Runs in the new process. Never returns.
pub(crate) fn run(plan: &InitPlan<'_>, channel: &Channel) -> ! {
    let error = match set_up(plan, channel) {
        Ok(applied) => {
            drop(applied);
            plan.process.execute(plan.seccomp, channel, &mut || ready(plan, channel))
        }
        Err(e) => e,
    };
    channel.send_error(&error);
    process::exit_now(error.exit_code())
}

fn ready(plan: &InitPlan<'_>, channel: &Channel) -> Result<(), StartError> {
    match plan.start {
        Start::AtOnce => {}
        Start::WhenTold => channel.wait()?,
        Start::WhenAsked => channel.ready_and_wait()?,
    }
    let Some(hooks) = plan.hooks.filter(|plan| !plan.hooks.start_container.is_empty()) else { return Ok(()) };
    // These are programs of the image: nothing that is open here is for them.
    process::close_on_exec_from(3).doing(|| "close descriptors at exec".into())?;
    hooks.run_start_container()
}

fn set_up(plan: &InitPlan<'_>, channel: &Channel) -> Result<Applied, StartError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "tie to the supervisor".into())?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hide from tracing".into())?;
    if channel.is_hung_up() {
        return Err(StartError::refused("start: the supervisor is gone"));
    }
    before_root(plan)?;
    let host_proc = exec_label_proc(plan)?;
    let early = match plan.namespaces.user {
        Some(_) => apply::make_early(&plan.mounts)?,
        None => Vec::new(),
    };
    let hooks = plan.hooks.filter(|hooks| hooks.before_root());
    let root = attach_root(plan, hooks.and(plan.root_path.as_deref()).unwrap_or(Path::new("/")))?;
    if hooks.is_none() {
        change_root(plan)?;
    }
    // Files are made with the modes that are asked for.
    let umask = rustix::process::umask(Mode::empty());
    let mut applied = Applied { root, proc: None, dev: None, early };
    apply::apply(&plan.mounts, &plan.cgroup_view, &plan.device_clones, &mut applied)?;
    for device in &plan.devices {
        device::make(applied.root.as_fd(), device)?;
    }
    if let Some(hooks) = hooks {
        rustix::process::umask(umask);
        run_hooks_before_root(hooks, channel)?;
        rustix::process::umask(Mode::empty());
        change_root(plan)?;
    }
    start_terminal(plan, channel, &applied)?;
    write_sysctls(plan, &applied)?;
    hide_paths(plan, &applied)?;
    plan.process.enter_cwd(applied.root.as_fd())?;
    if plan.read_only_root {
        let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        mount_setattr(applied.root.as_fd(), false, &change).doing(|| "make the root read-only".into())?;
    }
    if let Some(proc) = host_proc {
        let (apparmor, selinux) = (plan.process.apparmor.as_deref(), plan.process.selinux.as_deref());
        label::apply_exec_label(proc.as_fd(), apparmor, selinux)?;
    }
    Ok(applied)
}

/// What needs the host's files: control groups, joined namespaces, scores.
fn before_root(plan: &InitPlan<'_>) -> Result<(), StartError> {
    for tasks in &plan.cgroup_tasks {
        rustix::io::write(tasks, b"0").doing(|| "enter the control groups".into())?;
    }
    if let Some(score) = plan.process.oom_score_adj {
        write_file("/proc/self/oom_score_adj", &score.to_string()).doing(|| format!("set oom_score_adj to {score}"))?;
    }
    // The session keyring belongs to whoever started us.
    match process::join_new_session_keyring() {
        Ok(()) => {}
        // A kernel without keyrings, or a quota that is used up: nothing is inherited that could be read.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOSYS | Errno::DQUOT | Errno::PERM)) => {}
        Err(e) => return Err(StartError::setup("make a session keyring", e)),
    }
    for (fd, flag) in &plan.namespaces.joins {
        process::setns(fd.as_fd(), *flag).doing(|| "join a namespace".into())?;
    }
    if plan.namespaces.new_cgroup {
        process::unshare(clone_flag::NEWCGROUP).doing(|| "make a cgroup namespace".into())?;
    }
    if !plan.namespaces.time_offsets.is_empty() {
        make_time_namespace(plan)?;
    }
    if plan.namespaces.user.is_some() {
        process::set_groups(&[]).doing(|| "give up groups".into())?;
        process::set_ids(0, 0).doing(|| "become root of the user namespace".into())?;
    }
    // The control group's CPUs are the limit, not the affinity of whoever started us.
    process::reset_cpu_affinity().doing(|| "reset the CPU affinity".into())?;
    if plan.namespaces.new & clone_flag::NEWNET != 0 {
        holm_sys::net::loopback_up().doing(|| "bring loopback up".into())?;
    }
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).doing(|| format!("set the host name to `{name}`"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes()).doing(|| format!("set the domain name to `{name}`"))?;
    }
    Ok(())
}

fn make_time_namespace(plan: &InitPlan<'_>) -> Result<(), StartError> {
    let what = || "make a time namespace".to_owned();
    process::unshare(clone_flag::NEWTIME).doing(what)?;
    let lines = plan.namespaces.time_offsets.iter().map(|(clock, o)| format!("{clock} {} {}\n", o.secs, o.nanosecs));
    write_file("/proc/self/timens_offsets", &lines.collect::<String>()).doing(what)?;
    let children = File::open("/proc/self/ns/time_for_children").doing(what)?;
    process::setns(children.as_fd(), clone_flag::NEWTIME).doing(what)
}

/// A descriptor of the host's procfs, where a label must be written through it.
fn exec_label_proc(plan: &InitPlan<'_>) -> Result<Option<OwnedFd>, StartError> {
    if plan.process.apparmor.is_none() && plan.process.selinux.is_none() {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, "/proc", flags, Mode::empty()).doing(|| "open /proc".into()).map(Some)
}

/// Attaches the root file system at a path of the host's, in the container's mount namespace alone.
fn attach_root(plan: &InitPlan<'_>, at: &Path) -> Result<OwnedFd, StartError> {
    let recursive = plan.propagation | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", recursive).doing(|| "detach from the host's mounts".into())?;
    let what = || "attach the root file system".to_owned();
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(plan.rootfs, "", CWD, at, empty).doing(what)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(plan.rootfs, ".", flags, Mode::empty()).doing(what)
}

/// What hooks do while both the host's files and the container's mounts are in sight.
fn run_hooks_before_root(hooks: &HookPlan, channel: &Channel) -> Result<(), StartError> {
    if hooks.in_runtime() {
        channel.wait_for_hooks()?;
    }
    hooks.run_create_container()
}

/// Makes the attached root file system the root, and lets go of the host's.
fn change_root(plan: &InitPlan<'_>) -> Result<(), StartError> {
    let what = || "change the root".to_owned();
    rustix::process::fchdir(plan.rootfs).doing(what)?;
    rustix::process::pivot_root(".", ".").doing(what)?;
    // The old root now lies over the new one; detached, nothing of the host has a path here any more.
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing(|| "let go of the host's mounts".into())?;
    rustix::process::chdir("/").doing(what)
}

fn start_terminal(plan: &InitPlan<'_>, channel: &Channel, applied: &Applied) -> Result<(), StartError> {
    // A container of the caller's own PID namespace still gets a session of its own: signals to the caller's terminal
    // are not for it.
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => {}
        Err(e) => return Err(StartError::setup("start a session", e)),
    }
    if let Some([stdin, stdout, stderr]) = &plan.stdio {
        crate::process::set_stdio(stdin.as_fd(), stdout.as_fd(), stderr.as_fd()).doing(|| "set the streams".into())?;
        return plan.process.own_pipes();
    }
    let made = terminal::open(applied.root.as_fd(), plan.process.console_size)?;
    channel.send_console(made.master.as_fd())?;
    if let Some(dev) = &applied.dev {
        terminal::attach_console(dev.as_fd(), made.slave.as_fd())?;
    }
    terminal::take(made.slave.as_fd(), plan.uid)
}

fn write_sysctls(plan: &InitPlan<'_>, applied: &Applied) -> Result<(), StartError> {
    for (path, value) in &plan.sysctls {
        let what = || format!("set sysctl `{}` to `{value}`", path.display());
        let Some(proc) = &applied.proc else {
            return Err(StartError::refused(what() + ": the container has no /proc"));
        };
        let resolve = rustix::fs::ResolveFlags::NO_XDEV
            | rustix::fs::ResolveFlags::NO_SYMLINKS
            | rustix::fs::ResolveFlags::BENEATH;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(proc, path.as_path(), flags, Mode::empty(), resolve).doing(what)?;
        rustix::io::write(&file, value.as_bytes()).doing(what)?;
    }
    Ok(())
}

fn hide_paths(plan: &InitPlan<'_>, applied: &Applied) -> Result<(), StartError> {
    let root = applied.root.as_fd();
    if !plan.masked.is_empty() {
        let mut masks = apply::Masks::new(root)?;
        plan.masked.iter().try_for_each(|path| masks.mask(root, path))?;
    }
    for path in &plan.read_only {
        apply::make_read_only(root, path)?;
    }
    Ok(())
}

fn write_file(path: impl AsRef<Path>, text: &str) -> std::io::Result<()> {
    File::options().write(true).open(path)?.write_all(text.as_bytes())
}
