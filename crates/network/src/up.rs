//! Bringing networks up with the first container and down after the last, and repairing what others took away.

use std::net::IpAddr;

use holm_spec::network::{Driver, Isolation, NetworkSpec};
use holm_sys::netlink::Socket;
use holm_sys::route;
use ipnet::IpNet;

use crate::attach::open_route;
use crate::live::Lock;
use crate::subnet::Used;
use crate::{Error, Networks, Roots, bridge, firewall, record, sysctl};

impl Networks {
    /// Makes sure that a network is up, and keeps it so as long as the lock is held. Gives the network as it is up, and what
    /// was changed on the host besides.
    pub(crate) fn up(&self, spec: &NetworkSpec) -> Result<(Lock, NetworkSpec, Vec<String>), Error> {
        let mut notes = Vec::new();
        for _ in 0..64 {
            let lock = self.roots.lock_shared()?;
            if let Some(live) = self.roots.live_spec(spec.name.as_str())? {
                return Ok((lock, live, notes));
            }
            drop(lock);
            let alone = self.roots.lock_alone()?;
            if self.roots.live_spec(spec.name.as_str())?.is_none() {
                notes.extend(self.bring_up(spec)?);
            }
            drop(alone);
        }
        Err(Error::invalid(format!("network `{}`", spec.name), "it is taken down as often as it is brought up"))
    }

    /// *Order*: the lock is held alone.
    fn bring_up(&self, spec: &NetworkSpec) -> Result<Vec<String>, Error> {
        let name = spec.name.as_str();
        if spec.driver == Driver::Bridge {
            // Before anything is made: the way back would take away what is another's.
            self.check_owner(&mut firewall::open()?)?;
        }
        let mut live = spec.clone();
        let mut socket = open_route()?;
        live.mtu = Some(spec.mtu.unwrap_or_else(|| bridge::mtu_of_way_out(&mut socket)));
        record::make_folder(&self.roots.endpoints(name))?;
        record::make_folder(&self.roots.addresses(name))?;
        let done = self.bring_up_in_kernel(&mut socket, &live).and_then(|notes| {
            record::write(&self.roots.live_network(name), "network.json", &live)?;
            // The record is there, so the keeper serves the names and takes the network down in the end.
            self.ensure_keeper()?;
            Ok(notes)
        });
        done.inspect_err(|_| {
            let _ = self.take_down_now(name);
        })
    }

    fn bring_up_in_kernel(&self, socket: &mut Socket, live: &NetworkSpec) -> Result<Vec<String>, Error> {
        if live.driver != Driver::Bridge {
            return Ok(Vec::new());
        }
        self.check_free(socket, live)?;
        let mut notes = Vec::new();
        if live.isolation != Isolation::L2 {
            // Before the bridge is there, whose own parameter is then off.
            let off = sysctl::redirects_by_link()?;
            notes.extend(off.map(|name| format!("turned off {name} for network `{}`; each link has it on", live.name)));
        }
        bridge::make(socket, live, live.mtu.unwrap_or(1500))?;
        let mut firewall = firewall::open()?;
        let entries = firewall::of_network(live);
        match firewall::add(&mut firewall, &entries) {
            Err(refusal) if firewall::is_missing(&refusal) => {
                let mut all = self.all_live()?;
                all.push((live.clone(), Vec::new()));
                firewall::rebuild(&mut firewall, &all, &self.roots.shown())?;
            }
            other => other.map_err(|e| Error::kernel("add elements to", "table inet holm", e))?,
        }
        let dropping = firewall::let_through(&mut firewall, std::slice::from_ref(live))?;
        let told = |table| format!("table `{table}` drops what it does not know: let network `{}` through", live.name);
        notes.extend(dropping.into_iter().map(told));
        // Containers that see each other only through the firewall need it even where nothing leads out.
        if !live.internal || live.isolation == Isolation::Routed {
            let has = |v4: bool| live.subnets.iter().any(|s| s.subnet.addr().is_ipv4() == v4);
            let on = sysctl::forward(has(true), has(false))?;
            notes.extend(on.into_iter().map(|name| format!("turned on {name} for network `{}`", live.name)));
        }
        Ok(notes)
    }

