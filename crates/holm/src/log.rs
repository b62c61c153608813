//! What Holm says of its own work: one line each on standard error, from the level of the settings on.
//!
//! A warning is for the administrator of the machine and says so; the user's own mistakes are errors
//! ([`crate::error`]), not log lines. Debug lines carry the milliseconds since the command began.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use crate::error::printable;

/// Names, from the least talkative on.
pub const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

static LEVEL: AtomicU8 = AtomicU8::new(1);

/// Sets the level by name; an unknown one changes nothing.
pub fn set_level(name: &str) {
    if let Some(level) = LEVELS.iter().position(|known| *known == name).and_then(|n| u8::try_from(n).ok()) {
        LEVEL.store(level, Ordering::Relaxed);
    }
}

fn speaks(level: u8) -> bool {
    LEVEL.load(Ordering::Relaxed) >= level
}

/// Something that was asked for is not done, and the administrator of this machine could change that.
pub fn warn_administrator(text: &str) {
    if speaks(1) {
        eprintln!("warning: {} (for the administrator of this machine)", printable(text));
    }
}

/// A step of the work was done. The text is only made when it is shown.
pub fn debug(begun: Instant, text: impl FnOnce() -> String) {
    if speaks(3) {
        eprintln!("debug: {:8.3} ms {}", begun.elapsed().as_secs_f64() * 1000.0, printable(&text()));
    }
}
