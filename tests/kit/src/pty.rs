//! A real terminal for a command, for what behaves otherwise on one. Owns the master side.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::Holm;

/// A terminal and the command on it.
pub struct Terminal {
    master: File,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Starts a command with a new terminal as its controlling one, of this many rows and columns.
    ///
    /// # Panics
    /// If there is no terminal to be had.
    pub fn start(mut holm: Holm, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("open a terminal");
        grantpt(&master).expect("grant a terminal");
        unlockpt(&master).expect("unlock a terminal");
        let name = ptsname(&master, Vec::new()).expect("name a terminal");
        let slave = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
            .expect("open a terminal's other side");
        set_size(&slave, rows, columns);
        let inner = holm.command();
        // setsid(1) makes its standard input the controlling terminal, which std's Command cannot.
        let mut command = std::process::Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let side = || Stdio::from(slave.try_clone().expect("copy a descriptor"));
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("start setsid");
        Self { master: File::from(master), child, seen: String::new() }
    }

    /// Types.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.master.write_all(bytes.as_ref()).expect("write to a terminal");
    }

    /// Changes the size of the terminal; the kernel tells the command.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    /// Reads until `text` was seen since the last call that waited; returns what came.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.seen.find(text) {
                return self.seen.drain(..at + text.len()).collect();
            }
            assert!(
                Instant::now() < deadline && self.read_some(Duration::from_millis(200)),
                "the terminal never showed {text:?}; it showed {:?}",
                self.seen
            );
        }
    }

    /// Reads until the command ends; returns its exit code and what came.
    #[track_caller]
    pub fn finish(&mut self) -> (i32, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let open = self.read_some(Duration::from_millis(20));
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                while self.read_some(Duration::ZERO) && self.has_input() {}
                return (status.code().unwrap_or(-1), std::mem::take(&mut self.seen));
            }
            assert!(Instant::now() < deadline, "no end (open: {open}); the terminal showed {:?}", self.seen);
        }
    }

    fn has_input(&self) -> bool {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
            && fds[0].revents().contains(PollFlags::IN)
    }

    /// Reads what there is; false at the end.
    fn read_some(&mut self, patience: Duration) -> bool {
        let timeout = Timespec::try_from(patience).expect("a time");
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).unwrap_or(0) == 0 {
            return true;
        }
        let mut chunk = [0; 4096];
        match rustix::io::read(&self.master, &mut chunk) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
                true
            }
        }
    }
}

fn set_size(side: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(side, size).expect("set a terminal's size");
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
