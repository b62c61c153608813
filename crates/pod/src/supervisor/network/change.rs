//! Networks that a running container joins, leaves or is renamed on: what is done in the kernel, in its files and in its record.

use std::os::fd::{AsFd, BorrowedFd};

use holm_network::JoinRequest;
use holm_spec::container::NetworkMode;
use holm_spec::network::AttachmentSpec;

use super::super::Supervisor;
use super::super::files::{self, OfNetworks};
use super::{netns_of, servers};
use crate::Error;

impl Supervisor {
    /// Joins one more network. One that waits to be started again joins it then.
    pub(in super::super) fn connect_more(&mut self, attachment: AttachmentSpec) -> Result<(), Error> {
        let name = attachment.network.clone();
        let NetworkMode::Networks(list) = &self.record.spec.sandbox.network else {
            let what = format!("network `{name}`");
            return Err(Error::invalid(what, "the container has no network namespace that networks can be added to"));
        };
        if list.iter().any(|a| a.network == name) {
            return Err(Error::invalid(format!("network `{name}`"), "the container is on it"));
        }
        let Some(pid) = self.running.as_ref().map(super::super::Running::pid) else {
            return self.change_networks(|list| list.push(attachment));
        };
        self.refuse_machine()?;
        let netns = netns_of(pid)?;
        let dns = servers(&self.record.spec);
        let attachments = [attachment.clone()];
        let request = JoinRequest {
            container: &self.id,
            name: self.record.spec.name.as_str(),
            attachments: &attachments,
            ports: &[],
            dns: &dns,
        };
        let at = self.next_link();
        let more = self.roots.networks().connect_more(&request, netns.as_fd(), at)?;
        let before = self.of_networks();
        if let Some(attached) = &mut self.attached {
            attached.joined.add(more);
        }
        self.change_networks(|list| list.push(attachment))?;
        self.after_change(&before, netns.as_fd())
    }

    /// Leaves a network. The next one that leads out becomes the way out, if this one was it.
    pub(in super::super) fn disconnect(&mut self, network: &str) -> Result<(), Error> {
        let networks = self.roots.networks();
        let Some(pid) = self.running.as_ref().map(super::super::Running::pid) else {
            return self.change_networks(|list| list.retain(|a| a.network.as_str() != network));
        };
        self.refuse_machine()?;
        let before = self.of_networks();
        let Some(attached) = &mut self.attached else {
            return Err(Error::invalid(format!("network `{network}`"), "the container is on no network"));
        };
        let Some(endpoint) = attached.joined.endpoints().iter().find(|e| e.network.as_str() == network).cloned() else {
            return Err(Error::invalid(format!("network `{network}`"), "the container is not on it"));
        };
        let netns = netns_of(pid)?;
        match endpoint.host_link.as_str() {
            "" => networks.delete_link_inside(&endpoint, netns.as_fd())?,
            _ => networks.delete_link(&endpoint)?,
        }
        networks.release(&self.id, std::slice::from_ref(&endpoint))?;
        attached.joined.forget(network);
        self.change_networks(|list| list.retain(|a| a.network.as_str() != network))?;
        self.after_change(&before, netns.as_fd())
    }

    /// A running machine's links stay those that it was started with.
    fn refuse_machine(&self) -> Result<(), Error> {
        match self.running.as_ref().and_then(super::super::Running::guest) {
            None => Ok(()),
            Some(_) => Err(Error::MachineRuns(self.record.spec.name.to_string())),
        }
    }

    /// Is found by its new name on its networks.
    pub(in super::super) fn rename_on_networks(&mut self) -> Result<(), Error> {
        let networks = self.roots.networks();
        // What plug-ins made has no names of ours.
        match self.attached.as_mut().filter(|attached| attached.plugged.is_none()) {
            Some(attached) => networks.rename(&mut attached.joined, &self.record.spec.name).map_err(Error::from),
            None => Ok(()),
        }
    }

    fn of_networks(&self) -> OfNetworks {
        self.attached.as_ref().map(super::Attached::files).unwrap_or_default()
    }

    /// What follows from another set of networks: the way out, who passes ports on, the container's files.
    fn after_change(&mut self, before: &OfNetworks, netns: BorrowedFd<'_>) -> Result<(), Error> {
        let networks = self.roots.networks();
        let Some(attached) = &mut self.attached else { return Ok(()) };
        if networks.lead_out(&mut attached.joined, netns)? {
            // It knows the old address; the next packet starts one that knows the new.
            if let Some(pid) = attached.relay {
                let _ = holm_sys::process::kill(pid, rustix::process::Signal::KILL.as_raw());
            }
            let _ = attached.watch_ports();
        }
        let after = self.of_networks();
        let Some(running) = &self.running else { return Ok(()) };
        let host_name = running.spec.hostname.clone().unwrap_or_default();
        let Some(rootfs) = running.rootfs() else { return Ok(()) };
        let place = files::Place { rootfs, folder: &self.roots.container(&self.id), oci: &running.spec };
        files::follow(&place, &self.record.spec, &host_name, before, &after)
    }

    fn change_networks(&mut self, change: impl FnOnce(&mut Vec<AttachmentSpec>)) -> Result<(), Error> {
        if let NetworkMode::Networks(list) = &mut self.record.spec.sandbox.network {
            change(list);
        }
        self.roots.write_record(&self.id, &self.record)
    }

    /// The lowest number that no link of the container has.
    fn next_link(&self) -> usize {
        let endpoints = self.attached.as_ref().map_or(&[][..], |a| a.joined.endpoints());
        (0..).find(|at| !endpoints.iter().any(|e| e.link == format!("eth{at}"))).unwrap_or(0)
    }
}
