//! A virtual machine as plain data, what comes of planning it, and the trait behind which hypervisors stand.
//!
//! Owns no process: a plan is an OCI document with descriptors, and whoever has a container runtime runs it. A hypervisor
//! that is a part of Holm itself fits the same form: its document runs Holm's own file, and `files` are the same.

mod root;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use holm_spec::network::MacAddress;
use holm_spec::oci::runtime::Spec;

use crate::disk::image::Format;

pub use root::RootTree;

/// A machine that is wanted.
#[derive(Debug)]
pub struct Machine {
    /// What it starts with.
    pub boot: Boot,
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// What it looks like.
    pub profile: Profile,
    /// Processors.
    pub cpus: u32,
    /// Memory, bytes; rounded up to whole MiB.
    pub memory_bytes: u64,
    /// Its block devices.
    pub disks: Vec<DiskFile>,
    /// Its network devices.
    pub links: Vec<Nic>,
    /// Folders of the host.
    pub shares: Vec<Share>,
    /// Who the hypervisor is on the host.
    pub user: HostUser,
    /// Where its life begins.
    pub origin: Origin,
}

/// What a machine starts with.
#[derive(Debug)]
pub enum Boot {
    /// A Linux kernel with Holm's agent.
    Direct {
        /// The kernel, which every user can read: an ELF `vmlinux` that has a PVH entry, or a bzImage.
        kernel: PathBuf,
        /// The first file system, with the agent as `/init`; every user can read it.
        initramfs: PathBuf,
    },
    /// What its first disk boots. The machine stands still until it is told to go on over QMP.
    Firmware(Firmware),
}

/// The program that loads what a disk boots.
#[derive(Debug)]
pub enum Firmware {
    /// QEMU's own BIOS; it speaks on the serial console.
    Bios,
    /// UEFI.
    Uefi {
        /// Its program, opened for reading.
        code: OwnedFd,
        /// The machine's own variables, opened for both.
        variables: OwnedFd,
    },
}

/// What runs a machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself. `/dev/kvm` is given to the hypervisor.
    Kvm,
    /// Translation by QEMU. No security boundary, by its authors' own word.
    Tcg {
        /// Rate of the host's time stamp counter, kHz: what the guest's is, and cannot measure itself reliably.
        tsc_khz: u32,
    },
}

/// What a machine looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Few devices, found through ACPI on virtio-mmio; the fastest to boot.
    Microvm,
    /// A PC with PCI Express.
    Q35,
}

/// A block device.
#[derive(Debug)]
pub struct DiskFile {
    /// Its content, opened for reading alone if `read_only` and for both otherwise.
    pub file: OwnedFd,
    /// The guest cannot write it.
    pub read_only: bool,
    /// How its content is to be read; what it says of itself is not asked.
    pub format: Format,
    /// By which the agent finds it: 1 to 20 of `a-z`, `0-9` and `-`.
    pub serial: String,
    /// How fast it may be.
    pub throttle: Option<Throttle>,
}

/// Limits of a block device; none where 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// Bytes a second that are read.
    pub read_bps: u64,
    /// Bytes a second that are written.
    pub write_bps: u64,
    /// Reads a second.
    pub read_iops: u64,
    /// Writes a second.
    pub write_iops: u64,
}

/// A network device.
#[derive(Debug)]
pub struct Nic {
    /// A tap, made with `IFF_TAP`, `IFF_NO_PI` and `IFF_VNET_HDR`.
    pub tap: OwnedFd,
    /// Its number, which its placeholder address has.
    pub n: u8,
    /// Its address; the placeholder, which an agent replaces, where absent.
    pub mac: Option<MacAddress>,
}

/// A folder of the host, served by a virtiofs server.
#[derive(Debug)]
pub struct Share {
    /// By which the agent mounts it: 1 to 36 of `a-z`, `0-9` and `-`.
    pub tag: String,
    /// A connection to its server.
    pub server: OwnedFd,
}

/// An unprivileged user of the host that nothing else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostUser {
    /// User id.
    pub uid: u32,
    /// Group id; the group of `/dev/kvm` where that is what may open it.
    pub gid: u32,
}

/// Where a machine's life begins.
#[derive(Debug)]
pub enum Origin {
    /// At its kernel's start.
    Cold,
    /// At a saved moment, from which [`crate::template::resume`] lets it go on.
    Restore {
        /// Its memory: a file in memory that is this machine's own to write, of exactly `memory_bytes`.
        memory: OwnedFd,
    },
    /// At its kernel's start, with memory in a file, so that [`crate::template::save`] can keep it.
    Template {
        /// Its memory, of exactly `memory_bytes`.
        memory: OwnedFd,
    },
}

/// How a machine is run.
#[derive(Debug)]
pub struct VmmPlan {
    /// The hypervisor as a container. Its process gets `output` as its standard output and error output.
    pub spec: Spec,
    /// Of what its root file system consists, besides the document's mounts.
    pub root: RootTree,
    /// Its descriptors 3, 4, 5 and so on.
    pub files: Vec<OwnedFd>,
    /// Where its own words go: to the console.
    pub output: OwnedFd,
    /// Our ends.
    pub ends: Ends,
}

/// Our ends of what leads to a machine.
#[derive(Debug)]
pub struct Ends {
    /// The stream to the agent: Holm's, or with a firmware QEMU's guest agent, where the guest runs it.
    pub channel: OwnedFd,
    /// The hypervisor's monitor, which speaks QMP.
    pub qmp: OwnedFd,
    /// What the guest's kernel and the hypervisor say.
    pub console: OwnedFd,
}

/// Runs machines.
pub trait Hypervisor {
    /// Plans a machine: no process is made, and nothing on the host is changed.
    fn plan(&self, machine: Machine) -> Result<VmmPlan, Error>;
}

/// Why there can be no such machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No program for it.
    #[error("cannot find `{program}` in PATH")]
    NoProgram {
        /// Its name.
        program: &'static str,
    },
    /// No program that serves folders of the host.
    #[error("cannot find `virtiofsd`, which folders and volumes in a virtual machine need")]
    NoFileServer,
    /// The program does not say what it should.
    #[error("cannot ask `{program}` what it can do: {reason}")]
    Probe {
        /// Its file.
        program: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The program is too old.
    #[error("cannot use QEMU {found}: 7.0 is the oldest that works")]
    TooOld {
        /// Its version.
        found: String,
    },
    /// The program lacks something.
    #[error("cannot use `{program}`: it has no {what} `{name}`")]
    Lacks {
        /// Its file.
        program: PathBuf,
        /// Kind of thing.
        what: &'static str,
        /// Which.
        name: &'static str,
    },
    /// A value that cannot be.
    #[error("cannot make a machine with {0}")]
    Value(String),
    /// A file that the hypervisor could not read as the user that it is.
    #[error("cannot give `{0}` to a machine: other users cannot read it")]
    Unreadable(PathBuf),
    /// A call failed.
    #[error("cannot {what} `{path}`")]
    Io {
        /// What was being done.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoProgram { .. } => {
                Some("install QEMU: `apt install qemu-system-x86` or `dnf install qemu-system-x86`")
            }
            Self::NoFileServer => {
                Some("install it: `apt install virtiofsd` (Debian 12: `qemu-system-common`) or `dnf install virtiofsd`")
            }
            Self::TooOld { .. } => Some("install a newer qemu-system-x86"),
            Self::Unreadable(_) => Some("`chmod a+r` the file"),
            _ => None,
        }
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
