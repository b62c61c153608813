//! When a container that ended is started again, and how long that waits.

use std::time::{Duration, Instant};

use holm_spec::container::RestartPolicy;
use holm_spec::state::ContainerState;

/// First and longest wait, and the running time after which the wait starts from the first again. *Source*: moby
/// restartmanager: 100 ms doubling to one minute, reset after ten seconds.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(10);

/// Whether the policy wants it started again.
pub(super) fn wanted(policy: RestartPolicy, exit_code: i32, restarts: u32, stopped_by_user: bool) -> bool {
    match policy {
        _ if stopped_by_user => false,
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { maximum_retry_count } => {
            exit_code != 0 && (maximum_retry_count == 0 || restarts < maximum_retry_count)
        }
    }
}

/// Whether the policy wants a container that does not run started after a boot. `always` then outdoes a stop by the user,
/// and nothing starts what never ran. *Source*: moby's daemon, which does the same when it starts; only a stopped
/// `on-failure` container, which it starts again for the code that its stop left, stays down here.
pub(crate) fn wanted_after_boot(policy: RestartPolicy, state: &ContainerState) -> bool {
    let stopped = state.stopped_by_user && policy != RestartPolicy::Always;
    state.started_at_ns != 0 && wanted(policy, state.exit_code, state.restart_count, stopped)
}

/// The wait before the next start.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    wait: Option<Duration>,
    at: Option<Instant>,
}

impl Backoff {
    /// Plans the next start after a run of `ran`.
    pub(super) fn plan(&mut self, now: Instant, ran: Duration) {
        let wait = match self.wait {
            Some(wait) if ran < STEADY => (wait * 2).min(LONGEST),
            _ => FIRST,
        };
        self.wait = Some(wait);
        self.at = Some(now + wait);
    }

    /// When the next start is due.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Takes the planned start off.
    pub(super) fn clear(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_decides_by_code_count_and_stop() {
        use RestartPolicy::*;
        let thrice = OnFailure { maximum_retry_count: 3 };
        for (policy, code, count, stopped, expected) in [
            (No, 1, 0, false, false),
            (Always, 0, 9, false, true),
            (Always, 0, 0, true, false),
            (UnlessStopped, 1, 0, false, true),
            (UnlessStopped, 1, 0, true, false),
            (thrice, 0, 0, false, false),
            (thrice, 1, 2, false, true),
            (thrice, 1, 3, false, false),
            (OnFailure { maximum_retry_count: 0 }, 1, 1000, false, true),
        ] {
            assert_eq!(wanted(policy, code, count, stopped), expected, "{policy:?} {code} {count} {stopped}");
        }
    }

    #[test]
    fn policy_decides_after_a_boot_by_how_it_ended_and_who_stopped_it() {
        use RestartPolicy::*;
        let twice = OnFailure { maximum_retry_count: 2 };
        for (policy, started_at_ns, exit_code, restart_count, stopped_by_user, expected) in [
            (No, 1, 255, 0, false, false),
            (Always, 1, 0, 0, false, true),
            (Always, 1, 137, 0, true, true),
            (Always, 0, 0, 0, false, false),
            (UnlessStopped, 1, 0, 0, false, true),
            (UnlessStopped, 1, 143, 0, true, false),
            (twice, 1, 255, 0, false, true),
            (twice, 1, 255, 0, true, false),
            (twice, 1, 0, 0, false, false),
            (twice, 1, 1, 2, false, false),
        ] {
            let state = ContainerState {
                started_at_ns,
                exit_code,
                restart_count,
                stopped_by_user,
                ..ContainerState::default()
            };
            assert_eq!(wanted_after_boot(policy, &state), expected, "{policy:?} {state:?}");
        }
    }

    #[test]
    fn backoff_doubles_to_a_minute_and_resets_after_a_steady_run() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.plan(now, Duration::ZERO);
            waits.push((backoff.at().unwrap() - now).as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        backoff.plan(now, STEADY);
        assert_eq!(backoff.at().unwrap() - now, FIRST);
    }
}
