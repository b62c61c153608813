//! Watching one packet cross the firewall: a table of this process's own turns tracing on for exactly the probe and its
//! answers, and the kernel tells every rule that decides about them, of whatever program's table.
//!
//! The table belongs to its socket, so the kernel takes it away when this process ends, however it ends. Its name holds the
//! process's number: others that watch at the same time have their own, and their packets are not taken for ours.
//! *Kernel*: 5.12. *Privilege*: CAP_NET_ADMIN.

use std::collections::BTreeMap;
use std::net::IpAddr;

use holm_sys::netlink::{Refusal, Socket};
use holm_sys::nftables::{
    self, Base, Comparison, Expr, Family, GROUP_TRACE, Hook, Table, Trace, Transaction, meta, reg,
};

use rustix::io::Errno;

use super::probe::{Kind, Seen};

/// Before everything else there is, connection tracking's defragmentation (-400) included. *Source*: linux/netfilter_ipv4.h.
const FIRST: i32 = -450;
/// Room for what is heard: some thousand steps.
const ROOM_BYTES: usize = 8 << 20;

/// One decision about the probe or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// It is about an answer.
    pub reply: bool,
    pub family: Family,
    pub table: String,
    pub chain: String,
    /// The rule; none where the chain's policy decided.
    pub handle: Option<u64>,
    pub verdict: Decision,
    /// Where the packet came from and goes to, as it was then.
    pub ends: Option<(IpAddr, IpAddr)>,
}

impl Step {
    /// A rule of Holm's own gave it the host's address.
    pub(super) fn is_masquerade(&self) -> bool {
        let own = self.table == "holm" && self.chain == "postrouting" && !self.reply;
        own && self.handle.is_some() && self.verdict == Decision::Accept
    }
}

/// What was decided. *Source*: linux/netfilter/nf_tables.h, `enum nft_verdicts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Drop,
    Accept,
    Jump,
    Return,
    Continue,
}

impl Decision {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Accept => "accept",
            Self::Jump => "look further",
            Self::Return => "go back",
            Self::Continue => "go on",
        }
    }
}

/// The watch.
#[derive(Debug)]
pub(super) struct Tracer {
    heard: Socket,
    /// The table lives as long as this.
    _owner: Socket,
    name: String,
    number: u16,
    kind: Kind,
}

impl Tracer {
    /// Begins to watch a probe that is not sent yet. *Errors*: the kernel cannot trace, or not by tables with an owner.
    pub(super) fn start(probe: Seen) -> Result<Self, Refusal> {
        let local = |source| Refusal { index: 0, source, text: None };
        let heard = nftables::open().map_err(local)?;
        heard.subscribe(GROUP_TRACE).map_err(local)?;
        // Everybody hears everybody's packets. Where more room is refused, the first that came are kept all the same.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&heard, ROOM_BYTES);
        let mut owner = nftables::open().map_err(local)?;
        let name = format!("holm-trace-{}", std::process::id());
        let mut transaction = Transaction::new();
        let hooks = [
            (Family::Bridge, "prerouting", Hook::Prerouting),
            (Family::Inet, "prerouting", Hook::Prerouting),
            (Family::Inet, "output", Hook::Output),
        ];
        for family in [Family::Bridge, Family::Inet] {
            transaction.owned_table(Table { family, name: &name });
        }
        for (family, chain, hook) in hooks {
            let table = Table { family, name: &name };
            transaction.chain(table, chain, Some(Base { kind: "filter", hook, priority: FIRST }));
            transaction.rule(table, chain, &of_probe(probe, false), "the probe of holm network path");
            transaction.rule(table, chain, &of_probe(probe, true), "the answer to it");
        }
        transaction.commit(&mut owner)?;
        Ok(Self { heard, _owner: owner, name, number: probe.number, kind: probe.kind })
    }

