//! The rate of the processor's clock, measured against the kernel's, which is made from it where it can be.
//!
//! A guest without a reference of its own is told the rate, or calibrates itself in vain and stands still.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Long enough for a few parts in a million: reading both clocks takes some 50 ns.
const SPAN: Duration = Duration::from_millis(12);
/// Readings of which the tightest counts, since a process may be interrupted between two clocks.
const READINGS: usize = 8;

/// The rate of the time-stamp counter in kHz, within a few parts in a million; takes 12 ms. `None` where there is none.
pub fn host_tsc_khz() -> Option<u32> {
    Measurement::start()?.finish()
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    ticks: u64,
    time_ns: u64,
}

impl Moment {
    fn now() -> Option<Self> {
        let reading = || {
            let before = holm_sys::clock::ticks()?;
            let time = clock_gettime(ClockId::MonotonicRaw);
            let width = holm_sys::clock::ticks()?.wrapping_sub(before);
            let seconds = u64::try_from(time.tv_sec).ok()?;
            let time_ns = seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?;
            Some((width, Self { ticks: before.wrapping_add(width / 2), time_ns }))
        };
        (0..READINGS).filter_map(|_| reading()).min_by_key(|(width, _)| *width).map(|(_, moment)| moment)
    }
}

/// A measurement under way, so that other work can be done meanwhile.
#[derive(Debug)]
pub(super) struct Measurement(Moment);

impl Measurement {
    pub(super) fn start() -> Option<Self> {
        Moment::now().map(Self)
    }

    /// Waits for what is left of the span, if anything is.
    pub(super) fn finish(self) -> Option<u32> {
        let span_ns = |now: Moment| now.time_ns.saturating_sub(self.0.time_ns);
        let mut now = Moment::now()?;
        if let Some(left) = SPAN.checked_sub(Duration::from_nanos(span_ns(now))) {
            std::thread::sleep(left);
            now = Moment::now()?;
        }
        let ticks = u128::from(now.ticks.wrapping_sub(self.0.ticks));
        let khz = (ticks * 1_000_000).checked_div(span_ns(now).into())?;
        u32::try_from(khz).ok().filter(|khz| *khz > 0)
    }
}
