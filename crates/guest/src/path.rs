//! What the host wants to know of a packet's way in here: who listens, and what comes of a packet that is sent.
//!
//! A probe waits for its answer, so it is a job: a fork of the agent that says the outcome in the end.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use holm_spec::guest::{self, Listening, MAX_SOCKETS, ProbeKind, Probed};
use holm_sys::probe::{Kind, Outcome, Probe};
use holm_sys::process::{Fork, exit_now, fork};
use rustix::pipe::PipeFlags;

use crate::agent::Agent;
use crate::error::{Doing, Error};
use crate::task::{Gives, Job, Purpose, Task};

/// Longest time that a probe waits.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Who listens in the machine, as many as an answer may list.
pub(crate) fn sockets() -> Vec<Listening> {
    let all = holm_sys::listener::list(None).into_iter();
    all.map(|one| Listening { tcp: one.tcp, at: one.at }).take(MAX_SOCKETS).collect()
}

impl Agent {
    /// Begins to send a probe; the job for it answers.
    pub(crate) fn probe(&mut self, id: u32, asked: guest::Probe) -> Result<(), Error> {
        if self.tasks.len() > crate::request::MAX_TASKS {
            return Err(Error::refused("do more at one time"));
        }
        let what = || "begin to send a packet".to_owned();
        let kind = match asked.kind {
            ProbeKind::Tcp(port) => Kind::Tcp(port),
            ProbeKind::Udp(port) => Kind::Udp(port),
            ProbeKind::Echo => Kind::Echo,
        };
        let probe = Probe::open(kind, asked.to, Some(asked.number)).doing(|| "open the packet's socket".into())?;
        let (said, say) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(what)?;
        let child = match fork().doing(what)? {
            Fork::Child => {
                drop(said);
                // The other ends of processes' pipes: as long as they are open here, their streams have no end.
                self.tasks.clear();
                exit_now(send(&probe, Duration::from_millis(asked.timeout_ms).min(MAX_TIMEOUT), File::from(say)))
            }
            Fork::Parent(child) => child,
        };
        let job = Job { id, said: File::from(said), gives: Gives::Outcome };
        self.tasks.push(Task::new(Purpose::Job(job), child.pid));
        Ok(())
    }
}

/// In the job: sends it and says what came of it.
fn send(probe: &Probe, timeout: Duration, mut say: File) -> i32 {
    let ns = |after: Duration| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    let outcome = match probe.send(timeout) {
        Outcome::Answered(after) => Probed::Answered(ns(after)),
        Outcome::Silence(after) => Probed::Silence(ns(after)),
        Outcome::Refused(errno) => Probed::Refused(errno.raw_os_error()),
    };
    match serde_json::to_vec(&outcome).map(|text| say.write_all(&text)) {
        Ok(Ok(())) => 0,
        _ => 1,
    }
}
