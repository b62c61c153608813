//! Which address a packet is sent to, and who has it: published ports are followed to their container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use holm_spec::ContainerId;
use holm_spec::network::{Endpoint, NetworkSpec, Protocol, PublishedPort};
use holm_sys::route::Route;
use ipnet::IpNet;

use super::lookup::{self, Asker, Namesakes};
use super::namespace::{self, Inside};
use super::probe::Kind;
use super::report::{Hop, Place};
use super::{Life, Member, Question, Target, machine};
use crate::{Error, Networks};

/// Every container's place on every network that is up.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub places: Vec<(NetworkSpec, Endpoint)>,
    pub networks: Vec<NetworkSpec>,
}

impl Scene {
    pub(super) fn gather(networks: &Networks) -> Result<Self, Error> {
        let mut scene = Self { places: Vec::new(), networks: Vec::new() };
        for (spec, endpoints) in networks.all_live()? {
            scene.places.extend(endpoints.into_iter().map(|endpoint| (spec.clone(), endpoint)));
            scene.networks.push(spec);
        }
        Ok(scene)
    }

    pub(super) fn of(&self, owner: &ContainerId) -> Vec<&(NetworkSpec, Endpoint)> {
        let mut found: Vec<_> = self.places.iter().filter(|(_, e)| e.container == *owner).collect();
        found.sort_by(|(_, a), (_, b)| a.link.len().cmp(&b.link.len()).then_with(|| a.link.cmp(&b.link)));
        found
    }

    pub(super) fn having(&self, address: IpAddr) -> Option<&(NetworkSpec, Endpoint)> {
        self.places.iter().find(|(_, e)| e.addresses.iter().any(|a| a.addr() == address))
    }

    pub(super) fn others_on(&self, network: &str) -> Vec<String> {
        let on = self.places.iter().filter(|(spec, _)| spec.name.as_str() == network);
        on.map(|(_, endpoint)| endpoint.name.clone()).collect()
    }

    /// The published port that a packet to one of the host's own addresses meets.
    fn published(&self, to: IpAddr, kind: Kind) -> Option<(&PublishedPort, &(NetworkSpec, Endpoint))> {
        let (number, protocol) = match kind {
            Kind::Tcp(port) => (port, Protocol::Tcp),
            Kind::Udp(port) => (port, Protocol::Udp),
            Kind::Echo => return None,
        };
        let fits = |port: &&PublishedPort| {
            port.host_port == number
                && port.protocol == protocol
                && port.host_ip.is_none_or(|ip| ip == to || ip.is_unspecified())
        };
        self.places.iter().find_map(|place| place.1.ports.iter().find(fits).map(|port| (port, place)))
    }
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The sender itself.
    Sender,
    /// The host.
    Host,
    /// A container.
    Container(Endpoint),
    /// Nobody that is known here.
    Elsewhere,
}

/// Where a packet ends up.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    /// Where it is sent to.
    pub to: IpAddr,
    pub holder: Holder,
    /// The address and kind that it has in the end.
    pub end: (IpAddr, Kind),
    /// The published port that it goes through.
    pub through: Option<PublishedPort>,
}

/// Finds out where a packet to an address ends up. `local` tells that the host has the address; `own` that the sender does.
pub(super) fn follow(scene: &Scene, to: IpAddr, kind: Kind, local: bool, own: bool) -> Goal {
    let goal = |holder| Goal { to, holder, end: (to, kind), through: None };
    if own && !local {
        return goal(Holder::Sender);
    }
    if local {
        let Some((port, (_, endpoint))) = scene.published(to, kind) else { return goal(Holder::Host) };
        let same = |a: &IpAddr| a.is_ipv4() == to.is_ipv4();
        let addresses = || endpoint.addresses.iter().map(IpNet::addr);
        let Some(end) = addresses().find(same).or_else(|| addresses().next()) else { return goal(Holder::Host) };
        return Goal {
            to,
            holder: Holder::Container(endpoint.clone()),
            end: (end, kind.to_port(port.container_port)),
            through: Some(port.clone()),
        };
    }
    match scene.having(to) {
        Some((_, endpoint)) => goal(Holder::Container(endpoint.clone())),
        None => goal(Holder::Elsewhere),
    }
}

