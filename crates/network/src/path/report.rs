//! What is told of a packet's way: hops in their order, each with a judgement. Plain data; the names of the fields are what
//! scripts read, and stay.

use std::net::IpAddr;

use serde::Serialize;

/// A part of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Finding an address for the name.
    Name,
    /// The sender's own network namespace.
    Sender,
    /// The sender's pair of links and its bridge.
    Link,
    /// The host's routes and forwarding.
    Host,
    /// Rules of any program's firewall.
    Firewall,
    /// Translation of addresses.
    Translation,
    /// The container or host at the other end.
    Target,
    /// Its socket.
    Socket,
    /// What came back.
    Answer,
}

impl Place {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Sender => "sender",
            Self::Link => "link",
            Self::Host => "host",
            Self::Firewall => "firewall",
            Self::Translation => "translation",
            Self::Target => "target",
            Self::Socket => "socket",
            Self::Answer => "answer",
        }
    }
}

/// The judgement of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// The packet passes.
    Ok,
    /// Worth knowing; it does not stop the packet, or that is not known.
    Note,
    /// The packet ends here.
    Stop,
}

/// One hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Which part of the way.
    pub hop: Place,
    /// The judgement.
    pub mark: Mark,
    /// What was looked at.
    pub looked_at: String,
    /// What was found.
    pub found: String,
    /// More of it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// A command to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Hop {
    fn new(hop: Place, mark: Mark, looked_at: impl Into<String>, found: impl Into<String>) -> Self {
        Self { hop, mark, looked_at: looked_at.into(), found: found.into(), details: Vec::new(), hint: None }
    }

    pub(super) fn ok(hop: Place, looked_at: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(hop, Mark::Ok, looked_at, found)
    }

    pub(super) fn note(hop: Place, looked_at: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(hop, Mark::Note, looked_at, found)
    }

    pub(super) fn stop(hop: Place, looked_at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(hop, Mark::Stop, looked_at, reason)
    }

    pub(super) fn hint(self, command: impl Into<String>) -> Self {
        Self { hint: Some(command.into()), ..self }
    }

    pub(super) fn details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }
}

/// The whole way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The sender, as asked.
    pub from: String,
    /// The target, as asked.
    pub to: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'static str,
    /// Port asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The address that packets were sent to, once it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Whether the target is reached.
    pub reachable: bool,
    /// Whether a packet's way through the firewall was watched rule by rule.
    pub traced: bool,
    /// Where the packet ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stops_at: Option<Place>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A command to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The hops up to where it ends.
    pub hops: Vec<Hop>,
}

impl Report {
    /// Closes the list of hops: those behind the first that stops the packet say nothing about it and are left out.
    pub(super) fn finish(mut self) -> Self {
        if let Some(at) = self.hops.iter().position(|hop| hop.mark == Mark::Stop) {
            self.hops.truncate(at + 1);
        }
        if let Some(hop) = self.hops.last().filter(|hop| hop.mark == Mark::Stop) {
            self.stops_at = Some(hop.hop);
            self.reason = Some(hop.found.clone());
            self.hint.clone_from(&hop.hint);
        }
        self.reachable = self.stops_at.is_none();
        self
    }
}
