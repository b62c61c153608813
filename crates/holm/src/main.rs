//! The program `holm`: hands everything to the library of this crate, so that tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    holm_cli::main()
}
