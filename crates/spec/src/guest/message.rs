//! Messages: what is asked of the agent, and what it tells.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::network::MacAddress;
use crate::oci::runtime::{Capabilities, ConsoleSize, Process, Resources, Spec};

/// Hardware address with which the `n`-th network device comes into the machine.
pub fn placeholder_mac(n: u8) -> MacAddress {
    MacAddress([0x02, 0, 0, 0, 0x68, n])
}

/// From the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum ToGuest {
    /// Make the machine this container's. Answered with [`ToHost::Done`].
    Setup {
        /// Number of the request.
        id: u32,
        /// What it gets.
        setup: Box<Setup>,
    },
    /// Run the container's first process. Answered with [`ToHost::Started`], later [`ToHost::Exited`].
    Run {
        /// Number of the request.
        id: u32,
        /// What to run.
        run: Box<Run>,
    },
    /// Run one more process in the container. Answered as [`ToGuest::Run`] is.
    Exec {
        /// Number of the request.
        id: u32,
        /// What to run.
        exec: Box<Exec>,
    },
    /// Send a signal to a process. Answered with [`ToHost::Done`].
    Signal {
        /// Number of the request.
        id: u32,
        /// The process.
        process: u32,
        /// Signal number, 1 to 64.
        signal: i32,
    },
    /// Change the size of a process's terminal. Answered with [`ToHost::Done`].
    Resize {
        /// Number of the request.
        id: u32,
        /// The process.
        process: u32,
        /// The new size.
        size: ConsoleSize,
    },
    /// Change the limits of the container. Answered with [`ToHost::Done`].
    Update {
        /// Number of the request.
        id: u32,
        /// What changes.
        resources: Box<Resources>,
    },
    /// Say what the container uses. Answered with [`ToHost::Stats`].
    Stats {
        /// Number of the request.
        id: u32,
    },
    /// List the container's processes. Answered with [`ToHost::Processes`].
    Processes {
        /// Number of the request.
        id: u32,
    },
    /// Write the file or folder at a path of the container as a tar to a stream, which then ends. Answered with
    /// [`ToHost::Done`] when the tar has ended, or [`ToHost::Failed`].
    TarOut {
        /// Number of the request.
        id: u32,
        /// The stream, of the host's choice: one of a process number that no process has.
        stream: u32,
        /// Absolute path; each link in it is taken inside the container. `/path/.` gives a folder's content alone.
        path: PathBuf,
        /// Follow a link at the end of the path.
        follow: bool,
        /// Leave out what is mounted below.
        one_mount: bool,
    },
    /// Unpack the tar that comes on a stream into a folder of the container. Answered with [`ToHost::Done`].
    TarIn {
        /// Number of the request.
        id: u32,
        /// The stream.
        stream: u32,
        /// Absolute path of an existing folder.
        path: PathBuf,
        /// Owners as in the tar; root where false.
        keep_owner: bool,
    },
    /// Write the overlay's own folder of changes, whiteouts as overlayfs has them, as a tar to a stream.
    TarChanges {
        /// Number of the request.
        id: u32,
        /// The stream.
        stream: u32,
    },
    /// What a path of the container is, links at its end not followed. Answered with [`ToHost::Stat`].
    Stat {
        /// Number of the request.
        id: u32,
        /// Absolute path.
        path: PathBuf,
    },
    /// Say that you are alive. Answered with [`ToHost::Done`] at once, whatever else is being done.
    Ping {
        /// Number of the request.
        id: u32,
    },
    /// List the sockets that take connections or datagrams of everybody. Answered with [`ToHost::Sockets`].
    Sockets {
        /// Number of the request.
        id: u32,
    },
    /// Send one packet of a kind and say what came of it. Answered with [`ToHost::Probed`].
    Probe {
        /// Number of the request.
        id: u32,
        /// What to send.
        probe: Probe,
    },
    /// Write out what is in memory, take the file systems down and switch the machine off. The channel ends.
    PowerOff {
        /// Number of the request.
        id: u32,
    },
}

impl ToGuest {
    /// Number of the request.
    pub fn id(&self) -> u32 {
        match self {
            Self::Setup { id, .. }
            | Self::Run { id, .. }
            | Self::Exec { id, .. }
            | Self::Signal { id, .. }
            | Self::Resize { id, .. }
            | Self::Update { id, .. }
            | Self::Stats { id }
            | Self::Processes { id }
            | Self::TarOut { id, .. }
            | Self::TarIn { id, .. }
            | Self::TarChanges { id, .. }
            | Self::Stat { id, .. }
            | Self::Ping { id }
            | Self::Sockets { id }
            | Self::Probe { id, .. }
            | Self::PowerOff { id } => *id,
        }
    }
}

/// What makes the machine one container's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The host's clock, nanoseconds since the Unix epoch.
    pub clock_ns: u64,
    /// Fresh random bytes of the host's for the guest's pool, as hexadecimal digits: at least 32 bytes.
    pub entropy: String,
    /// Name of the machine.
    pub host_name: String,
    /// Its links, in the order of its network devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The read-only image of the container's root.
    pub root: Disk,
    /// Where changes are kept; in memory where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Disk>,
    /// Folders of the host, which the run's mounts use by the path they are given here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Mounted>,
}

/// A block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Serial that the device says it has (`/sys/block/*/serial`).
    pub serial: String,
    /// File system: `erofs` or `ext4`.
    pub file_system: String,
}

/// A network device of the guest. The n-th link is the device that the machine was given with [`placeholder_mac`] of n: a
/// machine that is restored keeps the address it was saved with, so the real one is set by the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Name it gets (`eth0`).
    pub name: String,
    /// Hardware address it gets.
    pub mac: MacAddress,
    /// Maximum transmission unit, bytes; the device's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Routes, in the order in which they are added.
    pub routes: Vec<Route>,
}

