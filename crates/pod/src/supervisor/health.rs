//! Health checks: a command in the container at intervals, its last five results, and what follows from them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_container::Stdio;
use holm_spec::oci::image::Healthcheck;
use holm_spec::oci::runtime::Process;
use holm_spec::state::{Health, HealthResult, Status};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::{Supervisor, Task};
use crate::layout::now_ns;

/// Most bytes of output kept of one check, and results kept.
const OUTPUT_BYTES: usize = 4096;
const RESULTS: usize = 5;
/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u64 = 3;

/// One running check.
struct Check {
    task: Task,
    output: Option<OwnedFd>,
    text: Vec<u8>,
    start_ns: u64,
    kill_at: Instant,
    timed_out: bool,
    code: Option<i32>,
}

/// The checks of one run of a container.
pub(super) struct Checker {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_interval: Duration,
    start_ends: Instant,
    retries: u64,
    next: Option<Instant>,
    check: Option<Check>,
}

fn or(nanos: u64, default: Duration) -> Duration {
    if nanos == 0 { default } else { Duration::from_nanos(nanos) }
}

/// The command of a check; `None` where there is none to run.
pub(super) fn command(check: &Healthcheck, shell: Option<&[String]>) -> Option<Vec<String>> {
    let test = check.test.as_deref()?;
    match test.split_first()? {
        (kind, args) if kind == "CMD" && !args.is_empty() => Some(args.to_vec()),
        (kind, args) if kind == "CMD-SHELL" && !args.is_empty() => {
            let shell = shell.filter(|s| !s.is_empty()).map(<[String]>::to_vec);
            let shell = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            Some(shell.into_iter().chain(args.iter().cloned()).collect())
        }
        _ => None,
    }
}

/// What was asked over what the image says, value by value as docker does it.
fn merged(asked: Option<&Healthcheck>, image: Option<&Healthcheck>) -> Option<Healthcheck> {
    let (Some(asked), Some(image)) = (asked, image) else { return asked.or(image).cloned() };
    let pick = |a: u64, b: u64| if a == 0 { b } else { a };
    let test = asked.test.clone().filter(|t| !t.is_empty()).or_else(|| image.test.clone());
    Some(Healthcheck {
        test,
        interval: pick(asked.interval, image.interval),
        timeout: pick(asked.timeout, image.timeout),
        start_period: pick(asked.start_period, image.start_period),
        start_interval: pick(asked.start_interval, image.start_interval),
        retries: pick(asked.retries, image.retries),
    })
}

impl Checker {
    fn new(check: &Healthcheck, command: Vec<String>, now: Instant) -> Self {
        let (interval, start_interval) = (or(check.interval, INTERVAL), or(check.start_interval, START_INTERVAL));
        let start_period = Duration::from_nanos(check.start_period);
        let first = if start_period.is_zero() { interval } else { start_interval.min(interval) };
        Self {
            command,
            interval,
            timeout: or(check.timeout, INTERVAL),
            start_interval,
            start_ends: now + start_period,
            retries: if check.retries == 0 { RETRIES } else { check.retries },
            next: Some(now + first),
            check: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.check {
            Some(check) if check.timed_out => None,
            Some(check) => Some(check.kill_at),
            None => self.next,
        }
    }

    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.check.as_ref()?.output.as_ref().map(AsFd::as_fd)
    }

    /// Whether a check has ended and its output is complete or nobody's any more.
    fn take_result(&mut self, now: Instant) -> Option<HealthResult> {
        self.check.as_ref()?.code?;
        let mut check = self.check.take()?;
        drain(&mut check);
        let in_start = now < self.start_ends;
        self.next = Some(now + if in_start { self.start_interval } else { self.interval });
        let code = if check.timed_out { -1 } else { check.code.unwrap_or(-1) };
        let output = match check.timed_out {
            true => format!("Health check exceeded timeout ({:?})", self.timeout),
            false => String::from_utf8_lossy(&check.text).into_owned(),
        };
        Some(HealthResult { start_ns: check.start_ns, end_ns: now_ns(), exit_code: code, output })
    }
}

/// Reads what is there; false at the end.
fn drain(check: &mut Check) -> bool {
    let Some(fd) = &check.output else { return false };
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(fd, &mut buffer) {
            Ok(n) if n > 0 => {
                let room = OUTPUT_BYTES.saturating_sub(check.text.len());
                check.text.extend_from_slice(&buffer[..n.min(room)]);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return true,
            Ok(_) | Err(_) => {
                check.output = None;
                return false;
            }
        }
    }
}

/// The next state: failures in the start period do not count, `retries` of them in a row make it unhealthy.
fn judge(health: &mut Health, result: HealthResult, retries: u64, in_start_period: bool) {
    if result.exit_code == 0 {
        health.failing_streak = 0;
        "healthy".clone_into(&mut health.status);
    } else if !(in_start_period && health.status == "starting") {
        health.failing_streak = health.failing_streak.saturating_add(1);
        if u64::from(health.failing_streak) >= retries {
            "unhealthy".clone_into(&mut health.status);
        }
    }
    health.log.push(result);
    let old = health.log.len().saturating_sub(RESULTS);
    health.log.drain(..old);
}

