//! Networks as commands ask for them: made, removed, connected to containers, and which containers name them.
//!
//! Owns what joins networks and containers; what a network is, is for `holm_network`.

use holm_network::{Hold, NetworkRequest, Networks};
use holm_spec::ContainerId;
use holm_spec::container::{ContainerSpec, NetworkMode};
use holm_spec::network::{AttachmentSpec, DEFAULT_NETWORK, Driver, Endpoint, NetworkSpec};
use holm_spec::protocol::{Reply, Request};

use super::Engine;
use crate::layout::FolderLock;
use crate::{Error, Event, PruneReport, event};

/// Docker's word for a driver.
pub(crate) fn driver_word(driver: Driver) -> &'static str {
    match driver {
        Driver::Bridge => "bridge",
        Driver::Macvlan => "macvlan",
    }
}

/// An event about a network.
pub(crate) fn event_of(action: &str, network: &NetworkSpec) -> Event {
    Event::now("network", action, network.id.as_str())
        .with("name", network.name.as_str())
        .with("type", driver_word(network.driver))
}

/// The networks that a container is to be on.
fn attachments(spec: &ContainerSpec) -> &[AttachmentSpec] {
    match &spec.sandbox.network {
        NetworkMode::Networks(list) => list,
        _ => &[],
    }
}

impl Engine {
    /// The networks of these roots.
    pub fn networks(&self) -> Networks {
        self.roots.networks()
    }

    /// Makes a network. *Errors*: nothing is made.
    pub fn network_create(&self, request: NetworkRequest) -> Result<NetworkSpec, Error> {
        let network = self.networks().create(request)?;
        event::emit(&self.roots.run, &[event_of("create", &network)]);
        Ok(network)
    }

    /// Removes a network. One that a container joins when it starts is removed with `force` only: that container cannot start
    /// until there is a network of that name again. *Errors*: running containers are on it; nothing changes.
    pub fn network_remove(&self, text: &str, force: bool) -> Result<NetworkSpec, Error> {
        let refer = |network: &NetworkSpec| match self.first_user(network.name.as_str()) {
            // Who runs is counted by the network itself, which says how many there are.
            Some((user, false)) if !force => {
                Err(holm_network::Error::Referred { network: network.name.to_string(), user })
            }
            _ => Ok(()),
        };
        let network = match self.networks().remove(text, &refer) {
            Err(holm_network::Error::InUse { network, .. }) if self.await_leavers(&network)? => {
                self.networks().remove(text, &refer)?
            }
            other => other?,
        };
        event::emit(&self.roots.run, &[event_of("destroy", &network)]);
        Ok(network)
    }

    /// Waits for containers that are removed already and just leaving the network: the end of a `--rm` container is told before
    /// its networks are released. Gives whether there was one.
    fn await_leavers(&self, network: &str) -> Result<bool, Error> {
        let mut any = false;
        for endpoint in self.network_endpoints(network)?.1 {
            any = true;
            if let Some(lock) = FolderLock::wait(&self.roots.run_container(&endpoint.container))? {
                self.recover_held(&endpoint.container, lock)?;
            }
        }
        Ok(any)
    }

    /// Who is on a network: containers that are there, and those that are removed already and just leaving.
    fn network_endpoints(&self, network: &str) -> Result<(Vec<Endpoint>, Vec<Endpoint>), Error> {
        let all = self.networks().endpoints(network)?;
        Ok(all.into_iter().partition(|endpoint| self.roots.container(&endpoint.container).exists()))
    }

    /// The containers that are on a network now.
    pub fn network_members(&self, network: &str) -> Result<Vec<Endpoint>, Error> {
        self.network_endpoints(network).map(|(members, _)| members)
    }

    /// Name of a container that names the network, and whether it runs; one that runs before others.
    fn first_user(&self, network: &str) -> Option<(String, bool)> {
        let users = self.network_users(network).unwrap_or_default();
        let first = users.iter().find(|(_, _, live)| *live).or(users.first());
        first.map(|(_, name, live)| (name.clone(), *live))
    }

    /// The containers that name a network, running or not: id, name, whether it runs.
    pub fn network_users(&self, network: &str) -> Result<Vec<(ContainerId, String, bool)>, Error> {
        let mut users = Vec::new();
        for id in super::ids(&self.roots)? {
            // One that is just being made or removed is none.
            let Ok(record) = self.roots.read_record(&id) else { continue };
            if attachments(&record.spec).iter().any(|a| a.network.as_str() == network) {
                let live = self.roots.read_state(&id).is_ok_and(|state| state.status.is_live());
                users.push((id, record.spec.name.to_string(), live));
            }
        }
        Ok(users)
    }

