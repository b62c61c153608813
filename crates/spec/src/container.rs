//! What a container is asked to be: the one internal form that the command line, Kubernetes and CRI all turn into.
//!
//! Owns intent only: names of users and files are unresolved here, defaults are absent. `pod` joins it with the image's
//! configuration into an OCI bundle. What happens to it later is in [`crate::state`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::network::{AttachmentSpec, CniSpec, PublishSpec};
use crate::oci::image::Healthcheck;
use crate::oci::runtime::Rlimit;
use crate::{ContainerId, Digest, Name};

/// Everything that was asked of one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Version of this record's form, [`ContainerSpec::VERSION`].
    pub version: u32,
    /// Identifier.
    pub id: ContainerId,
    /// Name, unique on this machine.
    pub name: Name,
    /// Nanoseconds since the Unix epoch.
    pub created_at_ns: u64,
    /// The image as the user wrote it.
    pub image: String,
    /// Digest of the image's configuration.
    pub image_id: Digest,
    /// Program and leading arguments, instead of the image's. `Some` of nothing clears the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Arguments, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// `KEY=value`, over the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Working folder, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `user[:group]`, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// More groups, by name or number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// Give it a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Keep its standard input open.
    #[serde(default)]
    pub interactive: bool,
    /// Labels. Data only: none is ever interpreted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Volumes, binds and temporary file systems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountSpec>,
    /// Namespaces and what lives in them.
    #[serde(default)]
    pub sandbox: SandboxSpec,
    /// What it may do.
    #[serde(default)]
    pub security: SecuritySpec,
    /// How much it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Devices of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceSpec>,
    /// Raw device rules, as `c 1:3 rwm`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// Resource limits of processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Rlimit>,
    /// Run a reaping init as PID 1.
    #[serde(default)]
    pub init: bool,
    /// Signal that asks it to stop, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds from the stop signal to SIGKILL; -1 waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout_s: Option<i64>,
    /// What to do when it ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Health check, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Where its output goes.
    #[serde(default)]
    pub log: LogSpec,
    /// Remove it when it ends.
    #[serde(default)]
    pub auto_remove: bool,
}

impl ContainerSpec {
    /// The form that this program writes.
    pub const VERSION: u32 = 1;
}

/// One mount that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// What is mounted.
    pub kind: MountKind,
    /// Host path of a bind, name of a volume; empty for tmpfs and for an anonymous volume before it is made.
    #[serde(default)]
    pub source: String,
    /// Absolute path inside.
    pub destination: String,
    /// Read-only, submounts included.
    #[serde(default)]
    pub read_only: bool,
    /// Propagation of a bind (`rprivate` where absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// Do not fill an empty volume from the image.
    #[serde(default)]
    pub no_copy: bool,
    /// A bind without its submounts.
    #[serde(default)]
    pub non_recursive: bool,
    /// Make the missing source folder of a bind, as docker's `-v` does.
    #[serde(default)]
    pub create_source: bool,
    /// Folder inside the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// More options as in fstab (`size=64m`, `mode=1777`, `noexec`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// The kinds of mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume of Holm's.
    Volume,
    /// Memory.
    Tmpfs,
}

/// Where a namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase", tag = "mode", content = "from")]
pub enum NamespaceMode {
    /// A new one.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of another container.
    Container(ContainerId),
    /// By path (`/proc/N/ns/net`, `/run/netns/x`).
    Path(PathBuf),
}

/// The network of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase", tag = "mode", content = "from")]
pub enum NetworkMode {
    /// A namespace with loopback only.
    #[default]
    None,
    /// The host's.
    Host,
    /// That of another container.
    Container(ContainerId),
    /// A namespace by path.
    Path(PathBuf),
    /// A namespace of its own, joined to these networks of Holm's; the first one is the way out.
    Networks(Vec<AttachmentSpec>),
    /// A namespace of its own, set up by CNI plugins.
    Cni(CniSpec),
}

impl NetworkMode {
    /// Whether the container has a network namespace that is made for it.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::None | Self::Networks(_) | Self::Cni(_))
    }
}

/// User namespace of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase", tag = "mode", content = "from")]
pub enum UserNamespaceMode {
    /// The host's: ids inside are ids outside.
    #[default]
    Host,
    /// A new one with this many ids from this host id on (`--userns auto` picks them from /etc/subuid).
    Mapped {
        /// First host id.
        host_id: u32,
        /// Number of ids.
        size: u32,
    },
    /// That of another container.
    Container(ContainerId),
}

/// What stands between a container and the host's kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase", tag = "kind", content = "machine")]
pub enum Isolation {
    /// Namespaces and control groups: the kernel is the host's.
    #[default]
    Container,
    /// A virtual machine: the kernel is its own.
    Vm(MachineSpec),
}

impl Isolation {
    /// The machine, where there is one.
    pub fn machine(&self) -> Option<&MachineSpec> {
        match self {
            Self::Container => None,
            Self::Vm(machine) => Some(machine),
        }
    }

    /// The word for it on the command line.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Vm(_) => "vm",
        }
    }
}

