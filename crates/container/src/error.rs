//! Why a container or a process in it could not be started, and which exit code that means.

use std::io;

/// What kind of failure it was; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Holm or the kernel could not set it up.
    Setup,
    /// The program is there and cannot be executed.
    NotExecutable,
    /// The program, or its working folder's absence, is the user's.
    NotFound,
}

/// Why a start failed. The container's process is gone when this is returned.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}")]
pub struct StartError {
    /// What failed, on what, after "cannot".
    pub what: String,
    /// Whose fault it is.
    pub kind: FailureKind,
    /// The kernel's answer.
    #[source]
    pub source: Option<io::Error>,
}

impl StartError {
    /// A failure of setting up.
    pub fn setup(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { what: what.into(), kind: FailureKind::Setup, source: Some(source.into()) }
    }

    /// A request that cannot be met.
    pub fn refused(what: impl Into<String>) -> Self {
        Self { what: what.into(), kind: FailureKind::Setup, source: None }
    }

    /// The exit code that docker gives for this.
    pub fn exit_code(&self) -> i32 {
        match self.kind {
            FailureKind::Setup => 125,
            FailureKind::NotExecutable => 126,
            FailureKind::NotFound => 127,
        }
    }

    /// One packet for the parent: kind, error number, text.
    pub(crate) fn to_packet(&self) -> Vec<u8> {
        let errno = self.source.as_ref().and_then(io::Error::raw_os_error).unwrap_or(0);
        let mut packet = vec![b'E', self.kind as u8];
        packet.extend_from_slice(&errno.to_le_bytes());
        packet.extend_from_slice(&self.what.as_bytes()[..self.what.len().min(2000)]);
        packet
    }

    /// Reads what [`StartError::to_packet`] wrote, without the leading letter.
    pub(crate) fn from_packet(packet: &[u8]) -> Self {
        let kind = match packet.first() {
            Some(1) => FailureKind::NotExecutable,
            Some(2) => FailureKind::NotFound,
            _ => FailureKind::Setup,
        };
        let errno = packet.get(1..5).and_then(|b| b.try_into().ok()).map_or(0, i32::from_le_bytes);
        let what = String::from_utf8_lossy(packet.get(5..).unwrap_or_default()).into_owned();
        let source = (errno != 0).then(|| io::Error::from_raw_os_error(errno));
        Self { what, kind, source }
    }
}

/// Adds what was being done to a kernel error.
pub(crate) trait Doing<T> {
    /// `what` comes after "cannot".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, StartError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, StartError> {
        self.map_err(|e| StartError::setup(what(), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_error_survives_the_packet() {
        let error = StartError {
            what: "execute `x`".into(),
            kind: FailureKind::NotFound,
            source: Some(io::Error::from_raw_os_error(2)),
        };
        let read = StartError::from_packet(&error.to_packet()[1..]);
        assert_eq!((read.what.as_str(), read.exit_code()), ("execute `x`", 127));
        assert_eq!(read.source.and_then(|e| e.raw_os_error()), Some(2));
        assert_eq!(StartError::from_packet(b"").exit_code(), 125);
    }
}
