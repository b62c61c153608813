//! What the engine is asked and what it gives back: plain values.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use holm_spec::Name;
use holm_spec::container::{ContainerSpec, Limits, RestartPolicy};
use holm_spec::oci::image::RunConfig;
use holm_spec::oci::runtime::ConsoleSize;
use holm_spec::state::ContainerState;
use serde::{Deserialize, Serialize};

use crate::Connection;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Data root, absolute (`/var/lib/holm`).
    pub data: PathBuf,
    /// Run root, absolute (`/run/holm`).
    pub run: PathBuf,
    /// Control group under which all containers' are made, relative to the hierarchies (`holm`).
    pub cgroup_parent: String,
    /// Who makes control groups.
    pub cgroup_driver: holm_container::cgroup::Driver,
    /// Where CNI configurations and plugins are.
    pub cni: holm_network::cni::Folders,
}

/// What the engine needs of an image. The caller holds the image store's pin from before it resolved the image until
/// `create` has returned.
#[derive(Clone, Debug, Default)]
pub struct ImageRoot {
    /// How to run it.
    pub config: RunConfig,
    /// Unpacked layers, lowest first, absolute.
    pub layers: Vec<PathBuf>,
}

/// A container: what was asked, and what became of it.
#[derive(Clone, Debug)]
pub struct Container {
    /// What was asked, as recorded: volumes named, image volumes added.
    pub spec: ContainerSpec,
    /// What became of it.
    pub state: ContainerState,
    /// The `config` part of its image, as of creation.
    pub image_config: RunConfig,
    /// Layers of its image, lowest first.
    pub layers: Vec<PathBuf>,
    /// Its folder: `upper` and the log are in it.
    pub folder: PathBuf,
    /// Its log file; there is none before the first output.
    pub log_path: PathBuf,
}

/// Which streams a start attaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartIo {
    /// Attach output (and input where the spec is interactive): [`Started::stream`] is there. It is attached before the
    /// program runs, so nothing is missed.
    pub attach: bool,
    /// First size of the terminal.
    pub size: Option<ConsoleSize>,
}

/// A started container.
#[derive(Debug)]
pub struct Started {
    /// PID of its init on the host.
    pub pid: i32,
    /// What was asked for and this machine cannot do, for its administrator.
    pub warnings: Vec<String>,
    /// Connection to its supervisor, on which `Wait` has been asked already: the next [`holm_spec::protocol::Reply::Exited`] is the end of the
    /// container (after its removal with `--rm`). Resize and kill go over it too.
    pub control: Connection,
    /// See [`Attached::stream`].
    pub stream: Option<OwnedFd>,
}

/// An attached container.
#[derive(Debug)]
pub struct Attached {
    /// As [`Started::control`].
    pub control: Connection,
    /// A stream socket. Without a terminal the supervisor sends [`holm_spec::protocol::Frame`]s (1 output, 2 error output)
    /// and reads plain input bytes; with one, raw bytes both ways. `shutdown(Write)` closes the container's input. Its
    /// end of file means that the container has ended and all output was sent.
    pub stream: OwnedFd,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// The three standard descriptors of an exec without a terminal.
#[derive(Debug)]
pub struct StdioFds {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// One more process to run.
#[derive(Debug, Default)]
pub struct Exec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `KEY=value`, over the container's.
    pub env: Vec<String>,
    /// Working folder; the container's where absent.
    pub cwd: Option<String>,
    /// `user[:group]`; the container's where absent.
    pub user: Option<String>,
    /// Give it a terminal of this size.
    pub tty: Option<ConsoleSize>,
    /// All capabilities, no filters.
    pub privileged: bool,
    /// Do not wait for its end.
    pub detach: bool,
    /// Its descriptors; `/dev/null` where absent. Not used with a terminal.
    pub stdio: Option<StdioFds>,
}

/// A running exec.
#[derive(Debug)]
pub struct ExecStarted {
    /// Its number, for resize and kill.
    pub exec: u32,
    /// Its PID on the host.
    pub pid: i32,
    /// [`holm_spec::protocol::Reply::Exited`] comes here unless detached.
    pub control: Connection,
    /// Master side of its terminal.
    pub console: Option<OwnedFd>,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// It does not run (true at once for a container that never ran).
    NotRunning,
    /// Its next end.
    NextExit,
    /// Its removal.
    Removed,
}

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

/// What to change on a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// The limits that are present replace the old ones.
    pub limits: Limits,
    /// New restart policy.
    pub restart: Option<RestartPolicy>,
}

/// Which log lines.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Go on until the container ends.
    pub follow: bool,
    /// Not before, nanoseconds since the Unix epoch.
    pub since_ns: Option<u64>,
    /// Not after, nanoseconds since the Unix epoch.
    pub until_ns: Option<u64>,
    /// Only this many last lines.
    pub tail: Option<u64>,
    /// Output.
    pub stdout: bool,
    /// Error output.
    pub stderr: bool,
}

/// One piece of log: a line, or part of one where it does not end in a line feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The text, line feed included. Bytes that are no UTF-8 were replaced.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub time: String,
}

/// One change of a container's files against its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Absolute path inside.
    pub path: PathBuf,
}

/// The kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// `C`
    Modified,
    /// `A`
    Added,
    /// `D`
    Deleted,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// `container`, `image`, `volume`, `network`.
    pub kind: String,
    /// `create`, `start`, `die`, …
    pub action: String,
    /// Container id, image reference, volume name.
    pub id: String,
    /// More (`name`, `image`, `exitCode`, `signal`, labels).
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// Which events.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventQuery {
    /// Not before, nanoseconds since the Unix epoch; past events are given only where this or `until_ns` is there.
    pub since_ns: Option<u64>,
    /// End after this time, nanoseconds since the Unix epoch.
    pub until_ns: Option<u64>,
    /// Go on for ever (or to `until_ns`).
    pub follow: bool,
}

/// A process table: titles and rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row a process.
    pub rows: Vec<Vec<String>>,
}

/// What `cp` needs to know of a path inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// Last component.
    pub name: std::ffi::OsString,
    /// Bytes.
    pub size: u64,
    /// Type and permission bits (`st_mode`).
    pub mode: u32,
    /// Where a symbolic link points.
    pub link_target: Option<PathBuf>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name.
    pub name: Name,
    /// Nanoseconds since the Unix epoch.
    pub created_at_ns: u64,
    /// Made for one container without a name of the user's.
    #[serde(default)]
    pub anonymous: bool,
    /// Labels. Data only.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `type`, `device` and `o`, for one that is not a folder of Holm's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Where its files are on the host.
    #[serde(skip)]
    pub mountpoint: PathBuf,
}

/// What a prune removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Ids or names.
    pub removed: Vec<String>,
    /// Bytes.
    pub reclaimed_bytes: u64,
}
