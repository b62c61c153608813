//! What is asked of a running container.

use std::os::fd::{AsFd, BorrowedFd};

use holm_container::cgroup::{Cgroup, Hierarchy, Stats};
use holm_spec::ContainerId;
use holm_spec::oci::runtime::Process;
use holm_spec::protocol::{Reply, Request};
use holm_spec::state::Status;
use rustix::fs::{Mode, OFlags, inotify};

use super::Engine;
use crate::plan::{limits_of_update, stop_signal};
use crate::{Attached, Error, Exec, ExecStarted, LogLine, LogQuery, StartIo, StdioFds, Update, WaitFor, log};

impl Engine {
    /// Asks it to stop, then kills it; returns its exit code. Nothing to do where it does not run. Signal and time are
    /// the container's own, then the image's, then SIGTERM and 10 s, where absent.
    pub fn stop(&self, id: &ContainerId, signal: Option<i32>, timeout_s: Option<i64>) -> Result<i32, Error> {
        let record = self.roots.read_record(id)?;
        let signal = signal.unwrap_or_else(|| stop_signal(&record.spec, &record.image_config));
        let timeout_s = timeout_s.or(record.spec.stop_timeout_s).unwrap_or(10);
        let Some(connection) = self.supervisor(id)? else { return self.recorded_code(id) };
        let request = Request::Stop { signal, timeout_s };
        self.hear_exit(id, connection.ask("stop", record.spec.name.as_str(), &request, &[])?, &connection)
    }

    /// Sends a signal to its init.
    pub fn kill(&self, id: &ContainerId, signal: i32) -> Result<(), Error> {
        self.ask(id, "kill", &Request::Kill { exec: None, signal })
    }

    /// Freezes it.
    pub fn pause(&self, id: &ContainerId) -> Result<(), Error> {
        self.ask(id, "pause", &Request::Pause)
    }

    /// Thaws it.
    pub fn unpause(&self, id: &ContainerId) -> Result<(), Error> {
        self.ask(id, "unpause", &Request::Unpause)
    }

    /// Waits; returns the exit code.
    pub fn wait(&self, id: &ContainerId, condition: WaitFor) -> Result<i32, Error> {
        let folder = self.roots.container(id);
        let failed = |e: rustix::io::Errno| Error::io("watch", folder.display().to_string(), e);
        // The watch comes before the look, so that no change between the two is missed.
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(failed)?;
        if condition != WaitFor::NotRunning {
            let what =
                inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::MOVE_SELF | inotify::WatchFlags::DELETE_SELF;
            match inotify::add_watch(&watch, &folder, what) {
                Ok(_) => {}
                Err(rustix::io::Errno::NOENT) => return Err(Error::NoSuchContainer(id.short().to_owned())),
                Err(e) => return Err(failed(e)),
            }
        }
        let mut code = self.recorded_code(id)?;
        loop {
            if let Some(connection) = self.supervisor(id)? {
                code = self.hear_exit(id, connection.ask("wait for", id.short(), &Request::Wait, &[])?, &connection)?;
                if condition == WaitFor::NextExit {
                    return Ok(code);
                }
            }
            match condition {
                WaitFor::NotRunning => return Ok(code),
                WaitFor::Removed | WaitFor::NextExit if !folder.exists() => return Ok(code),
                WaitFor::Removed | WaitFor::NextExit => {
                    let mut buffer = [0u8; 1024];
                    rustix::io::retry_on_intr(|| rustix::io::read(&watch, &mut buffer)).map_err(failed)?;
                }
            }
        }
    }

    /// Waits for the end on a connection whose first reply was taken; a supervisor that is gone leaves it to the record.
    fn hear_exit(
        &self,
        id: &ContainerId,
        first: Option<(Reply, Vec<std::os::fd::OwnedFd>)>,
        connection: &crate::Connection,
    ) -> Result<i32, Error> {
        match first {
            Some((Reply::Exited { code }, _)) => Ok(code),
            Some(_) => match connection.wait_exit()? {
                Some(code) => Ok(code),
                None => self.final_code(id),
            },
            None => self.final_code(id),
        }
    }

    fn recorded_code(&self, id: &ContainerId) -> Result<i32, Error> {
        Ok(self.roots.read_state(id)?.exit_code)
    }

    fn final_code(&self, id: &ContainerId) -> Result<i32, Error> {
        // Comes back when the supervisor has written its last record, or was found dead.
        self.supervisor(id)?;
        self.recorded_code(id)
    }

    /// Stops it if it runs, and starts it.
    pub fn restart(&self, id: &ContainerId, signal: Option<i32>, timeout_s: Option<i64>) -> Result<(), Error> {
        self.stop(id, signal, timeout_s)?;
        self.start(id, StartIo::default()).map(drop)
    }

    /// Changes limits and restart policy, at once where it runs. *Errors*: nothing was changed.
    pub fn update(&self, id: &ContainerId, update: &Update) -> Result<(), Error> {
        let _lock = self.lock(id)?;
        let old = self.roots.read_record(id)?;
        let mut new = old.clone();
        merge(&mut new.spec.limits, &update.limits);
        new.spec.restart = update.restart.unwrap_or(old.spec.restart);
        // What contradicts itself is found before anything is written.
        limits_of_update(&new.spec.limits, &old.spec.limits)?;
        self.roots.write_record(id, &new)?;
        let told = match self.supervisor(id)? {
            Some(connection) => connection.ask("update", old.spec.name.as_str(), &Request::Reload, &[]).map(drop),
            None => Ok(()),
        };
        if let Err(e) = told {
            self.roots.write_record(id, &old)?;
            return Err(e);
        }
        self.emit(&crate::Event::now("container", "update", id.as_str()).with("name", old.spec.name.as_str()));
        Ok(())
    }

