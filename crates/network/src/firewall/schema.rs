//! The rules and sets of both tables. Each rule carries its meaning as a comment, which `nft list` and `holm network path` show.

use holm_sys::nftables::{Base, Comparison, Expr, Hook, Reg, Set, Transaction, Type, Verdict, meta, reg};

use super::{BRIDGE, INET};

use Type::{Ether, Ipv4, Ipv6, LinkName, Port, Protocol};

const fn set<'a>(name: &'a str, key: &'a [Type]) -> Set<'a> {
    Set { name, key, data: &[], ranges: false }
}

const fn ranges<'a>(name: &'a str, key: &'a [Type]) -> Set<'a> {
    Set { name, key, data: &[], ranges: true }
}

const fn map<'a>(name: &'a str, key: &'a [Type], data: &'a [Type]) -> Set<'a> {
    Set { name, key, data, ranges: false }
}

/// Sets of packets: what each holds is in `entry`.
const INET_SETS: [Set<'static>; 20] = [
    set("bridges", &[LinkName]),
    set("internal", &[LinkName]),
    map("samenet", &[LinkName, LinkName], &[Type::Verdict]),
    set("gateway4", &[LinkName, Ipv4]),
    set("gateway6", &[LinkName, Ipv6]),
    set("gateways4", &[Ipv4]),
    set("gateways6", &[Ipv6]),
    ranges("near4", &[LinkName, Ipv4]),
    ranges("near6", &[LinkName, Ipv6]),
    ranges("masquerade4", &[Ipv4]),
    ranges("masquerade6", &[Ipv6]),
    map("publish4", &[Protocol, Port], &[Ipv4, Port]),
    map("publish6", &[Protocol, Port], &[Ipv6, Port]),
    map("publishat4", &[Ipv4, Protocol, Port], &[Ipv4, Port]),
    map("publishat6", &[Ipv6, Protocol, Port], &[Ipv6, Port]),
    set("guarded", &[Protocol, Port]),
    ranges("allowed4", &[Protocol, Port, Ipv4]),
    ranges("allowed6", &[Protocol, Port, Ipv6]),
    ranges("allowedon4", &[Protocol, Port, LinkName, Ipv4]),
    ranges("allowedon6", &[Protocol, Port, LinkName, Ipv6]),
];

