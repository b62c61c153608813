//! Published and exposed ports as docker writes them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holm_pod::Container;
use holm_spec::network::{Endpoint, Protocol, PublishSpec, PublishedPort};
use serde_json::{Map, Value, json};

/// One port of the host, at one address, that leads to one port of a container. In docker's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// Port inside.
    pub inside: u16,
    /// Address of the host.
    pub address: IpAddr,
    /// Port of the host.
    pub outside: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl Binding {
    /// `ADDRESS:PORT`, an IPv6 address in brackets.
    pub fn host(&self) -> String {
        std::net::SocketAddr::new(self.address, self.outside).to_string()
    }
}

/// The addresses that a published port has on the host: both families where none was named.
pub fn addresses(port: &PublishedPort) -> Vec<IpAddr> {
    match port.host_ip {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    }
}

/// What a running container's ports are bound to.
pub fn bindings(endpoints: &[Endpoint]) -> Vec<Binding> {
    let ports = endpoints.iter().flat_map(|endpoint| &endpoint.ports);
    let mut all: Vec<Binding> = ports
        .flat_map(|port| {
            addresses(port).into_iter().map(|address| Binding {
                inside: port.container_port,
                address,
                outside: port.host_port,
                protocol: port.protocol,
            })
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Ports that the image or the user exposes, as number and protocol.
pub fn exposed(container: &Container) -> BTreeSet<(u16, Protocol)> {
    let image = container.image_config.exposed_ports.iter().flatten().map(|(port, _)| port);
    let read = |text: &String| {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some((number.parse().ok()?, protocol.parse().ok()?))
    };
    image.chain(&container.spec.sandbox.exposed).filter_map(read).collect()
}

/// Docker's `PORTS` column: neighbouring ports that are the same on both sides are written as one range.
pub fn column(bindings: &[Binding], exposed: &BTreeSet<(u16, Protocol)>) -> String {
    let published = |port: &(u16, Protocol)| bindings.iter().any(|b| (b.inside, b.protocol) == *port);
    // Address (none where only exposed), protocol, first, last: in order of first appearance.
    let mut open: Vec<(Option<IpAddr>, Protocol, u16, u16)> = Vec::new();
    let mut done: Vec<(Option<IpAddr>, Protocol, u16, u16)> = Vec::new();
    let mut moved = Vec::new();
    let mut all: Vec<(u16, Option<Binding>, Protocol)> =
        bindings.iter().map(|b| (b.inside, Some(*b), b.protocol)).collect();
    all.extend(exposed.iter().filter(|port| !published(port)).map(|(port, protocol)| (*port, None, *protocol)));
    all.sort();
    for (inside, binding, protocol) in all {
        if let Some(binding) = binding.filter(|b| b.outside != inside) {
            moved.push(format!("{}->{inside}/{protocol}", binding.host()));
            continue;
        }
        let address = binding.map(|b| b.address);
        match open.iter_mut().find(|group| (group.0, group.1) == (address, protocol)) {
            Some(group) if group.3.checked_add(1) == Some(inside) => group.3 = inside,
            Some(group) => done.push(std::mem::replace(group, (address, protocol, inside, inside))),
            None => open.push((address, protocol, inside, inside)),
        }
    }
    let written = done.into_iter().chain(open).map(|(address, protocol, first, last)| {
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match address {
            Some(IpAddr::V6(address)) => format!("[{address}]:{ports}->{ports}/{protocol}"),
            Some(IpAddr::V4(address)) => format!("{address}:{ports}->{ports}/{protocol}"),
            None => format!("{ports}/{protocol}"),
        }
    });
    written.chain(moved).collect::<Vec<_>>().join(", ")
}

/// `NetworkSettings.Ports`: a list for what is published, null for what is only exposed.
pub fn settings(bindings: &[Binding], exposed: &BTreeSet<(u16, Protocol)>) -> Value {
    let mut map: Map<String, Value> =
        exposed.iter().map(|(port, protocol)| (format!("{port}/{protocol}"), Value::Null)).collect();
    for binding in bindings {
        let one = json!({"HostIp": binding.address.to_string(), "HostPort": binding.outside.to_string()});
        push(&mut map, format!("{}/{}", binding.inside, binding.protocol), one);
    }
    map.into()
}

/// `HostConfig.PortBindings`: what was asked.
pub fn asked(ports: &[PublishSpec]) -> Value {
    let mut map = Map::new();
    for port in ports {
        let host_port = match port.host_ports {
            (0, 0) => String::new(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let address = port.host_ip.map_or_else(String::new, |ip| ip.to_string());
        let one = json!({"HostIp": address, "HostPort": host_port});
        push(&mut map, format!("{}/{}", port.container_port, port.protocol), one);
    }
    map.into()
}

fn push(map: &mut Map<String, Value>, key: String, one: Value) {
    match map.get_mut(&key) {
        Some(Value::Array(list)) => list.push(one),
        _ => drop(map.insert(key, Value::Array(vec![one]))),
    }
}

/// `Config.ExposedPorts`: of the image, of the user, and what is published; null where there is none.
pub fn exposed_map(container: &Container) -> Value {
    let mut all = exposed(container);
    all.extend(container.spec.sandbox.ports.iter().map(|port| (port.container_port, port.protocol)));
    let map: Map<String, Value> =
        all.iter().map(|(port, protocol)| (format!("{port}/{protocol}"), json!({}))).collect();
    if map.is_empty() { Value::Null } else { map.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: Option<&str>, outside: u16, inside: u16) -> PublishedPort {
        PublishedPort {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_port: outside,
            container_port: inside,
            protocol: Protocol::Tcp,
            interfaces: Vec::new(),
            from: Vec::new(),
        }
    }

    fn written(ports: &[PublishedPort], exposed: &[u16]) -> String {
        let mut bindings: Vec<Binding> = ports
            .iter()
            .flat_map(|p| {
                addresses(p).into_iter().map(|address| Binding {
                    inside: p.container_port,
                    address,
                    outside: p.host_port,
                    protocol: p.protocol,
                })
            })
            .collect();
        bindings.sort();
        column(&bindings, &exposed.iter().map(|port| (*port, Protocol::Tcp)).collect())
    }

    #[test]
    fn the_column_merges_equal_neighbours_and_leaves_others_alone() {
        assert_eq!(written(&[port(None, 8080, 80)], &[80]), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
        assert_eq!(written(&[], &[80, 443, 81]), "80-81/tcp, 443/tcp");
        let range: Vec<_> = (8000..8003).map(|p| port(Some("127.0.0.1"), p, p)).collect();
        assert_eq!(written(&range, &[]), "127.0.0.1:8000-8002->8000-8002/tcp");
        let mixed = [port(Some("127.0.0.1"), 80, 80), port(Some("127.0.0.1"), 9000, 90), port(Some("::1"), 80, 80)];
        assert_eq!(written(&mixed, &[5]), "5/tcp, 127.0.0.1:80->80/tcp, [::1]:80->80/tcp, 127.0.0.1:9000->90/tcp");
        assert_eq!(written(&[], &[]), "");
    }
}
