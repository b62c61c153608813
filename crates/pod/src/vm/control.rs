//! What commands ask of whole machines: starting, stopping, the console, the guest agent, saved moments.

use std::os::fd::{AsFd, OwnedFd};

use holm_spec::Name;
use holm_vm::guest_agent::{self, GuestAgent};

use super::protocol::{Answer, Ask};
use super::supervisor::{Launch, launch};
use super::{VmConsole, failed, snapshot};
use crate::engine::reach;
use crate::layout::FolderLock;
use crate::wire::{self, Received};
use crate::{Engine, Error, Event};

impl Engine {
    /// Starts a machine: returns when it runs, with what its administrator should know.
    pub fn vm_start(&self, name: &str) -> Result<Vec<String>, Error> {
        self.vm_begin(name, None)
    }

    /// Starts a machine, at a saved moment where one is given.
    fn vm_begin(&self, name: &str, restore: Option<String>) -> Result<Vec<String>, Error> {
        let roots = self.roots();
        let spec = roots.read_vm(name)?;
        let _lock = self.vm_lock(name)?;
        let Some(lock) = self.vm_responsibility(name, "start")? else {
            return Err(failed("start", name, "it runs already", None));
        };
        let state = roots.read_vm_state(name)?;
        let control = launch(Launch { roots, spec: spec.clone(), state, lock, restore })?;
        match hear(&control)? {
            Some((Answer::Started { warnings }, _)) => {
                self.emit(&Event::now("vm", "start", spec.id.as_str()).with("name", name));
                Ok(warnings)
            }
            Some((Answer::Failed { message, hint }, _)) => Err(failed("start", name, message, hint.as_deref())),
            _ => Err(failed("start", name, "its supervisor ended before it was started", None)),
        }
    }

    /// Presses a machine's power button, and switches it off when `timeout_s` have passed; at once where that is 0, never
    /// where it is negative. Nothing to do where it does not run.
    pub fn vm_stop(&self, name: &str, timeout_s: i64) -> Result<(), Error> {
        self.roots().read_vm(name)?;
        let Some(control) = self.vm_supervisor(name)? else { return Ok(()) };
        say(&control, &Ask::Stop { timeout_s })?;
        // Its end, told or found out.
        while let Some((answer, _)) = hear(&control)? {
            if let Answer::Failed { message, hint } = answer {
                return Err(failed("stop", name, message, hint.as_deref()));
            }
        }
        self.vm_supervisor(name).map(drop)
    }

    /// Attaches to a machine's serial console.
    pub fn vm_console(&self, name: &str) -> Result<VmConsole, Error> {
        let (_, stream) = self.vm_ask(name, "attach to", &Ask::Console)?;
        Ok(VmConsole { stream })
    }

    /// Runs a program in a machine whose guest runs QEMU's guest agent, and waits for its end.
    pub fn vm_exec(
        &self,
        name: &str,
        args: &[String],
        env: &[String],
        input: &[u8],
    ) -> Result<guest_agent::Ended, Error> {
        // The line is lent as long as this is held.
        let (_lent, line) = self.vm_ask(name, "execute in", &Ask::Agent)?;
        let run = GuestAgent::find(line).and_then(|mut agent| agent.execute(args, env, input));
        run.map_err(|e| failed("execute in", name, crate::error::chain(&e), e.hint()))
    }

