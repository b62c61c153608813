//! Docker's `NetworkSettings` of a container.

use holm_pod::Container;
use holm_spec::container::NetworkMode;
use holm_spec::network::{AttachmentSpec, Endpoint, NetworkSpec};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::Facts;
use crate::format::network::{endpoint_id, prefix, pseudo_id};
use crate::format::port;

/// The `NetworkSettings` part.
pub fn settings(container: &Container, facts: &Facts) -> Value {
    let mode = &container.spec.sandbox.network;
    let live = container.state.status.is_live() && container.state.pid > 0;
    let exposed = if live { port::exposed(container) } else { Default::default() };
    let mut networks = Map::new();
    match mode {
        NetworkMode::None => drop(networks.insert("none".to_owned(), pseudo("none"))),
        NetworkMode::Host => drop(networks.insert("host".to_owned(), pseudo("host"))),
        NetworkMode::Networks(list) => {
            for attachment in list {
                let network = (facts.network)(attachment.network.as_str());
                networks.insert(attachment.network.to_string(), place(container, attachment, network, facts));
            }
        }
        // None of Holm's, though one may have the same name.
        NetworkMode::Cni(cni) => {
            let attachment = AttachmentSpec { mac: cni.mac, ..AttachmentSpec::to(cni.name.clone()) };
            networks.insert(cni.name.to_string(), place(container, &attachment, None, facts));
        }
        NetworkMode::Container(_) | NetworkMode::Path(_) => {}
    }
    let key = match mode {
        NetworkMode::Path(path) => path.display().to_string(),
        NetworkMode::Container(_) => String::new(),
        _ if live => format!("/proc/{}/ns/net", container.state.pid),
        _ => String::new(),
    };
    let mut value = json!({
        "Bridge": "", "SandboxID": "", "SandboxKey": key,
        "Ports": port::settings(&port::bindings(facts.endpoints), &exposed),
    });
    // The old fields at the top are those of the first network.
    let first = match mode {
        NetworkMode::Networks(list) => list.first().and_then(|a| networks.get(a.network.as_str())).cloned(),
        NetworkMode::Cni(cni) => networks.get(cni.name.as_str()).cloned(),
        _ => None,
    };
    let first = first.unwrap_or_else(empty);
    if let Value::Object(map) = &mut value {
        for field in OLD_FIELDS {
            map.insert(field.to_owned(), first[field].clone());
        }
        map.insert("Networks".to_owned(), networks.into());
    }
    value
}

const OLD_FIELDS: [&str; 8] = [
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
];

fn empty() -> Value {
    json!({
        "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "", "DriverOpts": null, "NetworkID": "",
        "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0, "DNSNames": null,
    })
}

fn pseudo(name: &str) -> Value {
    let mut value = empty();
    value["NetworkID"] = pseudo_id(name).as_str().into();
    value
}

/// One container's place on one network; addresses are there while it runs.
fn place(container: &Container, attachment: &AttachmentSpec, network: Option<NetworkSpec>, facts: &Facts) -> Value {
    let mut value = empty();
    if !attachment.aliases.is_empty() {
        value["Aliases"] = attachment.aliases.clone().into();
    }
    value["IPAMConfig"] = ipam(attachment);
    if let Some(network) = &network {
        value["NetworkID"] = network.id.as_str().into();
    }
    let Some(endpoint) = facts.endpoints.iter().find(|e| e.network == attachment.network) else {
        value["MacAddress"] = attachment.mac.map_or_else(String::new, |mac| mac.to_string()).into();
        return value;
    };
    if let Some(network) = &network {
        value["EndpointID"] = endpoint_id(endpoint, &network.id).into();
    }
    value["MacAddress"] = endpoint.mac.to_string().into();
    value["DNSNames"] = names(container, endpoint).into();
    let gateway = |v4: bool| {
        let subnets = network.iter().flat_map(|n| &n.subnets);
        let given = endpoint.gateways.iter().copied().filter(|_| network.is_none());
        let found = subnets.filter_map(|s| s.gateway).chain(given).find(|g| g.is_ipv4() == v4);
        found.map_or_else(String::new, |g| g.to_string())
    };
    let of = |v4: bool| endpoint.addresses.iter().find(|a| a.addr().is_ipv4() == v4);
    let bits = |address: &IpNet| prefix(address, network.as_ref());
    if let Some(address) = of(true) {
        value["IPAddress"] = address.addr().to_string().into();
        value["IPPrefixLen"] = bits(address).into();
        value["Gateway"] = gateway(true).into();
    }
    if let Some(address) = of(false) {
        value["GlobalIPv6Address"] = address.addr().to_string().into();
        value["GlobalIPv6PrefixLen"] = bits(address).into();
        value["IPv6Gateway"] = gateway(false).into();
    }
    value
}

fn ipam(attachment: &AttachmentSpec) -> Value {
    let mut map = Map::new();
    if let Some(address) = attachment.ipv4 {
        map.insert("IPv4Address".to_owned(), address.to_string().into());
    }
    if let Some(address) = attachment.ipv6 {
        map.insert("IPv6Address".to_owned(), address.to_string().into());
    }
    if map.is_empty() { Value::Null } else { map.into() }
}

/// The names under which it is found there.
fn names(container: &Container, endpoint: &Endpoint) -> Vec<String> {
    let mut names = vec![endpoint.name.clone()];
    names.extend(endpoint.aliases.iter().cloned());
    names.extend(container.spec.sandbox.hostname.clone());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}