/// The address that the host has for a sender: of its gateway for a container, of its loopback for the host itself.
pub(super) fn of_host(sender: &[&(NetworkSpec, Endpoint)], families: &[bool], in_container: bool) -> Option<IpAddr> {
    families.iter().find_map(|v4| {
        if !in_container {
            return Some(if *v4 { Ipv4Addr::LOCALHOST.into() } else { IpAddr::from(Ipv6Addr::LOCALHOST) });
        }
        let gateways = sender.iter().flat_map(|(spec, _)| spec.subnets.iter().filter_map(|s| s.gateway));
        gateways.into_iter().find(|gateway| gateway.is_ipv4() == *v4)
    })
}

/// Finds the address of a target that is no address yet; the hop that says how. *Errors*: the hop that stops here.
pub(super) fn address(
    scene: &Scene,
    question: &Question,
    asker: Asker<'_>,
    of_host: Option<IpAddr>,
) -> Result<(IpAddr, Option<Hop>), Hop> {
    let families = question.families();
    let name = match &question.to {
        Target::Address(address) => return Ok((*address, None)),
        Target::Host => {
            let none =
                || Hop::stop(Place::Name, "addresses of the host", "the host has no address of that family there");
            return of_host.map(|address| (address, None)).ok_or_else(none);
        }
        Target::Name(name) => name.clone(),
        Target::Container(at) => {
            let Some(member) = question.members.get(*at) else {
                return Err(Hop::stop(Place::Name, "containers", "there is no such container"));
            };
            let names = question.sender().is_some_and(|s| !s.on_host && !scene.of(&s.owner).is_empty());
            if !names || member.on_host || scene.of(&member.owner).is_empty() {
                return of_container(scene, member, &families, of_host);
            }
            member.name.clone()
        }
    };
    if let Some(sender) = question.sender().filter(|m| m.machine)
        && let Some((address, hop)) = machine::named(scene, sender, &name, &families)
    {
        return Ok((address, Some(hop)));
    }
    let lookup = lookup::gather(asker, &name, &families, question.timeout);
    let found = lookup.addresses();
    let chosen = families.iter().find_map(|v4| found.iter().copied().find(|a| a.is_ipv4() == *v4));
    let hop = lookup::judge(&lookup, &namesakes(scene, question, &name), chosen);
    match chosen {
        Some(address) => Ok((address, Some(hop))),
        None => Err(hop),
    }
}

fn of_container(
    scene: &Scene,
    member: &Member,
    families: &[bool],
    of_host: Option<IpAddr>,
) -> Result<(IpAddr, Option<Hop>), Hop> {
    let name = &member.name;
    if member.on_host {
        let none = || Hop::stop(Place::Name, "addresses of the host", "the host has no address of that family there");
        return of_host.map(|address| (address, None)).ok_or_else(none);
    }
    let looked_at = format!("networks of `{name}`");
    let places = scene.of(&member.owner);
    let addresses = || places.iter().flat_map(|(_, e)| e.addresses.iter().map(IpNet::addr));
    if let Some(found) = families.iter().find_map(|v4| addresses().find(|a| a.is_ipv4() == *v4)) {
        let on = scene.having(found).map_or("", |(spec, _)| spec.name.as_str());
        return Ok((found, Some(Hop::ok(Place::Name, looked_at, format!("{found} on `{on}`")))));
    }
    let inside = if places.is_empty() { addresses_inside(member) } else { Vec::new() };
    if let Some(found) = families.iter().find_map(|v4| inside.iter().find(|a| a.is_ipv4() == *v4)) {
        let found_there = format!("{found}, which is not of a network of Holm's");
        return Ok((*found, Some(Hop::ok(Place::Name, format!("addresses in `{name}`"), found_there))));
    }
    let reason = match places.is_empty() {
        true => format!("`{name}` is on no network"),
        false => format!("`{name}` has no address of the family asked for"),
    };
    let hint = if places.is_empty() { "holm run --network bridge …" } else { "holm network create --ipv6 NAME" };
    Err(Hop::stop(Place::Name, looked_at, reason).hint(hint))
}

/// Addresses of a container whose links somebody else made, such as a CNI plugin.
fn addresses_inside(member: &Member) -> Vec<IpAddr> {
    let Some(netns) = member.pid.filter(|_| !member.machine).and_then(|pid| namespace::of(pid).ok()) else {
        return Vec::new();
    };
    let Ok(inside) = namespace::gather(Some(netns.as_fd()), Ipv4Addr::LOCALHOST.into(), None) else {
        return Vec::new();
    };
    let own = inside.addresses.iter().map(|a| a.address);
    own.filter(|a| !a.is_loopback() && !namespace::is_link_local(*a)).collect()
}

