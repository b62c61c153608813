//! What can be wrong with a profile.

/// A profile that cannot be read or compiled.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The file is too large.
    #[error("cannot read seccomp profile: {bytes} bytes are more than {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// The file is no profile.
    #[error("cannot read seccomp profile")]
    Parse(#[source] serde_json::Error),
    /// Two things contradict each other.
    #[error("cannot use seccomp profile: {0}")]
    Contradiction(&'static str),
    /// A word that means nothing.
    #[error("cannot use seccomp profile: unknown {kind} `{name}`")]
    Unknown {
        /// What kind of word.
        kind: &'static str,
        /// The word.
        name: String,
    },
    /// A rule about an argument that system calls do not have.
    #[error("cannot use seccomp profile: argument {index} of `{syscall}` is not within 0 and 5")]
    Argument {
        /// First name of the rule.
        syscall: String,
        /// The argument.
        index: u32,
    },
    /// An error number out of range.
    #[error("cannot use seccomp profile: error number {errno} is more than {max}")]
    Errno {
        /// The number.
        errno: u32,
        /// The most.
        max: u32,
    },
    /// Too many rules.
    #[error("cannot use seccomp profile: {count} {what} are more than {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The most.
        max: usize,
    },
    /// The filter exceeds what the kernel takes.
    #[error("cannot compile seccomp profile: {instructions} instructions are more than {max}")]
    TooLong {
        /// Its length.
        instructions: usize,
        /// The kernel's bound.
        max: usize,
    },
}
