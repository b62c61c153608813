//! The end of a container's process: what is recorded, whether it is started again, what is removed.

use std::time::{Duration, Instant};

use holm_spec::oci::runtime::NamespaceKind;
use holm_spec::protocol::Reply;
use holm_spec::state::Status;

use super::{Inside, Running, SOCKET, Supervisor, restart};
use crate::layout::now_ns;
use crate::{Error, removal};

/// How long what is left of a container may take to die.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Init has ended with `code`.
    pub(super) fn container_ended(&mut self, code: i32) {
        self.kill_rest();
        self.hear_guest_out();
        self.drain_output();
        let _ = self.log.finish();
        let Some(running) = self.running.take() else { return };
        let ran = running.since.elapsed();
        self.health = None;
        self.stopping = None;
        self.announce_at = None;
        self.state.exit_code = code;
        self.state.finished_at_ns = now_ns();
        self.state.pid = 0;
        self.state.pid_start_ticks = 0;
        let restarts = self.restart_wanted(code);
        if self.record.spec.auto_remove && !restarts {
            return self.finish_and_remove(code, running);
        }
        self.state.oom_killed = self.release(running);
        self.emit_end(code);
        self.go_on_or_finish(code, ran);
    }

    fn emit_end(&self, code: i32) {
        self.emit("die", &[("exitCode", code.to_string())]);
    }

    fn restart_wanted(&self, code: i32) -> bool {
        let state = &self.state;
        !self.ending && restart::wanted(self.record.spec.restart, code, state.restart_count, state.stopped_by_user)
    }

    /// The end of a `--rm` container: it is gone from sight first, its waiters are told, and only then are its files and
    /// groups deleted, for which nobody needs to wait. The run folder goes last, so a crash is found and finished.
    fn finish_and_remove(&mut self, code: i32, running: Running) {
        self.become_status(Status::Exited);
        self.stop_listening();
        let hidden = removal::hide(&self.roots, &self.id, &self.record).is_ok();
        if hidden {
            self.tell_end(code);
        }
        self.state.oom_killed = self.release(running);
        self.emit_end(code);
        self.close_down(false, hidden);
        if !hidden {
            self.tell_end(code);
        }
        self.over = true;
    }

    /// Stops listening. Who has connected by now is still told of the end, whatever it is about to ask.
    fn stop_listening(&mut self) {
        if let (Some(lock), Some(_)) = (&self.lock, &self.listener) {
            let _ = rustix::fs::unlinkat(lock.fd(), SOCKET, rustix::fs::AtFlags::empty());
        }
        self.accept();
        self.listener = None;
    }

    /// Tells every connected command of the end.
    fn tell_end(&mut self, code: i32) {
        let clients: Vec<u32> = self.clients.iter().map(|c| c.number).collect();
        for number in clients {
            self.reply(Some(number), &Reply::Exited { code }, &[]);
        }
        self.write_streams();
        self.streams.retain(|stream| !stream.is_flushed());
    }

    fn go_on_or_finish(&mut self, code: i32, ran: Duration) {
        if self.restart_wanted(code) {
            self.become_status(Status::Restarting);
            self.save();
            self.restart.plan(Instant::now(), ran);
        } else {
            self.finish(code);
        }
    }

    /// A stop came while the container waits to be started again.
    pub(super) fn stop_waiting(&mut self) {
        self.restart.clear();
        let code = self.state.exit_code;
        self.finish(code);
    }

    /// The back-off is over.
    pub(super) fn boot_again(&mut self) {
        self.restart.clear();
        self.state.restart_count = self.state.restart_count.saturating_add(1);
        match self.boot(None) {
            Ok(_) => self.record_start(),
            Err(e) => {
                self.held.clear();
                self.state.error = crate::error::chain(&e);
                let code = start_code(&e);
                self.state.exit_code = code;
                self.go_on_or_finish(code, Duration::ZERO);
            }
        }
    }

    /// With a PID namespace of its own everything died with init; otherwise the control group says what is left.
    fn kill_rest(&mut self) {
        let Some(running) = &self.running else { return };
        let namespaces = running.spec.linux.iter().flat_map(|l| &l.namespaces);
        // What runs a machine is beside the process that stands for it.
        let own = running.guest().is_none()
            && namespaces.into_iter().any(|n| n.kind == NamespaceKind::Pid && n.path.is_none());
        if let Some(group) = running.cgroup.as_ref().filter(|_| !own) {
            let _ = group.kill_all(KILL_PATIENCE);
        }
    }

    /// Lets go of the container's kernel objects; whether the kernel killed something in it for memory, which is told once.
    fn release(&mut self, running: Running) -> bool {
        let Running { inside, cgroup, pump, .. } = running;
        let (in_guest, told) = match &inside {
            Inside::Machine(guest) => (guest.saw_oom(), guest.has_told_oom()),
            Inside::Shared { .. } => (false, false),
        };
        drop((inside, pump));
        self.release_networks();
        // The group counts its own dead, whether its limit, one above it or the whole machine ran out.
        let oom = in_guest || cgroup.as_ref().is_some_and(|group| group.oom_kills().unwrap_or(0) > 0);
        // A group that cannot be removed now is found again by its path when the container is removed.
        let _ = cgroup.map(|group| group.remove());
        if oom && !told {
            self.emit("oom", &[]);
        }
        oom
    }

    /// The start failed: the command that waits is told, after all is as it was.
    pub(super) fn fail_start(&mut self, error: &Error) {
        let code = start_code(error);
        let message = match error {
            Error::Start { message, .. } => message.clone(),
            other => crate::error::chain(other),
        };
        self.state.error.clone_from(&message);
        self.state.exit_code = code;
        self.close_down(true, false);
        let reply = Reply::Failed { message, hint: error.hint(), code };
        let first = self.clients.first().map(|c| c.number);
        self.reply(first, &reply, &[]);
        self.over = true;
    }

    /// The container has ended for good.
    fn finish(&mut self, code: i32) {
        self.become_status(Status::Exited);
        self.close_down(false, false);
        self.tell_end(code);
        self.over = true;
    }

    /// Records the end, or removes the container, and gives up the run folder: from here on nobody is responsible for the
    /// container, and a command may start it again.
    fn close_down(&mut self, failed: bool, hidden: bool) {
        self.state.supervisor_pid = 0;
        self.state.supervisor_start_ticks = 0;
        self.stop_listening();
        if self.record.spec.auto_remove {
            let removed = match hidden {
                true => removal::bury(&self.roots, &self.id, &self.record),
                false => removal::dispose(&self.roots, &self.id, Some(&self.record), true),
            };
            if let Err(e) = removed {
                self.state.status = Status::Dead;
                self.state.error = crate::error::chain(&e);
                self.save();
            }
        } else {
            if !failed && self.state.stopped_by_user {
                self.emit("stop", &[]);
            }
            self.save();
        }
        if let Some(lock) = self.lock.take() {
            let _ = lock.remove_folder();
        }
    }
}

fn start_code(error: &Error) -> i32 {
    match error {
        Error::Start { code, .. } => *code,
        _ => 125,
    }
}
