//! The result of ADD, in the form of each version.

use holm_spec::network::{Endpoint, NetworkSpec};
use serde_json::{Value, json};

use super::super::at_least;
use super::Conf;

/// The result for an endpoint whose link is in the namespace at this path.
pub(super) fn of(
    conf: &Conf,
    network: &NetworkSpec,
    endpoint: &Endpoint,
    netns: &str,
    macs: [Option<String>; 2],
) -> Value {
    let newest = at_least(&conf.version, (1, 1));
    let [bridge_mac, host_mac] = macs;
    let link = |name: &str, mac: String, sandbox: &str| {
        let mut link = json!({"name": name, "mac": mac});
        if !sandbox.is_empty() {
            link["sandbox"] = sandbox.into();
        }
        if let Some(mtu) = network.mtu.filter(|_| newest) {
            link["mtu"] = mtu.into();
        }
        link
    };
    let mut interfaces = Vec::new();
    if !endpoint.host_link.is_empty() {
        interfaces.push(link(&network.link, bridge_mac.unwrap_or_default(), ""));
        interfaces.push(link(&endpoint.host_link, host_mac.unwrap_or_default(), ""));
    }
    interfaces.push(link(&endpoint.link, endpoint.mac.to_string(), netns));
    let own = interfaces.len() - 1;
    let ips: Vec<Value> = endpoint
        .addresses
        .iter()
        .map(|address| {
            let v4 = address.addr().is_ipv4();
            let mut ip = json!({"address": address, "interface": own});
            let subnet = network.subnets.iter().find(|s| s.subnet.contains(&address.addr()));
            if let Some(gateway) = subnet.and_then(|s| s.gateway) {
                ip["gateway"] = gateway.to_string().into();
            }
            if !at_least(&conf.version, (1, 0)) {
                ip["version"] = if v4 { "4" } else { "6" }.into();
            }
            ip
        })
        .collect();
    let whole = |v4: bool| if v4 { "0.0.0.0/0" } else { "::/0" };
    let mut routes: Vec<Value> =
        endpoint.gateways.iter().map(|gw| json!({"dst": whole(gw.is_ipv4()), "gw": gw})).collect();
    routes.extend(conf.routes.iter().map(|(to, gateway)| match gateway {
        Some(gateway) => json!({"dst": to, "gw": gateway}),
        None => json!({"dst": to}),
    }));
    let servers: Vec<_> = network.subnets.iter().filter_map(|s| s.gateway.filter(|_| network.names)).collect();
    let dns = conf.dns.clone().unwrap_or_else(|| json!({"nameservers": servers}));
    json!({"cniVersion": conf.version, "interfaces": interfaces, "ips": ips, "routes": routes, "dns": dns})
}
