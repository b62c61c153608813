//! Standard output: data goes there and nothing else does. A reader that is gone ends the command quietly.

use std::io::{self, Write};

use crate::error::Failure;

/// Exit code of a command whose reader is gone, as a shell shows it for SIGPIPE.
pub const CODE_READER_GONE: u8 = 141;

/// The failure of a write. One that nobody reads has no message.
pub fn failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::new("").with_code(CODE_READER_GONE);
    }
    Failure::because("cannot write the output", error)
}

/// Writes text to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| failed(&e))
}

/// Writes a line to standard output.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}