fn namesakes(scene: &Scene, question: &Question, name: &str) -> Namesakes {
    let Some(sender) = question.sender() else { return Namesakes::default() };
    let own: Vec<String> = scene.of(&sender.owner).iter().map(|(spec, _)| spec.name.to_string()).collect();
    let called = |endpoint: &Endpoint| {
        endpoint.name.eq_ignore_ascii_case(name) || endpoint.aliases.iter().any(|a| a.eq_ignore_ascii_case(name))
    };
    let elsewhere = scene.places.iter().filter(|(spec, e)| called(e) && !own.iter().any(|n| n == spec.name.as_str()));
    let servers =
        scene.networks.iter().filter(|spec| spec.names).flat_map(|spec| {
            spec.subnets.iter().filter_map(|s| s.gateway).map(|gateway| (gateway, spec.name.to_string()))
        });
    let same = question.members.iter().find(|m| m.name == name);
    let shares = same.and_then(|m| scene.of(&m.owner).first().map(|(_, e)| e.name.clone())).filter(|n| n != name);
    Namesakes {
        shares,
        elsewhere: elsewhere.map(|(spec, _)| spec.name.to_string()).collect(),
        servers: servers.collect(),
        own,
    }
}

/// A container that does not run, or is frozen, reaches nobody and is reached by nobody.
pub(super) fn judge_life(member: &Member, place: Place) -> Option<Hop> {
    let name = &member.name;
    let looked_at = format!("container `{name}`");
    match member.life {
        Life::Running => None,
        Life::Paused if place == Place::Sender => None,
        Life::Paused => {
            let reason = format!("`{name}` is paused: the kernel may take connections for it, but nobody answers");
            Some(Hop::stop(place, looked_at, reason).hint(format!("holm unpause {name}")))
        }
        Life::Stopped(word) => {
            let reason = format!("`{name}` is not running: it is {word}");
            Some(Hop::stop(place, looked_at, reason).hint(format!("holm start {name}")))
        }
    }
}

/// Whether the kernel takes an address for its own.
pub(super) fn is_local(inside: &Inside) -> bool {
    matches!(&inside.route, Ok(Route { kind: 2, .. }))
}

/// Whom a guarded port is open to, in words.
pub(super) fn open_to(port: &PublishedPort) -> Option<String> {
    let from: Vec<String> = port.from.iter().map(ToString::to_string).collect();
    let links: Vec<String> = port.interfaces.iter().map(|link| format!("`{link}`")).collect();
    match (from.is_empty(), links.is_empty()) {
        (true, true) => None,
        (false, true) => Some(from.join(", ")),
        (true, false) => Some(format!("link {}", links.join(", "))),
        (false, false) => Some(format!("{} on link {}", from.join(", "), links.join(", "))),
    }
}

/// Judges a published port: where it leads, and whether it is open to a sender from outside.
pub(super) fn judge_port(goal: &Goal, name: &str, outside: Option<(IpAddr, &str)>) -> Option<Hop> {
    let port = goal.through.as_ref()?;
    let published = format!("{}/{}", port.host_port, port.protocol);
    let looked_at = format!("published port {published}");
    if let (Some(open), Some((source, link))) = (open_to(port), outside) {
        let from = port.from.is_empty() || port.from.iter().any(|net| net.contains(&source));
        let on = port.interfaces.is_empty() || port.interfaces.iter().any(|l| l == link);
        if !from || !on {
            let reason =
                format!("port {published} is open to {open} only, and {source} on link `{link}` is not among them");
            return Some(Hop::stop(Place::Translation, looked_at, reason).hint("holm network ports"));
        }
    }
    let (end, kind) = goal.end;
    let end = format!("{}:{}", super::bracketed(end), kind.port().unwrap_or(0));
    let how = if goal.to.is_loopback() && goal.to.is_ipv6() || goal.to.is_ipv4() != goal.end.0.is_ipv4() {
        "passed on by the container's supervisor"
    } else {
        "translated"
    };
    let found = format!("{}:{} is {how} to {end} of `{name}`", super::bracketed(goal.to), port.host_port);
    Some(Hop::ok(Place::Translation, looked_at, found))
}
