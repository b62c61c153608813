//! What the probe of `holm compare` says about the world that it runs in: one JSON document on its standard output.
//!
//! The probe runs inside a container or a virtual machine, whose programs may say anything in its name: readers bound and
//! escape it. What could not be measured is absent.

use serde::{Deserialize, Serialize};

/// First argument that makes the agent's program the probe.
pub const WORD: &str = "holm-probe";
/// Bytes that it writes and reads back.
pub const DISK_BYTES: u64 = 64 << 20;
/// Most bytes of a report.
pub const REPORT_MAX_BYTES: usize = 64 << 10;

/// What the probe found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProbeReport {
    /// Steps of a loop of arithmetic, a second.
    pub steps_per_s: Option<u64>,
    /// The smallest of system calls, a second.
    pub calls_per_s: Option<u64>,
    /// Written to the root file system and flushed to its disk, bytes a second.
    pub write_bytes_per_s: Option<u64>,
    /// Read back, the cache having been asked to forget it, bytes a second.
    pub read_bytes_per_s: Option<u64>,
    /// One byte there and back over TCP, median, nanoseconds.
    pub round_trip_ns: Option<u64>,
    /// Release of the kernel.
    pub kernel: String,
    /// By which kernels that were started differ.
    pub boot_id: String,
    /// Processes in `/proc`.
    pub processes: u32,
    /// Model of the processor.
    pub processor: String,
    /// The kernel's log can be read.
    pub kernel_log: bool,
    /// What is in `/dev`, sorted.
    pub devices: Vec<String>,
    /// Memory that the kernel says there is, bytes.
    pub memory_bytes: u64,
}
