//! The monitor: the process that stands for a machine's container, and through which all goes that reaches the guest.
//!
//! It is a fork of the supervisor and the parent of the hypervisor. It reads what a hostile guest writes, so it gives up all
//! that it does not need first. Its exit code is docker's exit code of the container:
//!
//! | code | when |
//! |---|---|
//! | that of the container's first process | it ended; the machine was switched off after it |
//! | 125, 126, 127 | the agent could not set the machine up or run the process |
//! | 125 | the hypervisor ended before the agent came up, or the agent was late |
//! | 137 | the hypervisor was killed, or the supervisor is gone |
//! | 255 | the guest's kernel died, the hypervisor ended, the agent hangs or broke the protocol |
//!
//! In all but the first two rows [`FromMonitor::Lost`] says why.

mod check;
mod clock;
mod console;
mod life;
mod local;
pub mod mux;
mod stream;
pub mod wire;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::machine::{Ends, HostUser};
pub use wire::FromMonitor;

/// Exit code of a machine that did not come up.
const NOT_UP: i32 = 125;
/// Exit code of a machine that was killed.
const KILLED: i32 = 137;
/// Exit code of a machine that died.
const DIED: i32 = 255;

/// How long an agent may say nothing. Time in which the monitor does not run itself does not count.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One that said nothing for so long is asked whether it lives.
    pub ping_after: Duration,
    /// One that says nothing for so long after that hangs, and its machine is killed.
    pub hang_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { ping_after: Duration::from_secs(30), hang_after: Duration::from_secs(60) }
    }
}

/// What a monitor is made from.
pub struct MonitorParts<'a> {
    /// Our ends of what leads to the machine.
    pub ends: Ends,
    /// The socket to the supervisor, see [`wire`].
    pub control: OwnedFd,
    /// The hypervisor: a child of this process.
    pub vmm: OwnedFd,
    /// Who the hypervisor is on the host; the monitor becomes the same, so that it can end it without privilege.
    pub user: HostUser,
    /// The machine was restored, and its agent said hello long ago.
    pub restored: bool,
    /// How long the agent may take to say hello.
    pub boot_timeout: Duration,
    /// How long the agent may say nothing.
    pub patience: Patience,
    /// Let the guest switch itself off once its first process has ended; otherwise the machine is killed, which loses what
    /// was not yet written to its disks.
    pub graceful_end: bool,
    /// Gets a copy of all that the console says, as far as it takes it without waiting.
    pub console_copy: Option<OwnedFd>,
    /// Called once everything is open, to give up more: a system call filter. The monitor reads, writes, polls, sends and
    /// receives, makes files in memory, opens terminals (`openat` of `/dev/ptmx`, `ioctl`), signals and waits for the hypervisor.
    pub confine: &'a mut dyn FnMut() -> io::Result<()>,
}

/// Lives as the monitor until the machine has ended, then ends this process with the exit code.
///
/// *Privilege*: what it takes to become `user`; given up here. *Order*: in a forked process with a single thread. All
/// descriptors but those of `parts` are closed, whoever owns them, which is why it does not return.
pub fn run(parts: MonitorParts<'_>) -> ! {
    holm_sys::process::exit_now(live(parts))
}

fn live(parts: MonitorParts<'_>) -> i32 {
    let (control, restored) = (parts.control.as_fd(), parts.restored);
    let kept = [&parts.ends.channel, &parts.ends.qmp, &parts.ends.console, &parts.control, &parts.vmm];
    let kept = kept.into_iter().chain(&parts.console_copy).map(AsFd::as_fd).collect::<Vec<_>>();
    let shut_in = holm_sys::process::close_all_but(&kept)
        .and_then(|()| give_up_privileges(parts.user))
        .and_then(|()| (parts.confine)());
    if let Err(e) = shut_in {
        let reason = format!("cannot shut the monitor in: {e}");
        let _ = wire::send(control, &FromMonitor::Lost { reason, console: String::new() }, &[]);
        return NOT_UP;
    }
    let limits =
        life::Limits { boot: parts.boot_timeout, graceful: parts.graceful_end, restored, patience: parts.patience };
    match life::Life::new(parts.ends, parts.control, parts.vmm, parts.console_copy, limits) {
        Ok(mut life) => life.run(),
        Err(_) => NOT_UP,
    }
}

/// Becomes another user without groups, capabilities or the means to gain any.
fn give_up_privileges(user: HostUser) -> io::Result<()> {
    if rustix::process::geteuid().as_raw() != user.uid {
        holm_sys::process::set_groups(&[])?;
        holm_sys::process::set_ids(user.uid, user.gid)?;
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    rustix::thread::set_no_new_privs(true)?;
    // Changing the user clears it. A supervisor that died meanwhile has hung up its socket, which is noticed.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}
