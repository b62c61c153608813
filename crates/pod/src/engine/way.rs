//! Virtual machines on a packet's way (`holm network path`): what only their agents can tell.

use std::os::fd::AsFd;
use std::time::Duration;

use holm_network::path::{Life, Machines, Member};
use holm_spec::guest::{Listening, Probe, Probed, ToGuest, ToHost};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::Engine;
use crate::error::chain;

/// What is being done, after "cannot".
const VERB: &str = "find the way";
/// How long an agent may take beside what it waits for itself.
const PATIENCE: Duration = Duration::from_secs(10);

impl Machines for Engine {
    fn sockets(&self, machine: &Member) -> Result<Vec<Listening>, String> {
        match self.asked_on_the_way(machine, ToGuest::Sockets { id: 0 }, PATIENCE)? {
            ToHost::Sockets { sockets, .. } => Ok(sockets),
            _ => Err("its agent answered something else".to_owned()),
        }
    }

    fn probe(&self, machine: &Member, probe: Probe) -> Result<Probed, String> {
        let patience = Duration::from_millis(probe.timeout_ms).saturating_add(PATIENCE);
        match self.asked_on_the_way(machine, ToGuest::Probe { id: 0, probe }, patience)? {
            ToHost::Probed { outcome, .. } => Ok(outcome),
            _ => Err("its agent answered something else".to_owned()),
        }
    }
}

impl Engine {
    /// Asks a machine's agent, which may be anybody's by now and never answer.
    fn asked_on_the_way(&self, machine: &Member, ask: ToGuest, patience: Duration) -> Result<ToHost, String> {
        if machine.life == Life::Paused {
            return Err("it is paused".to_owned());
        }
        let connection = self.send_to_guest(VERB, &machine.owner, ask, &[]).map_err(|e| chain(&e))?;
        let timeout = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
        let mut poll = [PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN)];
        match rustix::io::retry_on_intr(|| rustix::event::poll(&mut poll, Some(&timeout))) {
            Ok(0) => Err(format!("its agent did not answer within {} seconds", patience.as_secs())),
            Ok(_) => self.told_by_guest(VERB, &machine.owner, &connection).map_err(|e| chain(&e)),
            Err(e) => Err(std::io::Error::from(e).to_string()),
        }
    }
}
