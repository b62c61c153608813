//! A further process of a running container: enters its namespaces and becomes its program.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_sys::process;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};

use crate::channel::Channel;
use crate::create::{Join, flags_of};
use crate::error::{Doing, FailureKind, StartError};
use crate::process::ProcessPlan;
use crate::seccomp::Program;
use crate::{label, terminal};

/// Everything the process needs, made before it exists.
pub(crate) struct JoinPlan {
    process: ProcessPlan,
    flags: u64,
    enters_user_namespace: bool,
    uid: u32,
}

impl JoinPlan {
    pub(crate) fn new(request: &Join<'_>) -> Result<Self, StartError> {
        let flags = flags_of(request.spec);
        let user = flags & process::clone_flag::NEWUSER != 0;
        Ok(Self {
            process: ProcessPlan::new(request.process, false)?,
            flags,
            enters_user_namespace: user,
            uid: request.process.user.uid,
        })
    }
}

/// Runs in the new process. Never returns.
pub(crate) fn run(
    plan: &JoinPlan,
    init: BorrowedFd<'_>,
    cgroup_tasks: &[BorrowedFd<'_>],
    stdio: Option<&[OwnedFd; 3]>,
    seccomp: Option<&Program>,
    channel: &Channel,
) -> ! {
    let error = match set_up(plan, init, cgroup_tasks, stdio, channel) {
        Ok(()) => plan.process.execute(seccomp, channel, &mut || Ok(())),
        Err(e) => e,
    };
    channel.send_error(&error);
    process::exit_now(error.exit_code())
}

fn set_up(
    plan: &JoinPlan,
    init: BorrowedFd<'_>,
    cgroup_tasks: &[BorrowedFd<'_>],
    stdio: Option<&[OwnedFd; 3]>,
    channel: &Channel,
) -> Result<(), StartError> {
    // Others in the container can see this process from its first moment: they must not read or trace it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hide from tracing".into())?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "tie to the supervisor".into())?;
    for tasks in cgroup_tasks {
        rustix::io::write(tasks, b"0").doing(|| "enter the control groups".into())?;
    }
    let proc = if plan.process.apparmor.is_some() || plan.process.selinux.is_some() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Some(rustix::fs::openat(CWD, "/proc", flags, Mode::empty()).doing(|| "open /proc".into())?)
    } else {
        None
    };
    match process::join_new_session_keyring() {
        Ok(()) => {}
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOSYS | Errno::DQUOT | Errno::PERM)) => {}
        Err(e) => return Err(StartError::setup("make a session keyring", e)),
    }
    process::setns(init, plan.flags).doing(|| "enter the container's namespaces".into())?;
    if plan.enters_user_namespace {
        process::set_groups(&[]).doing(|| "give up groups".into())?;
        process::set_ids(0, 0).doing(|| "become root of the user namespace".into())?;
    }
    process::reset_cpu_affinity().doing(|| "reset the CPU affinity".into())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty()).doing(|| "open the container's root".into())?;
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => {}
        Err(e) => return Err(StartError::setup("start a session", e)),
    }
    if let Some([stdin, stdout, stderr]) = stdio {
        crate::process::set_stdio(stdin.as_fd(), stdout.as_fd(), stderr.as_fd()).doing(|| "set the streams".into())?;
    } else {
        let made = terminal::open(root.as_fd(), plan.process.console_size)?;
        channel.send_console(made.master.as_fd())?;
        terminal::take(made.slave.as_fd(), plan.uid)?;
    }
    plan.process.enter_cwd(root.as_fd())?;
    if let Some(proc) = proc {
        let (apparmor, selinux) = (plan.process.apparmor.as_deref(), plan.process.selinux.as_deref());
        label::apply_exec_label(proc.as_fd(), apparmor, selinux).map_err(|e| StartError {
            what: "set the security label".into(),
            kind: FailureKind::Setup,
            source: Some(std::io::Error::other(e)),
        })?;
    }
    Ok(())
}
