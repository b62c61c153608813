//! What happens to the records of networks that are up, and what follows for names.
//!
//! The folders are watched; the records are read. A name is served from the moment its record has its place.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::network::NetworkSpec;
use holm_spec::{ContainerId, Name};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::dns::{Catalog, NetworkNames, Server, listen};
use crate::{Networks, record};

/// Port of name servers. *Source*: RFC 1035.
const DNS_PORT: u16 = 53;

/// A network that is watched.
#[derive(Debug)]
struct Watched {
    /// Number of the watch on its endpoints.
    number: i32,
    /// Names of endpoint records that are there.
    count: usize,
    /// Its sockets were made.
    serves: bool,
}

/// The watch on all networks.
#[derive(Debug)]
pub(super) struct Watch {
    fd: OwnedFd,
    networks: BTreeMap<Name, Watched>,
    live: i32,
    /// A network came, went or lost its last endpoint.
    pub(super) changed: bool,
}

impl Watch {
    pub(super) fn start(networks: &Networks) -> Result<Self, rustix::io::Errno> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let folder = networks.roots.live();
        record::make_folder(&folder).map_err(|_| rustix::io::Errno::NOENT)?;
        let live = inotify::add_watch(&fd, &folder, WatchFlags::CREATE | WatchFlags::DELETE)?;
        Ok(Self { fd, networks: BTreeMap::new(), live, changed: true })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Networks on which nobody is.
    pub(super) fn idle(&self) -> Vec<Name> {
        self.networks.iter().filter(|(_, w)| w.count == 0).map(|(name, _)| name.clone()).collect()
    }

    /// Takes what happened and brings the names up to date.
    pub(super) fn drain(&mut self, networks: &Networks, catalog: &mut Catalog) {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut lost = false;
        let mut touched: Vec<(i32, String)> = Vec::new();
        let mut reader = Reader::new(self.fd.as_fd(), &mut buffer);
        while let Ok(event) = reader.next() {
            lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            if event.wd() == self.live {
                self.changed = true;
            } else if let Some(name) = event.file_name().and_then(|n| n.to_str().ok()) {
                touched.push((event.wd(), name.to_owned()));
            }
        }
        if lost {
            self.changed = true;
            self.networks.values_mut().for_each(|w| w.number = -1);
            return;
        }
        for (number, file) in touched {
            self.read_again(networks, catalog, number, &file);
        }
    }

    fn read_again(&mut self, networks: &Networks, catalog: &mut Catalog, number: i32, file: &str) {
        let Some((name, watched)) = self.networks.iter_mut().find(|(_, w)| w.number == number) else { return };
        let Ok(container) = file.parse::<ContainerId>() else { return };
        match networks.roots.endpoint(name.as_str(), &container) {
            Ok(Some(endpoint)) => catalog.put(&endpoint),
            _ => catalog.remove(name, &container),
        }
        watched.count = record::names(&networks.roots.endpoints(name.as_str())).map_or(0, |n| n.len());
        self.changed |= watched.count == 0;
    }

    /// Takes up networks that came, forgets those that went. Gives how many there are.
    pub(super) fn refresh(&mut self, networks: &Networks, catalog: &mut Catalog, server: &mut Server) -> usize {
        self.changed = false;
        let there: Vec<NetworkSpec> =
            networks.all_live().map(|all| all.into_iter().map(|(spec, _)| spec).collect()).unwrap_or_default();
        let gone: Vec<Name> = self.networks.keys().filter(|n| !there.iter().any(|s| s.name == **n)).cloned().collect();
        for name in gone {
            self.networks.remove(&name);
            server.remove_listeners(&name);
            catalog.remove_network(&name);
        }
        for spec in &there {
            if self.networks.get(&spec.name).is_none_or(|w| w.number < 0) {
                self.take_up(networks, catalog, spec);
            }
            self.serve(server, spec);
        }
        there.len()
    }

    fn take_up(&mut self, networks: &Networks, catalog: &mut Catalog, spec: &NetworkSpec) {
        let folder = networks.roots.endpoints(spec.name.as_str());
        let what = WatchFlags::MOVED_TO | WatchFlags::DELETE;
        // Watched first and read then, so that nothing is missed in between.
        let Ok(number) = inotify::add_watch(&self.fd, &folder, what) else { return };
        let names = NetworkNames {
            internal: spec.internal,
            search: None,
            subnets: spec.subnets.iter().map(|s| s.subnet).collect(),
        };
        catalog.set_network(&spec.name, &names);
        let endpoints = networks.roots.endpoints_of(spec.name.as_str()).unwrap_or_default();
        endpoints.iter().for_each(|endpoint| catalog.put(endpoint));
        let serves = self.networks.get(&spec.name).is_some_and(|w| w.serves);
        self.networks.insert(spec.name.clone(), Watched { number, count: endpoints.len(), serves });
    }

    fn serve(&mut self, server: &mut Server, spec: &NetworkSpec) {
        let Some(watched) = self.networks.get_mut(&spec.name).filter(|w| spec.names && !w.serves) else { return };
        let mut all = true;
        for address in spec.subnets.iter().filter_map(|s| s.gateway) {
            let made = listen(SocketAddr::new(address, DNS_PORT));
            all &= made.is_ok_and(|(udp, tcp)| server.add_listener(&spec.name, udp, tcp).is_ok());
        }
        watched.serves = all;
    }
}