    /// Removes the networks that no container names, but those to `keep` and the default one.
    pub fn network_prune(&self, keep: &dyn Fn(&NetworkSpec) -> bool) -> Result<PruneReport, Error> {
        let mut report = PruneReport::default();
        for network in self.networks().list_made()? {
            if network.name.as_str() == DEFAULT_NETWORK || keep(&network) {
                continue;
            }
            if !self.network_users(network.name.as_str())?.is_empty() {
                continue;
            }
            match self.network_remove(network.name.as_str(), false) {
                Ok(network) => report.removed.push(network.name.to_string()),
                // Somebody joined or removed it meanwhile.
                Err(Error::Network(
                    holm_network::Error::InUse { .. }
                    | holm_network::Error::Referred { .. }
                    | holm_network::Error::NoSuchNetwork(_),
                )) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(report)
    }

    /// Joins a container to one more network: at once where it runs, else when it starts.
    pub fn network_connect(&self, id: &ContainerId, mut attachment: AttachmentSpec) -> Result<(), Error> {
        let _lock = self.lock(id)?;
        let hold = self.networks().hold()?;
        let network = self.networks().check(&attachment)?;
        attachment.network = network.name.clone();
        let mut record = self.roots.read_record(id)?;
        let name = record.spec.name.to_string();
        let what = || format!("network `{}` for container `{name}`", network.name);
        let NetworkMode::Networks(list) = &mut record.spec.sandbox.network else {
            return Err(Error::invalid(what(), "the container has no network namespace that networks can be added to"));
        };
        if list.iter().any(|a| a.network == attachment.network) {
            return Err(Error::invalid(what(), "the container is on it already"));
        }
        match self.supervisor(id)? {
            Some(connection) => {
                self.refuse_machine(id)?;
                drop(hold);
                let request = Request::Connect { attachment: Box::new(attachment) };
                self.told("connect to the network", id, connection.ask("change the networks", &name, &request, &[])?)?;
            }
            None => {
                list.push(attachment);
                self.roots.write_record(id, &record)?;
            }
        }
        let event = event_of("connect", &network).with("container", id.as_str());
        event::emit(&self.roots.run, &[event]);
        Ok(())
    }

    /// Takes a container off a network: at once where it runs. The network may be gone.
    pub fn network_disconnect(&self, id: &ContainerId, text: &str) -> Result<(), Error> {
        let _lock = self.lock(id)?;
        let found = self.networks().find(text);
        let name = found.as_ref().map_or(text, |network| network.name.as_str()).to_owned();
        let mut record = self.roots.read_record(id)?;
        let container = record.spec.name.to_string();
        let NetworkMode::Networks(list) = &mut record.spec.sandbox.network else {
            found?;
            return Err(not_on(&name, &container));
        };
        let before = list.len();
        list.retain(|a| a.network.as_str() != name);
        if list.len() == before {
            found?;
            return Err(not_on(&name, &container));
        }
        match self.supervisor(id)? {
            Some(connection) => {
                self.refuse_machine(id)?;
                let request = Request::Disconnect { network: name };
                let reply = connection.ask("change the networks", &container, &request, &[])?;
                self.told("disconnect from the network", id, reply)?;
            }
            None => self.roots.write_record(id, &record)?,
        }
        if let Ok(network) = &found {
            event::emit(&self.roots.run, &[event_of("disconnect", network).with("container", id.as_str())]);
        }
        Ok(())
    }

    /// A running machine's links stay those that it was started with.
    fn refuse_machine(&self, id: &ContainerId) -> Result<(), Error> {
        let record = self.roots.read_record(id)?;
        let live = self.roots.read_state(id).is_ok_and(|state| state.status.is_live());
        if live && record.spec.sandbox.isolation.machine().is_some() {
            return Err(Error::MachineRuns(record.spec.name.to_string()));
        }
        Ok(())
    }

    fn told(
        &self,
        verb: &'static str,
        id: &ContainerId,
        reply: Option<(Reply, Vec<std::os::fd::OwnedFd>)>,
    ) -> Result<(), Error> {
        match reply {
            Some((Reply::Done, _)) => Ok(()),
            _ => Err(self.not_running(id, verb, id.short().to_owned())),
        }
    }

    /// Looks whether a new container's networks are there and can give what is asked of them, and names them by their names.
    /// They stay as long as the value is held. *Errors*: nothing was made.
    pub(super) fn check_networks(&self, spec: &mut ContainerSpec) -> Result<Option<Hold>, Error> {
        let NetworkMode::Networks(list) = &mut spec.sandbox.network else { return Ok(None) };
        let plain = |a: &AttachmentSpec| a.network.as_str() == DEFAULT_NETWORK && a.ipv4.is_none() && a.ipv6.is_none();
        // The default one cannot go; it is made when first needed.
        if list.iter().all(plain) {
            return Ok(None);
        }
        let networks = self.networks();
        if list.iter().any(|a| a.network.as_str() == DEFAULT_NETWORK) {
            networks.find(DEFAULT_NETWORK)?;
        }
        let hold = networks.hold()?;
        for at in 0..list.len() {
            let network = networks.check(&list[at]).map_err(unknown)?;
            if list[..at].iter().any(|before| before.network == network.name) {
                return Err(Error::invalid(format!("network `{}`", network.name), "it is named twice"));
            }
            list[at].network = network.name;
        }
        Ok(Some(hold))
    }
}

fn not_on(network: &str, container: &str) -> Error {
    Error::invalid(format!("network `{network}` of container `{container}`"), "the container is not on it")
}

/// Who names a network that is not there wants to make it.
fn unknown(error: holm_network::Error) -> Error {
    match error {
        holm_network::Error::NoSuchNetwork(name) => Error::NoSuchNetwork(name),
        other => other.into(),
    }
}
