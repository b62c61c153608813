//! Joining a container to networks: reserved before its process is made, connected while it sets itself up, released when it
//! ends.
//!
//! ```text
//! reserve   ports held · network up · addresses taken · record written     nothing of the container's exists yet
//! connect   elements of the firewall · pair of links · addresses, routes   its network namespace exists (for a machine: `tap`)
//! release   elements out · link deleted · addresses back · record removed  also for what a crash left
//! ```
//! *Privilege*: CAP_NET_ADMIN here and CAP_SYS_ADMIN in the namespace of the container. *Order*: the caller has one thread;
//! it visits the container's network namespace for one system call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::ContainerId;
use holm_spec::guest::Route;
use holm_spec::network::{
    AttachmentSpec, Driver, Endpoint, Isolation, MacAddress, NetworkSpec, PublishSpec, PublishedPort,
};
use holm_sys::netlink::{Batch, Protocol, Socket};
use holm_sys::process::{clone_flag, setns};
use holm_sys::route::{self, End, LinkLocal};
use ipnet::IpNet;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::port::{self, Held};
use crate::{Error, Networks, bridge, driver_option, firewall, lease};

/// What a container asks when it starts.
#[derive(Clone, Debug)]
pub struct JoinRequest<'a> {
    /// The container.
    pub container: &'a ContainerId,
    /// Its name.
    pub name: &'a str,
    /// Networks, the way out first.
    pub attachments: &'a [AttachmentSpec],
    /// Ports of the host.
    pub ports: &'a [PublishSpec],
    /// Name servers of its own.
    pub dns: &'a [IpAddr],
}

/// A container's places on its networks. Dropping it closes its ports and nothing else: [`Networks::release`] undoes.
#[derive(Debug, Default)]
pub struct Joined {
    networks: Vec<NetworkSpec>,
    endpoints: Vec<Endpoint>,
    held: Vec<Held>,
    /// What was changed on the host for it, for its administrator.
    pub notes: Vec<String>,
}

impl Joined {
    /// A place that plugins gave, with ports that they translate.
    pub(crate) fn plugged(endpoint: Endpoint, held: Vec<Held>) -> Self {
        Self { networks: Vec::new(), endpoints: vec![endpoint], held, notes: Vec::new() }
    }

    /// The one place that was asked for, and its network.
    pub(crate) fn only(&mut self) -> Option<(&NetworkSpec, &mut Endpoint)> {
        self.networks.first().zip(self.endpoints.first_mut())
    }

    /// What it got, in the order asked.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The name servers that know the names of its networks: gateways of the first network with names.
    pub fn name_servers(&self) -> Vec<IpAddr> {
        let found = self.networks.iter().find(|n| n.names);
        found.map_or_else(Vec::new, |n| n.subnets.iter().filter_map(|s| s.gateway).collect())
    }

    /// Its networks, in the order of [`Joined::endpoints`].
    pub fn networks(&self) -> &[NetworkSpec] {
        &self.networks
    }

    /// Each place with its network.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&NetworkSpec, &Endpoint)> {
        self.networks.iter().zip(&self.endpoints)
    }

    pub(crate) fn endpoints_mut(&mut self) -> &mut [Endpoint] {
        &mut self.endpoints
    }

    /// Every port that is held for it.
    pub(crate) fn held_ports(&self) -> Vec<PublishedPort> {
        self.held.iter().map(|held| held.port.clone()).collect()
    }

    /// The first network with a way out, unless another one is the way out already.
    pub(crate) fn way_out_mut(&mut self) -> Option<(&NetworkSpec, &mut Endpoint)> {
        if self.endpoints.iter().any(|endpoint| !endpoint.gateways.is_empty()) {
            return None;
        }
        self.networks.iter().zip(&mut self.endpoints).find(|(network, _)| !network.internal)
    }

    /// Adds one more network, joined later.
    pub fn add(&mut self, other: Self) {
        self.networks.extend(other.networks);
        self.endpoints.extend(other.endpoints);
        self.held.extend(other.held);
    }

    /// Forgets a network that was left.
    pub fn forget(&mut self, network: &str) {
        self.networks.retain(|n| n.name.as_str() != network);
        self.endpoints.retain(|e| e.network.as_str() != network);
    }

    /// The sockets of its ports to which packets come that the firewall does not translate.
    pub fn relayed(&self) -> Vec<crate::relay::Relayed<'_>> {
        crate::relay::of(&self.endpoints, &self.held)
    }
}

