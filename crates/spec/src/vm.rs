//! Whole machines: disks of other operating systems that Holm runs as virtual machines. Plain data.
//!
//! What is asked and recorded; how it runs is for `pod`.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::container::AcceleratorChoice;
use crate::network::{AttachmentSpec, PublishSpec};
use crate::{ContainerId, Name};

/// A whole machine as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Version of this record's form, [`VmSpec::VERSION`].
    pub version: u32,
    /// Identifier, as a container's: its networks know it by this.
    pub id: ContainerId,
    /// Name, unique among whole machines; its networks find it by this.
    pub name: Name,
    /// Nanoseconds since the Unix epoch.
    pub created_at_ns: u64,
    /// The disk image as the user wrote it.
    pub image: String,
    /// Processors.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// How its disk is to be read: found once, when the image was untouched by any guest, and never again.
    pub format: DiskFormat,
    /// Size that its disk is to have at least; that of the image where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// What loads what its disk boots.
    pub firmware: FirmwareKind,
    /// Who runs its instructions.
    #[serde(default)]
    pub accelerator: AcceleratorChoice,
    /// Settings for cloud-init; no seed disk where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<SeedSpec>,
    /// Networks, the way out first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<AttachmentSpec>,
    /// Ports of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishSpec>,
}

impl VmSpec {
    /// The form that this program writes.
    pub const VERSION: u32 = 1;
}

/// How a disk's content is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// Its bytes and nothing else.
    Raw,
    /// QEMU's own.
    Qcow2,
}

/// What loads what a disk boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum FirmwareKind {
    /// A PC's BIOS.
    #[default]
    Bios,
    /// UEFI.
    Uefi,
}

/// What cloud-init is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SeedSpec {
    /// Host name.
    pub host_name: String,
    /// `user-data` as given; empty where there is none.
    #[serde(default)]
    pub user_data: String,
    /// Public keys for the default user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
}

/// What became of a whole machine: written when it starts and when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct VmState {
    /// Nanoseconds since the Unix epoch; 0 where it never started.
    #[serde(default)]
    pub started_at_ns: u64,
    /// Nanoseconds since the Unix epoch; 0 while it runs.
    #[serde(default)]
    pub finished_at_ns: u64,
    /// PID of its hypervisor on the host; 0 while it does not run.
    #[serde(default)]
    pub pid: i32,
    /// `kvm` or `tcg`, of the last start.
    #[serde(default)]
    pub accelerator: String,
    /// The addresses that it had on its networks, which its guest was told and which it asks for again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<(String, Ipv4Addr)>,
    /// The control group of its hypervisor; empty while it does not run.
    #[serde(default)]
    pub cgroup_path: String,
    /// Why it ended, where nobody asked it to.
    #[serde(default)]
    pub error: String,
}

/// A saved moment of a whole machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSnapshot {
    /// Name, unique for the machine.
    pub name: Name,
    /// Nanoseconds since the Unix epoch.
    pub created_at_ns: u64,
    /// The memory is in it, within the disk's own file; otherwise it is a copy of the disk of a machine that did not run.
    pub memory: bool,
}
