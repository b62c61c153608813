//! What a command and the supervisor of a whole machine say to each other: one document a packet, see `wire`.

use serde::{Deserialize, Serialize};

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Press the power button; kill it when this many seconds have passed. Negative: never.
    Stop { timeout_s: i64 },
    /// A stream of its serial console.
    Console,
    /// The line to its guest agent, until the command hangs up.
    Agent,
    /// Save this moment, memory included.
    Snapshot { name: String },
    /// Go back to a moment.
    Restore { name: String },
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It runs.
    Started { warnings: Vec<String> },
    /// Done; with the descriptor that was asked for.
    Done,
    /// It has ended.
    Stopped,
    /// It could not be done.
    Failed { message: String, hint: Option<String> },
}
