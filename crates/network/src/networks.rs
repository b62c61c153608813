//! The value that everything about networks is asked of.

use std::path::PathBuf;

use holm_spec::ContainerId;
use holm_spec::network::Endpoint;

use crate::Error;

/// Where records are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Data root, absolute: what outlives a boot.
    pub data: PathBuf,
    /// Run root, absolute: what does not.
    pub run: PathBuf,
}

/// Holm's networks on this machine. Opening it asks the kernel and the disk nothing.
#[derive(Clone, Debug)]
pub struct Networks {
    pub(crate) roots: Roots,
}

impl Networks {
    /// The networks of these roots, in this process's network namespace.
    pub fn new(roots: Roots) -> Self {
        Self { roots }
    }

    /// Who is on a network at this moment.
    pub fn endpoints(&self, network: &str) -> Result<Vec<Endpoint>, Error> {
        self.roots.endpoints_of(network)
    }

    /// A container's places on all networks, in the order of its links.
    pub fn endpoints_of(&self, container: &ContainerId) -> Result<Vec<Endpoint>, Error> {
        let mut found = Vec::new();
        for network in self.roots.live_networks()? {
            found.extend(self.roots.endpoint(&network, container)?);
        }
        found.extend(self.roots.cni_endpoint(container)?);
        found.sort_by(|a, b| a.link.len().cmp(&b.link.len()).then_with(|| a.link.cmp(&b.link)));
        Ok(found)
    }

    /// Every endpoint of every network that is up, and what CNI plugins gave.
    pub fn all_endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let mut found = Vec::new();
        for container in self.plugged()? {
            found.extend(self.roots.cni_endpoint(&container)?);
        }
        for network in self.roots.live_networks()? {
            found.extend(self.roots.endpoints_of(&network)?);
        }
        Ok(found)
    }
}
