//! Published ports as they are: who leads where, and whether the kernel knows; and making it know again.
//!
//! Reads records and the firewall; what is put there is in `firewall`.

use holm_spec::ContainerId;
use holm_spec::network::{Driver, Endpoint, NetworkSpec, PublishedPort};
use holm_sys::netlink::Batch;
use holm_sys::route;
use ipnet::IpNet;

use crate::attach::open_route;
use crate::{Error, Networks, bridge, firewall};

/// Whether a published port is where packets look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The kernel's maps have it.
    Kernel,
    /// The kernel cannot translate it; connections are passed on.
    Relay,
    /// The kernel's maps ought to have it and do not.
    Missing,
}

/// A published port of a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The container.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// The network that it leads over.
    pub network: String,
    /// The port.
    pub port: PublishedPort,
    /// Addresses of the container.
    pub targets: Vec<IpNet>,
    /// Whether it works.
    pub standing: Standing,
}

impl Networks {
    /// Every published port of every running container. *Privilege*: CAP_NET_ADMIN.
    pub fn published(&self) -> Result<Vec<Published>, Error> {
        let live = self.all_live()?;
        if live.iter().all(|(_, endpoints)| endpoints.iter().all(|e| e.ports.is_empty())) {
            return Ok(Vec::new());
        }
        let mut sets = firewall::Listed::new(firewall::open()?);
        let mut all = Vec::new();
        for (network, endpoint) in live.iter().flat_map(|(n, list)| list.iter().map(move |e| (n, e))) {
            for port in &endpoint.ports {
                let standing = standing(&mut sets, network, endpoint, port)?;
                all.push(Published {
                    container: endpoint.container.clone(),
                    name: endpoint.name.clone(),
                    network: network.name.to_string(),
                    port: port.clone(),
                    targets: endpoint.addresses.clone(),
                    standing,
                });
            }
        }
        all.sort_by(|a, b| (a.port.host_port, &a.name).cmp(&(b.port.host_port, &b.name)));
        Ok(all)
    }

    /// Puts back what others took out of the kernel: tables, elements, bridges. Gives what was amiss, for its administrator;
    /// nothing where all was well. *Privilege*: CAP_NET_ADMIN.
    pub fn repair_all(&self) -> Result<Vec<String>, Error> {
        let _lock = self.roots.lock_alone()?;
        let live = self.all_live()?;
        if live.is_empty() {
            return Ok(Vec::new());
        }
        let mut notes = self.repair_bridges(&live)?;
        let mut socket = firewall::open()?;
        if !firewall::is_whole(&mut socket) {
            notes.push("made the tables `inet holm` and `bridge holm` anew".to_owned());
        }
        let missing: Vec<Published> =
            self.published()?.into_iter().filter(|p| p.standing == Standing::Missing).collect();
        notes.extend(missing.iter().map(|p| {
            format!("published port {}/{} of container `{}` again", p.port.host_port, p.port.protocol, p.name)
        }));
        // Elements beside those of ports are put back too; making all anew costs no packet.
        self.repair()?;
        let bridges: Vec<NetworkSpec> =
            live.into_iter().map(|(spec, _)| spec).filter(|s| s.driver == Driver::Bridge).collect();
        let changed = firewall::let_through(&mut socket, &bridges)?;
        notes.extend(changed.into_iter().map(|table| format!("let networks through table `{table}` again")));
        Ok(notes)
    }

    fn repair_bridges(&self, live: &[(NetworkSpec, Vec<Endpoint>)]) -> Result<Vec<String>, Error> {
        let mut notes = Vec::new();
        let mut socket = open_route()?;
        for (network, endpoints) in live.iter().filter(|(network, _)| network.driver == Driver::Bridge) {
            let find = |socket: &mut _, name: &str| {
                route::link_index(socket, name).map_err(|e| Error::io("find link", name, e))
            };
            if find(&mut socket, &network.link)?.is_some() {
                continue;
            }
            bridge::make(&mut socket, network, network.mtu.unwrap_or(1500))?;
            let master = find(&mut socket, &network.link)?;
            for endpoint in endpoints {
                let (Some(master), Some(port)) = (master, find(&mut socket, &endpoint.host_link)?) else { continue };
                let mut batch = Batch::new();
                route::set_master(&mut batch, port, master);
                bridge::set_port(&mut batch, network, endpoint);
                let sent = socket.send(&mut batch);
                sent.map_err(|e| Error::kernel("put back on its bridge", &endpoint.host_link, e))?;
            }
            notes.push(format!("made bridge `{}` of network `{}` anew", network.link, network.name));
        }
        Ok(notes)
    }
}

fn standing(
    sets: &mut firewall::Listed,
    network: &NetworkSpec,
    endpoint: &Endpoint,
    port: &PublishedPort,
) -> Result<Standing, Error> {
    let entries = match network.driver {
        Driver::Bridge => firewall::of_port(endpoint, port),
        Driver::Macvlan => Vec::new(),
    };
    // Sets of ranges are listed in another form; without its entry in a map a port is not there anyway.
    let maps: Vec<_> = entries.iter().filter(|e| e.set.starts_with("publish")).collect();
    if maps.is_empty() {
        return Ok(Standing::Relay);
    }
    for entry in maps {
        if !sets.has(entry)? {
            return Ok(Standing::Missing);
        }
    }
    Ok(Standing::Kernel)
}
