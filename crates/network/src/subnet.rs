//! Which subnets a network gets: those that were asked for, checked, or free ones.
//!
//! Pure: what the host and other networks have is handed in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holm_spec::network::{DEFAULT_NETWORK, Driver, NetworkSpec, Subnet};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Error;
use crate::store::NetworkRequest;

/// A subnet that is in use, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub subnet: IpNet,
    pub owner: String,
}

/// Where the default network's subnet is chosen from: /16 each, the first free one.
const DEFAULT_POOL: (u8, std::ops::RangeInclusive<u8>) = (10, 77..=119);
/// Where other networks' are chosen from: /24 each of 10.N.0.0/16.
const POOL: std::ops::RangeInclusive<u8> = 120..=219;

/// The subnets of a new network. *Errors*: one that was asked for is malformed or overlaps, or none is free.
pub(crate) fn choose(request: &NetworkRequest, others: &[NetworkSpec], host: &[Used]) -> Result<Vec<Subnet>, Error> {
    let mut used: Vec<Used> = others.iter().flat_map(of_network).collect();
    // A macvlan shares the subnet of the link below it; that is what it is for.
    if request.driver == Driver::Bridge {
        used.extend_from_slice(host);
    }
    let mut subnets = Vec::new();
    for subnet in &request.subnets {
        check(*subnet, &subnets, request)?;
        if let Some(other) = used.iter().find(|other| overlaps(&other.subnet, subnet)) {
            let (other, owner) = (other.subnet, other.owner.clone());
            return Err(Error::Overlap { subnet: *subnet, other, owner });
        }
        subnets.push(*subnet);
    }
    if request.driver == Driver::Macvlan && subnets.is_empty() {
        return Err(Error::invalid_hint(
            "driver `macvlan`",
            "its containers need addresses of the network outside",
            "holm network create -d macvlan -o parent=eth0 --subnet 192.168.1.0/24 --gateway 192.168.1.1 NAME",
        ));
    }
    if !subnets.iter().any(|s| matches!(s, IpNet::V4(_))) && (subnets.is_empty() || !request.ipv6) {
        subnets.insert(0, free_v4(request.name.as_str() == DEFAULT_NETWORK, &used)?.into());
    }
    if request.ipv6 && !subnets.iter().any(|s| matches!(s, IpNet::V6(_))) {
        subnets.push(random_v6(&used)?.into());
    }
    complete(request, &subnets)
}

fn of_network(network: &NetworkSpec) -> Vec<Used> {
    let owner = format!("network `{}`", network.name);
    network.subnets.iter().map(|s| Used { subnet: s.subnet, owner: owner.clone() }).collect()
}

pub(crate) fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn check(subnet: IpNet, before: &[IpNet], request: &NetworkRequest) -> Result<(), Error> {
    let what = || format!("subnet `{subnet}`");
    let bad = |why: &str| Err(Error::invalid(what(), why));
    if subnet.trunc() != subnet {
        let why = "it is an address in a subnet".to_owned();
        return Err(Error::invalid_hint(what(), why, format!("--subnet {}", subnet.trunc())));
    }
    if before.iter().any(|b| matches!(b, IpNet::V4(_)) == matches!(subnet, IpNet::V4(_))) {
        return bad("a network has one subnet of each family");
    }
    let (least, most) = if matches!(subnet, IpNet::V4(_)) { (30, 8) } else { (126, 16) };
    if subnet.prefix_len() > least {
        return bad(&format!("it leaves no room for a gateway and a container: it needs /{least} or larger"));
    }
    if subnet.prefix_len() < most {
        return bad(&format!("it is larger than /{most}"));
    }
    if matches!(subnet, IpNet::V6(_)) && !request.ipv6 {
        return Err(Error::invalid_hint(what(), "the network is to have no IPv6", "add --ipv6"));
    }
    let first = subnet.network();
    let link_local = matches!(first, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80);
    let linked = matches!(first, IpAddr::V4(v4) if v4.is_link_local());
    if first.is_loopback() || first.is_multicast() || first.is_unspecified() || link_local || linked {
        return bad("its addresses have another meaning");
    }
    Ok(())
}

