//! The rules and sets of both tables. Each rule carries its meaning as a comment, which `nft list` and `holm network path` show.
//! Owns how they are written; what they are is in `packet` and `frame`.

mod frame;
mod packet;

use holm_sys::nftables::{Base, Comparison, Expr, Hook, Reg, Set, Transaction, Type, Verdict, reg};

use super::{BRIDGE, INET};

const fn set<'a>(name: &'a str, key: &'a [Type]) -> Set<'a> {
    Set { name, key, data: &[], ranges: false }
}

/// Offsets and lengths in headers. *Source*: RFC 791, 8200, 826, 4861.
mod at {
    pub(super) const V4_SOURCE: (u32, u32) = (12, 4);
    pub(super) const V4_DESTINATION: (u32, u32) = (16, 4);
    pub(super) const V6_SOURCE: (u32, u32) = (8, 16);
    pub(super) const V6_DESTINATION: (u32, u32) = (24, 16);
    pub(super) const ETHER_SOURCE: (u32, u32) = (6, 6);
    pub(super) const ARP_SENDER_MAC: (u32, u32) = (8, 6);
    pub(super) const ARP_SENDER: (u32, u32) = (14, 4);
    pub(super) const ND_TARGET: (u32, u32) = (8, 16);
    /// Type and length of the first option of a neighbour message, and the hardware address in it.
    pub(super) const ND_OPTION: (u32, u32) = (24, 2);
    pub(super) const ND_OPTION_MAC: (u32, u32) = (26, 6);
    /// Payload length of IPv6.
    pub(super) const V6_LENGTH: (u32, u32) = (4, 2);
}

const ICMPV6: u8 = 58;

fn is(register: Reg, value: &[u8]) -> Expr<'static> {
    Expr::Compare(register, Comparison::Is, value.to_vec())
}

fn network((offset, length): (u32, u32), to: Reg) -> Expr<'static> {
    Expr::NetworkHeader(offset, length, to)
}

fn transport((offset, length): (u32, u32), to: Reg) -> Expr<'static> {
    Expr::TransportHeader(offset, length, to)
}

fn decide(verdict: Verdict<'static>) -> Expr<'static> {
    Expr::Decide(verdict)
}

fn rule<const N: usize>(steps: [Expr<'static>; N]) -> Vec<Expr<'static>> {
    steps.into()
}

/// The link of a direction is in a set.
fn link_in(key: u32, set: &'static str) -> [Expr<'static>; 2] {
    [Expr::Meta(key, reg(0)), Expr::In(reg(0), set)]
}

/// A rule: chain, steps, meaning.
struct Rule(&'static str, Vec<Expr<'static>>, &'static str);

fn base(kind: &'static str, hook: Hook, priority: i32) -> Option<Base> {
    Some(Base { kind, hook, priority })
}

/// Chain that no packet reaches: its one rule says whose the table is.
pub(super) const OWNER: &str = "owner";

/// Writes sets, chains and rules of both tables, which are there and empty.
pub(super) fn write(transaction: &mut Transaction, owner: &str) {
    for set in &packet::SETS {
        transaction.set(INET, set);
    }
    for set in &frame::SETS {
        transaction.set(BRIDGE, set);
    }
    for (name, base) in packet::chains() {
        transaction.chain(INET, name, base);
    }
    // Before the bridge's own filters, *source*: linux/netfilter_bridge.h.
    transaction.chain(BRIDGE, "prerouting", base("filter", Hook::Prerouting, -300));
    for chain in ["stranger", "own6", "solicit6", "advertise6", "refuse6", "unnamed6"] {
        transaction.chain(BRIDGE, chain, None);
    }
    transaction.chain(INET, OWNER, None).rule(INET, OWNER, &[decide(Verdict::Return)], owner);
    for Rule(chain, steps, meaning) in packet::rules() {
        transaction.rule(INET, chain, &steps, meaning);
    }
    for Rule(chain, steps, meaning) in frame::rules() {
        transaction.rule(BRIDGE, chain, &steps, meaning);
    }
}

/// How many rules both tables have.
pub(super) fn rule_counts() -> [usize; 2] {
    [packet::rules().len() + 1, frame::rules().len()]
}