impl Networks {
    /// Takes addresses and ports and brings the networks up. *Errors*: what cannot be had; nothing is left.
    pub fn reserve(&self, request: &JoinRequest<'_>) -> Result<Joined, Error> {
        let held = port::hold(&self.roots, request.ports)?;
        let specs = request.attachments.iter().map(|a| self.find(a.network.as_str())).collect::<Result<Vec<_>, _>>()?;
        let mut joined = Joined { held, ..Joined::default() };
        for (at, (spec, attachment)) in specs.into_iter().zip(request.attachments).enumerate() {
            if let Err(e) = self.reserve_one(&mut joined, request, spec, attachment, at) {
                // The first error is the one to report.
                let _ = self.release(request.container, &joined.endpoints);
                return Err(e);
            }
        }
        Ok(joined)
    }

    fn reserve_one(
        &self,
        joined: &mut Joined,
        request: &JoinRequest<'_>,
        spec: NetworkSpec,
        attachment: &AttachmentSpec,
        at: usize,
    ) -> Result<(), Error> {
        let (_lock, spec, notes) = self.up(&spec)?;
        joined.notes.extend(notes);
        let taken = self.take_addresses(&spec, attachment, request.container)?;
        let first_v4 = taken.iter().map(IpNet::addr).find(IpAddr::is_ipv4).or(taken.first().map(IpNet::addr));
        let mac = attachment.mac.unwrap_or_else(|| {
            MacAddress(first_v4.map_or([2, 0x42, 0, 0, 0, 1], |address| bridge::mac_for(address, &spec)))
        });
        let leads_out = !spec.internal && !joined.networks.iter().any(|n| !n.internal);
        let endpoint = Endpoint {
            container: request.container.clone(),
            name: request.name.to_owned(),
            network: spec.name.clone(),
            aliases: attachment.aliases.iter().cloned().chain([request.container.short().to_owned()]).collect(),
            link: format!("eth{at}"),
            host_link: if spec.driver == Driver::Bridge { host_link(request.container, at) } else { String::new() },
            mac,
            addresses: taken,
            gateways: if leads_out { spec.subnets.iter().filter_map(|s| s.gateway).collect() } else { Vec::new() },
            dns: request.dns.to_vec(),
            // Ports lead over the way out, which is the first network that has one.
            ports: if leads_out { joined.held.iter().map(|h| h.port.clone()).collect() } else { Vec::new() },
        };
        let written = self.roots.write_endpoint(&endpoint);
        if written.is_err() {
            let _ = lease::give_back_all(&self.roots, spec.name.as_str(), request.container);
        }
        written?;
        joined.endpoints.push(endpoint);
        joined.networks.push(spec);
        Ok(())
    }

    fn take_addresses(
        &self,
        spec: &NetworkSpec,
        attachment: &AttachmentSpec,
        container: &ContainerId,
    ) -> Result<Vec<IpNet>, Error> {
        let has = |v4: bool| spec.subnets.iter().any(|s| s.subnet.addr().is_ipv4() == v4);
        let asked = [attachment.ipv4.map(IpAddr::from), attachment.ipv6.map(IpAddr::from)];
        if let Some(address) = asked.into_iter().flatten().find(|a| !has(a.is_ipv4())) {
            return Err(crate::change::no_such_family(spec, address));
        }
        let mut taken = Vec::new();
        for subnet in &spec.subnets {
            let v4 = subnet.subnet.addr().is_ipv4();
            let wanted = asked.into_iter().flatten().find(|a| a.is_ipv4() == v4);
            match lease::take(&self.roots, spec, subnet, wanted, container) {
                Ok(address) => {
                    // Where packets cross the firewall, all others are behind the gateway.
                    let prefix = match spec.isolation {
                        Isolation::L2 => subnet.subnet.prefix_len(),
                        Isolation::Routed | Isolation::Private => subnet.subnet.max_prefix_len(),
                    };
                    taken.push(IpNet::new_assert(address, prefix));
                }
                Err(e) => {
                    for address in &taken {
                        let _ = lease::give_back(&self.roots, spec.name.as_str(), address.addr(), container);
                    }
                    return Err(e);
                }
            }
        }
        Ok(taken)
    }

    /// Makes the links and rules of a container whose network namespace this is. *Errors*: the kernel's; what was made is
    /// taken away by [`Networks::release`].
    pub fn connect(&self, joined: &Joined, netns: BorrowedFd<'_>) -> Result<(), Error> {
        self.admit(joined)?;
        let mut host = open_route()?;
        let mut inside = open_inside(netns)?;
        for (network, endpoint) in joined.pairs() {
            make_links(&mut host, network, endpoint, netns)?;
            configure(&mut inside, network, endpoint)?;
        }
        Ok(())
    }

