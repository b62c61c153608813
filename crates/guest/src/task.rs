//! What runs beside the agent and talks to the host over streams: processes in the container, and jobs of the agent's own.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use holm_container::Stdio;
use holm_spec::guest::{Probed, ToHost, stream};
use holm_spec::oci::runtime::ConsoleSize;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

use crate::error::{Doing, Error};
use crate::stream::{Inlet, Outlet};

/// Most bytes of what a job says.
pub(crate) const MAX_SAID_BYTES: usize = 4096;

/// What a task is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A process of the container's, with its number on the channel.
    Process(u32),
    /// A job of the agent's own.
    Job(Job),
}

/// A job that answers a request when it is done.
#[derive(Debug)]
pub(crate) struct Job {
    /// Number of the request.
    pub id: u32,
    /// What it has to say in the end.
    pub said: File,
    /// What its answer is where it succeeds.
    pub gives: Gives,
}

/// What a job gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    /// Nothing but that it is done.
    Nothing,
    /// The outcome of a probe, which it says as JSON.
    Outcome,
}

impl Job {
    /// The answer of a job that has ended with this code.
    pub(crate) fn answer(self, code: i32) -> ToHost {
        let Self { id, said, gives } = self;
        let mut text = String::new();
        let _ = said.take(MAX_SAID_BYTES as u64).read_to_string(&mut text);
        let failed = |message: String| ToHost::Failed { id, message, code: 125 };
        match (code, gives) {
            (0, Gives::Nothing) => ToHost::Done { id, warnings: Vec::new() },
            (0, Gives::Outcome) => match serde_json::from_str::<Probed>(&text) {
                Ok(outcome) => ToHost::Probed { id, outcome },
                Err(e) => failed(format!("cannot read what came of the probe: {e}")),
            },
            _ if text.is_empty() => failed(format!("cannot finish the request: the job for it ended with {code}")),
            _ => failed(text),
        }
    }
}

/// A process with its streams.
#[derive(Debug)]
pub(crate) struct Task {
    pub purpose: Purpose,
    /// PID here. It is not reaped while this stands, but for the moment in which `code` is set.
    pub pid: i32,
    /// Master side of its terminal.
    pub terminal: Option<OwnedFd>,
    pub input: Option<Inlet>,
    pub outputs: Vec<Outlet>,
    /// How it ended, as docker counts.
    pub code: Option<i32>,
    /// How many processes the kernel had killed for memory when it began.
    pub oom_kills: u64,
}

impl Task {
    /// A process without streams.
    pub(crate) fn new(purpose: Purpose, pid: i32) -> Self {
        Self { purpose, pid, terminal: None, input: None, outputs: Vec::new(), code: None, oom_kills: 0 }
    }

    /// Whether it is this process of the container's.
    pub(crate) fn is_process(&self, number: u32) -> bool {
        matches!(self.purpose, Purpose::Process(own) if own == number)
    }

    /// Whether it has ended and all that it said was sent.
    pub(crate) fn is_over(&self) -> bool {
        self.code.is_some() && self.outputs.iter().all(Outlet::has_ended)
    }

    pub(crate) fn resize(&self, size: ConsoleSize) -> Result<(), Error> {
        let none = || Error::refused("change the size of a terminal: the process has none");
        let terminal = self.terminal.as_ref().ok_or_else(none)?;
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size).doing(|| "change the size of a terminal".into())
    }
}

/// The agent's side of a new process's streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Streams {
    /// Both sides: this one, and what the process gets.
    pub(crate) fn open(terminal: bool, stdin: bool) -> Result<(Self, Stdio), Error> {
        if terminal {
            return Ok((Self::default(), Stdio::Terminal));
        }
        let what = || "make pipes".to_owned();
        let (out, their_out) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(what)?;
        let (err, their_err) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(what)?;
        let (ours, theirs) = if stdin {
            let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(what)?;
            (Some(ours), theirs)
        } else {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            (None, rustix::fs::open("/dev/null", flags, Mode::empty()).doing(|| "open `/dev/null`".into())?)
        };
        for fd in [Some(&out), Some(&err), ours.as_ref()].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true).doing(what)?;
        }
        let stdio = Stdio::Fds { stdin: theirs, stdout: their_out, stderr: their_err };
        Ok((Self { stdin: ours, stdout: Some(out), stderr: Some(err) }, stdio))
    }

    /// The process that was made with the other side.
    pub(crate) fn task(self, number: u32, pid: i32, terminal: Option<OwnedFd>, stdin: bool) -> Result<Task, Error> {
        let mut task = Task { terminal, ..Task::new(Purpose::Process(number), pid) };
        if let Some(master) = &task.terminal {
            let what = || "use the terminal".to_owned();
            rustix::io::ioctl_fionbio(master, true).doing(what)?;
            let again = || rustix::io::fcntl_dupfd_cloexec(master.as_fd(), 3).doing(what);
            task.outputs.push(Outlet::new(stream(number, 1), again()?));
            if stdin {
                task.input = Some(Inlet::new(stream(number, 0), again()?, true));
            }
            return Ok(task);
        }
        task.input = self.stdin.map(|fd| Inlet::new(stream(number, 0), fd, false));
        task.outputs.extend(self.stdout.map(|fd| Outlet::new(stream(number, 1), fd)));
        task.outputs.extend(self.stderr.map(|fd| Outlet::new(stream(number, 2), fd)));
        Ok(task)
    }
}