/// Sets of frames.
const BRIDGE_SETS: [Set<'static>; 3] =
    [set("ports", &[LinkName]), set("sender4", &[LinkName, Ether, Ipv4]), set("sender6", &[LinkName, Ether, Ipv6])];

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

fn family(v4: bool) -> [Expr<'static>; 2] {
    [Expr::Meta(meta::FAMILY, reg(0)), is(reg(0), &[if v4 { 2 } else { 10 }])]
}

fn decide(verdict: Verdict<'static>) -> Expr<'static> {
    Expr::Decide(verdict)
}

fn rule<const N: usize>(steps: [Expr<'static>; N]) -> Vec<Expr<'static>> {
    steps.into()
}

/// A rule of one family: `family`, then these steps.
fn of<const N: usize>(v4: bool, steps: [Expr<'static>; N]) -> Vec<Expr<'static>> {
    family(v4).into_iter().chain(steps).collect()
}

/// The link of a direction is in a set.
fn link_in(key: u32, set: &'static str) -> [Expr<'static>; 2] {
    [Expr::Meta(key, reg(0)), Expr::In(reg(0), set)]
}

/// The connection's state has one of these bits.
fn state(bits: u32) -> [Expr<'static>; 3] {
    [
        Expr::ConnectionState(reg(0)),
        Expr::Mask(reg(0), bits.to_ne_bytes()),
        Expr::Compare(reg(0), Comparison::IsNot, vec![0; 4]),
    ]
}

/// The connection's destination was translated.
fn translated() -> [Expr<'static>; 3] {
    [
        Expr::ConnectionStatus(reg(0)),
        Expr::Mask(reg(0), 0x20u32.to_ne_bytes()),
        Expr::Compare(reg(0), Comparison::IsNot, vec![0; 4]),
    ]
}

fn then<const N: usize>(steps: [Expr<'static>; N], verdict: Verdict<'static>) -> Vec<Expr<'static>> {
    steps.into_iter().chain([Expr::Count, decide(verdict)]).collect()
}

/// A rule: chain, steps, meaning.
struct Rule(&'static str, Vec<Expr<'static>>, &'static str);

fn base(kind: &'static str, hook: Hook, priority: i32) -> Option<Base> {
    Some(Base { kind, hook, priority })
}

fn inet_chains() -> [(&'static str, Option<Base>); 11] {
    [
        ("first", base("filter", Hook::Prerouting, -300)),
        ("prerouting", base("nat", Hook::Prerouting, -100)),
        ("output", base("nat", Hook::Output, -100)),
        ("postrouting", base("nat", Hook::Postrouting, 100)),
        ("input", base("filter", Hook::Input, 0)),
        ("forward", base("filter", Hook::Forward, 0)),
        ("guard", None),
        ("published", None),
        ("to-host", None),
        ("from-network", None),
        ("to-network", None),
    ]
}

fn inet_rules() -> Vec<Rule> {
    let local = 2u32.to_ne_bytes();
    let mut rules = vec![
        Rule(
            "first",
            of(
                true,
                [
                    network((16, 1), reg(0)),
                    is(reg(0), &[127]),
                    Expr::Meta(meta::IN_NAME, reg(0)),
                    Expr::In(reg(0), "bridges"),
                    Expr::Count,
                    decide(Verdict::Drop),
                ],
            ),
            "containers do not reach the host's loopback",
        ),
        Rule(
            "prerouting",
            rule([Expr::DestinationKind(reg(0)), is(reg(0), &local), decide(Verdict::Jump("guard"))]),
            "for this host: is the port open to the sender?",
        ),
        Rule(
            "prerouting",
            rule([Expr::DestinationKind(reg(0)), is(reg(0), &local), decide(Verdict::Jump("published"))]),
            "for this host: published ports",
        ),
        Rule(
            "output",
            rule([Expr::DestinationKind(reg(0)), is(reg(0), &local), decide(Verdict::Jump("published"))]),
            "from this host to itself: published ports",
        ),
    ];
    rules.extend(published_rules());
    rules.extend(input_rules());
    rules.extend(forward_rules());
    rules.extend(postrouting_rules());
    rules
}

fn published_rules() -> Vec<Rule> {
    let port = |at: u32| [Expr::Meta(meta::L4_PROTOCOL, reg(at)), Expr::TransportHeader(2, 2, reg(at + 1))];
    let [protocol, number] = port(0);
    let guarded = rule([protocol, number, Expr::NotIn(reg(0), "guarded"), decide(Verdict::Return)]);
    let mut rules = vec![Rule("guard", guarded, "open to everybody")];
    for v4 in [true, false] {
        let source = if v4 { at::V4_SOURCE } else { at::V6_SOURCE };
        let (anywhere, on_link) = if v4 { ("allowed4", "allowedon4") } else { ("allowed6", "allowedon6") };
        let [protocol, number] = port(0);
        let steps = [protocol, number, network(source, reg(2)), Expr::In(reg(0), anywhere), decide(Verdict::Return)];
        rules.push(Rule("guard", of(v4, steps), "open to this source"));
        let [protocol, number] = port(0);
        let link = Expr::Meta(meta::IN_NAME, reg(2));
        let steps =
            [protocol, number, link, network(source, reg(6)), Expr::In(reg(0), on_link), decide(Verdict::Return)];
        rules.push(Rule("guard", of(v4, steps), "open to this link and source"));
    }
    rules.push(Rule("guard", rule([Expr::Count, decide(Verdict::Drop)]), "the port is not open to the sender"));
    for (v4, number, words, destination) in [(true, 2, 1, at::V4_DESTINATION), (false, 10, 4, at::V6_DESTINATION)] {
        let (at_address, anywhere) = if v4 { ("publishat4", "publish4") } else { ("publishat6", "publish6") };
        let [protocol, port_number] = port(words);
        let translate = || Expr::TranslateDestination(number, reg(0), reg(words));
        let steps =
            [network(destination, reg(0)), protocol, port_number, Expr::Map(reg(0), at_address, reg(0)), translate()];
        rules.push(Rule("published", of(v4, steps), "port published on this address"));
        let [protocol, port_number] = port(0);
        let mut steps = family(v4).to_vec();
        if !v4 {
            // ::1 cannot leave the host; what comes for it is passed on by the container's supervisor.
            let mut loopback = vec![0; 15];
            loopback.push(1);
            steps.extend([network(destination, reg(0)), Expr::Compare(reg(0), Comparison::IsNot, loopback)]);
        }
        steps.extend([protocol, port_number, Expr::Map(reg(0), anywhere, reg(0)), translate()]);
        rules.push(Rule("published", steps, "port published on every address"));
    }
    rules
}

fn input_rules() -> Vec<Rule> {
    let [in_name, in_bridges] = link_in(meta::IN_NAME, "bridges");
    let mut rules = vec![Rule(
        "input",
        rule([in_name, in_bridges, decide(Verdict::Jump("to-host"))]),
        "from a network to this host",
    )];
    let [a, b, c] = state(6);
    rules.push(Rule("to-host", rule([a, b, c, decide(Verdict::Return)]), "known connections"));
    for (v4, own, all, destination) in
        [(true, "gateway4", "gateways4", at::V4_DESTINATION), (false, "gateway6", "gateways6", at::V6_DESTINATION)]
    {
        let steps = [
            Expr::Meta(meta::IN_NAME, reg(0)),
            network(destination, reg(4)),
            Expr::In(reg(0), own),
            decide(Verdict::Return),
        ];
        rules.push(Rule("to-host", of(v4, steps), "the network's own gateway"));
        let steps = [network(destination, reg(0)), Expr::In(reg(0), all), Expr::Count, decide(Verdict::Drop)];
        rules.push(Rule("to-host", of(v4, steps), "gateways of other networks are not reached"));
    }
    // Types 133 to 137 and 143 are neighbour discovery and who listens to what; none leaves the link.
    for kind in [135u8, 136] {
        let steps = [
            Expr::Meta(meta::L4_PROTOCOL, reg(0)),
            is(reg(0), &[ICMPV6]),
            transport((0, 1), reg(0)),
            is(reg(0), &[kind]),
            decide(Verdict::Return),
        ];
        rules.push(Rule("to-host", of(false, steps), "neighbour discovery"));
    }
    let [in_name, in_internal] = link_in(meta::IN_NAME, "internal");
    rules.push(Rule(
        "to-host",
        then([in_name, in_internal], Verdict::Drop),
        "an internal network reaches its gateway and nothing else of the host",
    ));
    rules
}

fn forward_rules() -> Vec<Rule> {
    let jump = |key, chain| {
        let [name, known] = link_in(key, "bridges");
        rule([name, known, decide(Verdict::Goto(chain))])
    };
    let known = || {
        let [a, b, c] = state(6);
        then([a, b, c], Verdict::Accept)
    };
    let invalid = || {
        let [a, b, c] = state(1);
        then([a, b, c], Verdict::Drop)
    };
    let published = || {
        let [a, b, c] = translated();
        then([a, b, c], Verdict::Accept)
    };
    let link = |key, set, verdict| {
        let [name, known] = link_in(key, set);
        then([name, known], verdict)
    };
    let same = rule([
        Expr::Meta(meta::IN_NAME, reg(0)),
        Expr::Meta(meta::OUT_NAME, reg(4)),
        Expr::VerdictMap(reg(0), "samenet"),
    ]);
    vec![
        Rule("forward", jump(meta::IN_NAME, "from-network"), "from a network"),
        Rule("forward", jump(meta::OUT_NAME, "to-network"), "into a network"),
        Rule("from-network", known(), "known connections"),
        Rule("from-network", invalid(), "packets of no connection"),
        Rule("from-network", same, "within one network, as it is isolated"),
        Rule("from-network", link(meta::IN_NAME, "internal", Verdict::Drop), "an internal network has no way out"),
        Rule("from-network", published(), "published ports"),
        Rule("from-network", link(meta::OUT_NAME, "bridges", Verdict::Drop), "networks do not reach each other"),
        Rule("from-network", rule([Expr::Count, decide(Verdict::Accept)]), "the way out"),
        Rule("to-network", known(), "known connections"),
        Rule("to-network", link(meta::OUT_NAME, "internal", Verdict::Drop), "an internal network has no way in"),
        Rule("to-network", published(), "published ports"),
        Rule(
            "to-network",
            rule([Expr::Count, decide(Verdict::Drop)]),
            "containers are reached by published ports only",
        ),
    ]
}

fn postrouting_rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (v4, masquerade, near, source) in
        [(true, "masquerade4", "near4", at::V4_SOURCE), (false, "masquerade6", "near6", at::V6_SOURCE)]
    {
        let steps = [
            network(source, reg(0)),
            Expr::In(reg(0), masquerade),
            Expr::Meta(meta::OUT_NAME, reg(0)),
            Expr::NotIn(reg(0), "bridges"),
            Expr::Masquerade,
        ];
        rules.push(Rule("postrouting", of(v4, steps), "out under the host's address"));
        let [a, b, c] = translated();
        let steps = [
            a,
            b,
            c,
            Expr::Meta(meta::OUT_NAME, reg(0)),
            network(source, reg(4)),
            Expr::In(reg(0), near),
            Expr::Masquerade,
        ];
        rules.push(Rule("postrouting", of(v4, steps), "hairpin: answers must come back this way"));
    }
    let steps = [
        network((12, 1), reg(0)),
        is(reg(0), &[127]),
        Expr::Meta(meta::OUT_NAME, reg(0)),
        Expr::In(reg(0), "bridges"),
        Expr::Masquerade,
    ];
    rules.push(Rule("postrouting", of(true, steps), "from 127.0.0.1 to a published port"));
    rules
}

fn bridge_rules() -> Vec<Rule> {
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

/// Chain that no packet reaches: its one rule says whose the table is.
pub(super) const OWNER: &str = "owner";

/// Writes sets, chains and rules of both tables, which are there and empty.
pub(super) fn write(transaction: &mut Transaction, owner: &str) {
    for set in &INET_SETS {
        transaction.set(INET, set);
    }
    for set in &BRIDGE_SETS {
        transaction.set(BRIDGE, set);
    }
    for (name, base) in inet_chains() {
        transaction.chain(INET, name, base);
    }
    // Before the bridge's own filters, *source*: linux/netfilter_bridge.h.
    transaction.chain(BRIDGE, "prerouting", base("filter", Hook::Prerouting, -300));
    for chain in ["stranger", "own6", "solicit6", "advertise6", "refuse6", "unnamed6"] {
        transaction.chain(BRIDGE, chain, None);
    }
    transaction.chain(INET, OWNER, None).rule(INET, OWNER, &[decide(Verdict::Return)], owner);
    for Rule(chain, steps, meaning) in inet_rules() {
        transaction.rule(INET, chain, &steps, meaning);
    }
    for Rule(chain, steps, meaning) in bridge_rules() {
        transaction.rule(BRIDGE, chain, &steps, meaning);
    }
}

/// How many rules both tables have.
pub(super) fn rule_counts() -> [usize; 2] {
    [inet_rules().len() + 1, bridge_rules().len()]
}