    /// Stops, and gives what was heard.
    pub(super) fn finish(self) -> Vec<Step> {
        let mut all = Vec::new();
        // Traces are written while the packet passes: all of them are in the socket. One that overflowed says so once, and
        // lost the last.
        let mut overflowed = false;
        loop {
            match self.heard.take() {
                Ok(replies) if replies.is_empty() => break,
                Ok(replies) => all.extend(replies.iter().filter_map(nftables::trace)),
                Err(e) if Errno::from_io_error(&e) == Some(Errno::NOBUFS) && !overflowed => overflowed = true,
                Err(_) => break,
            }
        }
        sort_out(&all, &self.name, self.kind, self.number)
    }
}

/// The steps of a rule that fits the probe alone, or its answer alone.
fn of_probe(probe: Seen, reply: bool) -> Vec<Expr<'static>> {
    let v4 = probe.to.is_ipv4();
    let is = |value: &[u8]| Expr::Compare(reg(0), Comparison::Is, value.to_vec());
    let ether: u16 = if v4 { 0x0800 } else { 0x86dd };
    let mut steps = vec![
        Expr::Meta(meta::PROTOCOL, reg(0)),
        is(&ether.to_be_bytes()),
        Expr::Meta(meta::L4_PROTOCOL, reg(0)),
        is(&[probe.kind.number(v4)]),
    ];
    // Answers come from whatever the destination was translated to.
    if !reply {
        let (at, address) = match probe.to {
            IpAddr::V4(v4) => ((16, 4), v4.octets().to_vec()),
            IpAddr::V6(v6) => ((24, 16), v6.octets().to_vec()),
        };
        steps.extend([Expr::NetworkHeader(at.0, at.1, reg(0)), is(&address)]);
    }
    let number = match probe.kind {
        Kind::Echo => {
            let kind: u8 = match (v4, reply) {
                (true, false) => 8,
                (true, true) => 0,
                (false, false) => 128,
                (false, true) => 129,
            };
            steps.extend([Expr::TransportHeader(0, 1, reg(0)), is(&[kind])]);
            4
        }
        Kind::Tcp(_) | Kind::Udp(_) => u32::from(reply) * 2,
    };
    steps.extend([Expr::TransportHeader(number, 2, reg(0)), is(&probe.number.to_be_bytes())]);
    steps.extend([Expr::Byte(1, reg(0)), Expr::SetTrace(reg(0))]);
    steps
}

