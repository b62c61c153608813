//! QMP, the language of QEMU's monitor: lines of JSON over a socket, with descriptors beside them.
//!
//! The other end is not trusted: a guest may have taken it over. Lines and events are bounded, what is not understood is
//! dropped, and nothing is waited for without a limit. *Source*: QEMU, docs/interop/qmp-spec.rst.
//!
//! ```text
//! host                                 QEMU
//!   |  <- {"QMP": …} ------------------  |   greeting
//!   |  -- {"execute": …, "id": n} ---->  |   descriptors by SCM_RIGHTS for `getfd`
//!   |  <- {"return": …, "id": n} ------  |   or "error"
//!   |  <- {"event": …, "data": …} -----  |   at any time
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_sys::packet::{self, Received};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::Value;

/// Most bytes of one line. The answers to what Holm asks have hundreds.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// How QEMU, in no language but its own, says that a file system is full (`strerror` of ENOSPC).
const NO_SPACE: &str = "No space left on device";
/// Most lines that wait to be looked at.
const MAX_WAITING: usize = 1024;
/// Most bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Why QEMU's monitor is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It hung up.
    #[error("cannot reach QEMU: it has ended")]
    Closed,
    /// No answer in time.
    #[error("cannot reach QEMU: no answer to `{0}` in time")]
    Late(String),
    /// It says what no QEMU says.
    #[error("cannot understand QEMU: {0}")]
    Garbage(&'static str),
    /// It refused.
    #[error("cannot `{command}`: QEMU says `{message}`")]
    Refused {
        /// What was asked.
        command: String,
        /// Why not.
        message: String,
    },
    /// A call failed.
    #[error("cannot reach QEMU")]
    Io(#[from] io::Error),
}

/// What happened in a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The machine ends: `guest-shutdown`, `guest-reset`, `guest-panic`, `host-signal` and others.
    Shutdown(String),
    /// The guest's kernel says that it died.
    Panicked,
    /// The machine restarts.
    Reset,
    /// The machine stands still.
    Stop,
    /// It goes on.
    Resume,
    /// A disk's file could not be read or written; the guest was told.
    DiskFailed {
        /// The host's file system is full.
        no_space: bool,
    },
}

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub struct Qmp {
    socket: OwnedFd,
    bytes: Vec<u8>,
    lines: VecDeque<Value>,
    next: u64,
}

impl Qmp {
    /// Takes a connected socket, of which nothing was read.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, bytes: Vec::new(), lines: VecDeque::new(), next: 0 })
    }

    /// Takes its commands mode; the greeting need not have come. The answer is dropped with others.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.ask("qmp_capabilities", None, &[]).map(|_| ())
    }

    /// Asks without waiting; the number of the request.
    pub fn ask(&mut self, command: &str, arguments: Option<Value>, fds: &[BorrowedFd<'_>]) -> Result<u64, Error> {
        self.next += 1;
        let mut request = serde_json::json!({ "execute": command, "id": self.next });
        if let Some(arguments) = arguments {
            request["arguments"] = arguments;
        }
        let mut line = request.to_string().into_bytes();
        line.push(b'\n');
        // Requests are far smaller than the socket's buffer; one that does not fit has nobody to read it.
        match packet::send(self.socket.as_fd(), &line, fds) {
            Ok(sent) if sent == line.len() => Ok(self.next),
            Ok(_) => Err(Error::Late(command.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(Error::Late(command.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Error::Closed),
            Err(e) => Err(Error::Io(e)),
        }
    }

    /// Asks and waits for the answer; events that come meanwhile are kept.
    pub fn execute(
        &mut self,
        command: &str,
        arguments: Option<Value>,
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Value, Error> {
        let end = Instant::now() + limit;
        let id = self.ask(command, arguments, fds)?;
        loop {
            if let Some(at) = self.lines.iter().position(|line| line["id"] == id)
                && let Some(mut answer) = self.lines.remove(at)
            {
                return match answer.get_mut("return") {
                    Some(value) => Ok(value.take()),
                    None => Err(refused(command, &answer)),
                };
            }
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(Error::Late(command.to_owned()));
            }
            self.wait(rest)?;
            self.read()?;
        }
    }

    /// Waits for an event, dropping others. *Errors*: none came in time.
    pub fn wait_for(&mut self, wanted: &Event, limit: Duration) -> Result<(), Error> {
        let end = Instant::now() + limit;
        loop {
            while let Some(event) = self.next_event() {
                if event == *wanted {
                    return Ok(());
                }
            }
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(Error::Late(format!("{wanted:?}")));
            }
            self.wait(rest)?;
            self.read()?;
        }
    }

    fn wait(&self, limit: Duration) -> Result<(), Error> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(Error::Io(e.into())),
        }
    }

    /// Takes what is there without waiting; how many lines. *Errors*: it hung up, or says what no QEMU says.
    pub fn read(&mut self) -> Result<usize, Error> {
        let bytes = match packet::receive_some(self.socket.as_fd(), READ_BYTES)? {
            Received::Packet(bytes, _) => bytes,
            Received::Closed => return Err(Error::Closed),
            Received::Nothing => return Ok(0),
        };
        self.feed(&bytes)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.bytes.extend_from_slice(bytes);
        let mut taken = 0;
        let mut from = 0;
        while let Some(length) = self.bytes[from..].iter().position(|b| *b == b'\n') {
            let line = self.bytes[from..from + length].trim_ascii();
            from += length + 1;
            if line.is_empty() {
                continue;
            }
            let value: Value = serde_json::from_slice(line).map_err(|_| Error::Garbage("a line that is no JSON"))?;
            if self.lines.len() == MAX_WAITING {
                return Err(Error::Garbage("too many lines"));
            }
            self.lines.push_back(value);
            taken += 1;
        }
        self.bytes.drain(..from);
        if self.bytes.len() > MAX_LINE_BYTES { Err(Error::Garbage("a line without an end")) } else { Ok(taken) }
    }

    /// The next event of those that were read; what came before it and is none is dropped.
    pub fn next_event(&mut self) -> Option<Event> {
        while let Some(line) = self.lines.pop_front() {
            let event = match line["event"].as_str() {
                Some("SHUTDOWN") => {
                    let reason = line["data"]["reason"].as_str().unwrap_or_default();
                    Event::Shutdown(reason.escape_debug().take(60).collect())
                }
                Some("GUEST_PANICKED") => Event::Panicked,
                Some("RESET") => Event::Reset,
                Some("STOP") => Event::Stop,
                Some("RESUME") => Event::Resume,
                // Its field for that is there only where such an error would stop the machine.
                Some("BLOCK_IO_ERROR") => Event::DiskFailed { no_space: line["data"]["reason"] == NO_SPACE },
                _ => continue,
            };
            return Some(event);
        }
        None
    }
}

