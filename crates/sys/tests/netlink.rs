//! Links, addresses, routes and tables made in a network namespace of the test's own, as the kernel then lists them.

use std::net::IpAddr;
use std::os::fd::AsFd;

use holm_sys::netlink::{Batch, Protocol, Socket};
use holm_sys::nftables::{
    self, Base, Comparison, Data, Element, Expr, Family, Hook, Key, Set, Table, Transaction, Type, Verdict, meta, reg,
};
use holm_sys::process::{clone_flag, unshare};
use holm_sys::route::{self, End, LinkLocal};

/// Puts this test's thread into a namespace of its own.
fn enter() {
    unshare(clone_flag::NEWNET).expect("a network namespace (needs root)");
}

fn own_netns() -> std::fs::File {
    std::fs::File::open("/proc/thread-self/ns/net").unwrap()
}

fn end(name: &str) -> End<'_> {
    End { name, mac: None, mtu: None, netns: None }
}

#[test]
fn a_bridge_with_a_pair_of_links_is_made_listed_and_deleted() {
    enter();
    let here = own_netns();
    unshare(clone_flag::NEWNET).unwrap();
    let mut socket = Socket::open(Protocol::Route).unwrap();
    let mut batch = Batch::new();
    route::add_bridge(&mut batch, &End { mac: Some([2, 0, 0, 0, 0, 1]), ..end("br") });
    socket.send(&mut batch).unwrap();
    let master = route::link_index(&mut socket, "br").unwrap().unwrap();
    assert_eq!(route::link_index(&mut socket, "none").unwrap(), None);

    let mut batch = Batch::new();
    let inner = End { mac: Some([2, 0, 0, 0, 0, 9]), mtu: Some(1400), netns: Some(here.as_fd()), ..end("eth0") };
    route::add_veth(&mut batch, &End { mtu: Some(1400), ..end("outer") }, master, &inner);
    route::set_port(&mut batch, "outer", route::PortMode { isolated: true, hairpin: true });
    route::set_up(&mut batch, master, LinkLocal::None);
    route::add_address(&mut batch, master, "10.9.0.1".parse().unwrap(), 24);
    route::add_address(&mut batch, master, "fd00:9::1".parse().unwrap(), 64);
    route::add_route(
        &mut batch,
        master,
        Some(("10.77.0.0".parse().unwrap(), 16)),
        Some("10.9.0.7".parse().unwrap()),
        false,
    );
    socket.send(&mut batch).unwrap();

    let links = route::links(&mut socket).unwrap();
    let outer = links.iter().find(|l| l.name == "outer").unwrap();
    assert_eq!((outer.master, outer.mtu, outer.up, outer.isolated), (Some(master), 1400, true, true));
    let addresses: Vec<IpAddr> =
        route::addresses(&mut socket).unwrap().iter().filter(|a| a.index == master).map(|a| a.address).collect();
    assert_eq!(addresses[..2], ["10.9.0.1".parse::<IpAddr>().unwrap(), "fd00:9::1".parse().unwrap()]);
    let way = route::route_to(&mut socket, "10.77.1.1".parse().unwrap(), None, None).unwrap();
    assert_eq!((way.gateway, way.link), (Some("10.9.0.7".parse().unwrap()), Some(master)));
    assert!(route::routes(&mut socket).unwrap().iter().any(|r| r.to == Some(("10.77.0.0".parse().unwrap(), 16))));
    assert!(route::route_to(&mut socket, "9.9.9.9".parse().unwrap(), None, None).is_err());

    holm_sys::process::setns(here.as_fd(), clone_flag::NEWNET).unwrap();
    let mut inside = Socket::open(Protocol::Route).unwrap();
    let index = route::link_index(&mut inside, "eth0").unwrap().unwrap();
    let mut batch = Batch::new();
    route::set_up(&mut batch, index, LinkLocal::None);
    route::add_address(&mut batch, index, "10.9.0.2".parse().unwrap(), 24);
    route::add_route(&mut batch, index, None, Some("10.9.0.1".parse().unwrap()), false);
    inside.send(&mut batch).unwrap();
    let eth0 = route::links(&mut inside).unwrap().into_iter().find(|l| l.name == "eth0").unwrap();
    assert_eq!((eth0.index, eth0.mac, eth0.up, outer.peer), (index, Some([2, 0, 0, 0, 0, 9]), true, Some(index)));

    let mut batch = Batch::new();
    route::delete_link(&mut batch, "outer");
    route::delete_link(&mut batch, "outer");
    let refusal = socket.send(&mut batch).unwrap_err();
    assert!(refusal.index == 1 && refusal.is(rustix::io::Errno::NODEV), "{refusal}");
}

const INET: Table<'_> = Table { family: Family::Inet, name: "t" };

