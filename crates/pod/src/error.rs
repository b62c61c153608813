//! The engine's errors. Every message says what failed and on what; hints and exit codes are separate.

use std::io;
use std::path::PathBuf;

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No container has that name or identifier.
    #[error("cannot find container `{0}`")]
    NoSuchContainer(String),
    /// A prefix fits several containers.
    #[error("cannot choose a container by `{prefix}`: it fits {count} of them")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// How many it fits.
        count: usize,
    },
    /// The name is taken.
    #[error("cannot use the name `{name}`: container `{owner}` has it")]
    NameTaken {
        /// The name.
        name: String,
        /// Short id of the owner.
        owner: String,
    },
    /// The container is in the wrong state for it.
    #[error("cannot {verb} container `{name}`: it is {status}")]
    WrongState {
        /// What was asked.
        verb: &'static str,
        /// The container.
        name: String,
        /// Its state, in docker's word.
        status: &'static str,
    },
    /// The program could not be started; [`Error::exit_code`] tells 125, 126 and 127 apart.
    #[error("cannot start container `{name}`: {message}")]
    Start {
        /// The container.
        name: String,
        /// What the runtime says.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// 125, 126 or 127.
        code: i32,
    },
    /// There can be no virtual machine for it.
    #[error("cannot make a virtual machine: {message}")]
    Machine {
        /// What is missing or failed.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Its virtual machine runs, and nothing can be plugged into it or taken out.
    #[error("cannot change the networks of container `{0}`: the links of a running virtual machine stay as they are")]
    MachineRuns(String),
    /// No whole machine has that name.
    #[error("cannot find machine `{0}`")]
    NoSuchVm(String),
    /// Something about a whole machine did not work.
    #[error("cannot {verb} machine `{name}`: {message}")]
    Vm {
        /// What was asked.
        verb: &'static str,
        /// The machine.
        name: String,
        /// What stands against it.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The supervisor refused a request.
    #[error("cannot {verb} {} container `{name}`: {message}", preposition(verb))]
    Refused {
        /// What was asked.
        verb: &'static str,
        /// The container.
        name: String,
        /// What the supervisor says.
        message: String,
        /// 125, 126 or 127.
        code: i32,
    },
    /// What was asked contradicts itself or cannot be done here.
    #[error("cannot use {what}: {why}")]
    Invalid {
        /// The setting and its value.
        what: String,
        /// The reason.
        why: String,
    },
    /// No volume has that name.
    #[error("cannot find volume `{0}`")]
    NoSuchVolume(String),
    /// No network has that name, which a container is to join.
    #[error("cannot find network `{0}`")]
    NoSuchNetwork(String),
    /// Containers use the volume.
    #[error("cannot remove volume `{name}`: container `{user}` uses it")]
    VolumeInUse {
        /// The volume.
        name: String,
        /// Short id of a user.
        user: String,
    },
    /// A path inside a container is missing or of the wrong kind.
    #[error("cannot {verb} `{path}` in container `{name}`: {why}")]
    Path {
        /// What was asked.
        verb: &'static str,
        /// The path, escaped.
        path: String,
        /// The container.
        name: String,
        /// The reason.
        why: String,
    },
    /// A network could not be used.
    #[error(transparent)]
    Network(#[from] holm_network::Error),
    /// A record on disk is not readable.
    #[error("cannot read record `{path}`")]
    Record {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A system call failed.
    #[error("cannot {verb} `{object}`")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The exit code that a command should end with: 126 not executable, 127 not found, 125 where Holm itself failed to
    /// start or run something, else 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Start { code, .. } | Self::Refused { code, .. } => *code,
            _ => 1,
        }
    }

    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start { hint, .. } | Self::Machine { hint, .. } | Self::Vm { hint, .. } => hint.clone(),
            Self::Network(error) => error.hint(),
            Self::NoSuchNetwork(name) => Some(format!("holm network create {name}")),
            Self::MachineRuns(name) => Some(format!("holm stop {name}, change them, then holm start {name}")),
            Self::NoSuchVm(_) => Some("`holm vm ls` lists what is there".to_owned()),
            Self::NameTaken { name, .. } => Some(format!("holm rm {name}, or choose another --name")),
            Self::WrongState { verb: "remove", name, .. } => Some(format!("holm rm -f {name}")),
            _ => None,
        }
    }

    /// Wraps a failed system call.
    pub(crate) fn io(verb: &'static str, object: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { verb, object: object.into(), source: source.into() }
    }

    /// An unusable setting.
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }
}

/// What stands between a verb and its container.
fn preposition(verb: &str) -> &'static str {
    if verb.ends_with("networks") { "of" } else { "in" }
}

/// An error and its causes in one line, for records and packets.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
