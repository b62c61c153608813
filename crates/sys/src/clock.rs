//! The processor's own clock.

/// Ticks of the processor's time-stamp counter; `None` on processors without one that programs may read.
pub fn ticks() -> Option<u64> {
    crate::arch::ticks()
}