impl Supervisor {
    /// Begins to check a container that was just started, where it has a check.
    pub(super) fn begin_health(&mut self) {
        let image = &self.record.image_config;
        let check = merged(self.record.spec.healthcheck.as_ref(), image.healthcheck.as_ref());
        let found = check.and_then(|c| command(&c, image.shell.as_deref()).map(|command| (c, command)));
        self.health = found.map(|(check, command)| Checker::new(&check, command, Instant::now()));
        self.state.health = self.health.as_ref().map(|_| Health { status: "starting".to_owned(), ..Health::default() });
    }

    /// The time for a check has come, or that of a running one is over.
    pub(super) fn health_due(&mut self) {
        let Some(checker) = &mut self.health else { return };
        if let Some(check) = &mut checker.check {
            check.timed_out = true;
            let task = check.task;
            let _ = self.signal_task(task, rustix::process::Signal::KILL.as_raw());
            return;
        }
        checker.next = None;
        if self.state.status != Status::Running {
            checker.next = Some(Instant::now() + checker.interval);
            return;
        }
        let (command, timeout) = (checker.command.clone(), checker.timeout);
        let start_ns = now_ns();
        let started = self.start_check(command);
        let now = Instant::now();
        let Some(checker) = &mut self.health else { return };
        match started {
            Ok((task, output)) => {
                checker.check = Some(Check {
                    task,
                    output: Some(output),
                    text: Vec::new(),
                    start_ns,
                    kill_at: now + timeout,
                    timed_out: false,
                    code: None,
                });
            }
            Err((text, code)) => {
                checker.next = Some(now + checker.interval);
                self.record_health(HealthResult { start_ns, end_ns: now_ns(), exit_code: code, output: text });
            }
        }
    }

    fn start_check(&mut self, args: Vec<String>) -> Result<(Task, OwnedFd), (String, i32)> {
        let failed = |e: rustix::io::Errno| (format!("cannot make a pipe: {e}"), 125);
        let (output, stdout) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        rustix::io::ioctl_fionbio(&output, true).map_err(failed)?;
        let stderr = rustix::io::fcntl_dupfd_cloexec(&stdout, 3).map_err(failed)?;
        let stdin = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let process = Process { args, ..Process::default() };
        let stdio = Stdio::Fds { stdin, stdout, stderr };
        if self.running.as_ref().is_some_and(|r| r.guest().is_some()) {
            let ask = self.guest_exec(&process, None, false)?;
            return Ok((self.check_in_guest(ask, stdio)?, output));
        }
        let joined = self.join(&process, None, false, stdio)?;
        Ok((Task::Child(joined.pid), output))
    }

    pub(super) fn health_output(&mut self) {
        if let Some(check) = self.health.as_mut().and_then(|c| c.check.as_mut()) {
            drain(check);
        }
    }

    /// Takes the end of a check's process; false for any other process.
    pub(super) fn health_ended(&mut self, task: Task, code: i32) -> bool {
        let Some(checker) = &mut self.health else { return false };
        let Some(check) = checker.check.as_mut().filter(|c| c.task == task) else { return false };
        check.code = Some(code);
        if let Some(result) = checker.take_result(Instant::now()) {
            self.record_health(result);
        }
        true
    }

    fn record_health(&mut self, result: HealthResult) {
        let (Some(checker), Some(health)) = (&self.health, &mut self.state.health) else { return };
        let before = health.status.clone();
        judge(health, result, checker.retries, Instant::now() < checker.start_ends);
        let after = health.status.clone();
        self.save();
        if before != after {
            self.emit(&format!("health_status: {after}"), &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(exit_code: i32) -> HealthResult {
        HealthResult { exit_code, ..HealthResult::default() }
    }

    #[test]
    fn health_follows_retries_and_start_period() {
        let mut health = Health { status: "starting".to_owned(), ..Health::default() };
        judge(&mut health, result(1), 2, true);
        assert_eq!((health.status.as_str(), health.failing_streak), ("starting", 0));
        judge(&mut health, result(1), 2, false);
        assert_eq!((health.status.as_str(), health.failing_streak), ("starting", 1));
        judge(&mut health, result(1), 2, false);
        assert_eq!((health.status.as_str(), health.failing_streak), ("unhealthy", 2));
        judge(&mut health, result(0), 2, false);
        assert_eq!((health.status.as_str(), health.failing_streak), ("healthy", 0));
        for _ in 0..9 {
            judge(&mut health, result(1), 20, false);
        }
        assert_eq!(health.log.len(), RESULTS);
    }

    #[test]
    fn command_takes_docker_forms() {
        let test = |words: &[&str]| {
            let test = Some(words.iter().map(|w| (*w).to_owned()).collect());
            command(&Healthcheck { test, ..Healthcheck::default() }, None)
        };
        assert_eq!(test(&["CMD", "a", "b"]), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(test(&["CMD-SHELL", "a b"]).unwrap(), ["/bin/sh", "-c", "a b"]);
        for none in [&["NONE"][..], &[], &["CMD"], &["a"]] {
            assert_eq!(test(none), None);
        }
    }

    #[test]
    fn asked_values_go_over_the_image_one_by_one() {
        let image =
            Healthcheck { test: Some(vec!["CMD".into(), "x".into()]), interval: 5, retries: 7, ..Default::default() };
        let asked = Healthcheck { interval: 9, ..Default::default() };
        let both = merged(Some(&asked), Some(&image)).unwrap();
        assert_eq!((both.test, both.interval, both.retries), (image.test.clone(), 9, 7));
    }
}
