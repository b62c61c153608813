//! QEMU's guest agent: a program that many operating systems run, over which a command runs in a whole machine.
//!
//! The guest is hostile: lines are bounded, nothing is waited for without a limit but the command's own end, and what it
//! says is data. *Source*: QEMU, docs/interop/qemu-ga-ref.
//!
//! ```text
//! host                                                guest
//!   |  0xff {"execute": "guest-sync-delimited", n} -->  |   0xff makes it forget half a line
//!   |  <-- 0xff {"return": n}  -----------------------  |   what came before is an answer to somebody else
//!   |  {"execute": "guest-exec", …} ----------------->  |
//!   |  <-- {"return": {"pid": p}} --------------------  |
//!   |  {"execute": "guest-exec-status", p} ---------->  |   again until it has exited
//! ```

mod base64;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_sys::packet::{self, Received};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Value, json};

/// How long an agent may take to say that it is there.
const HELLO: Duration = Duration::from_secs(5);
/// How long it may take for any one answer after that.
const ANSWER: Duration = Duration::from_secs(60);
/// Time between two questions whether a command has ended: at first, and at most.
const PACE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// Most bytes of one line: agents give at most 16 MiB of output, in base 64 each.
const MAX_LINE_BYTES: usize = 48 << 20;
/// Most bytes of input that a command can get.
pub const MAX_INPUT_BYTES: usize = 4 << 20;

/// Why a command could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers.
    #[error("no guest agent answers")]
    Silent,
    /// It stopped answering.
    #[error("the guest agent has stopped answering")]
    Late,
    /// The machine ended.
    #[error("the machine has ended")]
    Closed,
    /// It refused.
    #[error("the guest agent says `{0}`")]
    Refused(String),
    /// It says what no agent says.
    #[error("the guest agent says something else than was asked")]
    Garbage,
    /// More input than an agent takes.
    #[error("the input has more than {} bytes", MAX_INPUT_BYTES)]
    Input,
    /// A call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// What to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Silent => {
                Some("install qemu-guest-agent in the machine and start it; a machine that boots has none yet")
            }
            _ => None,
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; 128 and the signal where one ended it.
    pub code: i32,
    /// What it wrote.
    pub output: Vec<u8>,
    /// What it wrote to its error output.
    pub errors: Vec<u8>,
    /// The agent kept only a part of it.
    pub truncated: bool,
}

/// A guest's agent, or the place where one would be.
#[derive(Debug)]
pub struct GuestAgent {
    socket: OwnedFd,
    bytes: Vec<u8>,
}

