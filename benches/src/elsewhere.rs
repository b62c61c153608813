//! Timing a command from inside a mount namespace without cgroup v2, which crun wants on hosts of both kinds.
//!
//! ```text
//! holm-bench            unshare … holm-bench --time COMMAND…
//!   | -- one line ------------> |   runs COMMAND once
//!   | <-- nanoseconds, a line-- |   a failure closes the pipe
//! ```
//! The namespace is made once, before the clock starts, so it costs the measured command nothing.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::runner::time;

/// A command that is timed elsewhere.
pub struct Elsewhere {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Elsewhere {
    /// Prepares a command line.
    pub fn start(command: &Command) -> Self {
        let own = std::env::current_exe().expect("find holm-bench");
        let enter = "! mountpoint -q /sys/fs/cgroup/unified || umount -l /sys/fs/cgroup/unified; exec \"$@\"";
        let mut line = Command::new("unshare");
        line.args(["--mount", "--propagation", "private", "sh", "-c", enter, "sh"]).arg(own).arg("--time");
        line.arg(command.get_program()).args(command.get_args());
        let mut child = line.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start unshare");
        let requests = child.stdin.take().expect("its input");
        let answers = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, requests, answers }
    }

    /// Runs it once.
    ///
    /// # Panics
    /// If it fails.
    pub fn once(&mut self) -> Duration {
        self.requests.write_all(b"\n").expect("ask for a run");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("read a time");
        Duration::from_nanos(line.trim().parse().expect("a time: the command failed"))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side: runs the command once for each line of standard input.
pub fn serve(command: &[String]) {
    for _ in std::io::stdin().lines().map_while(Result::ok) {
        let elapsed = time(Command::new(&command[0]).args(&command[1..]));
        println!("{}", elapsed.as_nanos());
    }
}
