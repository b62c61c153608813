//! What a network and an endpoint put into the sets of the firewall: pure data.

use std::net::IpAddr;

use holm_spec::network::{Driver, Endpoint, Isolation, MacAddress, NetworkSpec, PublishedPort};
use holm_sys::nftables::{Data, Element, Key, Table, Verdict};
use ipnet::IpNet;

use super::{BRIDGE, INET};

/// One element of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub table: Table<'static>,
    pub set: &'static str,
    pub element: Element,
}

fn inet(set: &'static str, element: Element) -> Entry {
    Entry { table: INET, set, element }
}

fn bridge(set: &'static str, element: Element) -> Entry {
    Entry { table: BRIDGE, set, element }
}

/// The set of one family: `name4` or `name6`.
fn of_family(v4: bool, names: (&'static str, &'static str)) -> &'static str {
    if v4 { names.0 } else { names.1 }
}

/// What a network has in the sets as long as it is up.
pub(crate) fn of_network(network: &NetworkSpec) -> Vec<Entry> {
    if network.driver != Driver::Bridge {
        return Vec::new();
    }
    let link = || Key::new().link(&network.link);
    let note = format!("network {}", network.name);
    let mut entries = vec![inet("bridges", Element::new(link()).noted(note.clone()))];
    if network.internal {
        entries.push(inet("internal", Element::new(link()).noted(note.clone())));
    }
    let verdict = match network.isolation {
        Isolation::L2 | Isolation::Routed => Verdict::Accept,
        Isolation::Private => Verdict::Drop,
    };
    let same = Element::new(link().link(&network.link)).with(Data::Verdict(verdict));
    entries.push(inet("samenet", same.noted(note.clone())));
    for subnet in &network.subnets {
        let v4 = matches!(subnet.subnet, IpNet::V4(_));
        if let Some(gateway) = subnet.gateway {
            let own = Element::new(link().address(gateway)).noted(note.clone());
            entries.push(inet(of_family(v4, ("gateway4", "gateway6")), own));
            entries.push(inet(of_family(v4, ("gateways4", "gateways6")), Element::new(Key::new().address(gateway))));
        }
        let (first, last) = (subnet.subnet.network(), subnet.subnet.broadcast());
        let near = Element::new(link().address(first)).to(link().address(last)).noted(note.clone());
        entries.push(inet(of_family(v4, ("near4", "near6")), near));
        if !network.internal && crate::driver_option::masquerades(network) {
            let mut ends = Element::range(Key::new().address(first), behind(last).map(|a| Key::new().address(a)));
            ends[0].comment.clone_from(&note);
            let set = of_family(v4, ("masquerade4", "masquerade6"));
            entries.extend(ends.into_iter().map(|element| inet(set, element)));
        }
    }
    entries
}

/// The address after this one; none after the last.
fn behind(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}

/// What an endpoint has in the sets: who may send from its link, and its published ports.
pub(crate) fn of_endpoint(network: &NetworkSpec, endpoint: &Endpoint) -> Vec<Entry> {
    if network.driver != Driver::Bridge {
        return Vec::new();
    }
    let note = format!("container {}", endpoint.name);
    let link = || Key::new().link(&endpoint.host_link);
    let sender = |address: IpAddr| link().ether(endpoint.mac.0).address(address);
    let mut entries = vec![bridge("ports", Element::new(link()).noted(note.clone()))];
    let mut has_v6 = false;
    for address in &endpoint.addresses {
        let v4 = matches!(address, IpNet::V4(_));
        has_v6 |= !v4;
        let element = Element::new(sender(address.addr())).noted(note.clone());
        entries.push(bridge(of_family(v4, ("sender4", "sender6")), element));
    }
    if has_v6 {
        entries.push(bridge("sender6", Element::new(sender(link_local(endpoint.mac).into())).noted(note)));
    }
    entries.extend(endpoint.ports.iter().flat_map(|port| of_port(endpoint, port)));
    entries
}

/// The address that a link gives itself. *Source*: RFC 4291, appendix A.
pub(crate) fn link_local(mac: MacAddress) -> std::net::Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0.map(u16::from);
    std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
}

/// What one published port has in the sets.
pub(crate) fn of_port(endpoint: &Endpoint, port: &PublishedPort) -> Vec<Entry> {
    let mut entries = Vec::new();
    let note = format!("container {}", endpoint.name);
    let guarded = !port.interfaces.is_empty() || !port.from.is_empty();
    let number = port.protocol.number();
    for v4 in [true, false] {
        let of_this = |a: &IpAddr| a.is_ipv4() == v4;
        let target = endpoint.addresses.iter().map(IpNet::addr).find(of_this);
        let Some(target) = target.filter(|_| port.host_ip.as_ref().is_none_or(of_this)) else { continue };
        let data = Data::Value(Key::new().address(target).port(port.container_port));
        let (set, key) = match port.host_ip.filter(|ip| !ip.is_unspecified()) {
            // It cannot leave the host; the relay passes it on.
            Some(ip) if ip.is_ipv6() && ip.is_loopback() => continue,
            Some(ip) => (
                of_family(v4, ("publishat4", "publishat6")),
                Key::new().address(ip).protocol(number).port(port.host_port),
            ),
            None => (of_family(v4, ("publish4", "publish6")), Key::new().protocol(number).port(port.host_port)),
        };
        entries.push(inet(set, Element::new(key).with(data).noted(note.clone())));
        if guarded {
            entries.extend(allowed(port, v4, &note));
        }
    }
    if guarded {
        let key = Key::new().protocol(number).port(port.host_port);
        entries.push(inet("guarded", Element::new(key).noted(note)));
    }
    entries
}

/// Every pair of link and source range that a guarded port is open to.
fn allowed(port: &PublishedPort, v4: bool, note: &str) -> Vec<Entry> {
    let any: IpNet = match v4 {
        true => IpNet::V4(ipnet::Ipv4Net::default()),
        false => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    let mut sources: Vec<IpNet> = port.from.iter().copied().filter(|net| matches!(net, IpNet::V4(_)) == v4).collect();
    if port.from.is_empty() {
        sources.push(any);
    }
    let links: Vec<Option<&str>> = match port.interfaces.as_slice() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    let mut entries = Vec::new();
    for link in links {
        for source in &sources {
            let base = || Key::new().protocol(port.protocol.number()).port(port.host_port);
            // Two sets: a range that begins with no name at all is more than some versions of `nft` can list.
            let (set, base) = match link {
                Some(name) => (of_family(v4, ("allowedon4", "allowedon6")), base().link(name)),
                None => (of_family(v4, ("allowed4", "allowed6")), base()),
            };
            let element = Element::new(base.clone().address(source.network())).to(base.address(source.broadcast()));
            entries.push(inet(set, element.noted(note)));
        }
    }
    entries
}
