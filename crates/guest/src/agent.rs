//! The agent at work: one thread that waits for the host, for output, for room for input, and for processes that end.
//!
//! ```text
//! boot --> waits --Setup--> set up --Run--> runs --first process ends--> set up
//!   any state --PowerOff--> off
//! ```

use std::convert::Infallible;
use std::os::fd::AsFd;

use holm_spec::guest::{FIRST_PROCESS, Frame, Kind, MAX_DATA_BYTES, ToHost, VERSION};
use holm_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};
use rustix::time::ClockId;

use crate::container::Container;
use crate::error::{Doing, Error, chain};
use crate::port::Port;
use crate::setup::Machine;
use crate::task::{Purpose, Task};
use crate::{boot, log, virtio};

const SIGCHLD: i32 = 17;
const SIGIO: i32 = 29;

/// All that the agent knows.
pub(crate) struct Agent {
    pub(crate) port: Port,
    signals: SignalFd,
    pub(crate) machine: Option<Machine>,
    pub(crate) container: Option<Container>,
    pub(crate) tasks: Vec<Task>,
    /// Who was served first the last time, so that it is another's turn.
    turn: usize,
}

/// What became ready, by position in the list of tasks.
enum Ready {
    Port(PollFlags),
    Signals,
    Memory,
    Input(usize),
    Output(usize, usize),
}

/// Does what is left of the boot and serves the host. Comes back only with what it cannot go on after.
pub(crate) fn run() -> Result<Infallible, Error> {
    boot::second_stage()?;
    let signals = SignalFd::new(&[SIGCHLD, SIGIO]).doing(|| "hear of processes that end".into())?;
    let port = Port::open(&virtio::wait_for_port()?)?;
    let mut agent = Agent { port, signals, machine: None, container: None, tasks: Vec::new(), turn: 0 };
    let uptime = rustix::time::clock_gettime(ClockId::Boottime);
    let uptime_ns = uptime.tv_sec.cast_unsigned() * 1_000_000_000 + uptime.tv_nsec.cast_unsigned();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    agent.port.tell(&ToHost::Hello { version: VERSION, kernel, uptime_ns })?;
    let mut buffer = vec![0; MAX_DATA_BYTES];
    loop {
        agent.turn(&mut buffer)?;
    }
}

impl Agent {
    /// Waits until there is something to do, and does it.
    fn turn(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.port.flush()?;
        for ready in self.wait()? {
            match ready {
                Ready::Port(flags) => self.port_is_ready(flags)?,
                Ready::Signals => self.take_signals()?,
                Ready::Memory => self.memory_ran_out()?,
                Ready::Input(at) => {
                    if let Some(input) = self.tasks.get_mut(at).and_then(|task| task.input.as_mut()) {
                        input.give(&mut self.port);
                    }
                }
                Ready::Output(at, n) if !self.port.is_crowded() => {
                    if let Some(output) = self.tasks.get_mut(at).and_then(|task| task.outputs.get_mut(n)) {
                        output.take(false, buffer, &mut self.port);
                        self.turn = at;
                    }
                }
                Ready::Output(..) => {}
            }
        }
        self.finish(buffer)
    }

