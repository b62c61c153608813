//! The errors of networks. Every message says what failed and on what; hints are separate.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use holm_spec::network::Protocol;
use holm_sys::netlink::Refusal;
use ipnet::IpNet;

/// Why something about networks could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No network has that name or identifier.
    #[error("cannot find network `{0}`")]
    NoSuchNetwork(String),
    /// The name is taken.
    #[error("cannot make network `{0}`: there is one of that name")]
    NameTaken(String),
    /// Running containers are on the network.
    #[error("cannot remove network `{network}`: {count} container(s) are on it, `{user}` among them")]
    InUse {
        /// The network.
        network: String,
        /// How many.
        count: usize,
        /// Name of one.
        user: String,
    },
    /// A container that does not run is to be on the network when it starts.
    #[error("cannot remove network `{network}`: container `{user}` joins it when it starts")]
    Referred {
        /// The network.
        network: String,
        /// Name of one.
        user: String,
    },
    /// What was asked contradicts itself or cannot be done here.
    #[error("cannot use {what}: {why}")]
    Invalid {
        /// The setting and its value.
        what: String,
        /// The reason.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A subnet is used already.
    #[error("cannot use subnet `{subnet}`: it overlaps `{other}` of {owner}")]
    Overlap {
        /// What was asked.
        subnet: IpNet,
        /// What is there.
        other: IpNet,
        /// A network or a link of the host.
        owner: String,
    },
    /// No address is free.
    #[error("cannot give an address on network `{network}`: all {count} of `{range}` are taken")]
    Exhausted {
        /// The network.
        network: String,
        /// Where addresses are given out from.
        range: IpNet,
        /// How many there are for containers.
        count: u128,
    },
    /// Somebody has the address.
    #[error("cannot give the address {address} on network `{network}`: container `{owner}` has it")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// The network.
        network: String,
        /// Short id of who has it.
        owner: String,
    },
    /// Somebody has the port.
    #[error("cannot publish port {port}/{protocol} on {address}: {owner} has it")]
    PortTaken {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// Where.
        address: IpAddr,
        /// A container, a program, or nobody that is known.
        owner: String,
    },
    /// A CNI plugin failed.
    #[error("cannot {verb} by CNI plugin `{plugin}` of network `{network}`: {why}")]
    Plugin {
        /// The verb that it was asked.
        verb: &'static str,
        /// Its file.
        plugin: String,
        /// The configuration.
        network: String,
        /// Its own words and code, or what it did instead of saying any.
        why: String,
    },
    /// The kernel refused a change.
    #[error("cannot {verb} `{object}`")]
    Kernel {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
        /// The kernel's words.
        #[source]
        source: Refusal,
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
    /// A record on disk is not readable.
    #[error("cannot read record `{path}`")]
    Record {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchNetwork(_) => Some("`holm network ls` lists what is there".to_owned()),
            Self::InUse { network, user, .. } => {
                Some(format!("holm stop {user}, or holm network disconnect {network} {user}"))
            }
            Self::Referred { network, user } => Some(format!(
                "holm rm {user}, holm network disconnect {network} {user}, or holm network rm -f {network}"
            )),
            Self::Invalid { hint, .. } => hint.clone(),
            Self::Overlap { .. } => Some("choose another --subnet, or none and let Holm choose".to_owned()),
            Self::Exhausted { .. } => Some("make a network with a larger --subnet".to_owned()),
            Self::PortTaken { port, .. } => {
                Some(format!("publish another port, or find its owner: ss -lnp 'sport = :{port}'"))
            }
            _ => None,
        }
    }

    pub(crate) fn io(verb: &'static str, object: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { verb, object: object.into(), source: source.into() }
    }

    pub(crate) fn kernel(verb: &'static str, object: impl Into<String>, source: Refusal) -> Self {
        Self::Kernel { verb, object: object.into(), source }
    }

    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into(), hint: None }
    }

    pub(crate) fn invalid_hint(what: impl Into<String>, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into(), hint: Some(hint.into()) }
    }
}
