//! The container's networks: reserved before it is made, connected while it sets itself up, released when it has ended; and
//! what is kept alive for them meanwhile.
//!
//! Owns the order; what a network is, is for `holm_network`.

mod change;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use holm_container::StartError;
use holm_network::cni::CniRequest;
use holm_network::{JoinRequest, Joined, KeeperLink, Networks, relay};
use holm_spec::container::{ContainerSpec, NetworkMode};
use holm_spec::network::PublishSpec;
use holm_spec::oci::image::RunConfig;
use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};

use super::Supervisor;
use super::files::OfNetworks;
use crate::engine::event_of;
use crate::error::chain;
use crate::{Error, Event, Roots, event};

impl Roots {
    /// The networks of these roots.
    pub(crate) fn networks(&self) -> Networks {
        Networks::new(holm_network::Roots { data: self.data.clone(), run: self.run.clone() })
    }
}

/// What a running container has of networks, or a whole machine.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) joined: Joined,
    keeper: Option<KeeperLink>,
    /// Readable when something came to a published port that the firewall did not translate.
    ports: Option<OwnedFd>,
    /// The process that passes it on.
    relay: Option<i32>,
    /// What CNI plugins made, instead of Holm's own networks.
    plugged: Option<Plugged>,
}

/// A network namespace that CNI plugins set up. It is held open until they have taken it back.
#[derive(Debug)]
struct Plugged {
    netns: OwnedFd,
    dns: holm_network::cni::Dns,
}

impl Attached {
    pub(crate) fn new(joined: Joined) -> Self {
        Self { joined, keeper: None, ports: None, relay: None, plugged: None }
    }

    /// The end of the keeper, as long as there is one.
    pub(crate) fn keeper(&self) -> Option<BorrowedFd<'_>> {
        self.keeper.as_ref().map(AsFd::as_fd)
    }

    /// The namespace that the container is to join, where it was made before.
    pub(super) fn netns(&self) -> Option<BorrowedFd<'_>> {
        self.plugged.as_ref().map(|p| p.netns.as_fd())
    }

    /// The ports, unless somebody looks after them already.
    pub(crate) fn ports(&self) -> Option<BorrowedFd<'_>> {
        self.ports.as_ref().filter(|_| self.relay.is_none()).map(AsFd::as_fd)
    }

    /// What goes into the container's files.
    pub(super) fn files(&self) -> OfNetworks {
        let endpoints = self.joined.endpoints();
        let dns = self.plugged.as_ref().map(|p| p.dns.clone()).unwrap_or_default();
        // Name servers of the container's own go before what plugins know.
        let plugged = dns.servers.iter().filter(|_| endpoints.iter().all(|e| e.dns.is_empty()));
        OfNetworks {
            addresses: endpoints.iter().flat_map(|e| e.addresses.iter().map(|a| a.addr())).collect(),
            servers: self.joined.name_servers().into_iter().chain(plugged.copied()).collect(),
            host: endpoints.iter().flat_map(|e| e.gateways.iter().copied()).next(),
            search: dns.search,
            options: dns.options,
        }
    }

    /// What is looked after as long as the container runs: the keeper, and ports that need passing on.
    pub(crate) fn attend(&mut self, networks: &Networks) {
        if self.plugged.is_none() {
            // Without a keeper names are not served; the next command or the next look starts one.
            self.keeper = networks.ensure_keeper().ok();
        }
        // A port that cannot be watched is still translated by the firewall.
        let _ = self.watch_ports();
    }

    /// The keeper has ended though the container is still there: another one is started.
    pub(crate) fn keeper_ended(&mut self, networks: &Networks) {
        self.keeper = None;
        self.keeper = networks.ensure_keeper().ok();
    }

    /// Something waits at a published port: a process is made that passes it on.
    pub(crate) fn ports_ready(&mut self) {
        let relayed = self.joined.relayed();
        let copies: Result<Vec<relay::Source>, std::io::Error> = relayed
            .iter()
            .map(|r| {
                Ok(relay::Source { socket: r.socket.try_clone_to_owned()?, target: r.target, protocol: r.protocol })
            })
            .collect();
        drop(relayed);
        let Ok(sources) = copies else { return };
        let made = holm_sys::process::fork();
        match made {
            Ok(holm_sys::process::Fork::Child) => {
                let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
                let _ = rustix::thread::set_name(c"holm-relay");
                holm_sys::process::exit_now(relay::run(&sources))
            }
            Ok(holm_sys::process::Fork::Parent(child)) => self.relay = Some(child.pid),
            // It is tried again at once; without memory for a process there is nothing else to do.
            Err(_) => {}
        }
    }

    /// Whether this child was the one that passes on; then ports are watched again.
    pub(crate) fn relay_ended(&mut self, pid: i32) -> bool {
        let was = self.relay == Some(pid);
        if was {
            self.relay = None;
        }
        was
    }

    /// Ends the process that passes on.
    pub(crate) fn end_relay(&mut self) {
        if let Some(pid) = self.relay.take() {
            let _ = holm_sys::process::kill(pid, rustix::process::Signal::KILL.as_raw());
        }
    }

    fn watch_ports(&mut self) -> std::io::Result<()> {
        let relayed = self.joined.relayed();
        if relayed.is_empty() {
            return Ok(());
        }
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for one in &relayed {
            epoll::add(&all, one.socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        }
        self.ports = Some(all);
        Ok(())
    }
}