    /// Two run roots on one host would take each other's tables and bridges away. What another one left is taken over.
    fn check_owner(&self, firewall: &mut Socket) -> Result<(), Error> {
        let Some(owner) = firewall::owner(firewall).filter(|owner| *owner != self.roots.shown()) else { return Ok(()) };
        let other = Self::new(Roots { data: self.roots.data.clone(), run: owner.clone().into() });
        if !other.has_keeper() {
            return Ok(());
        }
        let why = format!("those of the run root `{owner}` are up, and a host has one set of them");
        let hint = format!("holm --run-root {owner} ps, or another network namespace");
        Err(Error::invalid_hint(format!("networks of the run root `{}`", self.roots.shown()), why, hint))
    }

    /// A route that came since the network was made would be hidden by its bridge, or hide it.
    fn check_free(&self, socket: &mut Socket, live: &NetworkSpec) -> Result<(), Error> {
        let used = host_subnets(socket, &[live.link.as_str()])?;
        for subnet in &live.subnets {
            let same = |u: &&Used| crate::subnet::overlaps(&u.subnet, &subnet.subnet);
            if let Some(other) = used.iter().find(same) {
                let (other, owner) = (other.subnet, other.owner.clone());
                return Err(Error::Overlap { subnet: subnet.subnet, other, owner });
            }
        }
        Ok(())
    }

    /// Every network that is up, with who is on it.
    pub(crate) fn all_live(&self) -> Result<Vec<(NetworkSpec, Vec<holm_spec::network::Endpoint>)>, Error> {
        let mut all = Vec::new();
        for name in self.roots.live_networks()? {
            if let Some(spec) = self.roots.live_spec(&name)? {
                all.push((spec, self.roots.endpoints_of(&name)?));
            }
        }
        Ok(all)
    }

    /// Makes the firewall's tables as the records say, and bridges that are missing. Containers' own links are not made
    /// again: whoever deletes one means it.
    pub fn repair(&self) -> Result<(), Error> {
        let all = self.all_live()?;
        let mut socket = firewall::open()?;
        firewall::rebuild(&mut socket, &all, &self.roots.shown())?;
        let bridges: Vec<NetworkSpec> =
            all.into_iter().map(|(spec, _)| spec).filter(|spec| spec.driver == Driver::Bridge).collect();
        firewall::let_through(&mut socket, &bridges).map(|_| ())
    }

    /// Looks whether the firewall is whole, and repairs it where it is not. Gives whether it was.
    pub fn verify(&self) -> Result<bool, Error> {
        if self.is_whole()? {
            return Ok(true);
        }
        let _lock = self.roots.lock_alone()?;
        self.repair().map(|()| false)
    }

    /// As [`Networks::verify`], without waiting: `None` where somebody is just changing networks. The keeper must not wait
    /// for one who may be waiting for it.
    pub(crate) fn verify_if_free(&self) -> Result<Option<bool>, Error> {
        if self.is_whole()? {
            return Ok(Some(true));
        }
        match self.roots.try_lock_alone()? {
            Some(_lock) => self.repair().map(|()| Some(false)),
            None => Ok(None),
        }
    }

    /// Whether the tables are as they should be, where any are needed; foreign chains are seen to on the way.
    fn is_whole(&self) -> Result<bool, Error> {
        let specs = self.all_live()?.into_iter().map(|(spec, _)| spec);
        let bridges: Vec<NetworkSpec> = specs.filter(|spec| spec.driver == Driver::Bridge).collect();
        if bridges.is_empty() {
            return Ok(true);
        }
        let mut socket = firewall::open()?;
        if !firewall::is_whole(&mut socket) {
            return Ok(false);
        }
        firewall::let_through(&mut socket, &bridges).map(|_| true)
    }

