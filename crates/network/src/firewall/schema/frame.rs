//! The table that frames cross on bridges: its sets and rules.

use holm_sys::nftables::{Comparison, Expr, Set, Type, Verdict, meta, reg};

use super::{ICMPV6, Rule, at, decide, is, link_in, network, rule, set, transport};

use Type::{Ether, Ipv4, Ipv6, LinkName};

/// What each holds is in `entry`.
pub(super) const SETS: [Set<'static>; 3] =
    [set("ports", &[LinkName]), set("sender4", &[LinkName, Ether, Ipv4]), set("sender6", &[LinkName, Ether, Ipv6])];

pub(super) fn rules() -> Vec<Rule> {
    let ether = |kind: u16| [Expr::Meta(meta::PROTOCOL, reg(0)), is(reg(0), &kind.to_be_bytes())];
    let sender = || {
        let (offset, length) = at::ETHER_SOURCE;
        [Expr::Meta(meta::IN_NAME, reg(0)), Expr::LinkHeader(offset, length, reg(4))]
    };
    let of_kind = |kind: u16, steps: Vec<Expr<'static>>| ether(kind).into_iter().chain(steps).collect::<Vec<_>>();
    let sent = |source, set, verdict| {
        let [link, mac] = sender();
        vec![link, mac, network(source, reg(6)), Expr::In(reg(0), set), decide(verdict)]
    };
    let arp = vec![
        Expr::Meta(meta::IN_NAME, reg(0)),
        network(at::ARP_SENDER_MAC, reg(4)),
        network(at::ARP_SENDER, reg(6)),
        Expr::In(reg(0), "sender4"),
        decide(Verdict::Accept),
    ];
    let [name, known] = link_in(meta::IN_NAME, "ports");
    let mut rules = vec![
        Rule("prerouting", of_kind(0x0800, sent(at::V4_SOURCE, "sender4", Verdict::Accept)), "its own addresses"),
        Rule("prerouting", of_kind(0x86dd, sent(at::V6_SOURCE, "sender6", Verdict::Goto("own6"))), "its own addresses"),
        Rule("prerouting", rule([name, known, decide(Verdict::Goto("stranger"))]), "from a container"),
        Rule("stranger", of_kind(0x0806, arp), "says by ARP what is true"),
        Rule("stranger", of_kind(0x86dd, vec![decide(Verdict::Goto("unnamed6"))]), "IPv6 without an address yet"),
        Rule("stranger", rule([Expr::Count, decide(Verdict::Drop)]), "a forged sender, or no IP at all"),
    ];
    rules.extend(neighbour_rules());
    rules
}

/// Neighbour discovery: a container may say of its own addresses that they are its own; it is no router.
fn neighbour_rules() -> Vec<Rule> {
    let icmp = |kind: u8| {
        [Expr::Meta(meta::L4_PROTOCOL, reg(0)), is(reg(0), &[ICMPV6]), transport((0, 1), reg(0)), is(reg(0), &[kind])]
    };
    let with = |kind: u8, steps: Vec<Expr<'static>>| icmp(kind).into_iter().chain(steps).collect::<Vec<_>>();
    let claims = |address: Expr<'static>, option: [u8; 2]| {
        vec![
            transport(at::ND_OPTION, reg(0)),
            is(reg(0), &option),
            Expr::Meta(meta::IN_NAME, reg(0)),
            transport(at::ND_OPTION_MAC, reg(4)),
            address,
            Expr::In(reg(0), "sender6"),
            decide(Verdict::Accept),
        ]
    };
    let bare = || vec![network(at::V6_LENGTH, reg(0)), is(reg(0), &24u16.to_be_bytes())];
    let own_target = || {
        let (offset, length) = at::ETHER_SOURCE;
        vec![
            Expr::Meta(meta::IN_NAME, reg(0)),
            Expr::LinkHeader(offset, length, reg(4)),
            transport(at::ND_TARGET, reg(6)),
            Expr::In(reg(0), "sender6"),
            decide(Verdict::Accept),
        ]
    };
    let mut unnamed = vec![network(at::V6_SOURCE, reg(0)), is(reg(0), &[0; 16])];
    unnamed.extend(own_target());
    let mut bare_solicitation = bare();
    bare_solicitation.push(decide(Verdict::Accept));
    let mut bare_advertisement = bare();
    bare_advertisement.extend(own_target());
    let drop = || rule([Expr::Count, decide(Verdict::Drop)]);
    let kind_only = |kind: u8, verdict| with(kind, vec![decide(verdict)]);
    let other = rule([
        Expr::Meta(meta::L4_PROTOCOL, reg(0)),
        Expr::Compare(reg(0), Comparison::IsNot, vec![ICMPV6]),
        decide(Verdict::Accept),
    ]);
    vec![
        Rule("own6", other, "no ICMP"),
        Rule("own6", kind_only(134, Verdict::Goto("refuse6")), "router advertisement"),
        Rule("own6", kind_only(137, Verdict::Goto("refuse6")), "redirect"),
        Rule("own6", kind_only(135, Verdict::Goto("solicit6")), "asks for a neighbour"),
        Rule("own6", kind_only(136, Verdict::Goto("advertise6")), "says it is a neighbour"),
        Rule("own6", rule([decide(Verdict::Accept)]), "other ICMP"),
        Rule("solicit6", claims(network(at::V6_SOURCE, reg(6)), [1, 1]), "with its own hardware address"),
        Rule("solicit6", bare_solicitation, "without one"),
        Rule("solicit6", drop(), "asks under a forged hardware address"),
        Rule("advertise6", claims(transport(at::ND_TARGET, reg(6)), [2, 1]), "an address of its own"),
        Rule("advertise6", bare_advertisement, "an address of its own, in short"),
        Rule("advertise6", drop(), "claims a neighbour's address"),
        Rule("refuse6", drop(), "a container is no router"),
        Rule("unnamed6", with(135, unnamed), "looks whether its address is free"),
        Rule("unnamed6", kind_only(143, Verdict::Accept), "tells what it listens to"),
        Rule("unnamed6", drop(), "a forged sender"),
    ]
}
