//! The agent: PID 1 of a virtual machine. Runs one container with the same `holm_container` that the host has, and does what
//! the host asks over the channel.
//!
//! Owns the guest from the start of its first process to power-off. Takes everything from the host as data, and everything in
//! the container for hostile. What cannot go on is written to the machine's console, and the machine is switched off.

mod agent;
mod archive;
mod boot;
mod container;
mod error;
mod file;
mod identity;
mod link;
mod log;
mod path;
mod port;
mod probe;
mod request;
mod setup;
mod stream;
mod task;
mod usage;
mod virtio;

use std::process::ExitCode;

/// What the agent calls itself once it stands on a root of its own.
const SECOND_STAGE: &str = "holm-guest";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(holm_spec::probe::WORD) {
        return probe::run(arguments.next().as_deref());
    }
    // Anywhere else it would switch off what it should not.
    if !rustix::process::getpid().is_init() {
        eprintln!("error: cannot run: this program is the first process of a virtual machine");
        return ExitCode::FAILURE;
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // A job ends alone, and what it had to do has failed.
        if rustix::process::getpid().is_init() { log::fatal(&info.to_string()) } else { usual(info) }
    }));
    let error = match std::env::args().next().as_deref() {
        Some(SECOND_STAGE) => agent::run(),
        _ => boot::first_stage(),
    };
    match error {
        Ok(never) => match never {},
        Err(e) => log::fatal(&error::chain(&e)),
    }
}