    /// Takes a network down if nobody is on it and nobody is just joining. Gives whether it is down.
    pub(crate) fn take_down_if_idle(&self, name: &str) -> Result<bool, Error> {
        let Some(_lock) = self.roots.try_lock_alone()? else { return Ok(false) };
        if !record::names(&self.roots.endpoints(name))?.is_empty() {
            return Ok(false);
        }
        self.take_down_now(name).map(|()| true)
    }

    /// Takes a network down: its bridge, its elements, its folder; with the last one the tables too. Goes on after an error.
    /// *Order*: the lock is held alone and nobody is on the network.
    pub(crate) fn take_down_now(&self, name: &str) -> Result<(), Error> {
        let folder = self.roots.live_network(name);
        let mut done = Ok(());
        if let Some(spec) = self.roots.live_spec(name)?.or(self.find(name).ok())
            && folder.exists()
            && spec.driver == Driver::Bridge
        {
            done = open_route().and_then(|mut socket| bridge::delete(&mut socket, &spec.link));
            let others = self.roots.live_networks()?.iter().any(|other| other != name);
            let out = firewall::open().and_then(|mut socket| {
                firewall::take_back(&mut socket, &spec.link)?;
                match others {
                    true => firewall::remove(&mut socket, &firewall::of_network(&spec)),
                    false => firewall::delete(&mut socket),
                }
            });
            done = done.and(out);
        }
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                done.and(Err(Error::io("remove", folder.display().to_string(), e)))
            }
            _ => done,
        }
    }

    /// Subnets that the host has routes to or addresses in, without those of Holm's own bridges.
    pub(crate) fn host_subnets(&self, own: &[NetworkSpec]) -> Result<Vec<Used>, Error> {
        let links: Vec<&str> = own.iter().filter(|n| n.driver == Driver::Bridge).map(|n| n.link.as_str()).collect();
        host_subnets(&mut open_route()?, &links)
    }

    /// The link that the host's default route leads over.
    pub(crate) fn way_out(&self) -> Result<String, Error> {
        let mut socket = open_route()?;
        let failed = |e| Error::io("list", "routes", e);
        let routes = route::routes(&mut socket).map_err(failed)?;
        let out = routes.iter().find(|r| r.to.is_none() && r.table == 254 && r.kind == 1).and_then(|r| r.link);
        let links = route::links(&mut socket).map_err(failed)?;
        let found = links.into_iter().find(|l| Some(l.index) == out).map(|l| l.name);
        found.ok_or_else(|| {
            let why = "the host has no default route whose link it could use";
            Error::invalid_hint("driver `macvlan`", why, "name the link: -o parent=eth0")
        })
    }
}

fn host_subnets(socket: &mut Socket, own_links: &[&str]) -> Result<Vec<Used>, Error> {
    let failed = |e| Error::io("list", "routes", e);
    let links = route::links(socket).map_err(failed)?;
    let name = |index: Option<u32>| links.iter().find(|l| Some(l.index) == index).map_or("", |l| l.name.as_str());
    let mut used = Vec::new();
    for route in route::routes(socket).map_err(failed)? {
        let link = name(route.link);
        // The local table has every address and broadcast; a default route covers all and means nothing.
        let Some((to, prefix)) = route.to.filter(|(_, prefix)| *prefix > 0 && route.table != 255) else { continue };
        if route.kind != 1 || own_links.contains(&link) || is_everybodys(to) {
            continue;
        }
        let Ok(subnet) = IpNet::new(to, prefix) else { continue };
        used.push(Used { subnet, owner: format!("a route of the host over link `{link}`") });
    }
    Ok(used)
}

/// Link-local and multicast routes stand on every link.
fn is_everybodys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80 || v6.is_multicast(),
    }
}