    /// Saves a moment: with its memory where it runs, which only a qcow2 can take; else a copy of its disk.
    pub fn vm_snapshot(&self, name: &str, moment: &Name, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Error> {
        let spec = self.roots().read_vm(name)?;
        let lock = self.vm_lock(name)?;
        if snapshot::list(lock.path())?.iter().any(|s| s.name == *moment) {
            return Err(failed("save", name, format!("it has a moment `{moment}` already"), None));
        }
        match self.vm_responsibility(name, "save")? {
            Some(run_lock) => {
                let copied = snapshot::copy_disk(lock.path(), &spec, moment, progress);
                self.vm_give_up(name, run_lock).and(copied)
            }
            None => self.vm_tell(name, "save", &Ask::Snapshot { name: moment.to_string() }),
        }
    }

    /// Goes back to a saved moment. One with memory runs afterwards; one without needs a machine that does not run.
    pub fn vm_restore(&self, name: &str, moment: &Name, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Error> {
        let spec = self.roots().read_vm(name)?;
        let lock = self.vm_lock(name)?;
        let found = snapshot::list(lock.path())?.into_iter().find(|s| s.name == *moment);
        let Some(found) = found else {
            let hint = format!("`holm vm inspect {name}` lists what was saved");
            return Err(failed("restore", name, format!("it has no moment `{moment}`"), Some(&hint)));
        };
        let stands = self.vm_responsibility(name, "restore")?;
        match (found.memory, stands) {
            (true, None) => self.vm_tell(name, "restore", &Ask::Restore { name: moment.to_string() }),
            (true, Some(run_lock)) => {
                self.vm_give_up(name, run_lock)?;
                drop(lock);
                self.vm_begin(name, Some(moment.to_string())).map(drop)
            }
            (false, Some(run_lock)) => {
                let copied = snapshot::copy_back(lock.path(), &spec, moment, progress);
                self.vm_give_up(name, run_lock).and(copied)
            }
            (false, None) => {
                let hint = format!("holm vm stop {name}");
                Err(failed("restore", name, "it runs, and that moment is a copy of its disk", Some(&hint)))
            }
        }
    }

    /// Takes the lock for a transition. *Errors*: the machine is gone.
    pub(super) fn vm_lock(&self, name: &str) -> Result<FolderLock, Error> {
        FolderLock::wait(&self.roots().vm(name))?.ok_or_else(|| Error::NoSuchVm(name.to_owned()))
    }

    /// Becomes responsible for a machine that does not run; `None` where it does. *Order*: the machine's lock is held.
    pub(super) fn vm_responsibility(&self, name: &str, verb: &'static str) -> Result<Option<FolderLock>, Error> {
        if self.vm_supervisor(name)?.is_some() {
            return Ok(None);
        }
        match FolderLock::make_now(&self.roots().run_vm(name))? {
            Some(lock) => Ok(Some(lock)),
            None => Err(failed(verb, name, "its supervisor does not answer", None)),
        }
    }

    /// An unlocked folder in the run root would be taken for a crash.
    fn vm_give_up(&self, name: &str, lock: FolderLock) -> Result<(), Error> {
        lock.remove_folder().map_err(|e| Error::io("give up the run folder of", name, e))
    }

    fn vm_supervisor(&self, name: &str) -> Result<Option<OwnedFd>, Error> {
        reach(&self.roots().run_vm(name), name, &|lock| self.recover_vm(name, lock))
    }

    /// Asks a machine that must run; the connection, and the descriptor that was asked for.
    fn vm_ask(&self, name: &str, verb: &'static str, ask: &Ask) -> Result<(OwnedFd, OwnedFd), Error> {
        let (control, fds) = self.vm_answer(name, verb, ask)?;
        let fd = fds.into_iter().next().ok_or_else(|| failed(verb, name, "its supervisor gave nothing", None))?;
        Ok((control, fd))
    }

    fn vm_tell(&self, name: &str, verb: &'static str, ask: &Ask) -> Result<(), Error> {
        self.vm_answer(name, verb, ask).map(drop)
    }

    fn vm_answer(&self, name: &str, verb: &'static str, ask: &Ask) -> Result<(OwnedFd, Vec<OwnedFd>), Error> {
        self.roots().read_vm(name)?;
        let off = || failed(verb, name, "it does not run", Some(&format!("holm vm start {name}")));
        let control = self.vm_supervisor(name)?.ok_or_else(off)?;
        say(&control, ask)?;
        match hear(&control)? {
            Some((Answer::Done, fds)) => Ok((control, fds)),
            Some((Answer::Failed { message, hint }, _)) => Err(failed(verb, name, message, hint.as_deref())),
            _ => Err(off()),
        }
    }
}

fn say(control: &OwnedFd, ask: &Ask) -> Result<(), Error> {
    wire::send(control.as_fd(), ask, &[]).map_err(|e| Error::io("ask", "the supervisor", e))
}

/// The next answer; `None` when the supervisor is gone.
fn hear(control: &OwnedFd) -> Result<Option<(Answer, Vec<OwnedFd>)>, Error> {
    match wire::receive(control.as_fd()).map_err(|e| Error::io("hear", "the supervisor", e))? {
        Received::Packet(answer, fds) => Ok(Some((answer, fds))),
        Received::Closed | Received::Nothing => Ok(None),
        Received::Garbage(why) => Err(Error::invalid("the supervisor's reply", why)),
    }
}
