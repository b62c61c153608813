//! Commands of this program, run as children and timed: first output, end, exit code, and what they said.
//!
//! Owns their processes, each in a group of its own, so that a person's interrupt reaches only this process, which then ends
//! them and cleans up.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holm_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::error::{CODE_HOLM, Failure};
use crate::settings::{Origin, Settings};

/// What ends a comparison: hang-up, interrupt, quit, termination.
const ENDING: [i32; 4] = [1, 2, 3, 15];
/// Most bytes of each stream that are kept; all are read.
const KEPT_MAX: usize = 256 << 10;

/// Runs commands of this program with the settings of this process.
pub struct Commands {
    settings: Vec<(String, String)>,
    signals: SignalFd,
}

/// How a command went.
#[derive(Debug, Default)]
pub struct Ran {
    /// When it first wrote to its standard output.
    pub first_output: Option<Duration>,
    /// When it had ended.
    pub wall: Duration,
    /// Its exit code, or 128 and its signal.
    pub code: i32,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it complained.
    pub stderr: Vec<u8>,
}

impl Commands {
    /// Signals that would end this process are looked at between and during commands from here on.
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::because("cannot receive signals", &e).with_code(CODE_HOLM);
        Ok(Self { settings: variables(&settings.all()), signals: SignalFd::new(&ENDING).map_err(failed)? })
    }

    /// Runs a command and waits. *Errors*: it cannot be started, or this process was told to end; it has been killed then.
    pub fn run(&self, args: &[&str]) -> Result<Ran, Failure> {
        self.follow(args, true)
    }

    /// Removes a container, if there is one, whatever signals come.
    pub fn remove(&self, name: &str) {
        // One that is not there was removed already.
        let _ = self.follow(&["rm", "-f", name], false);
    }

    fn follow(&self, args: &[&str], interruptible: bool) -> Result<Ran, Failure> {
        let failed = |e: std::io::Error| Failure::because(format!("cannot run `holm {}`", args[0]), &e);
        let begun = Instant::now();
        let mut child = Command::new("/proc/self/exe")
            .arg0("holm")
            .args(args)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let outcome = self.pump(&mut child, begun, interruptible).map_err(failed);
        match outcome {
            Ok(Ok(ran)) => Ok(ran),
            Ok(Err(signal)) => {
                kill(&mut child);
                Err(Failure::new("").with_code(u8::try_from(128 + signal).unwrap_or(CODE_HOLM)))
            }
            Err(failure) => {
                kill(&mut child);
                Err(failure)
            }
        }
    }

    /// Reads both streams until the process has ended. The inner error is a signal that came.
    fn pump(&self, child: &mut Child, begun: Instant, interruptible: bool) -> std::io::Result<Result<Ran, i32>> {
        let pidfd = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let (mut out, mut errors) = (child.stdout.take(), child.stderr.take());
        for stream in [out.as_ref().map(AsFd::as_fd), errors.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            rustix::io::ioctl_fionbio(stream, true)?;
        }
        let mut ran = Ran::default();
        loop {
            let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
            fds.push(PollFd::new(&self.signals, if interruptible { PollFlags::IN } else { PollFlags::empty() }));
            fds.extend(out.as_ref().map(|stream| PollFd::new(stream, PollFlags::IN)));
            fds.extend(errors.as_ref().map(|stream| PollFd::new(stream, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let (ended, signalled) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            let now = begun.elapsed();
            let before = ran.stdout.len();
            drain(&mut out, &mut ran.stdout)?;
            if ran.stdout.len() > before {
                ran.first_output.get_or_insert(now);
            }
            drain(&mut errors, &mut ran.stderr)?;
            if signalled && let Some(signal) = self.signals.take() {
                return Ok(Err(signal));
            }
            if ended {
                ran.wall = now;
                let status = child.wait()?;
                ran.code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
                return Ok(Ok(ran));
            }
        }
    }
}

/// Reads what there is; a stream at its end is dropped.
fn drain(stream: &mut Option<impl Read>, kept: &mut Vec<u8>) -> std::io::Result<()> {
    let mut piece = [0; 16 << 10];
    while let Some(open) = stream {
        match open.read(&mut piece) {
            Ok(0) => *stream = None,
            Ok(count) => {
                let room = KEPT_MAX.saturating_sub(kept.len());
                kept.extend_from_slice(&piece[..count.min(room)]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn kill(child: &mut Child) {
    // It was not waited for yet, so the number is still its own.
    let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

impl Ran {
    /// The failure of a command that should have worked: its own words.
    pub fn failure(&self, what: &str) -> Failure {
        let text = String::from_utf8_lossy(&self.stderr);
        let behind =
            |line: &str| ["error: ", "caused by: "].iter().find_map(|w| line.strip_prefix(w).map(str::to_owned));
        let mut failure = Failure::new(what);
        failure.causes = text.lines().filter_map(behind).collect();
        if failure.causes.is_empty() {
            let last = text.lines().last().map_or_else(|| format!("it ended with {}", self.code), str::to_owned);
            failure.causes.push(last);
        }
        failure.hint = text.lines().find_map(|line| line.strip_prefix("hint: ").map(str::to_owned));
        failure
    }
}

/// The variables that give a child these settings.
fn variables(settings: &[(&str, String, String)]) -> Vec<(String, String)> {
    let default = Origin::Default.to_string();
    let given = settings.iter().filter(|(_, _, origin)| *origin != default);
    let name = |setting: &str| match setting {
        "cni-plugins" => "CNI_PATH".to_owned(),
        other => format!("HOLM_{}", other.replace('-', "_").to_uppercase()),
    };
    given.map(|(setting, value, _)| (name(setting), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_reach_children_as_variables() {
        let settings = [
            ("data-root", "/d".to_owned(), Origin::Flag("--data-root").to_string()),
            ("accel", "auto".to_owned(), Origin::Default.to_string()),
            ("cni-plugins", "/p".to_owned(), Origin::File("/f".into()).to_string()),
        ];
        let expected = [("HOLM_DATA_ROOT", "/d"), ("CNI_PATH", "/p")];
        assert_eq!(variables(&settings), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn failures_are_told_in_the_childs_words() {
        let ran = |stderr: &str| Ran { code: 125, stderr: stderr.into(), ..Ran::default() };
        let failure =
            ran("warning: w\nerror: no kernel\ncaused by: none\nhint: install one\n").failure("cannot run it");
        assert_eq!((failure.message.as_str(), failure.hint.as_deref()), ("cannot run it", Some("install one")));
        assert_eq!(failure.causes, ["no kernel", "none"]);
        assert_eq!(ran("").failure("x").causes, ["it ended with 125"]);
        assert_eq!(ran("sh: what\n").failure("x").causes, ["sh: what"]);
    }
}
