//! Whole machines: disks of other operating systems, run as virtual machines on Holm's networks.
//!
//! ```text
//! data/vms/<name>/          vm.json, state.json, disk.qcow2 or disk.raw, nvram.fd (UEFI), console.log, snapshots/
//! data/vms/.new-<id>/       one that is being made; its lock is held by who makes it
//! run/vms/<name>/           control.sock; its lock is held by the machine's supervisor
//! ```
//! The folder's name is the machine's: that it appears by rename is the reservation of the name. A transition holds the lock
//! of the folder in the data root. Which processes there are: `supervisor`; what they say to each other: `protocol`.

mod boot;
mod console;
mod control;
mod protocol;
mod record;
mod seed;
mod snapshot;
mod supervisor;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use holm_spec::Name;
use holm_spec::container::AcceleratorChoice;
use holm_spec::network::{AttachmentSpec, Endpoint, PublishSpec};
use holm_spec::vm::{DiskFormat, FirmwareKind, SeedSpec, VmSnapshot, VmSpec, VmState};
use holm_vm::disk::image::Format;

use crate::layout::{read_json, write_json};
use crate::{Error, Roots};

/// What a whole machine is made of.
#[derive(Clone, Debug)]
pub struct VmRequest {
    /// Name.
    pub name: Name,
    /// A disk image, absolute: qcow2 or raw.
    pub image: PathBuf,
    /// Processors.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Size to which the disk is grown.
    pub disk_bytes: Option<u64>,
    /// What loads what the disk boots.
    pub firmware: FirmwareKind,
    /// Who runs its instructions.
    pub accelerator: AcceleratorChoice,
    /// Settings for cloud-init.
    pub seed: Option<SeedSpec>,
    /// Networks.
    pub networks: Vec<AttachmentSpec>,
    /// Ports of the host.
    pub ports: Vec<PublishSpec>,
}

/// A whole machine: what was asked, and what became of it.
#[derive(Clone, Debug)]
pub struct Vm {
    /// What was asked.
    pub spec: VmSpec,
    /// What became of it.
    pub state: VmState,
    /// It runs now.
    pub running: bool,
    /// Its places on networks, while it runs.
    pub endpoints: Vec<Endpoint>,
    /// Saved moments, the oldest first.
    pub snapshots: Vec<VmSnapshot>,
    /// Its folder, with its disk and `console.log`.
    pub folder: PathBuf,
}

/// A connection to a machine's serial console: raw bytes both ways. Its end is the machine's.
#[derive(Debug)]
pub struct VmConsole {
    /// The stream. What was said lately comes first.
    pub stream: OwnedFd,
}

impl Roots {
    pub(crate) fn vms(&self) -> PathBuf {
        self.data.join("vms")
    }

    pub(crate) fn vm(&self, name: &str) -> PathBuf {
        self.vms().join(name)
    }

    pub(crate) fn run_vms(&self) -> PathBuf {
        self.run.join("vms")
    }

    pub(crate) fn run_vm(&self, name: &str) -> PathBuf {
        self.run_vms().join(name)
    }

    /// The record of a machine. *Errors*: none has that name.
    pub(crate) fn read_vm(&self, name: &str) -> Result<VmSpec, Error> {
        let missing = || Error::NoSuchVm(name.escape_debug().to_string());
        // What is no name is no file's name either.
        name.parse::<Name>().map_err(|_| missing())?;
        read_json(&self.vm(name).join("vm.json"))?.ok_or_else(missing)
    }

    pub(crate) fn read_vm_state(&self, name: &str) -> Result<VmState, Error> {
        Ok(read_json(&self.vm(name).join("state.json"))?.unwrap_or_default())
    }

    pub(crate) fn write_vm_state(&self, name: &str, state: &VmState) -> Result<(), Error> {
        write_json(&self.vm(name), "state.json", state)
    }
}

/// Name of a machine's disk in its folder.
fn disk_file(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => "disk.raw",
        DiskFormat::Qcow2 => "disk.qcow2",
    }
}

/// A format as the hypervisor's plan knows it.
fn form(format: DiskFormat) -> Format {
    match format {
        DiskFormat::Raw => Format::Raw,
        DiskFormat::Qcow2 => Format::Qcow2,
    }
}

/// A failure of something about a machine.
fn failed(verb: &'static str, name: &str, message: impl Into<String>, hint: Option<&str>) -> Error {
    Error::Vm { verb, name: name.to_owned(), message: message.into(), hint: hint.map(str::to_owned) }
}
