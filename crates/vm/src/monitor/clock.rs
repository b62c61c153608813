//! Time as a monitor counts it: only while it ran itself.
//!
//! A frozen container stands still with its monitor; the time that passes then is nobody's delay. So of each sleep no more
//! counts than was asked for and a little.

use std::time::{Duration, Instant};

/// Longest sleep while something is waited for; what a freeze can wrongly add.
pub(super) const SLICE: Duration = Duration::from_secs(5);
/// How late a busy machine wakes one.
const LATE: Duration = Duration::from_secs(1);

/// The clock.
#[derive(Debug)]
pub(super) struct Clock {
    last: Instant,
    passed: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), passed: Duration::ZERO }
    }

    /// Time that has passed so far.
    pub(super) fn now(&self) -> Duration {
        self.passed
    }

    /// Counts what passed since the last call, of which at most `asked` was meant to be slept.
    pub(super) fn wake(&mut self, asked: Duration) {
        let now = Instant::now();
        self.passed += counted(now - self.last, asked);
        self.last = now;
    }
}

fn counted(elapsed: Duration, asked: Duration) -> Duration {
    elapsed.min(asked + LATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_counts_as_little_as_what_was_asked_for() {
        let seconds = Duration::from_secs;
        assert_eq!(counted(seconds(3), SLICE), seconds(3));
        assert_eq!(counted(seconds(3600), SLICE), SLICE + LATE);
    }
}
