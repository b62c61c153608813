//! Who has which address of a network: never two the same.
//!
//! An address is taken by making a symbolic link of its name, which only one can do, and free again when that link goes. No
//! lock is held and none is needed. Addresses are given out in turn, so that one that was just given back rests as long as
//! others are free: neighbours may still think of it as somebody else's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holm_spec::ContainerId;
use holm_spec::network::{NetworkSpec, Subnet};
use ipnet::IpNet;
use rustix::io::Errno;

use crate::{Error, Roots};

/// Name of the file with the number of the address given out last. Only a hint: lost or stale, it costs tries.
const LAST: &str = ".last";

/// Takes an address of `subnet`: `wanted`, or the next free one.
pub(crate) fn take(
    roots: &Roots,
    network: &NetworkSpec,
    subnet: &Subnet,
    wanted: Option<IpAddr>,
    container: &ContainerId,
) -> Result<IpAddr, Error> {
    match wanted {
        Some(address) => take_this(roots, network, subnet, address, container),
        None => take_next(roots, network, subnet, container),
    }
}

fn claim(roots: &Roots, network: &NetworkSpec, address: IpAddr, container: &ContainerId) -> Result<bool, Error> {
    let path = roots.addresses(network.name.as_str()).join(address.to_string());
    match rustix::fs::symlink(container.as_str(), &path) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(Error::io("take the address", address.to_string(), e)),
    }
}

fn take_this(
    roots: &Roots,
    network: &NetworkSpec,
    subnet: &Subnet,
    address: IpAddr,
    container: &ContainerId,
) -> Result<IpAddr, Error> {
    check(network, subnet, address)?;
    if claim(roots, network, address, container)? {
        return Ok(address);
    }
    let owner = owner(roots, network.name.as_str(), address).unwrap_or_default();
    if owner == container.as_str() {
        return Ok(address);
    }
    let owner = owner.get(..12).unwrap_or("?").to_owned();
    Err(Error::AddressTaken { address, network: network.name.to_string(), owner })
}

/// Whether an address is one that a container may have, whoever has it now.
pub(crate) fn check(network: &NetworkSpec, subnet: &Subnet, address: IpAddr) -> Result<(), Error> {
    let what = || format!("address {address}");
    if !subnet.subnet.contains(&address) {
        let why = format!("network `{}` has `{}`", network.name, subnet.subnet);
        return Err(Error::invalid(what(), why));
    }
    if subnet.gateway == Some(address) {
        return Err(Error::invalid(what(), format!("it is the gateway of network `{}`", network.name)));
    }
    if is_special(&subnet.subnet, address) {
        return Err(Error::invalid(what(), format!("it means the whole of `{}`", subnet.subnet)));
    }
    Ok(())
}

/// The container that has an address.
pub(crate) fn owner(roots: &Roots, network: &str, address: IpAddr) -> Option<String> {
    let link = std::fs::read_link(roots.addresses(network).join(address.to_string())).ok()?;
    link.into_os_string().into_string().ok()
}

fn take_next(roots: &Roots, network: &NetworkSpec, subnet: &Subnet, container: &ContainerId) -> Result<IpAddr, Error> {
    let range = subnet.range.unwrap_or(subnet.subnet);
    let count = size(&range);
    let hint = roots.addresses(network.name.as_str()).join(format!("{LAST}{}", if is_v4(&range) { 4 } else { 6 }));
    let last = std::fs::read_to_string(&hint).ok().and_then(|text| text.parse::<u128>().ok()).unwrap_or(0);
    let mut usable = 0u128;
    // A large IPv6 subnet is never full; nobody has that many containers.
    for step in 1..=count.min(1 << 20) {
        let number = (last % count + step) % count;
        let address = nth(&range, number);
        if is_special(&subnet.subnet, address) || subnet.gateway == Some(address) {
            continue;
        }
        usable += 1;
        if claim(roots, network, address, container)? {
            // A hint that could not be written costs tries, nothing else.
            let _ = std::fs::write(&hint, number.to_string());
            return Ok(address);
        }
    }
    Err(Error::Exhausted { network: network.name.to_string(), range, count: usable })
}