impl AsFd for Qmp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn refused(command: &str, answer: &Value) -> Error {
    let message = answer["error"]["desc"].as_str().unwrap_or("nothing").escape_debug().take(300).collect();
    Error::Refused { command: command.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::SocketType;

    fn qmp() -> (Qmp, OwnedFd) {
        let (ours, theirs) = packet::pair(SocketType::STREAM).unwrap();
        (Qmp::new(ours).unwrap(), theirs)
    }

    #[test]
    fn answers_are_found_among_events_and_these_are_kept() {
        let (mut qmp, theirs) = qmp();
        let words = concat!(
            "{\"QMP\":{}}\r\n{\"event\":\"RESUME\"}\n{\"event\":\"NOVEL\"}\n{\"return\":{\"x\":7},\"id\":1}\n",
            "{\"event\":\"BLOCK_IO_ERROR\",\"data\":{\"reason\":\"No space left on device\"}}\n",
            "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-reset\"}}\n{\"error\":{\"desc\":\"no\"},\"id\":2}\n"
        );
        packet::send(theirs.as_fd(), words.as_bytes(), &[]).unwrap();
        let limit = Duration::from_secs(20);
        assert_eq!(qmp.execute("query-x", None, &[], limit).unwrap()["x"], 7);
        let refused = qmp.execute("stop", None, &[theirs.as_fd()], limit).unwrap_err();
        assert_eq!(refused.to_string(), "cannot `stop`: QEMU says `no`");
        let events: Vec<Event> = std::iter::from_fn(|| qmp.next_event()).collect();
        let full = Event::DiskFailed { no_space: true };
        assert_eq!(events, [Event::Resume, full, Event::Shutdown("guest-reset".to_owned())]);
        let Received::Packet(asked, _) = packet::receive_some(theirs.as_fd(), 1000).unwrap() else {
            panic!("no request")
        };
        assert!(asked.starts_with(b"{\"execute\":\"query-x\",\"id\":1}\n"));
    }

    #[test]
    fn endless_lines_garbage_and_floods_are_errors() {
        let (mut qmp, theirs) = qmp();
        assert!(matches!(qmp.feed(b"{nonsense}\n"), Err(Error::Garbage(_))));
        qmp.bytes.clear();
        let piece = [b'x'; READ_BYTES];
        let fed = (0..=MAX_LINE_BYTES / READ_BYTES).map(|_| qmp.feed(&piece)).find_map(Result::err);
        assert!(matches!(fed, Some(Error::Garbage(_))));
        qmp.bytes.clear();
        let flood = "{}\n".repeat(MAX_WAITING + 1);
        assert!(matches!(qmp.feed(flood.as_bytes()), Err(Error::Garbage(_))));
        let deep = "[".repeat(100_000) + "\n";
        assert!(matches!(qmp.feed(deep.as_bytes()), Err(Error::Garbage(_))));
        drop(theirs);
        assert!(matches!(qmp.read(), Err(Error::Closed)));
    }
}