    /// Waits. Outputs are left alone while the host is behind. Nothing is taken off the list of tasks until all that was ready
    /// has been served, so positions stay true.
    fn wait(&self) -> Result<Vec<Ready>, Error> {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut kinds = vec![Ready::Signals];
        if let Some((fd, flags)) = self.port.interest() {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
            kinds.push(Ready::Port(PollFlags::empty()));
        }
        if let Some(watch) = self.container.as_ref().and_then(|container| container.watch.as_ref()) {
            fds.push(PollFd::from_borrowed_fd(watch.as_fd(), watch.interest()));
            kinds.push(Ready::Memory);
        }
        let count = self.tasks.len();
        for at in (0..count).map(|n| (n + self.turn + 1) % count) {
            let task = &self.tasks[at];
            if let Some((fd, flags)) = task.input.as_ref().and_then(|input| input.interest()) {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                kinds.push(Ready::Input(at));
            }
            for (n, output) in task.outputs.iter().enumerate() {
                if let Some((fd, flags)) = output.interest().filter(|_| !self.port.is_crowded()) {
                    fds.push(PollFd::from_borrowed_fd(fd, flags));
                    kinds.push(Ready::Output(at, n));
                }
            }
        }
        let left = self.container.as_ref().and_then(Container::until_look);
        let timeout =
            left.map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(vec![Ready::Memory]),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::Call { what: "wait".into(), source: e.into() }),
        }
        let ready = kinds.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready
            .map(|(kind, fd)| if matches!(kind, Ready::Port(_)) { Ready::Port(fd.revents()) } else { kind })
            .collect())
    }

    fn port_is_ready(&mut self, flags: PollFlags) -> Result<(), Error> {
        if flags.contains(PollFlags::IN) {
            self.port.read()?;
            while let Some(frame) = self.port.frame()? {
                self.take_frame(frame)?;
            }
        } else if flags.contains(PollFlags::HUP) {
            self.port.hung_up()?;
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: Frame) -> Result<(), Error> {
        match frame.kind {
            Kind::Message => {
                let ask = serde_json::from_slice(&frame.payload);
                self.request(ask.map_err(|e| Error::Violation(format!("it sends what is no message: {e}")))?)
            }
            // For one that is gone it comes late, which the host could not know.
            Kind::Data | Kind::End => {
                let of_stream = |task: &Task| task.input.as_ref().is_some_and(|input| input.stream == frame.stream);
                let Some(task) = self.tasks.iter_mut().find(|task| of_stream(task)) else { return Ok(()) };
                let Some(input) = task.input.as_mut() else { return Ok(()) };
                if frame.kind == Kind::Data {
                    return input.put(&frame.payload, &mut self.port);
                }
                input.end(&mut self.port);
                Ok(())
            }
            Kind::Credit => {
                let outputs = self.tasks.iter_mut().flat_map(|task| &mut task.outputs);
                let credit = frame.credit().unwrap_or(0);
                outputs.filter(|o| o.stream == frame.stream).try_for_each(|output| output.add_credit(credit))
            }
        }
    }

    fn take_signals(&mut self) -> Result<(), Error> {
        while let Some(signal) = self.signals.take() {
            match signal {
                SIGCHLD => self.reap(),
                _ => self.port.look_again()?,
            }
        }
        Ok(())
    }

    /// Takes all that ended: own children, and what the container has left behind.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = Pid::as_raw(Some(pid));
            let Some(task) = self.tasks.iter_mut().find(|task| task.pid == pid && task.code.is_none()) else {
                continue;
            };
            task.code = Some(exit_code(status));
            if let Some(container) = self.container.as_mut().filter(|container| container.pid() == pid)
                && let Err(e) = container.end()
            {
                log::error(&chain(&e));
            }
        }
    }

    /// Memory has run out, or it is time to see whether it still does. Something may have been killed for it.
    fn memory_ran_out(&mut self) -> Result<(), Error> {
        let Some(container) = &mut self.container else { return Ok(()) };
        if let Some(watch) = &container.watch {
            watch.clear();
        }
        if container.ended {
            return Ok(());
        }
        // The container goes on without: the next time that it hits its limit is another chance.
        if let Err(e) = container.look_at_memory() {
            log::error(&chain(&e));
        }
        let kills = container.memory_kills()?;
        if kills > container.oom_kills {
            container.oom_kills = kills;
            self.port.tell(&ToHost::OutOfMemory)?;
        }
        Ok(())
    }

    /// Tells of processes that have ended, once all that they wrote was sent.
    fn finish(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        for task in self.tasks.iter_mut().filter(|task| task.code.is_some()) {
            for output in &mut task.outputs {
                if !self.port.is_crowded() {
                    output.take(true, buffer, &mut self.port);
                }
            }
        }
        let (over, others) = std::mem::take(&mut self.tasks).into_iter().partition(Task::is_over);
        self.tasks = others;
        let over: Vec<Task> = over;
        for mut task in over {
            let code = task.code.unwrap_or(125);
            let number = match std::mem::replace(&mut task.purpose, Purpose::Process(0)) {
                Purpose::Process(number) => number,
                Purpose::Job(job) => {
                    self.port.tell(&job.answer(code))?;
                    continue;
                }
            };
            let kills = self.container.as_ref().map_or(0, |c| c.memory_kills().unwrap_or(0));
            let oom = kills > task.oom_kills;
            self.port.tell(&ToHost::Exited { process: number, code, oom })?;
            if number == FIRST_PROCESS
                && let Some(container) = &mut self.container
            {
                container.watch = None;
            }
        }
        Ok(())
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(125)
}
