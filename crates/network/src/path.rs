//! "Why can't A reach B?": the way of a packet, hop by hop, each of them tested.
//!
//! ```text
//! name ─▶ sender ─▶ link ─▶ host ─▶ firewall ─▶ translation ─▶ target ─▶ socket ─▶ answer
//!  │        │         │       │         │             │            │         └ listens there?
//!  │        │         │       │         │             │            └ runs? its own pair of links
//!  │        │         │       │         │             └ published port, masquerade
//!  │        │         │       │         └ a probe is sent and watched rule by rule, in every program's tables
//!  │        │         │       └ forwards? its route
//!  │        │         └ the host's end, its bridge, the sender filter
//!  │        └ links, addresses and the route in its own namespace
//!  └ asked as the sender asks
//! ```
//! Facts are gathered first and are plain data; each hop's `judge` is a pure function of them. Printing is the caller's.
//! Nothing is changed but the table of the watch, which is the process's own. *Privilege*: root. *Order*: one thread.

mod answer;
mod firewall;
mod link;
mod listen;
mod lookup;
mod machine;
mod namespace;
mod probe;
mod report;
mod route;
mod target;
mod trace;
mod walk;

use std::net::IpAddr;
use std::time::Duration;

use holm_spec::ContainerId;

use crate::{Error, Networks};

pub use machine::{Machines, Unasked};
pub use probe::Kind;
pub use report::{Hop, Mark, Place, Report};

/// A container, as far as a way is concerned.
#[derive(Clone, Debug)]
pub struct Member {
    /// Whose places on networks it has: its own, or those of the container whose namespace it shares.
    pub owner: ContainerId,
    /// Its name.
    pub name: String,
    /// Its process on the host, while it runs.
    pub pid: Option<i32>,
    /// It is a virtual machine: what is inside is taken from its records and asked of its agent, and `pid` is nobody's in it.
    pub machine: bool,
    /// Whether it runs.
    pub life: Life,
    /// It has the host's network namespace.
    pub on_host: bool,
    /// Networks that it is on, or would be if it ran.
    pub networks: Vec<String>,
}

/// Whether a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It does not run; the word for what it is.
    Stopped(&'static str),
}

/// Where the packet comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A container: its place in [`Question::members`].
    Container(usize),
    /// The host.
    Host,
    /// Beyond one of the host's links; that of its default route where none is named.
    Outside {
        /// The link.
        link: Option<String>,
        /// Who sends; the router there where absent.
        source: Option<IpAddr>,
    },
}

/// Where it is to go.
#[derive(Clone, Debug)]
pub enum Target {
    /// A container: its place in [`Question::members`].
    Container(usize),
    /// The host, as the sender reaches it.
    Host,
    /// An address.
    Address(IpAddr),
    /// A name.
    Name(String),
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The sender.
    pub from: Origin,
    /// The target.
    pub to: Target,
    /// The sender, as typed.
    pub from_text: String,
    /// The target, as typed.
    pub to_text: String,
    /// What kind of packet.
    pub kind: Kind,
    /// Only IPv4 or only IPv6.
    pub v4: Option<bool>,
    /// How long to wait for each answer.
    pub timeout: Duration,
    /// All containers there are.
    pub members: Vec<Member>,
}

impl Question {
    /// Families to try, the first wanted first.
    fn families(&self) -> Vec<bool> {
        self.v4.map_or_else(|| vec![true, false], |v4| vec![v4])
    }

    fn sender(&self) -> Option<&Member> {
        match self.from {
            Origin::Container(at) => self.members.get(at),
            Origin::Host | Origin::Outside { .. } => None,
        }
    }
}

impl Networks {
    /// Walks a packet's way; `machines` asks the agents of virtual machines. *Errors*: what keeps from looking; that a hop is broken is no error but part of the report.
    pub fn path(&self, question: &Question, machines: &dyn Machines) -> Result<Report, Error> {
        let mut report = Report {
            from: question.from_text.clone(),
            to: question.to_text.clone(),
            protocol: question.kind.word(),
            port: question.kind.port(),
            address: None,
            reachable: false,
            traced: false,
            stops_at: None,
            reason: None,
            hint: None,
            hops: Vec::new(),
        };
        walk::walk(self, question, machines, &mut report)?;
        Ok(report.finish())
    }
}

/// An address as it is written before a port.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}