    /// Puts what belongs to endpoints into the firewall, before any of their links is there.
    pub(crate) fn admit(&self, joined: &Joined) -> Result<(), Error> {
        let entries: Vec<_> = joined.pairs().flat_map(|(n, e)| firewall::of_endpoint(n, e)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let mut socket = firewall::open()?;
        // Shared, so that no repair that has read the records before these were there replaces the tables afterwards.
        let lock = self.roots.lock_shared()?;
        match firewall::add(&mut socket, &entries) {
            // Somebody flushed the ruleset. The records say all that belongs in it, these entries included.
            Err(refusal) if firewall::is_missing(&refusal) => {
                drop(lock);
                let _alone = self.roots.lock_alone()?;
                self.repair()
            }
            // Nobody holds a socket for a port that `holm cni` published; the map says that it is somebody's.
            Err(refusal) if refusal.is(Errno::BUSY) || refusal.is(Errno::EXIST) => {
                let kernels = || Error::kernel("add elements to", "table inet holm", refusal);
                Err(port::conflict(&self.roots, &joined.endpoints)?.unwrap_or_else(kernels))
            }
            other => other.map_err(|e| Error::kernel("add elements to", "table inet holm", e)),
        }
    }

    /// Takes a container's endpoints away: rules, link, addresses, record. Succeeds where they are gone.
    ///
    /// *Errors*: the first; the others were tried nevertheless, and what is left is found by the record.
    pub fn release(&self, container: &ContainerId, endpoints: &[Endpoint]) -> Result<(), Error> {
        if endpoints.is_empty() {
            return Ok(());
        }
        let _lock = self.roots.lock_shared()?;
        let mut first = Ok(());
        for endpoint in endpoints {
            first = first.and(self.release_one(container, endpoint));
        }
        first
    }

    fn release_one(&self, container: &ContainerId, endpoint: &Endpoint) -> Result<(), Error> {
        let network = endpoint.network.as_str();
        let mut done = Ok(());
        if let Some(spec) = self.roots.live_spec(network)? {
            let entries = firewall::of_endpoint(&spec, endpoint);
            if !entries.is_empty() {
                done = firewall::open().and_then(|mut socket| firewall::remove(&mut socket, &entries));
            }
        }
        for address in &endpoint.addresses {
            done = done.and(lease::give_back(&self.roots, network, address.addr(), container));
        }
        if endpoint.ports.iter().any(|p| p.protocol == holm_spec::network::Protocol::Udp) {
            done = done.and(crate::flow::forget(&endpoint.addresses));
        }
        done.and_then(|()| self.roots.remove_endpoint(network, container))
    }

    /// Takes away whatever a container has on any network: for one that ended without telling.
    pub fn release_all(&self, container: &ContainerId) -> Result<(), Error> {
        let mut first = Ok(());
        for network in self.roots.live_networks()? {
            if let Some(endpoint) = self.roots.endpoint(&network, container)? {
                first = first.and(self.delete_link(&endpoint)).and(self.release(container, &[endpoint]));
            }
            first = first.and(lease::give_back_all(&self.roots, &network, container));
        }
        first
    }

    /// Deletes an endpoint's pair of links at once. Where its namespace has gone the kernel does so by itself, a little later.
    pub fn delete_link(&self, endpoint: &Endpoint) -> Result<(), Error> {
        match endpoint.host_link.as_str() {
            "" => Ok(()),
            link => bridge::delete(&mut open_route()?, link),
        }
    }

    /// Joins a running container to one more network. `at` is the number of its link.
    pub fn connect_more(&self, request: &JoinRequest<'_>, netns: BorrowedFd<'_>, at: usize) -> Result<Joined, Error> {
        self.join_more(request, at, |joined| self.connect(joined, netns)).map(|(joined, ())| joined)
    }

    /// Takes places on more networks and has them connected. *Errors*: nothing is left.
    pub(crate) fn join_more<T>(
        &self,
        request: &JoinRequest<'_>,
        at: usize,
        connect: impl FnOnce(&Joined) -> Result<T, Error>,
    ) -> Result<(Joined, T), Error> {
        let mut joined = Joined::default();
        for attachment in request.attachments {
            let spec = self.find(attachment.network.as_str())?;
            self.reserve_one(&mut joined, request, spec, attachment, at)?;
        }
        // Its way out stays the one that it has.
        joined.endpoints.iter_mut().for_each(|endpoint| endpoint.gateways.clear());
        let connected = connect(&joined).inspect_err(|_| {
            for endpoint in &joined.endpoints {
                let _ = self.delete_link(endpoint);
            }
            let _ = self.release(request.container, &joined.endpoints);
        })?;
        for endpoint in &joined.endpoints {
            self.roots.write_endpoint(endpoint)?;
        }
        Ok((joined, connected))
    }
}

/// Name of a container's link on the host: the same whenever it starts.
fn host_link(container: &ContainerId, at: usize) -> String {
    format!("hv{}-{at}", &container.as_str()[..10])
}

pub(crate) fn open_route() -> Result<Socket, Error> {
    Socket::open(Protocol::Route).map_err(|e| Error::io("open", "rtnetlink socket", e))
}

/// A socket in another network namespace, opened by visiting it.
pub(crate) fn open_inside(netns: BorrowedFd<'_>) -> Result<Socket, Error> {
    let failed = |e: std::io::Error| Error::io("enter", "the container's network namespace", e);
    let own = own_netns()?;
    setns(netns, clone_flag::NEWNET).map_err(failed)?;
    let socket = open_route();
    setns(own.as_fd(), clone_flag::NEWNET).map_err(failed)?;
    socket
}

pub(crate) fn own_netns() -> Result<OwnedFd, Error> {
    let path = "/proc/thread-self/ns/net";
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| Error::io("open", path, e))
}

