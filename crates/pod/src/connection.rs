//! A command's connection to a supervisor.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::oci::runtime::ConsoleSize;
use holm_spec::protocol::{Reply, Request};

use crate::Error;
use crate::wire::{self, Received};

/// A connection to a supervisor. Closing it never ends the container.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Sends a request without waiting for its reply. A supervisor that ended meanwhile is no error here: whoever reads its
    /// words next hears the last ones, or that it is gone.
    pub fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match wire::send(self.socket.as_fd(), request, descriptors) {
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            other => other.map_err(|e| Error::io("ask", "the supervisor", e)),
        }
    }

    /// Waits for the next reply; `None` when the supervisor is gone.
    pub fn receive(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>, Error> {
        match wire::receive(self.socket.as_fd()).map_err(|e| Error::io("hear", "the supervisor", e))? {
            Received::Packet(reply, fds) => Ok(Some((reply, fds))),
            Received::Closed | Received::Nothing => Ok(None),
            Received::Garbage(why) => Err(Error::invalid("the supervisor's reply", why)),
        }
    }

    /// Waits for [`Reply::Exited`], passing over other replies; `None` when the supervisor is gone without one.
    pub fn wait_exit(&self) -> Result<Option<i32>, Error> {
        loop {
            match self.receive()? {
                Some((Reply::Exited { code }, _)) => return Ok(Some(code)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Sends a request and gives its reply, a failure as `Error::Refused`. `None` when the supervisor is gone.
    pub(crate) fn ask(
        &self,
        verb: &'static str,
        name: &str,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Option<(Reply, Vec<OwnedFd>)>, Error> {
        self.send(request, descriptors)?;
        match self.receive()? {
            Some((Reply::Failed { message, code, .. }, _)) => {
                Err(Error::Refused { verb, name: name.to_owned(), message, code })
            }
            other => Ok(other),
        }
    }

    /// Changes the size of the terminal of the container, or of an exec. Its reply is passed over by `wait_exit`.
    pub fn resize(&self, exec: Option<u32>, size: ConsoleSize) -> Result<(), Error> {
        self.send(&Request::Resize { exec, size }, &[])
    }

    /// Sends a signal to the container, or to an exec. Its reply is passed over by `wait_exit`.
    pub fn kill(&self, exec: Option<u32>, signal: i32) -> Result<(), Error> {
        self.send(&Request::Kill { exec, signal }, &[])
    }
}
