//! Signals that flags give.

use holm_spec::signal::parse;

use crate::error::Failure;

/// The number of a signal that a flag gives.
pub fn number(flag: &str, text: &str) -> Result<i32, Failure> {
    parse(text).ok_or_else(|| {
        Failure::flag(flag, text, "there is no such signal").with_hint(format!("{flag} TERM, or a number from 1 to 64"))
    })
}

/// A signal that a flag gives, checked, as typed.
pub fn checked(flag: &str, text: &str) -> Result<String, Failure> {
    number(flag, text).map(|_| text.to_owned())
}
