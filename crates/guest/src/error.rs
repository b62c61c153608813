//! Why something was not done, as the host is told.

use std::io;

use holm_container::StartError;
use holm_container::cgroup::CgroupError;
use holm_container::rootfs::RootfsError;
use holm_container::seccomp::SeccompError;
use holm_container::user::UserError;

/// Why a request, or the machine's start, failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel refused.
    #[error("cannot {what}")]
    Call {
        /// What was being done, on what.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It cannot be done.
    #[error("cannot {0}")]
    Refused(String),
    /// The host does not keep to the protocol.
    #[error("cannot go on with the host: {0}")]
    Violation(String),
    /// A process could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The root file system.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The user.
    #[error(transparent)]
    User(#[from] UserError),
    /// The system call filter.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
}

impl Error {
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }

    /// Docker's exit code for it.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Start(e) => e.exit_code(),
            _ => 125,
        }
    }
}

/// Says what was being done.
pub(crate) trait Doing<T> {
    /// `what` comes after "cannot".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|e| Error::Call { what: what(), source: e.into() })
    }
}

/// The error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
