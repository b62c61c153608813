//! What can go wrong with control groups.

use std::io;
use std::path::PathBuf;

/// A failed control group operation.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The path of a group is not acceptable.
    #[error("cannot use `{path}` as a control group path: {reason}")]
    Path {
        /// As given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No hierarchy was found.
    #[error("cannot find control groups under `{}`", root.display())]
    Discover {
        /// Where they were looked for.
        root: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A group could not be made.
    #[error("cannot create control group `{}`", path.display())]
    Create {
        /// Its folder.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A group of this name exists and has processes.
    #[error("cannot create control group `{}`: it exists and has processes", path.display())]
    Exists {
        /// Its folder.
        path: PathBuf,
    },
    /// A setting was refused.
    #[error("cannot set {what} to `{value}` in `{}`{}", path.display(), hint_text(hint))]
    Write {
        /// What the setting is, in the user's words.
        what: &'static str,
        /// The value.
        value: String,
        /// The file.
        path: PathBuf,
        /// What the kernel's answer means here, or nothing.
        hint: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file of a group could not be opened.
    #[error("cannot open control group file `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file of a group could not be read.
    #[error("cannot read control group file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A limit was asked for whose controller is not there.
    #[error("cannot limit {what}: the kernel offers no `{controller}` controller in `{}`", place.display())]
    NoController {
        /// What was to be limited.
        what: &'static str,
        /// The controller.
        controller: &'static str,
        /// Where it was looked for.
        place: PathBuf,
    },
    /// A controller cannot be enabled for child groups.
    #[error("cannot enable controller `{controller}` in `{}`{}", path.display(), hint_text(hint))]
    Enable {
        /// The controller.
        controller: &'static str,
        /// The `cgroup.subtree_control` file.
        path: PathBuf,
        /// What the kernel's answer means here, or nothing.
        hint: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A value makes no sense.
    #[error("cannot set {what}: {reason}")]
    Value {
        /// Which setting.
        what: &'static str,
        /// What is wrong, with both values where two are compared.
        reason: String,
    },
    /// The device program could not be loaded or attached.
    #[error("cannot {verb} the device rules of control group `{}`", path.display())]
    Device {
        /// What was tried.
        verb: &'static str,
        /// The group.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A process could not be moved in.
    #[error("cannot move process {pid} into control group `{}`", path.display())]
    Join {
        /// The process; 0 is the caller.
        pid: i32,
        /// The group's file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A process could not be signalled.
    #[error("cannot kill process {pid} of control group `{path}`")]
    Kill {
        /// The process.
        pid: i32,
        /// The group.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Something did not happen in time.
    #[error("cannot {verb} control group `{path}`: not done after {waited_ms} ms, {left} processes left")]
    Timeout {
        /// What was waited for.
        verb: &'static str,
        /// The group.
        path: String,
        /// How long.
        waited_ms: u64,
        /// Processes in the group at the end.
        left: usize,
    },
    /// The group could not be removed.
    #[error("cannot remove control group `{}`", path.display())]
    Remove {
        /// Its folder.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// systemd refused or could not be reached.
    #[error("cannot {verb} systemd unit `{unit}`")]
    Systemd {
        /// What was tried.
        verb: &'static str,
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn hint_text(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}
