//! The channel to the agent in a guest: scripts go in, exit codes and output come back. The form is told in `agent.sh`.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use crate::Output;

/// The channel.
pub(super) struct Channel {
    stream: RefCell<BufReader<UnixStream>>,
}

/// An agent's answer.
pub(super) struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    /// As the output of any command.
    pub(super) fn into_output(self, script: &str, elapsed: Duration) -> Output {
        // As `wait` has it: the exit code is in the second byte.
        let status = ExitStatus::from_raw(self.code << 8);
        let line = format!("(in the machine) {script}");
        Output { line, status, stdout: self.stdout, stderr: self.stderr, elapsed }
    }
}

impl Channel {
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        Ok(Self { stream: RefCell::new(BufReader::new(UnixStream::connect(socket)?)) })
    }

    /// Waits until an agent says that it is there; the identity of its boot. What came before is passed over.
    pub(super) fn ready(&self, bound: Duration) -> io::Result<String> {
        loop {
            let line = self.line(bound)?;
            if let Some((_, id)) = line.split_once("ready ") {
                return Ok(id.trim().to_owned());
            }
        }
    }

    /// Sends a script.
    pub(super) fn send(&self, script: &str) -> io::Result<()> {
        let mut stream = self.stream.borrow().get_ref().try_clone()?;
        stream.write_all(format!("{}\n{script}", script.len()).as_bytes())
    }

    /// Sends a script and waits for its end.
    pub(super) fn run(&self, script: &str, bound: Duration) -> io::Result<Answer> {
        self.send(script)?;
        let line = self.line(bound)?;
        let numbers: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let &[code, out, err] = numbers.as_slice() else {
            return Err(io::Error::other(format!("an answer begins `{}`", line.trim())));
        };
        let code = i32::try_from(code).map_err(io::Error::other)?;
        Ok(Answer { code, stdout: self.text(out)?, stderr: self.text(err)? })
    }

    fn line(&self, bound: Duration) -> io::Result<String> {
        let mut stream = self.stream.borrow_mut();
        stream.get_ref().set_read_timeout(Some(bound))?;
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Err(io::Error::other("qemu has ended"));
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn text(&self, length: usize) -> io::Result<String> {
        let mut bytes = vec![0; length];
        self.stream.borrow_mut().read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
