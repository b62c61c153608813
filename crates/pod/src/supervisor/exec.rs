//! More processes in the running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_container::cgroup::Cgroup;
use holm_container::{Join, Joined, StartError, Stdio, user};
use holm_spec::oci::runtime::{ConsoleSize, Process};
use holm_spec::protocol::Reply;
use holm_spec::state::Status;

use super::{Inside, Supervisor, Task, pump};
use crate::error::chain;
use crate::plan::exec_process;

/// Most processes that commands added at one time.
const MAX_EXECS: usize = 256;

/// One added process.
pub(super) struct ExecRun {
    pub(super) number: u32,
    pub(super) task: Task,
    pub(super) _pidfd: Option<OwnedFd>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) client: Option<u32>,
}

impl ExecRun {
    pub(super) fn resize(&self, size: ConsoleSize) -> std::io::Result<()> {
        self.terminal.as_ref().map_or(Ok(()), |fd| pump::resize(fd.as_fd(), size))
    }
}

impl Supervisor {
    pub(super) fn exec_by_number(&self, number: u32) -> Option<&ExecRun> {
        self.execs.iter().find(|e| e.number == number)
    }

    pub(super) fn exec(
        &mut self,
        client: u32,
        asked: &Process,
        user: Option<&str>,
        privileged: bool,
        detach: bool,
        fds: Vec<OwnedFd>,
    ) {
        match self.try_exec(client, asked, user, privileged, detach, fds) {
            // A machine's answer comes later.
            Ok(None) => {}
            Ok(Some((number, pid))) => {
                let terminal = self.exec_by_number(number).and_then(|e| e.terminal.as_ref()?.try_clone().ok());
                let fds: Vec<BorrowedFd<'_>> = terminal.iter().map(AsFd::as_fd).collect();
                self.reply(Some(client), &Reply::Started { exec: number, pid, warnings: Vec::new() }, &fds);
                if detach {
                    self.execs.iter_mut().filter(|e| e.number == number).for_each(|e| e.terminal = None);
                }
            }
            Err((message, code)) => self.refuse(client, message, code),
        }
    }

    fn try_exec(
        &mut self,
        client: u32,
        asked: &Process,
        user: Option<&str>,
        privileged: bool,
        detach: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<(u32, i32)>, (String, i32)> {
        if self.execs.len() >= MAX_EXECS {
            return Err((format!("{MAX_EXECS} processes were added already, the most it takes"), 1));
        }
        if self.state.status == Status::Paused {
            return Err(("the container is paused: unpause it first".to_owned(), 1));
        }
        let stdio = if asked.terminal {
            Stdio::Terminal
        } else {
            let mut fds = fds.into_iter();
            match (fds.next(), fds.next(), fds.next()) {
                (Some(stdin), Some(stdout), Some(stderr)) => Stdio::Fds { stdin, stdout, stderr },
                _ => return Err(("the three standard descriptors did not come with the request".to_owned(), 125)),
            }
        };
        self.emit("exec_create", &[("execCommand", asked.args.join(" "))]);
        if self.running.as_ref().is_some_and(|r| r.guest().is_some()) {
            let ask = self.guest_exec(asked, user, privileged)?;
            return self.exec_in_guest(client, ask, detach, stdio).map(|()| None);
        }
        let joined = self.join(asked, user, privileged, stdio)?;
        let (number, pid) = (self.number(), joined.pid);
        self.emit("exec_start", &[("execID", number.to_string())]);
        let client = (!detach).then_some(client);
        let (task, _pidfd) = (Task::Child(pid), Some(joined.pidfd));
        self.execs.push(ExecRun { number, task, _pidfd, terminal: joined.console, client });
        Ok(Some((number, pid)))
    }

    /// Runs a process in the container. The error is a text and docker's exit code.
    pub(super) fn join(
        &self,
        asked: &Process,
        user: Option<&str>,
        privileged: bool,
        stdio: Stdio,
    ) -> Result<Joined, (String, i32)> {
        let spec = &self.record.spec;
        let none = || ("it does not run".to_owned(), 1);
        let running = self.running.as_ref().ok_or_else(none)?;
        let Inside::Shared { init, rootfs, seccomp } = &running.inside else { return Err(none()) };
        let user = user.map(|text| user::resolve(rootfs, Some(text), &spec.group_add)).transpose();
        let user = user.map_err(|e| (chain(&e), 126))?;
        let process =
            exec_process(spec, &running.spec, asked, user.as_ref(), privileged).map_err(|e| (chain(&e), 126))?;
        let cgroup = running.cgroup.as_ref().map(Cgroup::entry).transpose().map_err(|e| (chain(&e), 126))?;
        let privileged = privileged || spec.security.privileged;
        let join = Join {
            id: self.id.as_str(),
            init: init.pidfd.as_fd(),
            init_pid: init.pid,
            spec: &running.spec,
            process: &process,
            stdio,
            cgroup,
            seccomp: seccomp.as_ref().filter(|_| !privileged),
        };
        holm_container::exec(join).map_err(|e: StartError| (chain(&e), e.exit_code()))
    }

    /// An added process ended; others were orphans of the container and concern nobody.
    pub(super) fn exec_ended(&mut self, task: Task, code: i32) {
        let Some(at) = self.execs.iter().position(|e| e.task == task) else { return };
        let exec = self.execs.remove(at);
        self.emit("exec_die", &[("execID", exec.number.to_string()), ("exitCode", code.to_string())]);
        self.reply(exec.client, &Reply::Exited { code }, &[]);
    }
}