impl GuestAgent {
    /// Finds out whether it answers. *Order*: nobody else uses the socket meanwhile.
    pub fn find(socket: OwnedFd) -> Result<Self, Error> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(io::Error::from)?;
        let mut agent = Self { socket, bytes: Vec::new() };
        let mut random = [0; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(io::Error::from)?;
        let id = u32::from_ne_bytes(random);
        let mut words = vec![0xff];
        words.extend(json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } }).to_string().into_bytes());
        words.push(b'\n');
        let end = Instant::now() + HELLO;
        agent.say(&words, end).map_err(silent)?;
        loop {
            let line = agent.line(end).map_err(silent)?;
            // Answers to others, and what is no answer, may come before it.
            let from = line.iter().rposition(|b| *b == 0xff).map_or(0, |at| at + 1);
            if serde_json::from_slice::<Value>(&line[from..]).is_ok_and(|answer| answer["return"] == id) {
                return Ok(agent);
            }
        }
    }

    /// Runs a program and waits for its end, however long that takes. `args` has the program first.
    pub fn execute(&mut self, args: &[String], env: &[String], input: &[u8]) -> Result<Ended, Error> {
        let (program, rest) = args.split_first().ok_or(Error::Garbage)?;
        if input.len() > MAX_INPUT_BYTES {
            return Err(Error::Input);
        }
        let mut arguments = json!({ "path": program, "arg": rest, "capture-output": true });
        if !env.is_empty() {
            arguments["env"] = json!(env);
        }
        if !input.is_empty() {
            arguments["input-data"] = base64::encode(input).into();
        }
        let pid = self.ask("guest-exec", arguments)?["pid"].as_i64().ok_or(Error::Garbage)?;
        let mut pace = PACE.0;
        loop {
            let status = self.ask("guest-exec-status", json!({ "pid": pid }))?;
            if status["exited"].as_bool().ok_or(Error::Garbage)? {
                return ended(&status);
            }
            // The agent tells nothing by itself; the socket is watched so that the machine's end is noticed.
            self.wait(PollFlags::empty(), pace)?;
            pace = (pace * 2).min(PACE.1);
        }
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        let end = Instant::now() + ANSWER;
        let mut words = json!({ "execute": command, "arguments": arguments }).to_string().into_bytes();
        words.push(b'\n');
        self.say(&words, end)?;
        let line = self.line(end)?;
        let mut answer: Value = serde_json::from_slice(&line).map_err(|_| Error::Garbage)?;
        match (answer.get_mut("return").map(Value::take), answer["error"]["desc"].as_str()) {
            (Some(value), _) => Ok(value),
            (None, Some(why)) => Err(Error::Refused(why.escape_debug().take(300).collect())),
            (None, None) => Err(Error::Garbage),
        }
    }

    fn say(&mut self, mut words: &[u8], end: Instant) -> Result<(), Error> {
        while !words.is_empty() {
            match packet::send(self.socket.as_fd(), words, &[]) {
                Ok(sent) => words = &words[sent..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let rest = end.saturating_duration_since(Instant::now());
                    if rest.is_zero() {
                        return Err(Error::Late);
                    }
                    self.wait(PollFlags::OUT, rest)?;
                }
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(Error::Closed),
                Err(e) => return Err(Error::Io(e)),
            }
        }
        Ok(())
    }

    /// The next line that is not empty.
    fn line(&mut self, end: Instant) -> Result<Vec<u8>, Error> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.bytes[looked..].iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=looked + at).collect();
                looked = 0;
                if !line.trim_ascii().is_empty() {
                    return Ok(line.trim_ascii().to_vec());
                }
                continue;
            }
            looked = self.bytes.len();
            if looked > MAX_LINE_BYTES {
                return Err(Error::Garbage);
            }
            match packet::receive_some(self.socket.as_fd(), 64 * 1024)? {
                Received::Packet(bytes, _) => self.bytes.extend_from_slice(&bytes),
                Received::Closed => return Err(Error::Closed),
                Received::Nothing => {
                    let rest = end.saturating_duration_since(Instant::now());
                    if rest.is_zero() {
                        return Err(Error::Late);
                    }
                    self.wait(PollFlags::IN, rest)?;
                }
            }
        }
    }

    fn wait(&self, what: PollFlags, limit: Duration) -> Result<(), Error> {
        let mut fds = [PollFd::new(&self.socket, what)];
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(_) if fds[0].revents().contains(PollFlags::HUP) && what.is_empty() => Err(Error::Closed),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(Error::Io(e.into())),
        }
    }
}

/// An agent that never said anything is none.
fn silent(error: Error) -> Error {
    match error {
        Error::Late => Error::Silent,
        other => other,
    }
}

fn ended(status: &Value) -> Result<Ended, Error> {
    let number = |key: &str| status[key].as_i64().and_then(|n| i32::try_from(n).ok());
    let text = |key: &str| match status[key].as_str() {
        Some(text) => base64::decode(text).ok_or(Error::Garbage),
        None => Ok(Vec::new()),
    };
    let flag = |key: &str| status[key].as_bool().unwrap_or(false);
    Ok(Ended {
        code: number("exitcode").or(number("signal").map(|n| n.saturating_add(128))).ok_or(Error::Garbage)?,
        output: text("out-data")?,
        errors: text("err-data")?,
        truncated: flag("out-truncated") || flag("err-truncated"),
    })
}

#[cfg(test)]
mod tests;
