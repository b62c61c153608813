//! A container's pair of links on the host: there, up, a port of its network's bridge, and known to the sender filter.

use std::io;

use holm_spec::network::{Driver, Endpoint, Isolation, NetworkSpec};
use holm_sys::netlink::Socket;
use holm_sys::nftables;
use holm_sys::route::Link;

use super::report::{Hop, Place};
use crate::firewall;

/// What is known of a container's place on one network.
#[derive(Clone, Debug)]
pub(super) struct Pair<'a> {
    pub place: Place,
    pub endpoint: &'a Endpoint,
    pub network: &'a NetworkSpec,
    /// Links of the host.
    pub links: &'a [Link],
    /// Whether the sender filter knows the link with its addresses; none where it could not be read.
    pub known: Option<bool>,
    /// Names of all that are on the network.
    pub others: Vec<String>,
}

/// Whether all that an endpoint should have in the table of frames is there.
pub(super) fn is_known(socket: &mut Socket, network: &NetworkSpec, endpoint: &Endpoint) -> io::Result<bool> {
    for entry in firewall::of_endpoint(network, endpoint) {
        if entry.table != firewall::BRIDGE {
            continue;
        }
        let listed = match nftables::elements(socket, entry.table, entry.set) {
            Ok(listed) => listed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        if !listed.iter().any(|(key, data, _)| entry.element.is_listed_as(key, data)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Judges it.
pub(super) fn judge(pair: &Pair<'_>) -> Hop {
    let Pair { endpoint, network, links, .. } = pair;
    let (name, link, net) = (&endpoint.name, &endpoint.host_link, &network.name);
    if network.driver == Driver::Macvlan {
        let looked_at = format!("link `{}` of `{name}`", endpoint.link);
        let found = format!("macvlan on `{}`: its packets do not cross the host's firewall", network.link);
        return Hop::note(pair.place, looked_at, found);
    }
    let looked_at = format!("link `{link}` of `{name}`, bridge `{}` of network `{net}`", network.link);
    let stop = |reason: String| Hop::stop(pair.place, looked_at.clone(), reason);
    let Some(bridge) = links.iter().find(|l| l.name == network.link) else {
        let all = pair.others.join(" ");
        return stop(format!("bridge `{}` of network `{net}` is gone", network.link))
            .hint(format!("holm stop {all}, then holm start {all}"));
    };
    let Some(own) = links.iter().find(|l| l.name == *link) else {
        return stop(format!("the host's end `{link}` of the link of `{name}` is gone"))
            .hint(format!("holm restart {name}"));
    };
    if own.master != Some(bridge.index) {
        return stop(format!("`{link}` of `{name}` is no port of bridge `{}`", network.link))
            .hint(format!("ip link set {link} master {}", network.link));
    }
    for down in [own, bridge] {
        if !down.up {
            return stop(format!("link `{}` of the host is down", down.name))
                .hint(format!("ip link set {} up", down.name));
        }
    }
    if pair.known == Some(false) {
        return stop(format!("the sender filter does not know `{link}` with the addresses of `{name}`"))
            .hint("holm network repair");
    }
    let wanted = network.isolation != Isolation::L2;
    let filter = match pair.known {
        Some(_) => "known to the sender filter",
        None => "the sender filter could not be read",
    };
    if own.isolated != wanted {
        let is = if own.isolated { "isolated, unlike its network" } else { "not isolated, unlike its network" };
        return Hop::note(pair.place, looked_at, format!("up, a port of the bridge, {is}; {filter}"));
    }
    let isolated = if own.isolated { ", isolated" } else { "" };
    Hop::ok(pair.place, looked_at, format!("up, a port of the bridge{isolated}; {filter}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests_support::{container, network};

    fn link(index: u32, name: &str, master: Option<u32>, up: bool) -> Link {
        let (kind, name) = (String::new(), name.to_owned());
        Link {
            index,
            name,
            kind,
            up,
            running: up,
            loopback: false,
            master,
            peer: None,
            mtu: 1500,
            mac: None,
            isolated: false,
        }
    }

    #[test]
    fn each_thing_that_can_be_wrong_with_a_link_is_told() {
        let network = network("blue", "10.0.0.0/24");
        let endpoint = Endpoint {
            container: container(1),
            name: "web".into(),
            network: "blue".parse().unwrap(),
            aliases: vec![],
            link: "eth0".into(),
            host_link: "hv1".into(),
            mac: holm_spec::network::MacAddress([2, 0, 0, 0, 0, 1]),
            addresses: vec![],
            gateways: vec![],
            ports: vec![],
            dns: vec![],
        };
        let check = |links: &[Link], known, found: &str| {
            let others = vec!["web".into()];
            let pair = Pair { place: Place::Link, endpoint: &endpoint, network: &network, links, known, others };
            assert_eq!(judge(&pair).found, found);
        };
        let bridge = || link(1, "hb-blue", None, true);
        check(&[], None, "bridge `hb-blue` of network `blue` is gone");
        check(&[bridge()], None, "the host's end `hv1` of the link of `web` is gone");
        check(&[bridge(), link(2, "hv1", None, true)], None, "`hv1` of `web` is no port of bridge `hb-blue`");
        check(&[bridge(), link(2, "hv1", Some(1), false)], None, "link `hv1` of the host is down");
        let good = [bridge(), link(2, "hv1", Some(1), true)];
        check(&good, Some(false), "the sender filter does not know `hv1` with the addresses of `web`");
        check(&good, Some(true), "up, a port of the bridge; known to the sender filter");
    }
}
