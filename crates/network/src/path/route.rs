//! The host in the middle: whether it forwards, and where it sends the packet.

use std::net::IpAddr;

use holm_sys::route::Link;
use rustix::io::Errno;

use super::namespace::{Inside, errno_words};
use super::report::{Hop, Place};
use crate::sysctl;

/// What the host does with packets between two links.
#[derive(Clone, Debug)]
pub(super) struct Middle {
    /// It passes packets on.
    pub forwards: bool,
    /// The reverse path filter of the link that packets come in by: 0 off, 1 strict, 2 loose. IPv4 only.
    pub rp_filter: u8,
    /// Links and the route, asked as for a packet that came in by the sender's bridge.
    pub inside: Inside,
}

/// Reads the host's parameters.
pub(super) fn gather(inside: Inside, to: IpAddr, incoming: &str) -> Middle {
    let is_on = |name: &str| sysctl::get(name).as_deref() == Some("1");
    let number = |name: &str| sysctl::get(name).and_then(|text| text.parse::<u8>().ok()).unwrap_or(0);
    let forwards = match to {
        IpAddr::V4(_) => is_on("ipv4/ip_forward"),
        IpAddr::V6(_) => is_on("ipv6/conf/all/forwarding"),
    };
    // The stricter of both counts. Source: Documentation/networking/ip-sysctl.rst.
    let rp_filter = match to {
        IpAddr::V4(_) => number("ipv4/conf/all/rp_filter").max(number(&format!("ipv4/conf/{incoming}/rp_filter"))),
        IpAddr::V6(_) => 0,
    };
    Middle { forwards, rp_filter, inside }
}

/// The packet stays on one bridge.
pub(super) fn switched(bridge: &str) -> Hop {
    Hop::ok(Place::Host, format!("bridge `{bridge}`"), "both are on it: packets are switched, not routed")
}

/// Judges the host.
pub(super) fn judge(middle: &Middle, to: IpAddr, incoming: &str) -> Hop {
    let looked_at = format!("the host's way to {to} from `{incoming}`");
    let stop = |reason: String| Hop::stop(Place::Host, looked_at.clone(), reason);
    let (family, parameter) = match to {
        IpAddr::V4(_) => ("IPv4", "net.ipv4.ip_forward"),
        IpAddr::V6(_) => ("IPv6", "net.ipv6.conf.all.forwarding"),
    };
    let local = matches!(&middle.inside.route, Ok(route) if route.kind == 2);
    if local {
        return Hop::ok(Place::Host, looked_at, format!("{to} is an address of the host"));
    }
    if !middle.forwards {
        return stop(format!("the host does not forward {family} packets: {parameter} is 0"))
            .hint(format!("sysctl -w {parameter}=1"));
    }
    let route = match &middle.inside.route {
        Ok(route) if route.kind == 1 => route,
        Ok(_) => {
            return stop(format!("a route of the host says that {to} is not reached"))
                .hint(format!("ip route get {to}"));
        }
        Err(Errno::INVAL | Errno::XDEV) => {
            let reason = format!("the host takes the sender for a stranger on `{incoming}` and drops its packets");
            return stop(reason).hint(format!("sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.{incoming}.rp_filter"));
        }
        Err(errno) => {
            return stop(format!("the host has no route to {to}: {}", errno_words(*errno)))
                .hint(format!("ip route get {to}"));
        }
    };
    let out: Option<&Link> = middle.inside.link(route.link);
    let name = out.map_or("?", |link| link.name.as_str());
    if let Some(link) = out.filter(|link| !link.up) {
        return stop(format!("link `{}` of the host is down", link.name)).hint(format!("ip link set {} up", link.name));
    }
    let through = route.gateway.map_or_else(String::new, |gateway| format!(" through {gateway}"));
    let filter = match middle.rp_filter {
        1 => "; strict reverse path filter",
        _ => "",
    };
    Hop::ok(Place::Host, looked_at, format!("forwards over `{name}`{through}{filter}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_sys::route::Route;

    fn check(forwards: bool, route: Result<Route, Errno>, found: &str) {
        let inside = Inside { links: vec![], addresses: vec![], route, neighbours: vec![] };
        let middle = Middle { forwards, rp_filter: 0, inside };
        assert_eq!(judge(&middle, "192.0.2.9".parse().unwrap(), "br").found, found);
    }

    #[test]
    fn a_host_that_does_not_pass_it_on_says_why() {
        let route = |kind| Ok(Route { to: None, gateway: None, link: None, source: None, table: 254, kind });
        check(false, Err(Errno::HOSTUNREACH), "the host does not forward IPv4 packets: net.ipv4.ip_forward is 0");
        check(true, Err(Errno::NETUNREACH), "the host has no route to 192.0.2.9: no route (ENETUNREACH)");
        check(true, Err(Errno::XDEV), "the host takes the sender for a stranger on `br` and drops its packets");
        check(true, route(6), "a route of the host says that 192.0.2.9 is not reached");
        check(false, route(2), "192.0.2.9 is an address of the host");
        check(true, route(1), "forwards over `?`");
    }
}