    /// Attaches to a running container.
    pub fn attach(&self, id: &ContainerId, stdin: bool) -> Result<Attached, Error> {
        let (control, name) = self.running(id, "attach to")?;
        let tty = self.roots.read_record(id)?.spec.tty;
        let reply = control.ask("attach", &name, &Request::Attach { stdin }, &[])?;
        let Some(stream) = reply.and_then(|(_, fds)| fds.into_iter().next()) else {
            return Err(self.not_running(id, "attach to", name));
        };
        control.send(&Request::Wait, &[])?;
        Ok(Attached { control, stream, tty })
    }

    /// Runs one more process in a running container.
    pub fn exec(&self, id: &ContainerId, exec: Exec) -> Result<ExecStarted, Error> {
        if exec.args.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("an empty command", "exec needs a program"));
        }
        let (control, name) = self.running(id, "execute in")?;
        let stdio = match (exec.tty, exec.stdio) {
            (Some(_), _) => None,
            (None, Some(stdio)) => Some(stdio),
            (None, None) => Some(null_stdio()?),
        };
        let process = Process {
            terminal: exec.tty.is_some(),
            console_size: exec.tty,
            args: exec.args,
            env: exec.env,
            cwd: exec.cwd.unwrap_or_default().into(),
            ..Process::default()
        };
        let request = Request::Exec {
            process: Box::new(process),
            user: exec.user,
            privileged: exec.privileged,
            detach: exec.detach,
        };
        let fds: Vec<BorrowedFd<'_>> =
            stdio.iter().flat_map(|s| [s.stdin.as_fd(), s.stdout.as_fd(), s.stderr.as_fd()]).collect();
        match control.ask("execute", &name, &request, &fds)? {
            Some((Reply::Started { exec, pid, .. }, fds)) => {
                Ok(ExecStarted { exec, pid, control, console: fds.into_iter().next() })
            }
            _ => Err(self.not_running(id, "execute in", name)),
        }
    }

    /// Gives the log piece by piece; `sink` returns false to end it.
    pub fn logs(&self, id: &ContainerId, query: &LogQuery, sink: &mut dyn FnMut(LogLine) -> bool) -> Result<(), Error> {
        let record = self.roots.read_record(id)?;
        if record.spec.log.driver == holm_spec::container::LogDriver::None {
            return Err(Error::invalid("the log driver `none`", "it keeps nothing that could be read"));
        }
        let folder = self.roots.container(id);
        // Its supervisor answers at the container's end, which makes the connection readable.
        let connection = if query.follow { self.supervisor(id)? } else { None };
        if let Some(connection) = &connection {
            connection.send(&Request::Wait, &[])?;
        }
        let result = log::read::read(&folder, query, connection.as_ref().map(AsFd::as_fd), sink);
        result.map_err(|e| Error::io("read the log of", record.spec.name.as_str(), e))
    }

    /// What its control group uses now. *Errors*: it does not run.
    pub fn stats(&self, id: &ContainerId) -> Result<Stats, Error> {
        let record = self.roots.read_record(id)?;
        if record.spec.sandbox.isolation.machine().is_some() {
            return self.guest_stats(id).map(|(stats, _)| stats);
        }
        let state = self.roots.read_state(id)?;
        if !matches!(state.status, Status::Running | Status::Paused) || state.cgroup_path.is_empty() {
            return Err(self.not_running(id, "measure", record.spec.name.to_string()));
        }
        let failed = |e: holm_container::cgroup::CgroupError| {
            Error::io("measure", record.spec.name.as_str(), std::io::Error::other(crate::error::chain(&e)))
        };
        let hierarchy = Hierarchy::discover(std::path::Path::new("/sys/fs/cgroup")).map_err(failed)?;
        Cgroup::open(&hierarchy, &state.cgroup_path).and_then(|group| group.stats()).map_err(failed)
    }
}

fn null_stdio() -> Result<StdioFds, Error> {
    let open = || {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io("open", "/dev/null", e))
    };
    Ok(StdioFds { stdin: open()?, stdout: open()?, stderr: open()? })
}

/// Takes over what is present. CPUs given one way replace what was given the other way.
fn merge(into: &mut holm_spec::container::Limits, from: &holm_spec::container::Limits) {
    let f = from.clone();
    if f.nano_cpus.is_some() {
        (into.cpu_quota_us, into.cpu_period_us) = (None, None);
    }
    if f.cpu_quota_us.is_some() || f.cpu_period_us.is_some() {
        into.nano_cpus = None;
    }
    macro_rules! take {
        ($($field:ident),*) => { $( if f.$field.is_some() { into.$field = f.$field; } )* };
    }
    take!(nano_cpus, cpu_shares, cpu_quota_us, cpu_period_us, cpuset_cpus, cpuset_mems, memory_bytes);
    take!(memory_swap_bytes, memory_reservation_bytes, memory_swappiness, oom_score_adj, pids, blkio_weight);
    macro_rules! replace {
        ($($field:ident),*) => { $( if !f.$field.is_empty() { into.$field = f.$field; } )* };
    }
    replace!(blkio_weight_device, device_read_bps, device_write_bps, device_read_iops, device_write_iops, hugetlb);
    into.oom_kill_disable |= f.oom_kill_disable;
}
