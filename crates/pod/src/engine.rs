//! The engine: what commands call. One value per command, no threads, a few system calls to open.
//!
//! Owns the calls and their types. The records are in `record`, the process that stays behind is in `supervisor`.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::container::{ContainerSpec, Limits, RestartPolicy};
use holm_spec::oci::image::RunConfig;
use holm_spec::oci::runtime::ConsoleSize;
use holm_spec::protocol::{Reply, Request};
use holm_spec::state::ContainerState;
use holm_spec::{ContainerId, Name};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Data root, absolute (`/var/lib/holm`).
    pub data: PathBuf,
    /// Run root, absolute (`/run/holm`).
    pub run: PathBuf,
    /// Control group under which all containers' are made, relative to the hierarchies (`holm`).
    pub cgroup_parent: String,
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
    /// Connection to its supervisor, on which `Wait` has been asked already: the next [`Reply::Exited`] is the end of the
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
    /// [`Reply::Exited`] comes here unless detached.
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
    pub attributes: std::collections::BTreeMap<String, String>,
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
    pub labels: std::collections::BTreeMap<String, String>,
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

/// A connection to a supervisor. Closing it never ends the container.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// Sends a request without waiting for its reply.
    pub fn send(&self, _request: &Request, _descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        Err(not_yet("send"))
    }

    /// Waits for the next reply; `None` when the supervisor is gone.
    pub fn receive(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>, Error> {
        Err(not_yet("receive"))
    }

    /// Waits for [`Reply::Exited`], passing over other replies; `None` when the supervisor is gone without one.
    pub fn wait_exit(&self) -> Result<Option<i32>, Error> {
        Err(not_yet("wait"))
    }

    /// Changes the size of the terminal of the container, or of an exec. Its reply is passed over by `wait_exit`.
    pub fn resize(&self, exec: Option<u32>, size: ConsoleSize) -> Result<(), Error> {
        self.send(&Request::Resize { exec, size }, &[])
    }

    /// Sends a signal to the container, or to an exec. Its reply is passed over by `wait_exit`.
    pub fn kill(&self, exec: Option<u32>, signal: i32) -> Result<(), Error> {
        self.send(&Request::Kill { exec, signal }, &[])
    }
}

fn not_yet(what: &str) -> Error {
    Error::invalid(what, "not written yet")
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    roots: Roots,
}

#[allow(unused_variables, reason = "signatures first; bodies follow")]
impl Engine {
    /// Opens the roots; they are made when first needed.
    pub fn open(roots: Roots) -> Result<Self, Error> {
        Ok(Self { roots })
    }

    /// Where everything is.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Finishes or undoes what killed commands and supervisors left. Every command calls it first; costs one folder
    /// listing of the run root when there is nothing to do.
    pub fn recover(&self) -> Result<(), Error> {
        Err(not_yet("recover"))
    }

    /// Makes a container: reserves its name, makes its folder and its anonymous volumes. Gives back the spec as recorded.
    pub fn create(&self, spec: ContainerSpec, image: &ImageRoot) -> Result<ContainerSpec, Error> {
        Err(not_yet("create"))
    }

    /// Starts it: returns when its program runs, or why it does not (see [`Error::exit_code`]). With `auto_remove` a
    /// container whose start failed is removed.
    pub fn start(&self, id: &ContainerId, io: StartIo) -> Result<Started, Error> {
        Err(not_yet("start"))
    }

    /// Finds a container by name, id, or unique prefix of its id.
    pub fn find(&self, text: &str) -> Result<ContainerId, Error> {
        Err(not_yet("find"))
    }

    /// Reads one container.
    pub fn get(&self, id: &ContainerId) -> Result<Container, Error> {
        Err(not_yet("get"))
    }

    /// Reads all containers, the newest first.
    pub fn list(&self) -> Result<Vec<Container>, Error> {
        Err(not_yet("list"))
    }

    /// Asks it to stop, then kills it; returns its exit code. Nothing to do where it does not run. Signal and time are
    /// the container's own, then the image's, then SIGTERM and 10 s, where absent.
    pub fn stop(&self, id: &ContainerId, signal: Option<i32>, timeout_s: Option<i64>) -> Result<i32, Error> {
        Err(not_yet("stop"))
    }

    /// Sends a signal to its init.
    pub fn kill(&self, id: &ContainerId, signal: i32) -> Result<(), Error> {
        Err(not_yet("kill"))
    }

    /// Freezes it.
    pub fn pause(&self, id: &ContainerId) -> Result<(), Error> {
        Err(not_yet("pause"))
    }

    /// Thaws it.
    pub fn unpause(&self, id: &ContainerId) -> Result<(), Error> {
        Err(not_yet("unpause"))
    }

    /// Waits; returns the exit code.
    pub fn wait(&self, id: &ContainerId, condition: WaitFor) -> Result<i32, Error> {
        Err(not_yet("wait"))
    }

    /// Stops it if it runs, and starts it.
    pub fn restart(&self, id: &ContainerId, signal: Option<i32>, timeout_s: Option<i64>) -> Result<(), Error> {
        Err(not_yet("restart"))
    }

