//! What a test needs of the machine. A skip prints its reason, and is a failure where `CI` is set.

use std::io::Write;
use std::path::Path;

/// Whether a program is on the path.
pub fn has_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_file(&folder.join(name)))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file())
}

/// Says, past the test harness's capture, that a test is skipped and why.
///
/// # Panics
/// Where `CI` is set: there nothing may be skipped.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} would be skipped, which CI forbids: {reason}");
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
}

/// Leaves the test, saying why, unless a condition holds: `requires!(condition, "reason")`.
#[macro_export]
macro_rules! requires {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            let name = std::thread::current().name().unwrap_or("test").to_owned();
            $crate::skip(&name, &format!($($reason)+));
            return;
        }
    };
}
