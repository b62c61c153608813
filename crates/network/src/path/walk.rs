//! The order of the walk: what is gathered for each hop, and the probe between.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use holm_spec::network::{Endpoint, Isolation, NetworkSpec};
use holm_sys::nftables;
use holm_sys::route::Link;
use ipnet::IpNet;

use super::firewall::{Ends, Listing};
use super::lookup::Asker;
use super::machine::Machines;
use super::namespace::{Ground, Inside, Sender};
use super::probe::{Outcome, Probe};
use super::report::{Hop, Mark, Place, Report};
use super::target::{self, Goal, Holder, Scene};
use super::trace::{Step, Tracer};
use super::{Life, Member, Origin, Question, Target, answer, firewall, link, listen, machine, namespace, route};
use crate::{Error, Networks};

/// Hooks that packets cross, as `nftables` numbers them: through the host, and to it.
const THROUGH: [u32; 3] = [0, 2, 4];
const TO_HOST: [u32; 2] = [0, 1];

struct Walk<'a> {
    question: &'a Question,
    scene: Scene,
    netns: Option<OwnedFd>,
    machines: &'a dyn Machines,
    /// Where a packet from outside comes from: its sender and the link.
    outside: Option<(IpAddr, String)>,
}

/// What the probe told.
struct Tested {
    outcome: Outcome,
    steps: Vec<Step>,
    /// Why nothing could be watched.
    blind: Option<String>,
}

pub(super) fn walk(
    networks: &Networks,
    question: &Question,
    machines: &dyn Machines,
    report: &mut Report,
) -> Result<(), Error> {
    if let Target::Container(at) = question.to
        && let Some(hop) = question.members.get(at).and_then(|m| target::judge_life(m, Place::Target))
    {
        report.hops.push(hop);
        return Ok(());
    }
    if let Some(hop) = question.sender().and_then(|m| target::judge_life(m, Place::Sender)) {
        report.hops.push(hop);
        return Ok(());
    }
    let scene = Scene::gather(networks)?;
    let entered = question.sender().filter(|m| !m.on_host && !m.machine);
    let netns = entered.and_then(|m| m.pid).map(namespace::of).transpose()?;
    let mut walk = Walk { question, scene, netns, machines, outside: None };
    if let Origin::Outside { link, source } = &question.from {
        match walk.outside(networks, link.as_deref(), *source)? {
            Ok(from) => walk.outside = Some(from),
            Err(hop) => {
                report.hops.push(hop);
                return Ok(());
            }
        }
    }
    let to = match walk.address()? {
        Ok((to, hop)) => {
            report.hops.extend(hop);
            to
        }
        Err(hop) => {
            report.hops.push(hop);
            return Ok(());
        }
    };
    report.address = Some(to);
    walk.hops(to, report)
}