fn free_v4(default: bool, used: &[Used]) -> Result<Ipv4Net, Error> {
    let free = |net: &Ipv4Net| !used.iter().any(|u| overlaps(&u.subnet, &(*net).into()));
    let net = |b: u8, c: u8, prefix: u8| Ipv4Net::new_assert(Ipv4Addr::new(DEFAULT_POOL.0, b, c, 0), prefix);
    let found = match default {
        true => DEFAULT_POOL.1.map(|b| net(b, 0, 16)).find(free),
        false => POOL.flat_map(|b| (0..=255).map(move |c| (b, c))).map(|(b, c)| net(b, c, 24)).find(free),
    };
    found.ok_or_else(|| {
        let why = "every one of them overlaps a network or a route of the host";
        Error::invalid_hint("the subnets that Holm chooses from", why, "name one yourself: --subnet 172.28.0.0/24")
    })
}

/// A unique local subnet. *Source*: RFC 4193: fd, 40 random bits, 16 bits of subnet.
fn random_v6(used: &[Used]) -> Result<Ipv6Net, Error> {
    for _ in 0..16 {
        let mut random = [0u8; 7];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::io("read", "random bytes", e))?;
        let mut bytes = [0u8; 16];
        bytes[0] = 0xfd;
        bytes[1..8].copy_from_slice(&random);
        let net = Ipv6Net::new_assert(Ipv6Addr::from(bytes), 64);
        if !used.iter().any(|u| overlaps(&u.subnet, &net.into())) {
            return Ok(net);
        }
    }
    Err(Error::invalid("a random IPv6 subnet", "every one tried overlaps another"))
}

