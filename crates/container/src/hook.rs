//! OCI hooks: programs run at fixed points of the lifecycle, with the container's state on their input.
//!
//! A hook gets exactly the environment of its entry: nothing of the image's or the caller's (CVE-2025-23266).

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use holm_spec::oci::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::StartError;

/// Runs hooks in order; the first that fails ends it.
pub(crate) fn run_all(hooks: &[Hook], point: &str, state: &[u8]) -> Result<(), StartError> {
    hooks.iter().try_for_each(|hook| run(hook, point, state))
}

fn run(hook: &Hook, point: &str, state: &[u8]) -> Result<(), StartError> {
    let what = || format!("run {point} hook `{}`", hook.path.display());
    let fail = |e: io::Error| StartError::setup(what(), e);
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(rest);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|pair| pair.split_once('=')));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(state) {
            // A hook need not read its input.
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(fail(e)),
            _ => {}
        }
    }
    if let Some(seconds) = hook.timeout {
        let pid = rustix::process::Pid::from_child(&child);
        if !ended_within(pid, seconds).map_err(fail)? {
            child.kill().map_err(fail)?;
            child.wait().map_err(fail)?;
            return Err(StartError::refused(format!("{}: it took more than {seconds} s", what())));
        }
    }
    let status = child.wait().map_err(fail)?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(1024).read_to_string(&mut said);
    }
    Err(StartError::refused(format!("{}: {status}: {}", what(), said.trim().escape_debug())))
}

fn ended_within(pid: rustix::process::Pid, seconds: u32) -> io::Result<bool> {
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    Ok(rustix::event::poll(&mut fds, Some(&limit))? > 0)
}