/// A route over a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// The next hop; straight over the link where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<std::net::IpAddr>,
}

/// A virtiofs file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// Its tag.
    pub tag: String,
    /// Where the agent mounts it, below `/run/holm/shares`.
    pub at: PathBuf,
    /// Read-only.
    pub read_only: bool,
}

/// The container's first process and all that surrounds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The OCI document. Its user is `identity`'s; it asks for no network namespace, since the machine's is the container's.
    pub spec: Box<Spec>,
    /// Who runs it.
    pub identity: Identity,
    /// Files that Holm provides over the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OwnFile>,
    /// Reap as PID 1 and run the program as a child.
    pub init: bool,
    /// The input is open; otherwise it is empty.
    pub stdin: bool,
    /// The system call filter: docker's default, none, or an OCI profile of the user's.
    pub seccomp: crate::container::Profile,
    /// The text of a profile that `seccomp` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_text: Option<String>,
}

/// One more process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// Its number, above [`super::FIRST_PROCESS`] and not in use.
    pub process: u32,
    /// What to run; its user is `identity`'s where that is given.
    pub spec: Box<Process>,
    /// Who runs it; who runs the container where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// No system call filter.
    pub unfiltered: bool,
    /// The input is open; otherwise it is empty.
    pub stdin: bool,
}

/// A user as asked; names are found in the container's own files, by the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// `user[:group]` by name or number; root where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// More groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Capabilities if the user is not root; the document's are root's.
    pub unprivileged: Capabilities,
    /// `HOME` was asked for and stays.
    pub keep_home: bool,
}

/// A file that Holm provides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFile {
    /// `hosts`, `hostname` or `resolv.conf`; mounted over that file in `/etc`, or made there where the image has none.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// From the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "tell")]
pub enum ToHost {
    /// The agent is there.
    Hello {
        /// [`super::VERSION`].
        version: u32,
        /// Release of the guest's kernel.
        kernel: String,
        /// Nanoseconds since the kernel's start.
        uptime_ns: u64,
    },
    /// It is done.
    Done {
        /// Number of the request.
        id: u32,
        /// What was asked for and could not be had, without being in the way.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// A process runs.
    Started {
        /// Number of the request.
        id: u32,
        /// PID in the guest.
        pid: i32,
    },
    /// It was not done.
    Failed {
        /// Number of the request.
        id: u32,
        /// What failed, on what.
        message: String,
        /// Docker's exit code: 125, 126 or 127.
        code: i32,
    },
    /// A process has ended and its output has been sent.
    Exited {
        /// The process.
        process: u32,
        /// Exit code as docker gives it.
        code: i32,
        /// The kernel killed something in the container for memory.
        oom: bool,
    },
    /// The kernel killed something in the container for memory, and the container goes on.
    OutOfMemory,
    /// What the container uses.
    Stats {
        /// Number of the request.
        id: u32,
        /// The figures.
        stats: Stats,
    },
    /// The container's processes.
    Processes {
        /// Number of the request.
        id: u32,
        /// Each.
        rows: Vec<ProcessRow>,
    },
    /// Who listens in the machine.
    Sockets {
        /// Number of the request.
        id: u32,
        /// TCP sockets that listen and UDP sockets without a peer, as `/proc/net` of the guest has them; at most
        /// [`super::MAX_SOCKETS`].
        sockets: Vec<Listening>,
    },
    /// What came of a probe.
    Probed {
        /// Number of the request.
        id: u32,
        /// The outcome.
        outcome: Probed,
    },
    /// What a path is.
    Stat {
        /// Number of the request.
        id: u32,
        /// Bytes.
        size: u64,
        /// Type and permissions as `stat` has them.
        mode: u32,
        /// Target of a link.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link_target: Option<PathBuf>,
    },
}

/// A socket that takes connections or datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// It is TCP's; UDP's otherwise.
    pub tcp: bool,
    /// Its own end.
    pub at: std::net::SocketAddr,
}

/// A packet that is sent to see what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Its kind.
    pub kind: ProbeKind,
    /// Where to.
    pub to: std::net::IpAddr,
    /// Its source port, or the identifier of an echo request: what the host knows it by on its way.
    pub number: u16,
    /// How long to wait for what comes of it, milliseconds.
    pub timeout_ms: u64,
}

/// Kind of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// A connection to this port is made and closed.
    Tcp(u16),
    /// A datagram to this port: a question for the root's name servers to port 53, an empty one to others.
    Udp(u16),
    /// An echo request.
    Echo,
}

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probed {
    /// A connection or an answer, after so many nanoseconds.
    Answered(u64),
    /// Nothing within so many nanoseconds.
    Silence(u64),
    /// The kernel's error number: its own, or what an ICMP message or a reset told it.
    Refused(i32),
}

/// What a container uses, as its machine's kernel counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// CPU time of the container, nanoseconds.
    pub cpu_ns: u64,
    /// Memory of the container without what can be dropped, bytes.
    pub memory_bytes: u64,
    /// Its limit, or the machine's memory.
    pub memory_limit_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written to disks.
    pub written_bytes: u64,
    /// Bytes received and sent, by link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(String, u64, u64)>,
}

/// A process, as `/proc` of the guest has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// PID in the guest.
    pub pid: i32,
    /// Content of `/proc/PID/stat`.
    pub stat: String,
    /// Owner.
    pub uid: u32,
    /// Arguments, joined by blanks; empty for one that has none.
    pub command: String,
}
