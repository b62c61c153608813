//! A network's bridge on the host: made with its addresses, and deleted.

use std::net::IpAddr;

use holm_spec::network::{Endpoint, Isolation, NetworkSpec};
use holm_sys::netlink::{Batch, Socket};
use holm_sys::route::{self, End, LinkLocal};
use rustix::io::Errno;

use crate::{Error, sysctl};

/// Makes the bridge of a network, up and with its gateways' addresses; one that a crash left is taken over.
///
/// *Privilege*: CAP_NET_ADMIN. *Errors*: the kernel's; what was made is taken away again.
pub(crate) fn make(socket: &mut Socket, network: &NetworkSpec, mtu: u32) -> Result<(), Error> {
    if let Some(found) = find(socket, &network.link)? {
        if found.kind != "bridge" {
            let why = format!("the host has a link of that name, of kind `{}`", found.kind);
            return Err(Error::invalid(format!("link name `{}`", network.link), why));
        }
        // One of ours from before a crash. Its ports are gone or will be; it is made anew, so that nothing old is on it.
        delete(socket, &network.link)?;
    }
    let mut batch = Batch::new();
    let mac = Some(mac_of(network));
    // Its hardware address is set, or it would change with every port that comes and goes.
    let v6 = network.subnets.iter().any(|s| s.subnet.addr().is_ipv6());
    let link_local = if v6 { LinkLocal::FromHardware } else { LinkLocal::None };
    route::add_bridge(&mut batch, &End { name: &network.link, mac, mtu: Some(mtu), netns: None });
    socket.send(&mut batch).map_err(|e| Error::kernel("make bridge", &network.link, e))?;
    configure(socket, network, link_local).inspect_err(|_| {
        let _ = delete(socket, &network.link);
    })
}

fn configure(socket: &mut Socket, network: &NetworkSpec, link_local: LinkLocal) -> Result<(), Error> {
    let failed = |e| Error::io("find bridge", &network.link, e);
    let Some(index) = route::link_index(socket, &network.link).map_err(failed)? else {
        return Err(failed(Errno::NODEV.into()));
    };
    let conf = |family: &str, name: &str| format!("{family}/conf/{}/{name}", network.link);
    // Before it is up: it must not listen to routers that containers play.
    sysctl::set_if_there(&conf("ipv6", "accept_ra"), "0")?;
    sysctl::set_if_there(&conf("ipv4", "send_redirects"), "0")?;
    // So that 127.0.0.1 of the host reaches published ports; what containers send there is dropped by the firewall.
    sysctl::set_if_there(&conf("ipv4", "route_localnet"), "1")?;
    let mut batch = Batch::new();
    route::set_up(&mut batch, index, link_local);
    for subnet in &network.subnets {
        if let Some(gateway) = subnet.gateway {
            route::add_address(&mut batch, index, gateway, subnet.subnet.prefix_len());
        }
    }
    socket.send(&mut batch).map_err(|e| Error::kernel("set up bridge", &network.link, e))
}

/// A bridge's hardware address follows from its network: the same every time it is made.
fn mac_of(network: &NetworkSpec) -> [u8; 6] {
    let id = network.id.as_str().as_bytes();
    let byte = |at: usize| u8::from_str_radix(std::str::from_utf8(&id[at..at + 2]).unwrap_or("0"), 16).unwrap_or(0);
    [0x02, byte(0), byte(2), byte(4), byte(6), byte(8)]
}

/// Deletes a bridge; succeeds where there is none.
pub(crate) fn delete(socket: &mut Socket, link: &str) -> Result<(), Error> {
    let mut batch = Batch::new();
    route::delete_link(&mut batch, link);
    match socket.send(&mut batch) {
        Err(refusal) if !refusal.is(Errno::NODEV) => Err(Error::kernel("delete link", link, refusal)),
        _ => Ok(()),
    }
}

/// The link of this name.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<route::Link>, Error> {
    let links = route::links(socket).map_err(|e| Error::io("list", "links", e))?;
    Ok(links.into_iter().find(|link| link.name == name))
}

/// The largest packet that the host's way out takes; 1500 where there is none.
pub(crate) fn mtu_of_way_out(socket: &mut Socket) -> u32 {
    let Ok(routes) = route::routes(socket) else { return 1500 };
    let out = routes.iter().find(|r| r.to.is_none() && r.table == 254 && r.kind == 1).and_then(|r| r.link);
    let links = route::links(socket).unwrap_or_default();
    links.iter().find(|l| Some(l.index) == out).map_or(1500, |l| l.mtu.clamp(68, 65_535))
}

/// Sets how an endpoint's port of the bridge passes frames.
pub(crate) fn set_port(batch: &mut Batch, network: &NetworkSpec, endpoint: &Endpoint) {
    let isolated = network.isolation != Isolation::L2;
    // Where bridged frames cross the firewall (docker turns that on), a container that asks the host's address for its own
    // port is answered over the port that it asked by.
    let hairpin = !endpoint.ports.is_empty();
    if isolated || hairpin {
        route::set_port(batch, &endpoint.host_link, route::PortMode { isolated, hairpin });
    }
}

/// A hardware address made from the address that a container got, so that a new owner of an address has the old one's and
/// no neighbour is misled.
pub(crate) fn mac_for(address: IpAddr, network: &NetworkSpec) -> [u8; 6] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [0x02, 0x42, a, b, c, d]
        }
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let [_, seed, ..] = mac_of(network);
            [0x02, seed, octets[12], octets[13], octets[14], octets[15]]
        }
    }
}