/// Ports that are asked for, those that the image exposes included where all are to be published.
fn wanted_ports(spec: &ContainerSpec, exposed: &[String]) -> Vec<PublishSpec> {
    let mut ports = spec.sandbox.ports.clone();
    if spec.sandbox.publish_all {
        for text in exposed {
            let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (Ok(container_port), Ok(protocol)) = (number.parse(), protocol.parse()) else { continue };
            if !ports.iter().any(|p| p.container_port == container_port && p.protocol == protocol) {
                ports.push(PublishSpec {
                    host_ip: None,
                    host_ports: (0, 0),
                    container_port,
                    protocol,
                    interfaces: Vec::new(),
                    from: Vec::new(),
                });
            }
        }
    }
    ports
}

fn exposed(image: &RunConfig, spec: &ContainerSpec) -> Vec<String> {
    let of_image = image.exposed_ports.iter().flatten().map(|(port, _)| port);
    of_image.chain(&spec.sandbox.exposed).cloned().collect()
}

fn servers(spec: &ContainerSpec) -> Vec<IpAddr> {
    spec.sandbox.dns.iter().filter_map(|server| server.parse().ok()).collect()
}

/// A process's network namespace.
fn netns_of(pid: i32) -> Result<OwnedFd, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::io("open", path.display().to_string(), e))
}

impl Supervisor {
    /// Takes what the container's networks give it before it exists. *Errors*: a port, an address or a network that cannot be
    /// had; nothing is left.
    pub(super) fn reserve_networks(&mut self) -> Result<(), Error> {
        let NetworkMode::Networks(attachments) = &self.record.spec.sandbox.network else { return Ok(()) };
        let spec = &self.record.spec;
        let ports = wanted_ports(spec, &exposed(&self.record.image_config, spec));
        let dns = servers(spec);
        let request =
            JoinRequest { container: &self.id, name: spec.name.as_str(), attachments, ports: &ports, dns: &dns };
        let joined = self.roots.networks().reserve(&request)?;
        self.attached = Some(Attached::new(joined));
        Ok(())
    }

    /// Makes a network namespace and has CNI plugins set it up, where the container's network is theirs. `users` owns it.
    pub(super) fn plug_network(&mut self, users: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let spec = &self.record.spec;
        let NetworkMode::Cni(cni) = &spec.sandbox.network else { return Ok(()) };
        let ports = wanted_ports(spec, &exposed(&self.record.image_config, spec));
        let netns = holm_container::namespace::network_namespace(users)
            .map_err(|e| Error::io("make a network namespace for", self.id.short(), e))?;
        let request = CniRequest {
            container: &self.id,
            name: spec.name.as_str(),
            spec: cni,
            ports: &ports,
            dns: &servers(spec),
            search: &spec.sandbox.dns_search,
            options: &spec.sandbox.dns_options,
            folders: &self.roots.cni,
        };
        // Good as long as this process lives, whatever becomes of those in the namespace.
        let path = format!("/proc/{}/fd/{}", rustix::process::getpid().as_raw_pid(), netns.as_raw_fd());
        let (joined, dns) = self.roots.networks().plug(&request, &path)?;
        self.attached = Some(Attached { plugged: Some(Plugged { netns, dns }), ..Attached::new(joined) });
        Ok(())
    }

    /// Connects the namespace of the process that was just made: `lent`, which it is about to enter, or its own.
    pub(super) fn connect_networks(
        roots: &Roots,
        attached: Option<&Attached>,
        lent: Option<BorrowedFd<'_>>,
        pid: i32,
    ) -> Result<(), StartError> {
        let Some(attached) = attached else { return Ok(()) };
        let connect = |netns: BorrowedFd<'_>| roots.networks().connect(&attached.joined, netns).map_err(Error::from);
        let connected = match lent {
            Some(lent) => connect(lent),
            None => netns_of(pid).and_then(|netns| connect(netns.as_fd())),
        };
        connected.map_err(|e| StartError::refused(format!("connect its networks: {}", chain(&e))))
    }

    /// See [`Attached::attend`].
    pub(super) fn attend_networks(&mut self) {
        let networks = self.roots.networks();
        if let Some(attached) = &mut self.attached {
            attached.attend(&networks);
        }
    }

    /// See [`Attached::keeper_ended`].
    pub(super) fn keeper_ended(&mut self) {
        let networks = self.roots.networks();
        if let Some(attached) = &mut self.attached {
            attached.keeper_ended(&networks);
        }
    }

    /// See [`Attached::ports_ready`].
    pub(super) fn ports_ready(&mut self) {
        if let Some(attached) = &mut self.attached {
            attached.ports_ready();
        }
    }

    /// See [`Attached::relay_ended`].
    pub(super) fn relay_ended(&mut self, pid: i32) -> bool {
        self.attached.as_mut().is_some_and(|attached| attached.relay_ended(pid))
    }

    /// Lets go of the networks: rules, addresses, ports. Goes on after an error; what is left is found by its record.
    pub(super) fn release_networks(&mut self) {
        let Some(mut attached) = self.attached.take() else { return };
        attached.end_relay();
        let _ = match attached.plugged {
            Some(_) => self.roots.networks().unplug(&self.id),
            None => self.roots.networks().release(&self.id, attached.joined.endpoints()),
        };
        self.emit_networks("disconnect", &attached.joined);
    }

    /// Tells of the container's networks, as docker does at every start and end.
    pub(super) fn emit_networks(&self, action: &str, joined: &Joined) {
        let of = |network| event_of(action, network).with("container", self.id.as_str());
        let events: Vec<Event> = joined.networks().iter().map(of).collect();
        if !events.is_empty() {
            event::emit(&self.roots.run, &events);
        }
    }
}
