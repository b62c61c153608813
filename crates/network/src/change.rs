//! Changes of what a container has on its networks while it is there: another name, another way out, a link that goes.
//!
//! Joining and leaving themselves are in `attach`.

use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use holm_spec::network::{AttachmentSpec, Endpoint, NetworkSpec, Protocol};
use holm_spec::{ContainerId, Name};
use holm_sys::netlink::Batch;
use holm_sys::route;

use crate::attach::{Joined, open_inside, open_route};
use crate::{Error, Networks, bridge, firewall, flow, lease};

/// Networks that cannot be removed as long as this is held.
#[derive(Debug)]
pub struct Hold {
    _fd: OwnedFd,
}

impl Networks {
    /// Keeps every network's record where it is until the value is dropped. *Order*: not while a network is made or removed
    /// by the same caller.
    pub fn hold(&self) -> Result<Hold, Error> {
        self.lock_records_shared().map(|fd| Hold { _fd: fd })
    }

    /// The network that an attachment names, if it can give what is asked. *Errors*: it is not there, or an address is none
    /// that it could give; whether somebody has the address is known when the container starts.
    pub fn check(&self, attachment: &AttachmentSpec) -> Result<NetworkSpec, Error> {
        let network = self.find(attachment.network.as_str())?;
        for address in [attachment.ipv4.map(IpAddr::from), attachment.ipv6.map(IpAddr::from)].into_iter().flatten() {
            let same = |s: &&holm_spec::network::Subnet| s.subnet.addr().is_ipv4() == address.is_ipv4();
            match network.subnets.iter().find(same) {
                Some(subnet) => lease::check(&network, subnet, address)?,
                None => return Err(no_such_family(&network, address)),
            }
        }
        Ok(network)
    }

    /// Gives a container's endpoints another name, under which it is found from then on and which the firewall's elements tell.
    pub fn rename(&self, joined: &mut Joined, name: &Name) -> Result<(), Error> {
        let _lock = self.roots.lock_shared()?;
        let entries = |joined: &Joined| -> Vec<_> {
            joined.networks().iter().zip(joined.endpoints()).flat_map(|(n, e)| firewall::of_endpoint(n, e)).collect()
        };
        let before = entries(joined);
        for endpoint in joined.endpoints_mut() {
            name.as_str().clone_into(&mut endpoint.name);
            self.roots.write_endpoint(endpoint)?;
        }
        if before.is_empty() {
            return Ok(());
        }
        firewall::replace(&mut firewall::open()?, &before, &entries(joined))
    }

    /// Makes the first network with a way out a container's way out, its ports included, where it has none (any more). Gives
    /// whether something changed.
    pub fn lead_out(&self, joined: &mut Joined, netns: BorrowedFd<'_>) -> Result<bool, Error> {
        let Some(changed) = self.lead_out_outside(joined)? else { return Ok(false) };
        let mut batch = Batch::new();
        let mut inside = open_inside(netns)?;
        let index =
            route::link_index(&mut inside, &changed.link).map_err(|e| Error::io("find link", &changed.link, e))?;
        if let Some(index) = index {
            for gateway in &changed.gateways {
                route::add_route(&mut batch, index, None, Some(*gateway), gateway.is_ipv6());
            }
            inside.send(&mut batch).map_err(|e| Error::kernel("set up link", &changed.link, e))?;
        }
        Ok(true)
    }

    /// As [`Networks::lead_out`], without the default routes inside: for a virtual machine, whose agent sets them. Gives the
    /// place that has become the way out, where one has.
    pub fn lead_out_outside(&self, joined: &mut Joined) -> Result<Option<Endpoint>, Error> {
        let ports = joined.held_ports();
        let Some((network, endpoint)) = joined.way_out_mut() else { return Ok(None) };
        let mut changed = endpoint.clone();
        changed.gateways = network.subnets.iter().filter_map(|s| s.gateway).collect();
        changed.ports = ports;
        if changed == *endpoint {
            return Ok(None);
        }
        let _lock = self.roots.lock_shared()?;
        // Written first: what the kernel gets is found by it.
        self.roots.write_endpoint(&changed)?;
        let entries = firewall::of_endpoint(network, &changed);
        if !entries.is_empty() {
            let mut socket = firewall::open()?;
            firewall::add(&mut socket, &entries).map_err(|e| Error::kernel("add elements to", "table inet holm", e))?;
        }
        if !changed.host_link.is_empty() && !changed.ports.is_empty() {
            let mut batch = Batch::new();
            bridge::set_port(&mut batch, network, &changed);
            open_route()?.send(&mut batch).map_err(|e| Error::kernel("set up link", &changed.host_link, e))?;
        }
        if changed.ports.iter().any(|port| port.protocol == Protocol::Udp) {
            flow::forget(&changed.addresses)?;
        }
        *endpoint = changed.clone();
        Ok(Some(changed))
    }

    /// Deletes an endpoint's link from within the container's network namespace: where it has none on the host.
    pub fn delete_link_inside(&self, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<(), Error> {
        bridge::delete(&mut open_inside(netns)?, &endpoint.link)
    }

    /// The places that a container has, as far as its networks are up.
    pub fn networks_of(&self, container: &ContainerId) -> Result<Vec<(NetworkSpec, Endpoint)>, Error> {
        let mut found = Vec::new();
        for endpoint in self.endpoints_of(container)? {
            if let Some(spec) = self.roots.live_spec(endpoint.network.as_str())? {
                found.push((spec, endpoint));
            }
        }
        Ok(found)
    }
}

/// What an address of a family says that the network does not have.
pub(crate) fn no_such_family(network: &NetworkSpec, address: IpAddr) -> Error {
    let why = format!("network `{}` has no subnet of that family", network.name);
    let hint = match address {
        IpAddr::V6(_) => "make the network with --ipv6: holm network create --ipv6 NAME",
        IpAddr::V4(_) => "make the network with an IPv4 subnet too: holm network create --subnet 172.28.0.0/24 NAME",
    };
    Error::invalid_hint(format!("address {address}"), why, hint)
}
