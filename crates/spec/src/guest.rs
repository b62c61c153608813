//! What the host and the agent in a virtual machine say to each other over one stream of bytes.
//!
//! Owns the form: frames, messages and their bounds. Both ends check everything, since each takes the other for hostile:
//! the guest runs what the user's image holds. Reading and writing the stream are for those who have it.
//!
//! ```text
//! frame     length u32 LE · kind u8 · three zero bytes · stream u32 LE · payload
//! Message   one JSON document, stream 0          host: ToGuest      guest: ToHost
//! Data      bytes of a stream, at most MAX_DATA_BYTES, never more than the other end gave credit for
//! End       no more bytes on this stream in this direction
//! Credit    u32 LE: so many more bytes are welcome on this stream
//!
//! host                                   guest
//!   |  <- Hello ------------------------  |   once after its boot; never again after a restore
//!   |  -- Setup ----------------------->  |   devices bound, clock, random pool, names, links, root file system
//!   |  <- Done -------------------------  |
//!   |  -- Run ------------------------->  |   the container's first process
//!   |  <- Started ----------------------  |
//!   |  <> Data on its streams             |   stream(process, 0..=2)
//!   |  <- Exited -----------------------  |
//!   |  -- PowerOff -------------------->  |
//! ```
//! Every request has a number of the host's choice and exactly one answer: `Done`, `Started`, `Failed` or one of its own.
//! A stream begins with [`INITIAL_CREDIT`] in each direction, so a reader that stalls holds back its own stream alone.

mod frame;
mod message;

pub use frame::{Decoder, Frame, HEADER_BYTES, Kind, MAX_DATA_BYTES, MAX_MESSAGE_BYTES, Violation, encode, stream};
pub use message::{
    Disk, Exec, Identity, Link, Listening, Mounted, OwnFile, Probe, ProbeKind, Probed, ProcessRow, Route, Run, Setup,
    Stats, ToGuest, ToHost, placeholder_mac,
};

/// Version of this protocol. Both ends are made from one source, so it only catches a mix-up.
pub const VERSION: u32 = 1;
/// Name of the virtio-serial port.
pub const PORT: &str = "holm.agent.0";
/// Bytes that may be sent on a new stream before any credit.
pub const INITIAL_CREDIT: u32 = 256 * 1024;
/// Most sockets that one answer lists: with any addresses it fits into one packet to a command.
pub const MAX_SOCKETS: usize = 1024;
/// Number of the container's first process; those that are added have higher ones.
pub const FIRST_PROCESS: u32 = 1;
