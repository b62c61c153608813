//! Handing the listener of a filter that notifies on to the program that a profile names.
//!
//! Owns one connection per listener, and what is said on it. The container's process gives the descriptor to the starter
//! ([`crate::channel`]), which is outside of the filter and sees the host's files.
//! *Source*: runtime-spec config-linux.md, `listenerPath` and "The Container Process State".

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Doing, StartError};

/// How long the program may take to accept and to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who gets the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Socket that the program listens on.
    pub path: PathBuf,
    /// Said to it with the descriptor, and not interpreted.
    pub metadata: Option<String>,
}

impl Listener {
    /// Sends `listener` with what the specification calls the container process state. `pid` is that of the process which
    /// has loaded the filter, as the starter sees it.
    pub(crate) fn hand_on(
        &self,
        listener: BorrowedFd<'_>,
        version: &str,
        pid: i32,
        state: serde_json::Value,
    ) -> Result<(), StartError> {
        let mut process = serde_json::json!({
            "ociVersion": version, "fds": ["seccompFd"], "pid": pid, "state": state,
        });
        if let Some(metadata) = &self.metadata {
            process["metadata"] = metadata.as_str().into();
        }
        let what = || format!("hand the seccomp listener on to `{}`", self.path.display());
        let socket = self.connect().doing(what)?;
        send(&socket, process.to_string().as_bytes(), listener).doing(what)
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&self.path)?)?;
        Ok(socket)
    }
}

/// The descriptor goes with the first byte, the rest follows if it did not fit.
fn send(socket: &OwnedFd, text: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let mut sent = rustix::net::sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    while sent < text.len() {
        sent += rustix::net::send(socket.as_fd(), &text[sent..], SendFlags::NOSIGNAL)?;
    }
    Ok(())
}
