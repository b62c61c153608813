//! What a command and a supervisor say to each other on the supervisor's socket.
//!
//! ```text
//! command                         supervisor            a SOCK_SEQPACKET unix socket, 0600, peer checked by uid
//!   | -- Request (+ descriptors) --> |                  one JSON document a packet, at most MAX_PACKET_BYTES;
//!   | <-- Reply (+ descriptors) ---- |                  descriptors by SCM_RIGHTS
//!   | <-- Reply … ------------------ |                  more replies where the request says so
//! ```
//! Closing the connection ends an attach; it never ends the container or an exec.

use serde::{Deserialize, Serialize};

use crate::guest::{ToGuest, ToHost};
use crate::network::AttachmentSpec;
use crate::oci::runtime::{ConsoleSize, Process};

/// Most bytes of one packet.
pub const MAX_PACKET_BYTES: usize = 128 * 1024;

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// Get a copy of the output from now on, and feed the input. Replies with [`Reply::Attached`] and one stream socket
    /// that carries [`Frame`]s, or, for a terminal, raw bytes.
    Attach {
        /// Feed standard input.
        stdin: bool,
    },
    /// Change the size of the container's terminal, or of an exec's.
    Resize {
        /// The exec; the container itself where absent.
        exec: Option<u32>,
        /// The new size.
        size: ConsoleSize,
    },
    /// Run one more process. Without a terminal the three standard descriptors come with the request; with one, its
    /// master side comes back with [`Reply::Started`]. Followed by [`Reply::Exited`] unless detached.
    Exec {
        /// What to run; an empty `cwd` is the container's.
        process: Box<Process>,
        /// `user[:group]` by name or number, resolved in the container; the container's own user where absent.
        user: Option<String>,
        /// All capabilities, no filters.
        privileged: bool,
        /// Do not wait for its end.
        detach: bool,
    },
    /// Send a signal to the container's init, or to one exec.
    Kill {
        /// The exec; the container itself where absent.
        exec: Option<u32>,
        /// Signal number.
        signal: i32,
    },
    /// Send the stop signal, then SIGKILL after the time. Replied to with [`Reply::Exited`].
    Stop {
        /// Signal number.
        signal: i32,
        /// Seconds; -1 waits for ever.
        timeout_s: i64,
    },
    /// Freeze.
    Pause,
    /// Thaw.
    Unpause,
    /// Reply with [`Reply::Exited`] when the container ends for good.
    Wait,
    /// Join one more network.
    Connect {
        /// Which, and what is asked of it.
        attachment: Box<AttachmentSpec>,
    },
    /// Here is a network namespace for the start that is under way; comes with its descriptor, has no reply. One that comes
    /// too late is dropped.
    Namespace,
    /// Leave a network.
    Disconnect {
        /// Its name.
        network: String,
    },
    /// Ask the agent of a container's virtual machine: what it uses, its processes, its files. The request's number is the
    /// supervisor's to choose; a descriptor comes with it where the request moves a file. Replies with [`Reply::Guest`].
    Guest {
        /// What is asked.
        ask: Box<ToGuest>,
    },
    /// Reopen and re-read what a command changed on disk (limits, restart policy, log options).
    Reload,
}

/// What the supervisor answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub enum Reply {
    /// Done.
    Done,
    /// Attached; a stream socket comes with it.
    Attached,
    /// An exec runs.
    Started {
        /// Its number, for resize and kill.
        exec: u32,
        /// Its PID on the host.
        pid: i32,
        /// What was asked for and could not be done, but did not keep it from running.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// What the agent answered.
    Guest {
        /// Its answer.
        tell: Box<ToHost>,
    },
    /// It ended.
    Exited {
        /// Exit code as docker gives it.
        code: i32,
    },
    /// It failed.
    Failed {
        /// What failed, on what.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// Exit code that the command should end with (125, 126, 127).
        code: i32,
    },
}

/// Header of one piece of an attach stream without a terminal: stream number, three zero bytes, length big-endian; the
/// form docker uses. *Source*: Docker Engine API, "Attach to a container", stream format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// 0 input, 1 output, 2 error output.
    pub stream: u8,
    /// Bytes that follow. 0 on stream 0 closes the input.
    pub length: u32,
}

impl Frame {
    /// Bytes of a header.
    pub const HEADER_BYTES: usize = 8;

    /// The header on the wire.
    pub fn to_bytes(self) -> [u8; Self::HEADER_BYTES] {
        let [a, b, c, d] = self.length.to_be_bytes();
        [self.stream, 0, 0, 0, a, b, c, d]
    }

    /// Reads a header; `None` if it is none.
    pub fn from_bytes(bytes: [u8; Self::HEADER_BYTES]) -> Option<Self> {
        let [stream, 0, 0, 0, a, b, c, d] = bytes else { return None };
        (stream <= 2).then_some(Self { stream, length: u32::from_be_bytes([a, b, c, d]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_header_round_trips_and_rejects_garbage() {
        let frame = Frame { stream: 2, length: 70_000 };
        assert_eq!(Frame::from_bytes(frame.to_bytes()), Some(frame));
        assert_eq!(Frame::from_bytes([3, 0, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(Frame::from_bytes([1, 1, 0, 0, 0, 0, 0, 1]), None);
    }
}