impl Walk<'_> {
    fn own_places(&self) -> Vec<&(NetworkSpec, Endpoint)> {
        self.question.sender().filter(|m| !m.on_host).map_or_else(Vec::new, |m| self.scene.of(&m.owner))
    }

    /// The sender, if it is a virtual machine.
    fn machine(&self) -> Option<&Member> {
        self.question.sender().filter(|m| m.machine)
    }

    /// Whether the sender has links of its own.
    fn is_apart(&self) -> bool {
        self.netns.is_some() || self.machine().is_some()
    }

    fn inside(&self, to: IpAddr) -> Result<Inside, Error> {
        if self.machine().is_some() {
            return Ok(machine::inside(&self.own_places(), to));
        }
        namespace::gather(self.netns.as_ref().map(AsFd::as_fd), to, None)
    }

    /// Where packets from outside come in and who sends them.
    fn outside(
        &self,
        networks: &Networks,
        link: Option<&str>,
        source: Option<IpAddr>,
    ) -> Result<Result<(IpAddr, String), Hop>, Error> {
        let stop =
            |reason: String, hint: &str| Ok(Err(Hop::stop(Place::Sender, "links of the host", reason).hint(hint)));
        let Some(link) = link.map(str::to_owned).or_else(|| networks.way_out().ok()) else {
            return stop("the host has no default route: name the link that packets come in by".into(), "ip link");
        };
        let v4 = self.question.families()[0];
        let v4 = source.map_or(v4, |source| source.is_ipv4());
        let any: IpAddr = if v4 { [192, 0, 2, 1].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() };
        let host = namespace::gather(None, any, None)?;
        let Some(found) = host.links.iter().find(|l| l.name == link) else {
            return stop(format!("the host has no link `{link}`"), "ip link");
        };
        if !found.up {
            return stop(format!("link `{link}` of the host is down"), &format!("ip link set {link} up"));
        }
        let router = host.route.as_ref().ok().filter(|r| r.link == Some(found.index)).and_then(|r| r.gateway);
        let own = host.addresses.iter().find(|a| a.index == found.index && a.address.is_ipv4() == v4);
        match source.or(router).or_else(|| own.and_then(|a| beside(a.address))) {
            Some(source) => Ok(Ok((source, link))),
            None => stop(format!("link `{link}` has no address of that family"), &format!("ip address show {link}")),
        }
    }

    fn address(&self) -> Result<Result<(IpAddr, Option<Hop>), Hop>, Error> {
        let families = self.question.families();
        let of_host = match &self.outside {
            Some((source, link)) => {
                let host = namespace::gather(None, *source, None)?;
                let index = host.links.iter().find(|l| l.name == *link).map(|l| l.index);
                let found = |v4: bool| {
                    host.addresses
                        .iter()
                        .find(|a| Some(a.index) == index && a.address.is_ipv4() == v4)
                        .map(|a| a.address)
                };
                found(source.is_ipv4())
            }
            None => target::of_host(&self.own_places(), &families, self.is_apart()),
        };
        let sender = self.question.sender();
        let asker = Asker {
            name: sender.map_or("the host", |m| m.name.as_str()),
            pid: sender.filter(|m| !m.machine).and_then(|m| m.pid),
            netns: self.netns.as_ref().map(AsFd::as_fd),
            machine: self.machine().is_some(),
        };
        Ok(target::address(&self.scene, self.question, asker, of_host))
    }

    /// The sender's place that packets to this address leave by.
    fn leaving<'s>(places: &[&'s (NetworkSpec, Endpoint)], inside: &Inside) -> Option<&'s (NetworkSpec, Endpoint)> {
        places.iter().find(|(_, e)| inside.out() == Some(e.link.as_str())).copied()
    }

    fn hops(&self, to: IpAddr, report: &mut Report) -> Result<(), Error> {
        let kind = self.question.kind;
        let before = self.inside(to)?;
        let incoming = self.incoming(&before, to);
        let middle = namespace::gather(None, to, incoming.as_ref().map(|(source, link)| (*source, link.as_str())))?;
        // A host that does not forward says "unreachable" of all but its own.
        let own = self.is_apart() && target::is_local(&before);
        let goal = target::follow(&self.scene, to, kind, !own && target::is_local(&middle), own);
        let tested = self.test(&goal)?;
        report.traced = tested.blind.is_none();
        let inside = self.inside(to)?;
        // Whoever of both sends to the last link that can be seen from here knows whether somebody answers there.
        let silent = match &incoming {
            Some(_) => namespace::gather(None, to, None)?.silent(to),
            None => inside.silent(to),
        };
        let places = self.own_places();
        let own = goal.holder == Holder::Sender;
        self.near(&goal, &inside, &places, report)?;
        let switched = !own && self.is_switched(&inside, &places, to);
        match (&incoming, Self::leaving(&places, &inside)) {
            (_, Some((spec, _))) if switched => report.hops.push(route::switched(&spec.link)),
            (Some((_, link)), _) if !own => {
                let middle = route::gather(middle, to, link);
                report.hops.push(route::judge(&middle, to, link));
            }
            _ => {}
        }
        let from = Self::leaving(&places, &inside).map(|(spec, _)| spec.name.to_string());
        self.rules(&goal, &tested, from, report)?;
        self.far(&goal, &middle_links()?, report)?;
        report.hops.push(self.answer(&goal, &tested, silent));
        let paused =
            matches!(&goal.holder, Holder::Container(e) if self.member(e).is_some_and(|m| m.life == Life::Paused));
        // What works works: then a hop that looks broken is worth a note. A packet from outside was not really sent.
        if matches!(tested.outcome, Outcome::Answered(_)) && self.outside.is_none() && !paused {
            report.hops.iter_mut().filter(|hop| hop.mark == Mark::Stop).for_each(|hop| hop.mark = Mark::Note);
        }
        Ok(())
    }

    /// Source and link of the packet as it comes to the host; none where the host itself sends it.
    fn incoming(&self, inside: &Inside, to: IpAddr) -> Option<(IpAddr, String)> {
        if self.outside.is_some() {
            return self.outside.clone();
        }
        let (spec, endpoint) = Self::leaving(&self.own_places(), inside)?;
        let own = endpoint.addresses.iter().map(IpNet::addr).find(|a| a.is_ipv4() == to.is_ipv4())?;
        Some((own, spec.link.clone()))
    }

    fn is_switched(&self, inside: &Inside, places: &[&(NetworkSpec, Endpoint)], to: IpAddr) -> bool {
        let Some((spec, _)) = Self::leaving(places, inside) else { return false };
        let gateway = spec.subnets.iter().any(|s| s.gateway == Some(to));
        spec.isolation == Isolation::L2 && namespace::holds(&spec.subnets, to) && !gateway
    }

    fn test(&self, goal: &Goal) -> Result<Tested, Error> {
        if self.outside.is_some() {
            let (end, kind) = goal.end;
            let outcome = Probe::open(None, kind, end)?.send(self.question.timeout);
            let blind = Some("a packet from outside cannot be sent from here, so none was watched".to_owned());
            return Ok(Tested { outcome, steps: Vec::new(), blind });
        }
        let sent: (_, Box<dyn FnOnce() -> Result<Outcome, String> + '_>) = match self.machine() {
            Some(member) => {
                let seen = machine::seen(self.question.kind, goal.to)?;
                (seen, Box::new(move || machine::send(self.machines, member, seen, self.question.timeout)))
            }
            None => {
                let probe = Probe::open(self.netns.as_ref().map(AsFd::as_fd), self.question.kind, goal.to)?;
                (probe.seen(), Box::new(move || Ok(probe.send(self.question.timeout))))
            }
        };
        let tracer = Tracer::start(sent.0);
        let outcome = match (sent.1)() {
            Ok(outcome) => outcome,
            Err(why) => return Ok(Tested { outcome: Outcome::Unsent, steps: Vec::new(), blind: Some(why) }),
        };
        Ok(match tracer {
            Ok(tracer) => Tested { outcome, steps: tracer.finish(), blind: None },
            Err(e) => {
                let blind = Some(format!("this kernel cannot watch a packet: {e}"));
                Tested { outcome, steps: Vec::new(), blind }
            }
        })
    }

    /// The sender's side.
    fn near(
        &self,
        goal: &Goal,
        inside: &Inside,
        places: &[&(NetworkSpec, Endpoint)],
        report: &mut Report,
    ) -> Result<(), Error> {
        if let Some((source, link)) = &self.outside {
            let found = format!("{source} sends on link `{link}`, which is up");
            report.hops.push(Hop::ok(Place::Sender, "a packet from outside", found));
            return Ok(());
        }
        let endpoints: Vec<Endpoint> = places.iter().map(|(_, e)| e.clone()).collect();
        let internal = places.iter().filter(|(spec, _)| spec.internal).map(|(spec, _)| spec.name.as_str()).collect();
        let member = self.question.sender();
        let sender = Sender {
            name: member.map_or("the host", |m| m.name.as_str()),
            ground: match member.filter(|m| !m.on_host) {
                Some(Member { machine: true, .. }) => Ground::Machine,
                Some(Member { pid: Some(pid), .. }) => Ground::Container(*pid),
                _ => Ground::Host,
            },
            endpoints: &endpoints,
            internal,
        };
        report.hops.push(namespace::judge(inside, &sender, goal.to));
        if goal.holder != Holder::Sender
            && let Some(place) = Self::leaving(places, inside)
        {
            report.hops.push(self.pair(Place::Link, place, &middle_links()?));
        }
        Ok(())
    }

    fn pair(&self, place: Place, (network, endpoint): &(NetworkSpec, Endpoint), links: &[Link]) -> Hop {
        let known = nftables::open().ok().and_then(|mut socket| link::is_known(&mut socket, network, endpoint).ok());
        let others = self.scene.others_on(network.name.as_str());
        link::judge(&link::Pair { place, endpoint, network, links, known, others })
    }

    fn rules(&self, goal: &Goal, tested: &Tested, from: Option<String>, report: &mut Report) -> Result<(), Error> {
        let listing = nftables::open()
            .and_then(|mut socket| firewall::gather(&mut socket))
            .unwrap_or_else(|_| Listing::default());
        let name = self.name_of(goal);
        let outside = self.outside.as_ref().map(|(source, link)| (*source, link.as_str()));
        if goal.holder == Holder::Sender {
            return Ok(());
        }
        match &tested.blind {
            Some(why) => {
                let hooks: &[u32] = if goal.holder == Holder::Host { &TO_HOST } else { &THROUGH };
                report.hops.push(firewall::judge_listed(&listing, hooks, why));
            }
            None => report.hops.push(firewall::judge(&tested.steps, &listing, &self.ends(goal, &name, from))),
        }
        if let (Some(_), Holder::Container(endpoint), None) = (outside, &goal.holder, &goal.through) {
            let reason = format!("from outside, `{name}` is reached by its published ports only");
            let port = endpoint.ports.first().map(|p| format!("holm network path outside host:{}", p.host_port));
            let port = port.unwrap_or_else(|| format!("holm run -p 8080:{} …", goal.end.1.port().unwrap_or(80)));
            report.hops.push(Hop::stop(Place::Translation, format!("ports of `{name}`"), reason).hint(port));
        }
        report.hops.extend(target::judge_port(goal, &name, outside));
        let masked = tested.steps.iter().find_map(|s| s.ends.filter(|_| s.is_masquerade()));
        if let (Holder::Elsewhere, Some((source, _))) = (&goal.holder, masked) {
            let found = format!("{source} goes out under the host's address");
            report.hops.push(Hop::ok(Place::Translation, "masquerade", found));
        }
        Ok(())
    }

    fn name_of(&self, goal: &Goal) -> String {
        match &goal.holder {
            Holder::Container(endpoint) => endpoint.name.clone(),
            Holder::Sender => self.question.from_text.clone(),
            Holder::Host => "the host".to_owned(),
            Holder::Elsewhere => goal.to.to_string(),
        }
    }

    fn ends(&self, goal: &Goal, name: &str, from: Option<String>) -> Ends {
        Ends {
            from: self.question.sender().map_or("the host", |m| m.name.as_str()).to_owned(),
            from_network: from,
            to: name.to_owned(),
            to_network: self.scene.having(goal.end.0).map(|(spec, _)| spec.name.to_string()),
            to_container: matches!(goal.holder, Holder::Container(_)),
            port: self.question.kind.name(),
            open_to: goal.through.as_ref().and_then(target::open_to),
        }
    }

    fn member(&self, endpoint: &Endpoint) -> Option<&Member> {
        let own = self.question.members.iter().filter(|m| m.owner == endpoint.container);
        let all: Vec<&Member> = own.collect();
        all.iter().find(|m| m.name == endpoint.name).or(all.first()).copied()
    }

    /// A target whose links are not of a network of Holm's.
    fn foreign(&self) -> Option<&Member> {
        let Target::Container(at) = self.question.to else { return None };
        let member = self.question.members.get(at)?;
        (!member.on_host && member.pid.is_some() && self.scene.of(&member.owner).is_empty()).then_some(member)
    }

    /// The target's side.
    fn far(&self, goal: &Goal, links: &[Link], report: &mut Report) -> Result<(), Error> {
        let (end, kind) = goal.end;
        let from = self.question.from_text.as_str();
        match &goal.holder {
            Holder::Sender => {
                let member = self.question.sender();
                report.hops.push(listen::look(self.machines, member, kind, end, from));
            }
            Holder::Host => {
                report.hops.push(listen::look(self.machines, None, kind, end, from));
            }
            Holder::Container(endpoint) => {
                let Some(member) = self.member(endpoint) else { return Ok(()) };
                report.hops.extend(target::judge_life(member, Place::Target));
                if let Some(place) = self.scene.having(end) {
                    report.hops.push(self.pair(Place::Target, place, links));
                }
                if member.pid.is_some() {
                    report.hops.push(listen::look(self.machines, Some(member), kind, end, from));
                }
            }
            Holder::Elsewhere => {
                if let Some(member) = self.foreign() {
                    report.hops.push(listen::look(self.machines, Some(member), kind, end, from));
                    return Ok(());
                }
                if let Some(network) = self.scene.networks.iter().find(|n| namespace::holds(&n.subnets, goal.to)) {
                    let name = &network.name;
                    let reason = format!("no container has the address {} of network `{name}`", goal.to);
                    let hop = Hop::stop(Place::Target, format!("containers of network `{name}`"), reason);
                    report.hops.push(hop.hint(format!("holm network inspect {name}")));
                }
            }
        }
        Ok(())
    }

    fn answer(&self, goal: &Goal, tested: &Tested, silent: Option<String>) -> Hop {
        let outside = self.outside.is_some();
        let (to, kind) = if outside { goal.end } else { (goal.to, self.question.kind) };
        let from = if outside { "the host" } else { self.question.from_text.as_str() };
        let known = !matches!(goal.holder, Holder::Elsewhere) || self.foreign().is_some();
        let why = tested.blind.as_deref();
        answer::judge(&answer::Sent { kind, to, from, known, silent, outcome: tested.outcome, why })
    }
}

fn middle_links() -> Result<Vec<Link>, Error> {
    let mut socket = crate::attach::open_route()?;
    holm_sys::route::links(&mut socket).map_err(|e| Error::io("list", "links", e))
}

/// The address after this one.
fn beside(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}
