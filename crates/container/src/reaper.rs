//! The init of `--init`: stays as PID 1, passes signals on, reaps what nobody waits for, and ends as the program ends.

use std::io;

use holm_sys::process;
use holm_sys::title::Title;
use rustix::process::{Pid, WaitOptions, WaitStatus};

const SIGCHLD: i32 = 17;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;

/// Forks: returns in the child, which goes on to become the program; the parent never returns.
///
/// The parent keeps the identity, filter and limits that were set so far, and no descriptor but the standard ones.
pub(crate) fn stay_as_init(terminal: bool, title: Option<Title>) -> io::Result<()> {
    process::block_signals()?;
    match process::fork_under_filter()? {
        None => {
            if terminal {
                foreground()?;
            }
            process::unblock_signals()
        }
        Some(pid) => {
            // The parent's word that the program runs is the end of file on the channel, so it must go here too.
            let _ = process::close_from(3);
            let _ = rustix::thread::set_name(c"init");
            // The command line and environment of the host are nobody's business in the container.
            if let Some(title) = title {
                title.replace("init");
            }
            process::exit_now(serve(pid))
        }
    }
}

/// Gives the terminal to a process group of the program's own, so that its signals reach it once.
fn foreground() -> io::Result<()> {
    rustix::process::setpgid(None, None)?;
    let own = rustix::process::getpid();
    match rustix::termios::tcsetpgrp(rustix::stdio::stdin(), own) {
        Ok(()) | Err(rustix::io::Errno::NOTTY) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn serve(program: i32) -> i32 {
    loop {
        match process::wait_signal() {
            Ok(SIGCHLD) => {
                if let Some(code) = reap(program) {
                    return code;
                }
            }
            Ok(SIGTTIN | SIGTTOU) => {}
            Ok(signal) => {
                let _ = process::kill(program, signal);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return 125,
        }
    }
}

/// Takes all that ended; the program's exit code if it is among them.
fn reap(program: i32) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Pid::as_raw(Some(pid)) == program && (status.exited() || status.signaled()) {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s)).unwrap_or(125)
}