/// The number of a network's link on the host.
pub(crate) fn lower_link(host: &mut Socket, network: &NetworkSpec) -> Result<u32, Error> {
    let found = route::link_index(host, &network.link).map_err(|e| Error::io("find link", &network.link, e))?;
    found.ok_or_else(|| {
        let what = format!("link `{}` of network `{}`", network.link, network.name);
        Error::invalid(what, "the host has no such link")
    })
}

fn make_links(
    host: &mut Socket,
    network: &NetworkSpec,
    endpoint: &Endpoint,
    netns: BorrowedFd<'_>,
) -> Result<(), Error> {
    let lower = lower_link(host, network)?;
    let inner = End { name: &endpoint.link, mac: Some(endpoint.mac.0), mtu: network.mtu, netns: Some(netns) };
    let mut batch = Batch::new();
    match network.driver {
        Driver::Macvlan => {
            let asked = network.options.get("mode").or_else(|| network.options.get("macvlan_mode"));
            let mode = asked.and_then(|m| driver_option::macvlan_mode(m)).unwrap_or(route::MacvlanMode::Bridge);
            // The namespace must not have a link of the final name yet, nor this one here: it is made there at once.
            route::add_macvlan(&mut batch, &inner, lower, mode);
        }
        Driver::Bridge => {
            let outer = End { name: &endpoint.host_link, mac: None, mtu: network.mtu, netns: None };
            route::add_veth(&mut batch, &outer, lower, &inner);
            bridge::set_port(&mut batch, network, endpoint);
        }
    }
    match host.send(&mut batch) {
        // The links of its last run, whose namespace is just being taken apart.
        Err(refusal) if refusal.is(Errno::EXIST) && !endpoint.host_link.is_empty() => {
            bridge::delete(host, &endpoint.host_link)?;
            host.send(&mut batch)
        }
        other => other,
    }
    .map_err(|e| {
        Error::kernel("make link", if endpoint.host_link.is_empty() { &endpoint.link } else { &endpoint.host_link }, e)
    })
}

/// Addresses and routes inside.
fn configure(inside: &mut Socket, network: &NetworkSpec, endpoint: &Endpoint) -> Result<(), Error> {
    let failed = |e| Error::io("find link", &endpoint.link, e);
    let index = route::link_index(inside, &endpoint.link).map_err(failed)?;
    let index = index.ok_or_else(|| failed(Errno::NODEV.into()))?;
    let v6 = endpoint.addresses.iter().any(|a| a.addr().is_ipv6());
    let mut batch = Batch::new();
    route::set_up(&mut batch, index, if v6 { LinkLocal::FromHardware } else { LinkLocal::None });
    for address in &endpoint.addresses {
        route::add_address(&mut batch, index, address.addr(), address.prefix_len());
    }
    for route in routes_of(network, endpoint) {
        let to = Some((route.to.addr(), route.to.prefix_len())).filter(|(_, prefix)| *prefix > 0);
        route::add_route(&mut batch, index, to, route.via, route.to.addr().is_ipv6());
    }
    inside.send(&mut batch).map_err(|e| Error::kernel("set up link", &endpoint.link, e))
}

/// The routes over an endpoint's link, in the order in which they are added: the same in a container and in a virtual machine.
pub(crate) fn routes_of(network: &NetworkSpec, endpoint: &Endpoint) -> Vec<Route> {
    let mut routes = Vec::new();
    if network.isolation != Isolation::L2 {
        // Its own address is all it has on the link: the others of the subnet are behind the gateway.
        for subnet in &network.subnets {
            if let Some(gateway) = subnet.gateway {
                routes.push(Route { to: gateway.into(), via: None });
                routes.push(Route { to: subnet.subnet.trunc(), via: Some(gateway) });
            }
        }
    }
    for gateway in &endpoint.gateways {
        let everything = match gateway {
            IpAddr::V4(_) => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
            IpAddr::V6(_) => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
        };
        routes.push(Route { to: everything, via: Some(*gateway) });
    }
    routes
}
