//! Rows of `network ls` and what `network inspect` says, with docker's field names.

use holm_network::isolation_word;
use holm_spec::ContainerId;
use holm_spec::network::{Driver, Endpoint, NetworkSpec, Subnet};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::list::Columns;
use super::time;

/// Columns of `network ls`.
pub const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Subnets", "SUBNETS"),
        ("Link", "LINK"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    default: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
};

/// Columns of `network ls -o wide`.
pub const COLUMNS_WIDE: Columns = Columns {
    titles: COLUMNS.titles,
    default: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}\t{{.Subnets}}\t{{.Link}}\t{{.Internal}}",
};

/// The two networks that are none: docker lists them, and scripts look for them.
pub const PSEUDO: [&str; 2] = ["host", "none"];

/// Identifier of a pseudo network, the same on every machine.
pub fn pseudo_id(name: &str) -> ContainerId {
    let mut bytes = [0u8; 32];
    for (to, from) in bytes.iter_mut().zip(name.bytes().cycle()) {
        *to = from;
    }
    ContainerId::from_random(&bytes)
}

/// Docker's word for a driver.
pub fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Bridge => "bridge",
        Driver::Macvlan => "macvlan",
    }
}

/// Docker's driver of a pseudo network.
pub fn pseudo_driver(name: &str) -> &'static str {
    if name == "host" { "host" } else { "null" }
}

fn has(network: &NetworkSpec, v4: bool) -> bool {
    network.subnets.iter().any(|s| s.subnet.addr().is_ipv4() == v4)
}

fn cut(id: &ContainerId, no_trunc: bool) -> &str {
    if no_trunc { id.as_str() } else { id.short() }
}

/// The row of a network.
pub fn row(network: &NetworkSpec, no_trunc: bool) -> Value {
    let labels: Vec<String> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let subnets: Vec<String> = network.subnets.iter().map(|s| s.subnet.to_string()).collect();
    json!({
        "CreatedAt": time::go_form(network.created_at_ns), "Driver": driver(network.driver),
        "ID": cut(&network.id, no_trunc), "IPv4": has(network, true).to_string(), "IPv6": has(network, false).to_string(),
        "Internal": network.internal.to_string(), "Labels": labels.join(","), "Link": network.link,
        "Name": network.name.as_str(), "Scope": "local", "Subnets": subnets.join(","),
    })
}

/// The row of a pseudo network.
pub fn pseudo_row(name: &str, no_trunc: bool) -> Value {
    json!({
        "CreatedAt": time::go_form(0), "Driver": pseudo_driver(name), "ID": cut(&pseudo_id(name), no_trunc), "IPv4": "true",
        "IPv6": "false", "Internal": "false", "Labels": "", "Link": "", "Name": name, "Scope": "local", "Subnets": "",
    })
}

/// What `network inspect` says; `endpoints` are those that are on it now.
pub fn inspect(network: &NetworkSpec, endpoints: &[Endpoint]) -> Value {
    let config: Vec<Value> = network.subnets.iter().map(subnet).collect();
    let containers: Map<String, Value> = endpoints
        .iter()
        .map(|endpoint| {
            let first =
                |v4: bool| endpoint.addresses.iter().find(|a| a.addr().is_ipv4() == v4).map(|a| in_subnet(a, network));
            let value = json!({
                "Name": endpoint.name, "EndpointID": endpoint_id(endpoint, &network.id),
                "MacAddress": endpoint.mac.to_string(), "IPv4Address": first(true).unwrap_or_default(),
                "IPv6Address": first(false).unwrap_or_default(),
            });
            (endpoint.container.to_string(), value)
        })
        .collect();
    json!({
        "Name": network.name.as_str(), "Id": network.id.as_str(), "Created": time::rfc3339(network.created_at_ns),
        "Scope": "local", "Driver": driver(network.driver), "EnableIPv4": has(network, true),
        "EnableIPv6": has(network, false), "IPAM": {"Driver": "default", "Options": null, "Config": config},
        "Internal": network.internal, "Attachable": true, "Ingress": false, "ConfigFrom": {"Network": ""},
        "ConfigOnly": false, "Containers": containers, "Options": network.options, "Labels": network.labels,
        // What docker has no names for.
        "Link": network.link, "DNS": network.names, "Isolation": isolation_word(network.isolation), "MTU": network.mtu,
    })
}

/// What `network inspect` says of a pseudo network.
pub fn pseudo_inspect(name: &str) -> Value {
    json!({
        "Name": name, "Id": pseudo_id(name).as_str(), "Created": time::rfc3339(0), "Scope": "local",
        "Driver": pseudo_driver(name), "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": []}, "Internal": false, "Attachable": false,
        "Ingress": false, "ConfigFrom": {"Network": ""}, "ConfigOnly": false, "Containers": {}, "Options": {}, "Labels": {},
    })
}

fn subnet(subnet: &Subnet) -> Value {
    let mut value = Map::new();
    value.insert("Subnet".to_owned(), subnet.subnet.to_string().into());
    if let Some(range) = subnet.range {
        value.insert("IPRange".to_owned(), range.to_string().into());
    }
    if let Some(gateway) = subnet.gateway {
        value.insert("Gateway".to_owned(), gateway.to_string().into());
    }
    value.into()
}

/// The prefix of the subnet that an address is of: on some networks its own link has it alone.
pub fn prefix(address: &IpNet, network: Option<&NetworkSpec>) -> u8 {
    let subnets = network.into_iter().flat_map(|n| &n.subnets);
    let of = subnets.map(|s| s.subnet).find(|s| s.contains(&address.addr()));
    of.map_or(address.prefix_len(), |s| s.prefix_len())
}

fn in_subnet(address: &IpNet, network: &NetworkSpec) -> String {
    format!("{}/{}", address.addr(), prefix(address, Some(network)))
}

/// An identifier of a container's place on a network, as docker has: it follows from both.
pub fn endpoint_id(endpoint: &Endpoint, network: &ContainerId) -> String {
    let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0);
    let pairs = endpoint.container.as_str().bytes().zip(network.as_str().bytes());
    pairs.filter_map(|(a, b)| char::from_digit(digit(a) ^ digit(b), 16)).collect()
}