/// Keeps what is about our packets, each step once: the kernel sends a connection's first packet again and again.
///
/// The kernel's number of a packet changes where the packet goes from one link to another. It is known again by its ends:
/// what our own rules did not see, and has our port and one end of a packet of ours, is that packet after a translation.
fn sort_out(all: &[Trace], own: &str, kind: Kind, number: u16) -> Vec<Step> {
    // By number of the packet: whether it is an answer. By that: the last ends it had.
    let mut ours: BTreeMap<u32, bool> = BTreeMap::new();
    let mut ends: BTreeMap<bool, (IpAddr, IpAddr)> = BTreeMap::new();
    let mut seen: Vec<(Family, &str, bool)> = Vec::new();
    let mut again: BTreeMap<bool, bool> = BTreeMap::new();
    let mut steps: Vec<Step> = Vec::new();
    for trace in all {
        if let Some(now) = read_ends(&trace.network_header) {
            let direction = direction(trace, kind, number).filter(|reply| {
                let known = ends.get(reply).is_some_and(|last| last.0 == now.0 || last.1 == now.1);
                trace.table == own || known
            });
            match direction {
                Some(reply) => {
                    ours.insert(trace.id, reply);
                    ends.insert(reply, now);
                    if trace.table == own {
                        let place = (trace.family, trace.chain.as_str(), reply);
                        again.insert(reply, seen.contains(&place));
                        seen.push(place);
                    }
                }
                // The number is somebody else's now.
                None => drop(ours.remove(&trace.id)),
            }
        }
        let Some(reply) = ours.get(&trace.id).copied().filter(|_| trace.table != own) else { continue };
        let decision = match (trace.verdict, trace.policy) {
            (Some(0), _) | (None, Some(0)) => Decision::Drop,
            (Some(1), _) | (None, Some(_)) => Decision::Accept,
            (Some(-3 | -4), _) => Decision::Jump,
            (Some(-5), _) => Decision::Return,
            _ => Decision::Continue,
        };
        let step = Step {
            reply,
            family: trace.family,
            table: trace.table.clone(),
            chain: trace.chain.clone(),
            handle: trace.handle.filter(|_| trace.policy.is_none()),
            verdict: decision,
            ends: ends.get(&reply).copied(),
        };
        // Later packets of a connection go a shorter way; only where they end is worth telling.
        let counts = step.verdict == Decision::Drop || !again.get(&reply).copied().unwrap_or(false);
        if counts && !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

/// Whether a packet with our number is an answer; none where it has not.
fn direction(trace: &Trace, kind: Kind, number: u16) -> Option<bool> {
    let (network, transport) = (&trace.network_header, &trace.transport_header);
    let v4 = network.first()? >> 4 == 4;
    if network.get(if v4 { 9 } else { 6 }) != Some(&kind.number(v4)) {
        return None;
    }
    let is = |at: usize| transport.get(at..at + 2) == Some(&number.to_be_bytes()[..]);
    match kind {
        Kind::Echo => is(4).then(|| matches!(transport.first(), Some(0 | 129))),
        Kind::Tcp(_) | Kind::Udp(_) if is(0) => Some(false),
        Kind::Tcp(_) | Kind::Udp(_) => is(2).then_some(true),
    }
}

/// Source and destination of a network header.
fn read_ends(header: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at: usize| header.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(IpAddr::from);
    let v6 = |at: usize| header.get(at..at + 16).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(IpAddr::from);
    match header.first()? >> 4 {
        4 => Some((v4(12)?, v4(16)?)),
        6 => Some((v6(8)?, v6(24)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(id: u32, table: &str, verdict: i32, ends: Option<([u8; 2], [u16; 2])>) -> Trace {
        let mut network_header = vec![];
        let mut transport_header = vec![];
        if let Some(([from, to], ports)) = ends {
            network_header = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to];
            transport_header = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        }
        Trace {
            id,
            family: Family::Inet,
            table: table.into(),
            chain: "c".into(),
            handle: Some(4),
            verdict: Some(verdict),
            policy: None,
            network_header,
            transport_header,
        }
    }

    #[test]
    fn a_packet_is_known_again_under_another_number_and_others_are_not_taken_for_it() {
        let all = [
            trace(1, "holm-trace-9", -1, Some(([1, 2], [4000, 80]))),
            trace(1, "holm", 1, Some(([1, 2], [4000, 80]))),
            trace(1, "holm", -1, None),
            // Its destination was translated, then its source.
            trace(2, "holm", 1, Some(([1, 3], [4000, 8080]))),
            trace(3, "userfw", 0, Some(([9, 3], [4000, 8080]))),
            trace(3, "userfw", 0, None),
            // Somebody else's: other ends, another port, a number that was ours.
            trace(4, "other", 0, Some(([7, 8], [4000, 80]))),
            trace(5, "other", 0, Some(([1, 2], [4001, 80]))),
            trace(1, "other", 0, Some(([7, 8], [4001, 80]))),
            trace(1, "other", 0, None),
            trace(6, "holm-trace-9", -1, Some(([3, 9], [8080, 4000]))),
            trace(6, "back", 1, None),
            // The next packet of the connection.
            trace(7, "holm-trace-9", -1, Some(([1, 2], [4000, 80]))),
            trace(7, "later", 1, None),
        ];
        let steps = sort_out(&all, "holm-trace-9", Kind::Tcp(80), 4000);
        let told: Vec<_> = steps.iter().map(|s| (s.reply, s.table.as_str(), s.verdict)).collect();
        use Decision::{Accept, Continue, Drop};
        assert_eq!(
            told,
            [
                (false, "holm", Accept),
                (false, "holm", Continue),
                (false, "holm", Accept),
                (false, "userfw", Drop),
                (true, "back", Accept)
            ]
        );
    }

    #[test]
    fn headers_are_read_and_short_ones_are_not() {
        let mut header = vec![0x45; 20];
        header[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(read_ends(&header), Some(("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())));
        for length in 0..20 {
            assert_eq!(read_ends(&header[..length]), None);
        }
    }
}