fn every_expression() -> Transaction {
    let mut t = Transaction::new();
    let links = Set { name: "links", key: &[Type::LinkName], data: &[], ranges: false };
    let nets = Set { name: "nets", key: &[Type::Ipv4], data: &[], ranges: true };
    let pairs = Set { name: "pairs", key: &[Type::LinkName, Type::Ipv4], data: &[], ranges: true };
    let ports =
        Set { name: "ports", key: &[Type::Protocol, Type::Port], data: &[Type::Ipv4, Type::Port], ranges: false };
    let verdicts = Set { name: "verdicts", key: &[Type::LinkName], data: &[Type::Verdict], ranges: false };
    t.table(INET);
    for set in [&links, &nets, &pairs, &ports, &verdicts] {
        t.set(INET, set);
    }
    t.chain(INET, "pre", Some(Base { kind: "nat", hook: Hook::Prerouting, priority: -100 }));
    t.chain(INET, "fwd", Some(Base { kind: "filter", hook: Hook::Forward, priority: 0 }));
    t.chain(INET, "post", Some(Base { kind: "nat", hook: Hook::Postrouting, priority: 100 }));
    t.chain(INET, "other", None);
    let is_v4 = || [Expr::Meta(meta::FAMILY, reg(0)), Expr::Compare(reg(0), Comparison::Is, vec![2])];
    let mut dnat = is_v4().to_vec();
    dnat.extend([
        Expr::DestinationKind(reg(0)),
        Expr::Compare(reg(0), Comparison::Is, 2u32.to_ne_bytes().to_vec()),
        Expr::Meta(meta::L4_PROTOCOL, reg(0)),
        Expr::TransportHeader(2, 2, reg(1)),
        Expr::Map(reg(0), "ports", reg(0)),
        Expr::TranslateDestination(2, reg(0), reg(1)),
    ]);
    t.rule(INET, "pre", &dnat, "published ports");
    let state = [
        Expr::ConnectionState(reg(0)),
        Expr::Mask(reg(0), 6u32.to_ne_bytes()),
        Expr::Compare(reg(0), Comparison::IsNot, 0u32.to_ne_bytes().to_vec()),
        Expr::Count,
        Expr::Decide(Verdict::Accept),
    ];
    t.rule(INET, "fwd", &state, "known connections");
    t.rule(INET, "fwd", &[Expr::Meta(meta::IN_NAME, reg(0)), Expr::VerdictMap(reg(0), "verdicts")], "");
    t.rule(
        INET,
        "fwd",
        &[Expr::Meta(meta::OUT_NAME, reg(0)), Expr::In(reg(0), "links"), Expr::Decide(Verdict::Jump("other"))],
        "",
    );
    let mut masquerade = is_v4().to_vec();
    masquerade.extend([Expr::NetworkHeader(12, 4, reg(0)), Expr::In(reg(0), "nets"), Expr::Masquerade]);
    t.rule(INET, "post", &masquerade, "out");
    let mut hairpin = is_v4().to_vec();
    hairpin.extend([
        Expr::Meta(meta::OUT_NAME, reg(0)),
        Expr::NetworkHeader(12, 4, reg(4)),
        Expr::In(reg(0), "pairs"),
        Expr::Masquerade,
    ]);
    t.rule(INET, "post", &hairpin, "");
    let v4 = |text: &str| Key::new().address(text.parse().unwrap());
    t.elements(INET, "links", &[Element::new(Key::new().link("br0")).noted("a bridge")]);
    t.elements(INET, "nets", &Element::range(v4("10.9.0.0"), Some(v4("10.9.1.0"))));
    let pair = |address: &str| Key::new().link("br0").address(address.parse().unwrap());
    t.elements(INET, "pairs", &[Element::new(pair("10.9.0.0")).to(pair("10.9.0.255"))]);
    let target = Key::new().address("10.9.0.2".parse().unwrap()).port(80);
    t.elements(INET, "ports", &[Element::new(Key::new().protocol(6).port(8080)).with(Data::Value(target))]);
    t.elements(INET, "verdicts", &[Element::new(Key::new().link("br1")).with(Data::Verdict(Verdict::Goto("other")))]);
    t
}

#[test]
fn a_table_with_every_expression_is_read_back_by_nft() {
    enter();
    let mut socket = nftables::open().unwrap();
    every_expression().commit(&mut socket).unwrap();
    let output = std::process::Command::new("nft").args(["list", "ruleset"]).output().expect("nft");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in [
        "10.9.0.0/24",
        "\"br0\" comment \"a bridge\"",
        "\"br0\" . 10.9.0.0/24",
        "tcp . 8080 : 10.9.0.2 . 80",
        "\"br1\" : goto other",
        "fib daddr type local",
        "dnat ip to meta l4proto . th dport map @ports comment \"published ports\"",
        "ct state established,related counter",
        "iifname vmap @verdicts",
        "oifname @links jump other",
        "ip saddr @nets masquerade comment \"out\"",
        "oifname . ip saddr @pairs masquerade",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let rules = nftables::rules(&mut socket, INET).unwrap();
    assert_eq!(rules.iter().filter(|r| r.chain == "post").map(|r| r.comment.as_str()).collect::<Vec<_>>(), ["out", ""]);
    let chains = nftables::chains(&mut socket).unwrap();
    assert!(chains.iter().any(|c| c.name == "fwd" && c.hook == Some(2) && !c.drops), "{chains:?}");
    let elements = nftables::elements(&mut socket, INET, "ports").unwrap();
    assert_eq!(elements.len(), 1);
}

#[test]
fn a_transaction_that_fails_changes_nothing_and_says_where() {
    enter();
    let mut socket = nftables::open().unwrap();
    let mut t = Transaction::new();
    t.table(INET).elements(INET, "missing", &[Element::new(Key::new().port(1))]);
    let refusal = t.commit(&mut socket).unwrap_err();
    assert!(refusal.is(rustix::io::Errno::NOENT) && refusal.index == 2, "{refusal}");
    assert_eq!(nftables::tables(&mut socket).unwrap(), []);
}

#[test]
fn more_elements_than_one_message_holds_arrive() {
    enter();
    let mut socket = nftables::open().unwrap();
    let mut t = Transaction::new();
    let set = Set { name: "many", key: &[Type::Protocol, Type::Port], data: &[], ranges: false };
    let all: Vec<Element> = (1..=20_000).map(|port| Element::new(Key::new().protocol(6).port(port))).collect();
    t.table(INET).set(INET, &set).elements(INET, "many", &all);
    t.commit(&mut socket).unwrap();
    assert_eq!(nftables::elements(&mut socket, INET, "many").unwrap().len(), 20_000);
}
