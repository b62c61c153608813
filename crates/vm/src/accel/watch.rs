//! The examination in a process of its own, so that a processor that never comes back is ended.
//!
//! What was found comes over a pipe, as two numbers: which finding, and its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use holm_sys::process::{self, Fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::Verdict;

/// An examination takes some ten milliseconds; where processors are emulated twice, a hundred.
const LIMIT: Duration = Duration::from_secs(2);

/// What the examination came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Works,
    /// Nanoseconds a round.
    Slow(u32),
    /// The kernel's error for a step of making the machine.
    Refused(i32),
    /// KVM's sub-error.
    InternalError(u32),
    /// KVM's reason.
    Stopped(u32),
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "for processors that are not examined"))]
    NotExamined,
}

impl Finding {
    fn numbers(self) -> (u8, u32) {
        match self {
            Self::Works => (0, 0),
            Self::Slow(ns) => (1, ns),
            Self::Refused(code) => (2, code.cast_unsigned()),
            Self::InternalError(code) => (3, code),
            Self::Stopped(reason) => (4, reason),
            Self::NotExamined => (5, 0),
        }
    }

    /// What those numbers say in words.
    fn verdict(kind: u8, number: u32) -> Verdict {
        let why = match kind {
            0 => return Verdict::Works,
            1 => return Verdict::Emulated { ns_per_iteration: number },
            2 => format!("no machine can be made: {}", io::Error::from_raw_os_error(number.cast_signed())),
            3 if number == 1 => "it cannot run an instruction that every kernel has".to_owned(),
            3 => format!("it gives up with internal error {number}"),
            4 => format!("a processor stops for reason {number}"),
            _ => "it was not examined on this kind of processor".to_owned(),
        };
        Verdict::CannotRunLinux(why)
    }
}

/// Examines an open device. *Order*: the caller has a single thread.
pub(super) fn examine(device: &File) -> Verdict {
    let failed = |error: io::Error| Verdict::CannotRunLinux(format!("no process to examine it: {error}"));
    watched(LIMIT, || super::examine::examine(device.as_fd())).unwrap_or_else(failed)
}

/// Runs `examination` in a child, for so long and no longer.
fn watched(limit: Duration, examination: impl FnOnce() -> Finding) -> io::Result<Verdict> {
    let (mut from, to) = pipe_with(PipeFlags::CLOEXEC).map(|(from, to)| (File::from(from), File::from(to)))?;
    let child = match process::fork()? {
        Fork::Child => {
            // With its parent gone nobody would end it.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let (kind, number) = examination().numbers();
            let mut message = [kind; 5];
            message[1..].copy_from_slice(&number.to_le_bytes());
            // A failure shows as the end of the pipe.
            let _ = (&to).write_all(&message);
            process::exit_now(0)
        }
        Fork::Parent(child) => child,
    };
    drop(to);
    let answered = wait_readable(&from, limit);
    // It has answered, or never will.
    let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
    if !answered? {
        let limit_s = limit.as_secs();
        return Ok(Verdict::CannotRunLinux(format!("a processor did not come back within {limit_s} s")));
    }
    let mut message = [0; 5];
    match from.read_exact(&mut message) {
        Ok(()) => {
            let [kind, number @ ..] = message;
            Ok(Finding::verdict(kind, u32::from_le_bytes(number)))
        }
        Err(_) => Ok(Verdict::CannotRunLinux("the process that examined it was killed".to_owned())),
    }
}

/// Whether something came, the end included, before the limit.
fn wait_readable(from: &File, limit: Duration) -> io::Result<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(examination: impl FnOnce() -> Finding, expected: &str) {
        let verdict = watched(Duration::from_millis(200), examination).unwrap();
        assert!(format!("{verdict:?}").contains(expected), "{verdict:?}");
    }

    #[test]
    fn what_the_child_finds_arrives() {
        check(|| Finding::Works, "Works");
        check(|| Finding::Slow(900), "Emulated { ns_per_iteration: 900 }");
        check(|| Finding::Refused(16), "Device or resource busy");
        check(|| Finding::InternalError(1), "every kernel has");
        check(|| Finding::InternalError(3), "internal error 3");
        check(|| Finding::Stopped(8), "reason 8");
    }

    #[test]
    fn child_that_hangs_or_dies_is_an_answer() {
        check(
            || loop {
                rustix::thread::sched_yield()
            },
            "did not come back",
        );
        check(|| process::exit_now(1), "was killed");
    }

    #[test]
    fn device_that_is_no_kvm_is_refused() {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let verdict = super::examine(&null);
        assert!(
            matches!(&verdict, Verdict::CannotRunLinux(why) if why.starts_with("no machine can be made")),
            "{verdict:?}"
        );
    }
}
