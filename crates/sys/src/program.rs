//! Another program, run to its end: exactly this environment, streams that are files in memory, limits on time and output.
//!
//! Neither a program that reads nothing, nor one that says much, nor what it leaves running can hold the caller up or fill
//! its memory. Which programs may be run is the callers' business.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

/// A program and what it is given.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// Its file.
    pub path: &'a Path,
    /// Its arguments, its own name first; the path stands for that where there are none.
    pub args: &'a [String],
    /// Its environment; nothing else is in it.
    pub env: Vec<(OsString, OsString)>,
    /// What it finds on its standard input.
    pub input: &'a [u8],
    /// Most bytes of its standard output, and of its standard error. What goes beyond is refused to it with EPERM.
    pub output_max_bytes: u64,
    /// How long it may take; without limit where absent.
    pub timeout: Option<Duration>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status; absent where it was killed because its time was over.
    pub status: Option<ExitStatus>,
    /// What it said.
    pub output: Vec<u8>,
    /// What it complained.
    pub errors: Vec<u8>,
}

impl Program<'_> {
    /// Runs it and waits. It has a process group of its own, which is killed whole when its time is over.
    ///
    /// *Kernel*: 5.3. *Errors*: it could not be started, or not be waited for.
    pub fn run(&self) -> io::Result<Ended> {
        let mut command = Command::new(self.path);
        if let Some((name, rest)) = self.args.split_first() {
            command.arg0(name).args(rest);
        }
        let (mut output, mut errors) = (bounded(self.output_max_bytes)?, bounded(self.output_max_bytes)?);
        command
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key.as_os_str(), value.as_os_str())))
            .process_group(0)
            .stdin(Stdio::from(memory(self.input)?))
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(errors.try_clone()?));
        let mut child = command.spawn()?;
        drop(command);
        let status = match self.timeout {
            Some(limit) if !ended_within(&child, limit)? => {
                kill_group(&mut child)?;
                None
            }
            _ => Some(child.wait()?),
        };
        Ok(Ended { status, output: written(&mut output)?, errors: written(&mut errors)? })
    }
}

/// A variable of an environment.
pub fn variable(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> (OsString, OsString) {
    (name.as_ref().to_owned(), value.as_ref().to_owned())
}

fn memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(c"holm-input", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// A file in memory that cannot grow beyond this size; its pages come when they are written.
fn bounded(max_bytes: u64) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create(c"holm-output", flags)?);
    file.set_len(max_bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}

/// What was written: the position is shared with the writer.
fn written(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.stream_position()?;
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn ended_within(child: &Child, limit: Duration) -> io::Result<bool> {
    let pidfd = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    Ok(rustix::event::poll(&mut fds, Some(&limit))? > 0)
}

fn kill_group(child: &mut Child) -> io::Result<()> {
    // It was not waited for yet, so the number is still its own.
    let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    child.kill()?;
    child.wait().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &[u8], timeout: Option<Duration>) -> Ended {
        let args = ["sh", "-c", script].map(str::to_owned);
        let env = vec![variable("PATH", "/usr/bin:/bin"), variable("A", "b")];
        Program { path: Path::new("/bin/sh"), args: &args, env, input, output_max_bytes: 4096, timeout }.run().unwrap()
    }

    #[test]
    fn it_gets_input_and_environment_and_its_words_are_read() {
        let ended = shell("cat; echo $A >&2; exit 3", b"hello", None);
        assert_eq!((ended.output.as_slice(), ended.errors.as_slice()), (&b"hello"[..], &b"b\n"[..]));
        assert_eq!(ended.status.unwrap().code(), Some(3));
    }

    #[test]
    fn endless_output_is_refused_and_endless_time_is_cut() {
        let ended = shell("while echo 0123456789; do :; done 2>&-; exit 7", b"", None);
        assert_eq!((ended.output.len(), ended.status.unwrap().code()), (4096, Some(7)));
        let ended = shell("sleep 1000 & wait", b"", Some(Duration::from_millis(50)));
        assert!(ended.status.is_none());
    }
}
