//! Running the program as a user does, and reading what it said. Owns the time limit on every command.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Where cargo puts what it builds.
pub fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => folder.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    }
}

/// The release binary: `HOLM` where it is set, else cargo's.
///
/// # Panics
/// If it is not built.
pub fn holm_binary() -> PathBuf {
    let path = match std::env::var_os("HOLM") {
        Some(path) => PathBuf::from(path),
        None => target_folder().join("release/holm"),
    };
    path.canonicalize().unwrap_or_else(|error| panic!("no binary at `{}`: {error}: run `make build`", path.display()))
}

/// Whether `HOLM` names another program that understands docker's words, on which the tests themselves are proven. Then
/// the form of errors and what is left behind are not looked at: these are promises of Holm's own.
pub(crate) fn is_reference() -> bool {
    std::env::var_os("HOLM_REFERENCE").is_some()
}

/// One command line, before it runs.
#[must_use]
pub struct Holm {
    command: Command,
    line: String,
    input: Option<Vec<u8>>,
    limit: Duration,
}

impl Holm {
    /// A command line of any program.
    pub fn program(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null());
        let line = program.as_ref().to_string_lossy().into_owned();
        Self { command, line, input: None, limit: Duration::from_secs(60) }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.line.push(' ');
        self.line.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Clears an environment variable.
    pub fn without_env(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Runs it in this folder.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.command.current_dir(folder.into());
        self
    }

    /// Feeds it this on standard input, then the end.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Gives it another time limit than one minute.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same command line started by another, as `bash -c 'exec "$@"' bash`.
    pub fn through<A: AsRef<OsStr>>(self, starter: impl IntoIterator<Item = A>) -> Self {
        let mut words = starter.into_iter();
        let program = words.next().expect("a program");
        let mut line = Self::program(program).args(words).arg(self.command.get_program()).args(self.command.get_args());
        for (key, value) in self.command.get_envs() {
            match value {
                Some(value) => line.command.env(key, value),
                None => line.command.env_remove(key),
            };
        }
        Self { input: self.input, limit: self.limit, ..line }
    }

    /// The bare command, for what this builder cannot say.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Running {
        if self.input.is_some() {
            self.command.stdin(Stdio::piped());
        }
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start `{}`: {error}", self.line));
        if let (Some(bytes), Some(mut pipe)) = (self.input.take(), child.stdin.take()) {
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        Running { child, line: self.line, stdout, stderr, limit: self.limit, started: Instant::now() }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        self.start().finish()
    }

    /// Runs it and wants success.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.run().ok()
    }

    /// Runs it and wants this exit code.
    #[track_caller]
    pub fn fails(self, code: i32) -> Output {
        self.run().code(code)
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    if let Some(mut pipe) = pipe {
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// A command that runs.
pub struct Running {
    child: Child,
    line: String,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    limit: Duration,
    started: Instant,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a PID")
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait for a child").is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        crate::process::kill(self.pid(), signal);
    }

    /// Reads its output until it holds `text`; returns what came.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let deadline = Instant::now() + self.limit;
        while !String::from_utf8_lossy(&seen).contains(text) {
            match self.stdout.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => seen.extend(chunk),
                Err(_) => panic!(
                    "`{}` never said `{text}`; it said:\n{}\n{}",
                    self.line,
                    String::from_utf8_lossy(&seen),
                    String::from_utf8_lossy(&self.stderr.try_iter().flatten().collect::<Vec<_>>())
                ),
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Waits for its end within its limit. A pipe that someone holds open after its end is a failure too.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        let mut pause = Duration::from_micros(500);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                break status;
            }
            if self.started.elapsed() > self.limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let (stdout, stderr) = (self.drain(true).0, self.drain(false).0);
                panic!("`{}` did not end within {:?}; it said:\n{stdout}\n{stderr}", self.line, self.limit);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let elapsed = self.started.elapsed();
        let (stdout, stdout_closed) = self.drain(true);
        let (stderr, stderr_closed) = self.drain(false);
        let output = Output { line: self.line.clone(), status, stdout, stderr, elapsed };
        assert!(stdout_closed && stderr_closed, "someone holds its output open after the end of:\n{output}");
        output
    }

    fn drain(&self, stdout: bool) -> (String, bool) {
        let receiver = if stdout { &self.stdout } else { &self.stderr };
        let mut bytes = Vec::new();
        let closed = loop {
            match receiver.recv_timeout(Duration::from_secs(5)) {
                Ok(chunk) => bytes.extend(chunk),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break true,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => break false,
            }
        };
        (String::from_utf8_lossy(&bytes).into_owned(), closed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command said and how it ended.
#[derive(Clone)]
pub struct Output {
    /// The command line.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Error output.
    pub stderr: String,
    /// Time from start to end.
    pub elapsed: Duration,
}

impl Output {
    /// Exit code, 128 and the signal's number for a signal.
    pub fn exit_code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Wants success.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Wants this exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.exit_code(), code, "exit code of:\n{self}");
        self
    }

    /// Wants this standard output, less white space at its ends.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert_eq!(self.stdout.trim(), text.trim(), "output of:\n{self}");
        self
    }

    /// Wants this somewhere in the standard output.
    #[track_caller]
    pub fn mentions(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no `{text}` in the output of:\n{self}");
        self
    }

    /// Wants this nowhere in the standard output.
    #[track_caller]
    pub fn omits(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text), "`{text}` in the output of:\n{self}");
        self
    }

    /// Wants an `error:` line, and this somewhere in the error output.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.stderr.to_lowercase().contains(&text.to_lowercase()), "no `{text}` in the errors of:\n{self}");
        let has_error_line = self.stderr.lines().any(|line| line.starts_with("error"));
        assert!(has_error_line || is_reference(), "no error line from:\n{self}");
        self.calm()
    }

    /// Wants no panic in the error output.
    #[track_caller]
    pub fn calm(self) -> Self {
        assert!(!self.stderr.contains("panicked at"), "panic in:\n{self}");
        self
    }

    /// Standard output less white space at its ends.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}) from:\n{self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "$ {}", self.line)?;
        writeln!(out, "-- {} after {:?}", self.status, self.elapsed)?;
        writeln!(out, "-- stdout --\n{}", shorten(&self.stdout))?;
        write!(out, "-- stderr --\n{}", shorten(&self.stderr))
    }
}

fn shorten(text: &str) -> String {
    const MOST_CHARS: usize = 6000;
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}\n… and {} bytes more", &text[..end], text.len() - end),
        None => text.to_owned(),
    }
}
