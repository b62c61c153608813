//! The names of all networks, in memory: who has which name and address on which network, and who sees it.
//!
//! Owns no records on disk: whoever reads them puts them here. Knows no message.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use holm_spec::network::Endpoint;
use holm_spec::{ContainerId, Name};
use ipnet::IpNet;

use super::wire::{from_text, strip_suffix};

/// What a network means for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkNames {
    /// Its containers get local names only.
    pub internal: bool,
    /// Domain under which its names are served too.
    pub search: Option<String>,
    /// Its subnets: reverse names of these never leave the machine.
    pub subnets: Vec<IpNet>,
}

/// The names of all networks.
#[derive(Default)]
pub struct Catalog {
    networks: Vec<Option<Network>>,
    by_name: HashMap<Name, usize>,
    clients: Vec<Option<Client>>,
    by_id: HashMap<ContainerId, usize>,
}

#[derive(Default)]
struct Network {
    suffix: Box<[u8]>,
    /// Until a record says otherwise nothing leaves.
    open: bool,
    search: Option<Box<[u8]>>,
    subnets: Vec<IpNet>,
    names: HashMap<Box<[u8]>, Entry>,
    places: HashMap<usize, Place>,
    by_address: HashMap<IpAddr, usize>,
}

/// A container's place on one network.
struct Place {
    names: Vec<Box<[u8]>>,
    addresses: Vec<IpAddr>,
    servers: Rc<[IpAddr]>,
}

/// What a name stands for: containers and their addresses.
#[derive(Default)]
pub(super) struct Entry {
    owners: Vec<usize>,
    addresses: Vec<(usize, IpAddr)>,
    turn: Cell<usize>,
}

struct Client {
    networks: Vec<usize>,
}

/// A client as its address on a network identifies it.
pub(super) struct View<'a> {
    catalog: &'a Catalog,
    first: usize,
    client: &'a Client,
    place: &'a Place,
}

/// What a client sees under a name.
pub(super) enum Found<'a> {
    /// This.
    Entry(&'a Entry),
    /// Nothing, and nobody else has to be asked: it is below or at a search domain of ours, so many bytes into the name.
    Nothing {
        /// Where the domain begins.
        domain_at: usize,
    },
    /// Nothing that we know.
    Unknown,
}

impl Catalog {
    /// No names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a network or changes what is known of it; its endpoints stay.
    pub fn set_network(&mut self, name: &Name, names: &NetworkNames) {
        let at = self.ensure_network(name);
        let Some(network) = self.networks[at].as_mut() else { return };
        network.open = !names.internal;
        network.search = names.search.as_deref().and_then(from_text);
        network.subnets.clone_from(&names.subnets);
    }

    /// Forgets a network and all endpoints on it.
    pub fn remove_network(&mut self, name: &Name) {
        let Some(&at) = self.by_name.get(name) else { return };
        let ids: Vec<_> = self.by_id.keys().cloned().collect();
        for id in ids {
            self.remove(name, &id);
        }
        self.by_name.remove(name);
        self.networks[at] = None;
    }

    /// Adds an endpoint, or replaces the one that this container had on this network. On a network that is not known yet
    /// its names are served and nothing else is.
    pub fn put(&mut self, endpoint: &Endpoint) {
        self.remove(&endpoint.network, &endpoint.container);
        let at = self.ensure_network(&endpoint.network);
        let client = self.ensure_client(&endpoint.container);
        if let Some(slot) = self.clients[client].as_mut() {
            slot.networks.push(at);
        }
        let Some(network) = self.networks[at].as_mut() else { return };
        let words = [endpoint.name.as_str(), endpoint.container.short()];
        let mut names: Vec<Box<[u8]>> = Vec::new();
        for name in words.into_iter().chain(endpoint.aliases.iter().map(String::as_str)).filter_map(from_text) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let addresses: Vec<IpAddr> = endpoint.addresses.iter().map(IpNet::addr).collect();
        for name in &names {
            let entry = network.names.entry(name.clone()).or_default();
            entry.owners.push(client);
            entry.addresses.extend(addresses.iter().map(|address| (client, *address)));
        }
        for address in &addresses {
            network.by_address.insert(*address, client);
        }
        network.places.insert(client, Place { names, addresses, servers: endpoint.dns.clone().into() });
    }

    /// Forgets a container's endpoint on a network, if it has one.
    pub fn remove(&mut self, network: &Name, container: &ContainerId) {
        let (Some(&at), Some(&client)) = (self.by_name.get(network), self.by_id.get(container)) else { return };
        let Some(network) = self.networks[at].as_mut() else { return };
        let Some(place) = network.places.remove(&client) else { return };
        for name in place.names {
            let Some(entry) = network.names.get_mut(&name) else { continue };
            entry.owners.retain(|owner| *owner != client);
            entry.addresses.retain(|(owner, _)| *owner != client);
            if entry.owners.is_empty() {
                network.names.remove(&name);
            }
        }
        for address in place.addresses {
            if network.by_address.get(&address) == Some(&client) {
                network.by_address.remove(&address);
            }
        }
        if let Some(slot) = self.clients[client].as_mut() {
            slot.networks.retain(|network| *network != at);
            if slot.networks.is_empty() {
                self.clients[client] = None;
                self.by_id.remove(container);
            }
        }
    }

