//! The table that packets cross: its sets, chains and rules.

use holm_sys::nftables::{Base, Comparison, Expr, Hook, Set, Type, Verdict, meta, reg};

use super::{ICMPV6, Rule, at, base, decide, is, link_in, network, rule, set, transport};

use Type::{Ipv4, Ipv6, LinkName, Port, Protocol};

const ICMP: u8 = 1;

const fn ranges<'a>(name: &'a str, key: &'a [Type]) -> Set<'a> {
    Set { name, key, data: &[], ranges: true }
}

const fn map<'a>(name: &'a str, key: &'a [Type], data: &'a [Type]) -> Set<'a> {
    Set { name, key, data, ranges: false }
}

/// Sets of packets: what each holds is in `entry`.
pub(super) const SETS: [Set<'static>; 20] = [
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

fn family(v4: bool) -> [Expr<'static>; 2] {
    [Expr::Meta(meta::FAMILY, reg(0)), is(reg(0), &[if v4 { 2 } else { 10 }])]
}

/// A rule of one family: `family`, then these steps.
fn of<const N: usize>(v4: bool, steps: [Expr<'static>; N]) -> Vec<Expr<'static>> {
    family(v4).into_iter().chain(steps).collect()
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

pub(super) fn chains() -> [(&'static str, Option<Base>); 12] {
    [
        ("first", base("filter", Hook::Prerouting, -300)),
        ("prerouting", base("nat", Hook::Prerouting, -100)),
        ("output", base("nat", Hook::Output, -100)),
        ("postrouting", base("nat", Hook::Postrouting, 100)),
        ("input", base("filter", Hook::Input, 0)),
        ("forward", base("filter", Hook::Forward, 0)),
        ("from-host", base("filter", Hook::Output, 0)),
        ("guard", None),
        ("published", None),
        ("to-host", None),
        ("from-network", None),
        ("to-network", None),
    ]
}

pub(super) fn rules() -> Vec<Rule> {
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
    rules.extend(redirect_rules());
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
        // First, and without looking at links, which is dearer: other packets are not this table's to judge, so that to accept
        // them here is as much as to leave them alone.
        Rule("forward", known(), "known connections"),
        Rule("forward", jump(meta::IN_NAME, "from-network"), "from a network"),
        Rule("forward", jump(meta::OUT_NAME, "to-network"), "into a network"),
        Rule("from-network", invalid(), "packets of no connection"),
        Rule("from-network", same, "within one network, as it is isolated"),
        Rule("from-network", link(meta::IN_NAME, "internal", Verdict::Drop), "an internal network has no way out"),
        Rule("from-network", published(), "published ports"),
        Rule("from-network", link(meta::OUT_NAME, "bridges", Verdict::Drop), "networks do not reach each other"),
        Rule("from-network", rule([Expr::Count, decide(Verdict::Accept)]), "the way out"),
        Rule("to-network", link(meta::OUT_NAME, "internal", Verdict::Drop), "an internal network has no way in"),
        Rule("to-network", published(), "published ports"),
        Rule(
            "to-network",
            rule([Expr::Count, decide(Verdict::Drop)]),
            "containers are reached by published ports only",
        ),
    ]
}

/// A packet that leaves by the bridge it came by makes the host tell its sender of a shorter way. Where containers see each
/// other only through the firewall there is none, and IPv6 believes it without trying. *Source*: RFC 792, RFC 4861 8.2.
fn redirect_rules() -> [Rule; 2] {
    [(true, ICMP, 5), (false, ICMPV6, 137)].map(|(v4, protocol, kind)| {
        let [name, known] = link_in(meta::OUT_NAME, "bridges");
        let steps = [
            Expr::Meta(meta::L4_PROTOCOL, reg(0)),
            is(reg(0), &[protocol]),
            transport((0, 1), reg(0)),
            is(reg(0), &[kind]),
            name,
            known,
            Expr::Count,
            decide(Verdict::Drop),
        ];
        Rule("from-host", of(v4, steps), "no way but by the gateway")
    })
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