/// What is asked of a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// A kernel's file, or the folder of an unpacked kernel package; the machine's own or newest one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// Who runs its instructions.
    #[serde(default)]
    pub accelerator: AcceleratorChoice,
    /// Its kind.
    #[serde(default)]
    pub profile: MachineProfile,
    /// Start it from a template of a booted machine where there can be one.
    pub template: bool,
}

/// Who runs a virtual machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum AcceleratorChoice {
    /// KVM where it works, else emulation.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Emulation. It is no boundary for security.
    Tcg,
}

/// Kinds of virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum MachineProfile {
    /// The smallest that has all that is asked for.
    #[default]
    Auto,
    /// Few devices, quick to boot; nothing can be plugged in later.
    Microvm,
    /// A PC with PCI Express.
    Q35,
}

/// What the containers of one pod share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SandboxSpec {
    /// What stands between it and the host's kernel.
    #[serde(default)]
    pub isolation: Isolation,
    /// Host name; the short id where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// NIS domain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Network.
    #[serde(default)]
    pub network: NetworkMode,
    /// Ports of the host that lead to its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishSpec>,
    /// Ports that it exposes beside those of its image, as `80/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    /// Publish every port that it or its image exposes, each to a free one.
    #[serde(default)]
    pub publish_all: bool,
    /// PID namespace.
    #[serde(default)]
    pub pid: NamespaceMode,
    /// IPC namespace.
    #[serde(default)]
    pub ipc: NamespaceMode,
    /// UTS namespace.
    #[serde(default)]
    pub uts: NamespaceMode,
    /// Cgroup namespace.
    #[serde(default)]
    pub cgroupns: NamespaceMode,
    /// User namespace.
    #[serde(default)]
    pub userns: UserNamespaceMode,
    /// A time namespace of its own.
    #[serde(default)]
    pub time: bool,
    /// Bytes of /dev/shm; 64 MiB where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size_bytes: Option<u64>,
    /// Sysctls by dotted name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// `name:address` lines for /etc/hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Name servers, instead of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Search domains, instead of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Resolver options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_options: Vec<String>,
    /// Control group under which the container's is made; Holm's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
}

/// A profile that is default, off, or in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase", tag = "choice", content = "value")]
pub enum Profile {
    /// Holm's default.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A file (seccomp) or a loaded profile's name (AppArmor).
    Named(String),
}

/// What a container may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SecuritySpec {
    /// All capabilities, all devices, no filters.
    #[serde(default)]
    pub privileged: bool,
    /// Capabilities over the default ones, with or without `CAP_`; `ALL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Capabilities less than the default ones; `ALL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// System call filter.
    #[serde(default)]
    pub seccomp: Profile,
    /// AppArmor profile.
    #[serde(default)]
    pub apparmor: Profile,
    /// SELinux label parts (`type:…`, `level:…`, `disable`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selinux: Vec<String>,
    /// Forbid gaining privileges by exec; the default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_new_privileges: Option<bool>,
    /// Paths that stay as they are though the default masks them; `ALL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmask: Vec<String>,
    /// Paths that are masked too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<String>,
    /// Mount the root file system read-only.
    #[serde(default)]
    pub read_only_rootfs: bool,
}

/// How much a container may use. Absent means no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Limits {
    /// Billionths of a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Relative CPU weight, 2 to 262144.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota_us: Option<i64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period_us: Option<u64>,
    /// CPUs, as `0-3,7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, bytes; -1 is unlimited swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap_bytes: Option<i64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation_bytes: Option<u64>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u64>,
    /// Pause instead of killing (v1).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_kill_disable: bool,
    /// -1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Most tasks; -1 is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// Relative block weight, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u16>,
    /// Weight by device path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blkio_weight_device: Vec<(String, u64)>,
    /// Bytes read a second by device path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_read_bps: Vec<(String, u64)>,
    /// Bytes written a second by device path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_write_bps: Vec<(String, u64)>,
    /// Reads a second by device path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_read_iops: Vec<(String, u64)>,
    /// Writes a second by device path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_write_iops: Vec<(String, u64)>,
    /// Huge pages: size (`2MB`) and bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hugetlb: Vec<(String, u64)>,
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Path on the host, a device or a folder of devices.
    pub host_path: String,
    /// Path inside.
    pub container_path: String,
    /// Any of `rwm`.
    pub permissions: String,
}

/// What to do when a container ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Start it again, also after a stop and a reboot.
    Always,
    /// Start it again if it failed.
    OnFailure {
        /// Most times; 0 is no limit.
        maximum_retry_count: u32,
    },
    /// Start it again unless the user stopped it.
    UnlessStopped,
}

/// Where the output of a container goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// How it is kept.
    pub driver: LogDriver,
    /// Bytes after which the file is rotated; 0 is never.
    pub max_size_bytes: u64,
    /// Number of files kept, the present one included.
    pub max_files: u32,
}

impl Default for LogSpec {
    fn default() -> Self {
        Self { driver: LogDriver::JsonFile, max_size_bytes: 0, max_files: 1 }
    }
}

/// The forms of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// One JSON object a line, as docker's `json-file`.
    JsonFile,
    /// Not kept.
    None,
}
