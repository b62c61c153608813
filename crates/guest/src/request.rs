//! What the host asks for, one request at a time, each with its one answer.

use std::time::Duration;

use holm_spec::guest::{Exec, FIRST_PROCESS, Run, Setup, ToGuest, ToHost};

use crate::agent::Agent;
use crate::archive::Work;
use crate::container::Container;
use crate::error::{Doing, Error, chain};
use crate::task::Task;
use crate::{log, path, setup, usage};

/// Most processes and jobs beside the container's first process at one time.
pub(crate) const MAX_TASKS: usize = 256;
/// Most bytes of a failure's text.
const MAX_TEXT: usize = 16 * 1024;
/// How long the container's processes may take to end when the machine is switched off.
const PATIENCE: Duration = Duration::from_secs(2);

impl Agent {
    /// Does what the host asks and answers. *Errors*: the channel is broken.
    pub(crate) fn request(&mut self, ask: ToGuest) -> Result<(), Error> {
        let (id, answer) = match ask {
            ToGuest::Setup { id, setup } => (id, self.set_up(id, &setup)),
            ToGuest::Run { id, run } => (id, self.run(id, *run)),
            ToGuest::Exec { id, exec } => (id, self.exec(id, *exec)),
            ToGuest::Signal { id, process, signal } => (id, self.signal(process, signal).map(|()| done(id))),
            ToGuest::Resize { id, process, size } => {
                (id, self.task(process).and_then(|task| task.resize(size)).map(|()| done(id)))
            }
            ToGuest::Update { id, resources } => {
                let updated = self.container_mut().and_then(|c| Ok(c.group.update(&resources)?));
                (id, updated.map(|warnings| ToHost::Done { id, warnings }))
            }
            ToGuest::Stats { id } => {
                let stats = self.container().and_then(|container| usage::stats(&container.group));
                (id, stats.map(|stats| ToHost::Stats { id, stats }))
            }
            ToGuest::Processes { id } => {
                let rows = self.container().and_then(|container| usage::processes(&container.group));
                (id, rows.map(|rows| ToHost::Processes { id, rows }))
            }
            ToGuest::TarOut { id, stream, path, follow, one_mount } => {
                return self.job(id, stream, Work::Out { path, follow, one_mount });
            }
            ToGuest::TarIn { id, stream, path, keep_owner } => {
                return self.job(id, stream, Work::In { path, keep_owner });
            }
            ToGuest::TarChanges { id, stream } => return self.job(id, stream, Work::Changes),
            ToGuest::Stat { id, path } => (id, self.stat(id, &path)),
            ToGuest::Sockets { id } => (id, Ok(ToHost::Sockets { id, sockets: path::sockets() })),
            ToGuest::Probe { id, probe } => {
                let begun = self.probe(id, probe);
                return self.unless_begun(id, begun);
            }
            ToGuest::Ping { id } => (id, Ok(done(id))),
            ToGuest::PowerOff { .. } => self.power_off(),
        };
        self.port.tell(&answer.unwrap_or_else(|error| failed(id, &error)))
    }

    /// Begins a job, which answers by itself unless it cannot even begin.
    fn job(&mut self, id: u32, stream: u32, work: Work) -> Result<(), Error> {
        let begun = self.begin(id, stream, work);
        self.unless_begun(id, begun)
    }

    fn unless_begun(&mut self, id: u32, begun: Result<(), Error>) -> Result<(), Error> {
        match begun {
            Ok(()) => Ok(()),
            Err(e) => self.port.tell(&failed(id, &e)),
        }
    }

    fn set_up(&mut self, id: u32, asked: &Setup) -> Result<ToHost, Error> {
        if self.machine.is_some() {
            return Err(Error::refused("set up the machine: it has been before"));
        }
        let (machine, warnings) = setup::set_up(asked)?;
        self.machine = Some(machine);
        Ok(ToHost::Done { id, warnings })
    }

    fn run(&mut self, id: u32, run: Run) -> Result<ToHost, Error> {
        let machine = self.machine.as_mut().ok_or_else(|| Error::refused("run the container: no machine is set up"))?;
        if let Some(container) = &self.container {
            if !container.ended || self.tasks.iter().any(|task| task.is_process(FIRST_PROCESS)) {
                return Err(Error::refused("run the container: it runs"));
            }
            if let Some(last) = self.container.take() {
                last.remove()?;
            }
            machine.renew()?;
        }
        let (container, task) = match Container::run(machine, run) {
            Ok(made) => made,
            Err(e) => {
                // The mount may have gone with the process that was to have it.
                machine.renew()?;
                return Err(e);
            }
        };
        let pid = task.pid;
        self.container = Some(container);
        self.tasks.push(task);
        Ok(ToHost::Started { id, pid })
    }

    fn exec(&mut self, id: u32, exec: Exec) -> Result<ToHost, Error> {
        if self.tasks.len() > MAX_TASKS {
            return Err(Error::refused(format!("run more than {MAX_TASKS} processes beside the container's first")));
        }
        if exec.process <= FIRST_PROCESS || self.task(exec.process).is_ok() {
            return Err(Error::refused(format!("run a process as number {}: it is taken", exec.process)));
        }
        let (Some(container), Some(machine)) = (&self.container, &self.machine) else {
            return Err(Error::refused("run a process in the container: it does not run"));
        };
        let task = container.exec(machine, exec)?;
        let pid = task.pid;
        self.tasks.push(task);
        Ok(ToHost::Started { id, pid })
    }

    fn task(&self, process: u32) -> Result<&Task, Error> {
        let found = self.tasks.iter().find(|task| task.is_process(process));
        found.ok_or_else(|| Error::refused(format!("find process {process}: it does not run")))
    }

    fn container(&self) -> Result<&Container, Error> {
        self.container.as_ref().ok_or_else(|| Error::refused("look at the container: it does not run"))
    }

    fn container_mut(&mut self) -> Result<&mut Container, Error> {
        self.container.as_mut().ok_or_else(|| Error::refused("change the container: it does not run"))
    }

    fn signal(&self, process: u32, signal: i32) -> Result<(), Error> {
        let task = self.task(process)?;
        if !(1..=64).contains(&signal) {
            return Err(Error::refused(format!("send signal {signal}: no such signal")));
        }
        // Reaped already, so its number may be another's by now.
        if task.code.is_some() {
            return Ok(());
        }
        holm_sys::process::kill(task.pid, signal).doing(|| format!("send signal {signal} to process {process}"))
    }

    /// Ends all that runs, writes out what is in memory and switches the machine off.
    fn power_off(&mut self) -> ! {
        if let Some(container) = &self.container
            && let Err(e) = container.group.kill_all(PATIENCE)
        {
            log::error(&chain(&e));
        }
        // The host hears what was said before; what it does not take now it does not want.
        let _ = self.port.flush();
        self.container = None;
        setup::take_down(self.machine.take());
        log::power_off()
    }
}

fn done(id: u32) -> ToHost {
    ToHost::Done { id, warnings: Vec::new() }
}

fn failed(id: u32, error: &Error) -> ToHost {
    let message = chain(error).chars().take(MAX_TEXT).collect();
    ToHost::Failed { id, message, code: error.code() }
}
