//! System call filters: the default profile, users' profiles, and the compiler from either to classic BPF.
//!
//! Owns the meaning of profiles. Loads a filter into the calling thread and does nothing else to it; a listener
//! is handed on by whoever started that. No cache: making and compiling the default profile takes 70 µs in a
//! release build on the machine where the design was measured, about what opening, checking and reading a cached file
//! would.

mod action;
mod arch;
mod assemble;
mod compile;
mod default;
mod error;
mod listener;
mod profile;

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;

use holm_sys::seccomp as sys;

pub use arch::Arch;
pub use compile::compile;
pub use default::{default_profile, default_profile_for};
pub use error::SeccompError;
pub use listener::Listener;
pub use profile::{MAX_PROFILE_BYTES, load_profile, load_profile_for};

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The instructions.
    pub filter: Vec<sys::SockFilter>,
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
    /// Who gets the listener descriptor that loading it gives; none for a filter that does not notify.
    pub listener: Option<Listener>,
}

/// Loads a filter into the calling thread; returns the listener of one that notifies.
///
/// *Privilege*: CAP_SYS_ADMIN in the user namespace, or `no_new_privs`. *Order*: last before exec. Allocates nothing. A
/// kernel older than `WAIT_KILLABLE_RECV` (5.19) gets the filter without that flag.
pub fn load(program: &Program) -> io::Result<Option<OwnedFd>> {
    let flags = program.flags | if program.listener.is_some() { sys::FLAG_NEW_LISTENER } else { 0 };
    // The kernel refuses this one without a listener.
    let flags = if program.listener.is_some() { flags } else { flags & !sys::FLAG_WAIT_KILLABLE_RECV };
    match sys::load(&program.filter, flags) {
        Err(e) if e.kind() == io::ErrorKind::InvalidInput && flags & sys::FLAG_WAIT_KILLABLE_RECV != 0 => {
            sys::load(&program.filter, flags & !sys::FLAG_WAIT_KILLABLE_RECV)
        }
        result => result,
    }
}