    /// Removes it.
    pub fn remove(&self, id: &ContainerId, options: RemoveOptions) -> Result<(), Error> {
        Err(not_yet("remove"))
    }

    /// Gives it another name.
    pub fn rename(&self, id: &ContainerId, name: &Name) -> Result<(), Error> {
        Err(not_yet("rename"))
    }

    /// Changes limits and restart policy, at once where it runs.
    pub fn update(&self, id: &ContainerId, update: &Update) -> Result<(), Error> {
        Err(not_yet("update"))
    }

    /// Attaches to a running container.
    pub fn attach(&self, id: &ContainerId, stdin: bool) -> Result<Attached, Error> {
        Err(not_yet("attach"))
    }

    /// Runs one more process in a running container.
    pub fn exec(&self, id: &ContainerId, exec: Exec) -> Result<ExecStarted, Error> {
        Err(not_yet("exec"))
    }

    /// Gives the log piece by piece; `sink` returns false to end it.
    pub fn logs(&self, id: &ContainerId, query: &LogQuery, sink: &mut dyn FnMut(LogLine) -> bool) -> Result<(), Error> {
        Err(not_yet("logs"))
    }

    /// Its processes, read from the host's /proc; nothing of the image is run. `columns` are ps names (`pid`, `args`, …),
    /// docker's default set where empty.
    pub fn top(&self, id: &ContainerId, columns: &[String]) -> Result<Top, Error> {
        Err(not_yet("top"))
    }

    /// What a path inside is; symbolic links at its end are not followed.
    pub fn stat_path(&self, id: &ContainerId, path: &OsStr) -> Result<PathStat, Error> {
        Err(not_yet("stat"))
    }

    /// Writes the file or folder at `path` as a tar, named by its last component (`path/.` gives the content only).
    pub fn copy_from(
        &self,
        id: &ContainerId,
        path: &OsStr,
        follow_link: bool,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        Err(not_yet("copy"))
    }

    /// Unpacks a tar into the existing folder `path`. Owners are kept as in the tar where `keep_owner`, else root.
    pub fn copy_to(&self, id: &ContainerId, path: &OsStr, keep_owner: bool, tar: &mut dyn Read) -> Result<(), Error> {
        Err(not_yet("copy"))
    }

    /// What changed against the image.
    pub fn diff(&self, id: &ContainerId) -> Result<Vec<Change>, Error> {
        Err(not_yet("diff"))
    }

    /// Writes its whole root file system as a tar (volumes left out).
    pub fn export(&self, id: &ContainerId, out: &mut dyn Write) -> Result<(), Error> {
        Err(not_yet("export"))
    }

    /// The folder with what it changed, an overlay upper layer, for `commit`. Pause it first where it runs.
    pub fn upper(&self, id: &ContainerId) -> PathBuf {
        self.roots.data.join("containers").join(id.as_str()).join("upper")
    }

    /// Bytes in its upper layer, and of all its image layers together.
    pub fn disk_usage(&self, id: &ContainerId) -> Result<(u64, u64), Error> {
        Err(not_yet("df"))
    }

    /// Gives events; `sink` returns false to end it.
    pub fn events(&self, query: EventQuery, sink: &mut dyn FnMut(Event) -> bool) -> Result<(), Error> {
        Err(not_yet("events"))
    }

    /// Records an event that the caller caused (image events). A failure is not worth failing the caller.
    pub fn emit(&self, event: &Event) {}

    /// Makes a volume; one of that name that is there already is given back. A random name where absent.
    pub fn volume_create(
        &self,
        name: Option<&Name>,
        labels: std::collections::BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        Err(not_yet("volume"))
    }

    /// All volumes by name.
    pub fn volume_list(&self) -> Result<Vec<Volume>, Error> {
        Err(not_yet("volume"))
    }

    /// One volume.
    pub fn volume_get(&self, name: &str) -> Result<Volume, Error> {
        Err(not_yet("volume"))
    }

    /// Removes a volume that no container uses.
    pub fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        Err(not_yet("volume"))
    }

    /// Removes anonymous volumes that no container uses, or all such volumes.
    pub fn volume_prune(&self, all: bool) -> Result<PruneReport, Error> {
        Err(not_yet("volume"))
    }

    /// Bytes in a volume.
    pub fn volume_usage(&self, name: &str) -> Result<u64, Error> {
        Err(not_yet("volume"))
    }

    /// Removes containers that do not run and fit `keep` not.
    pub fn prune(&self, keep: &dyn Fn(&Container) -> bool) -> Result<PruneReport, Error> {
        Err(not_yet("prune"))
    }
}

/// A fresh random identifier.
pub fn new_id() -> Result<ContainerId, Error> {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::io("read", "random bytes", e))?;
    Ok(ContainerId::from_random(&bytes))
}

/// The path of `path` as text for messages.
#[allow(dead_code, reason = "used once bodies are there")]
fn shown(path: &Path) -> String {
    path.display().to_string()
}