/// Adds gateways and ranges.
fn complete(request: &NetworkRequest, subnets: &[IpNet]) -> Result<Vec<Subnet>, Error> {
    for gateway in &request.gateways {
        if !subnets.iter().any(|s| s.contains(gateway)) {
            return Err(Error::invalid(format!("gateway {gateway}"), "it is in no subnet of the network"));
        }
    }
    for range in &request.ranges {
        if !subnets.iter().any(|s| s.contains(&range.network()) && s.prefix_len() <= range.prefix_len()) {
            return Err(Error::invalid(format!("range `{range}`"), "it is in no subnet of the network"));
        }
    }
    let one = |subnet: &IpNet| {
        let gateway = request.gateways.iter().copied().find(|g| subnet.contains(g));
        let first = match subnet {
            IpNet::V4(net) => IpAddr::V4(Ipv4Addr::from(u32::from(net.network()) + 1)),
            IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from(u128::from(net.network()) + 1)),
        };
        let special = gateway.filter(|g| *g == subnet.network() || (g.is_ipv4() && *g == subnet.broadcast()));
        if let Some(gateway) = special {
            return Err(Error::invalid(format!("gateway {gateway}"), format!("it means the whole of `{subnet}`")));
        }
        let gateway = match (gateway, request.driver, request.internal) {
            (Some(gateway), ..) => Some(gateway),
            (None, Driver::Bridge, _) => Some(first),
            (None, Driver::Macvlan, false) => Some(first),
            (None, Driver::Macvlan, true) => None,
        };
        let range = request.ranges.iter().find(|r| subnet.contains(&r.network())).map(IpNet::trunc);
        Ok(Subnet { subnet: *subnet, gateway, range })
    };
    subnets.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests_support::{network, request};

    fn chosen(request: &NetworkRequest, host: &[&str]) -> Result<Vec<String>, String> {
        let host: Vec<Used> =
            host.iter().map(|h| Used { subnet: h.parse().unwrap(), owner: "link `eth0`".into() }).collect();
        let others = [network("other", "10.120.1.0/24")];
        let found = choose(request, &others, &host).map_err(|e| e.to_string())?;
        Ok(found.iter().map(|s| format!("{} via {}", s.subnet, s.gateway.unwrap())).collect())
    }

    #[test]
    fn free_subnets_avoid_the_hosts_and_other_networks() {
        let plain = request("n");
        assert_eq!(chosen(&plain, &[]).unwrap(), ["10.120.0.0/24 via 10.120.0.1"]);
        assert_eq!(chosen(&plain, &["10.120.0.0/24"]).unwrap(), ["10.120.2.0/24 via 10.120.2.1"]);
        assert_eq!(chosen(&plain, &["10.120.0.0/14"]).unwrap(), ["10.124.0.0/24 via 10.124.0.1"]);
        assert!(chosen(&plain, &["10.0.0.0/8"]).unwrap_err().contains("overlaps"));
        assert_eq!(chosen(&request("bridge"), &[]).unwrap(), ["10.77.0.0/16 via 10.77.0.1"]);
        let both = chosen(&NetworkRequest { ipv6: true, ..request("n") }, &[]).unwrap();
        assert!(both.len() == 2 && both[1].starts_with("fd") && both[1].contains("::/64"), "{both:?}");
    }

    #[test]
    fn what_was_asked_is_taken_or_refused_with_the_reason() {
        let asked =
            |subnet: &str| NetworkRequest { subnets: vec![subnet.parse().unwrap()], ipv6: true, ..request("n") };
        assert_eq!(chosen(&asked("172.28.0.0/30"), &[]).unwrap()[0], "172.28.0.0/30 via 172.28.0.1");
        for (subnet, why) in [
            ("10.0.0.0/31", "needs /30 or larger"),
            ("10.0.0.5/24", "an address in a subnet"),
            ("127.0.0.0/8", "another meaning"),
            ("224.0.0.0/8", "another meaning"),
            ("fe80::/64", "another meaning"),
            ("0.0.0.0/4", "larger than /8"),
            ("fd00::/127", "needs /126 or larger"),
            ("10.120.1.128/25", "overlaps `10.120.1.0/24` of network `other`"),
            ("192.168.0.0/16", "overlaps `192.168.7.0/24` of link `eth0`"),
        ] {
            let error = chosen(&asked(subnet), &["192.168.7.0/24"]).unwrap_err();
            assert!(error.contains(why), "{subnet}: {error}");
        }
        let two = NetworkRequest {
            subnets: vec!["10.1.0.0/24".parse().unwrap(), "10.2.0.0/24".parse().unwrap()],
            ..request("n")
        };
        assert!(chosen(&two, &[]).unwrap_err().contains("one subnet of each family"));
        let v6 = NetworkRequest { ipv6: false, ..asked("fd00::/64") };
        assert!(chosen(&v6, &[]).unwrap_err().contains("no IPv6"));
    }

    #[test]
    fn gateways_and_ranges_belong_to_a_subnet() {
        let base = NetworkRequest { subnets: vec!["10.1.0.0/24".parse().unwrap()], ..request("n") };
        let given = NetworkRequest { gateways: vec!["10.1.0.254".parse().unwrap()], ..base.clone() };
        assert_eq!(chosen(&given, &[]).unwrap(), ["10.1.0.0/24 via 10.1.0.254"]);
        for gateway in ["10.2.0.1", "10.1.0.0", "10.1.0.255"] {
            let bad = NetworkRequest { gateways: vec![gateway.parse().unwrap()], ..base.clone() };
            assert!(chosen(&bad, &[]).is_err(), "{gateway}");
        }
        for range in ["10.2.0.0/28", "10.0.0.0/8"] {
            let bad = NetworkRequest { ranges: vec![range.parse().unwrap()], ..base.clone() };
            assert!(chosen(&bad, &[]).unwrap_err().contains("in no subnet"), "{range}");
        }
    }
}