/// Gives an address back if this container has it.
pub(crate) fn give_back(roots: &Roots, network: &str, address: IpAddr, container: &ContainerId) -> Result<(), Error> {
    if owner(roots, network, address).as_deref() != Some(container.as_str()) {
        return Ok(());
    }
    match rustix::fs::unlink(roots.addresses(network).join(address.to_string())) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::io("give back the address", address.to_string(), e)),
    }
}

/// Gives back every address that a container has on a network: for what a crash left, since it looks at all of them.
pub(crate) fn give_back_all(roots: &Roots, network: &str, container: &ContainerId) -> Result<(), Error> {
    for name in crate::record::names(&roots.addresses(network))? {
        if let Ok(address) = name.parse() {
            give_back(roots, network, address, container)?;
        }
    }
    Ok(())
}

fn is_v4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

/// Number of addresses, those without a use included.
fn size(net: &IpNet) -> u128 {
    1u128.checked_shl(u32::from(net.max_prefix_len() - net.prefix_len())).unwrap_or(u128::MAX)
}

fn nth(net: &IpNet, number: u128) -> IpAddr {
    match net.network() {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first).wrapping_add(number as u32)).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).wrapping_add(number)).into(),
    }
}

/// The first and, for IPv4, the last address of a subnet are nobody's, unless it is too small to have others.
fn is_special(subnet: &IpNet, address: IpAddr) -> bool {
    if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
        return false;
    }
    address == subnet.network() || (address.is_ipv4() && address == subnet.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests_support::{container, network, roots};

    #[test]
    fn addresses_go_out_in_turn_and_an_exhausted_range_says_so() {
        let (_folder, roots) = roots();
        let network = network("n", "10.9.0.0/29");
        crate::record::make_folder(&roots.addresses("n")).unwrap();
        let subnet = &network.subnets[0];
        let taken: Vec<_> =
            (0..5).map(|n| take(&roots, &network, subnet, None, &container(n)).unwrap().to_string()).collect();
        assert_eq!(taken, ["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"]);
        let full = take(&roots, &network, subnet, None, &container(9)).unwrap_err();
        assert_eq!(full.to_string(), "cannot give an address on network `n`: all 5 of `10.9.0.0/29` are taken");
        give_back(&roots, "n", "10.9.0.3".parse().unwrap(), &container(8)).unwrap();
        assert!(take(&roots, &network, subnet, None, &container(9)).is_err(), "only its owner gives an address back");
        give_back_all(&roots, "n", &container(1)).unwrap();
        assert_eq!(take(&roots, &network, subnet, None, &container(9)).unwrap().to_string(), "10.9.0.3");
    }

    #[test]
    fn a_wanted_address_is_given_or_the_reason_told() {
        let (_folder, roots) = roots();
        let network = network("n", "10.9.0.0/24");
        crate::record::make_folder(&roots.addresses("n")).unwrap();
        let ask = |address: &str, who| {
            let wanted = Some(address.parse().unwrap());
            take(&roots, &network, &network.subnets[0], wanted, &container(who)).map(|a| a.to_string())
        };
        assert_eq!(ask("10.9.0.77", 1).unwrap(), "10.9.0.77");
        for (address, why) in [
            ("10.9.0.77", "container `010101010101` has it"),
            ("10.8.0.1", "network `n` has `10.9.0.0/24`"),
            ("10.9.0.1", "gateway"),
            ("10.9.0.0", "the whole"),
            ("10.9.0.255", "the whole"),
        ] {
            let error = ask(address, 2).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_part_of_the_subnet_is_kept_to() {
        let (_folder, roots) = roots();
        let mut network = network("n", "10.9.0.0/24");
        network.subnets[0].range = Some("10.9.0.128/30".parse().unwrap());
        crate::record::make_folder(&roots.addresses("n")).unwrap();
        let all: Vec<_> = (0..5).map(|n| take(&roots, &network, &network.subnets[0], None, &container(n))).collect();
        assert_eq!(all.iter().filter(|a| a.is_ok()).count(), 4);
    }
}