    fn ensure_network(&mut self, name: &Name) -> usize {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        // A name that is none in DNS can still be served, only not as `NAME.NETWORK`: no name ends in a label this long.
        let suffix = from_text(name.as_str()).unwrap_or_else(|| Box::new([u8::MAX; 64]));
        let at = place(&mut self.networks, Network { suffix, ..Network::default() });
        self.by_name.insert(name.clone(), at);
        at
    }

    fn ensure_client(&mut self, id: &ContainerId) -> usize {
        if let Some(at) = self.by_id.get(id) {
            return *at;
        }
        let at = place(&mut self.clients, Client { networks: Vec::new() });
        self.by_id.insert(id.clone(), at);
        at
    }

    /// The network of this name, for [`Catalog::view`].
    pub(super) fn network(&self, name: &Name) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// What the owner of an address on a network sees; none where nobody has it.
    pub(super) fn view(&self, network: usize, address: IpAddr) -> Option<View<'_>> {
        let first = self.networks.get(network)?.as_ref()?;
        let owner = *first.by_address.get(&address)?;
        let client = self.clients.get(owner)?.as_ref()?;
        Some(View { catalog: self, first: network, client, place: first.places.get(&owner)? })
    }

    /// An address is in a subnet of any network.
    pub(super) fn is_ours(&self, address: IpAddr) -> bool {
        self.networks.iter().flatten().any(|network| network.subnets.iter().any(|subnet| subnet.contains(&address)))
    }
}

/// Puts a value into the first free place.
fn place<T>(places: &mut Vec<Option<T>>, value: T) -> usize {
    if let Some(at) = places.iter().position(Option::is_none) {
        places[at] = Some(value);
        return at;
    }
    places.push(Some(value));
    places.len() - 1
}

impl<'a> View<'a> {
    /// The networks that the client is on, the one where it asks first.
    fn networks(&self) -> impl Iterator<Item = &'a Network> + Clone {
        let (catalog, first) = (self.catalog, self.first);
        let others = self.client.networks.iter().copied().filter(move |network| *network != first);
        std::iter::once(first).chain(others).filter_map(move |at| catalog.networks.get(at)?.as_ref())
    }

    fn find_bare(&self, name: &[u8]) -> Option<&'a Entry> {
        let direct = self.networks().find_map(|network| network.names.get(name));
        direct.or_else(|| self.networks().find_map(|network| network.names.get(strip_suffix(name, &network.suffix)?)))
    }

    /// Looks a name up, in wire form and lower case.
    pub(super) fn find(&self, name: &[u8]) -> Found<'a> {
        if let Some(entry) = self.find_bare(name) {
            return Found::Entry(entry);
        }
        let mut found = Found::Unknown;
        for domain in self.networks().filter_map(|network| network.search.as_deref()) {
            if let Some(before) = strip_suffix(name, domain) {
                match self.find_bare(before) {
                    Some(entry) => return Found::Entry(entry),
                    None => found = Found::Nothing { domain_at: before.len() },
                }
            }
        }
        found
    }

    /// The name of an address on the client's networks: the container's and the network's, in wire form.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<[&'a [u8]; 2]> {
        self.networks().find_map(|network| {
            let owner = network.by_address.get(&address)?;
            let name = network.places.get(owner)?.names.first()?;
            let fits = name.len() + network.suffix.len() < super::wire::NAME_MAX && network.suffix[0] <= 63;
            Some([&**name, if fits { &*network.suffix } else { &[] }])
        })
    }

    /// Names that are not ours may be asked for elsewhere.
    pub(super) fn may_ask_outside(&self) -> bool {
        self.networks().any(|network| network.open)
    }

    /// The servers that it has instead of the host's.
    pub(super) fn servers(&self) -> &'a Rc<[IpAddr]> {
        &self.place.servers
    }
}

impl Entry {
    /// Addresses of one family, each time beginning with the next.
    pub(super) fn addresses(&self, ipv4: bool) -> impl Iterator<Item = IpAddr> {
        let of_family = move |(_, address): &(usize, IpAddr)| (address.is_ipv4() == ipv4).then_some(*address);
        let count = self.addresses.iter().filter_map(of_family).count();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let from = if count == 0 { 0 } else { turn % count };
        let all = move || self.addresses.iter().filter_map(of_family);
        all().skip(from).chain(all().take(from))
    }

    /// It has an address of this family.
    pub(super) fn has(&self, ipv4: bool) -> bool {
        self.addresses.iter().any(|(_, address)| address.is_ipv4() == ipv4)
    }
}

#[cfg(test)]
mod tests;
