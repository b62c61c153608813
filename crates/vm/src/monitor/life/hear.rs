//! What a monitor hears of the guest, of the hypervisor and of their console.
//!
//! Nothing here is believed: bytes of the guest go to the state machine, words of the hypervisor become one of a few reasons.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::Life;
use crate::monitor::DIED;
use crate::monitor::wire::FromMonitor;
use crate::qmp::Event;

/// Most bytes read of the channel at once.
const READ_BYTES: usize = 256 * 1024;

impl Life {
    pub(super) fn hear_guest(&mut self) {
        self.buffer.resize(READ_BYTES, 0);
        match rustix::io::read(&self.channel, &mut self.buffer[..READ_BYTES]) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The hypervisor is about to be gone, which says more.
            Ok(0) | Err(_) => self.channel_open = false,
            Ok(n) => {
                self.heard = self.clock.now();
                if let Err(breach) = self.mux.feed(&self.buffer[..n]) {
                    self.lose(breach.to_string(), DIED);
                }
            }
        }
    }

    pub(super) fn hear_qmp(&mut self) {
        let Some(qmp) = &mut self.qmp else { return };
        let broken = qmp.read().is_err();
        while let Some(event) = qmp.next_event() {
            match event {
                Event::Panicked => self.end = Some("the guest's kernel died".to_owned()),
                Event::Shutdown(reason) if self.end.is_none() => self.end = Some(end_text(&reason)),
                Event::Stop => self.paused = true,
                Event::Resume => self.paused = false,
                Event::DiskFailed { no_space } if !self.disk_failed => {
                    self.disk_failed = true;
                    let reason = if no_space {
                        "the file system that the container's disk is on is full"
                    } else {
                        "the host cannot read or write the container's disk"
                    };
                    self.waiting.push_back((FromMonitor::Trouble { reason: reason.to_owned() }, None));
                }
                Event::Shutdown(_) | Event::Reset | Event::DiskFailed { .. } => {}
            }
        }
        if broken {
            self.qmp = None;
        }
    }

    pub(super) fn hear_console(&mut self) {
        let Some(console) = &self.console else { return };
        let mut buffer = [0; 4096];
        match rustix::io::read(console, &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.console = None,
            Ok(n) => {
                self.said.take(&buffer[..n]);
                if let Some(copy) = &self.console_copy {
                    let mut fds = [PollFd::new(copy, PollFlags::OUT)];
                    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                    if matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(1)) {
                        let _ = rustix::io::write(copy, &buffer[..n]);
                    }
                }
            }
        }
    }
}

/// Why a machine ended, of QEMU's words for it. *Source*: QEMU, qapi/run-state.json, `ShutdownCause`.
fn end_text(reason: &str) -> String {
    match reason {
        "guest-panic" => "the guest's kernel died".to_owned(),
        "guest-reset" => "the guest's kernel died or restarted".to_owned(),
        "guest-shutdown" => "the machine switched itself off".to_owned(),
        "host-signal" | "host-qmp-quit" => "the hypervisor was told to end".to_owned(),
        other => format!("the hypervisor ended the machine: {other}"),
    }
}
