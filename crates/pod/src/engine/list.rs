//! Finding and reading containers.

use std::path::PathBuf;

use holm_spec::ContainerId;
use holm_spec::container::ContainerSpec;
use holm_spec::oci::runtime::IdMapping;

use super::Engine;
use crate::owner;
use crate::supervisor::wanted_after_boot;
use crate::{Container, Error, Roots, log, name};

/// The ids of all containers.
pub(crate) fn ids(roots: &Roots) -> Result<Vec<ContainerId>, Error> {
    let folder = roots.containers();
    let failed = |e| Error::io("list", folder.display().to_string(), e);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut list = Vec::new();
    for entry in entries {
        if let Some(id) = entry.map_err(failed)?.file_name().to_str().and_then(|name| name.parse().ok()) {
            list.push(id);
        }
    }
    Ok(list)
}

impl Engine {
    /// Finds a container by name, id, or unique prefix of its id.
    pub fn find(&self, text: &str) -> Result<ContainerId, Error> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let missing = || Error::NoSuchContainer(text.escape_default().take(140).collect());
        let known = |id: &ContainerId| self.roots.container(id).exists();
        if let Some(id) = text.parse::<ContainerId>().ok().filter(known) {
            return Ok(id);
        }
        // Only what fits the grammar of names can be a path component.
        let named = text.parse::<holm_spec::Name>().ok().and_then(|name| name::owner(&self.roots, name.as_str()));
        if let Some(id) = named.filter(known) {
            return Ok(id);
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(missing());
        }
        let mut fitting = ids(&self.roots)?;
        fitting.retain(|id| id.as_str().starts_with(text));
        match fitting.len() {
            0 => Err(missing()),
            1 => Ok(fitting.remove(0)),
            count => Err(Error::Ambiguous { prefix: text.to_owned(), count }),
        }
    }

    /// Reads one container.
    pub fn get(&self, id: &ContainerId) -> Result<Container, Error> {
        let record = self.roots.read_record(id)?;
        let state = self.roots.read_state(id)?;
        let folder = self.roots.container(id);
        let log_path = folder.join(log::FILE);
        Ok(Container {
            spec: record.spec,
            state,
            image_config: record.image_config,
            layers: record.layers,
            folder,
            log_path,
        })
    }

    /// Reads all containers, the newest first. One that is just being made or removed is left out.
    pub fn list(&self) -> Result<Vec<Container>, Error> {
        let mut list = Vec::new();
        for id in ids(&self.roots)? {
            match self.get(&id) {
                Ok(container) => list.push(container),
                Err(Error::NoSuchContainer(_)) => {}
                Err(e) => return Err(e),
            }
        }
        list.sort_by(|a, b| b.spec.created_at_ns.cmp(&a.spec.created_at_ns).then_with(|| a.spec.id.cmp(&b.spec.id)));
        Ok(list)
    }

    /// The containers that their restart policies want running and that do not run, the oldest first, since one that
    /// joins another's namespaces is younger than it. To be asked after a boot.
    pub fn due_after_boot(&self) -> Result<Vec<Container>, Error> {
        let mut list = self.list()?;
        list.retain(|c| !c.state.status.is_live() && wanted_after_boot(c.spec.restart, &c.state));
        list.reverse();
        Ok(list)
    }

    /// The folder with what it changed, an overlay upper layer, for `commit`. Pause it first where it runs.
    pub fn upper(&self, id: &ContainerId) -> PathBuf {
        self.roots.container(id).join("upper")
    }

    /// The mapping of owners that holds in that folder, for a container with a user namespace.
    pub fn owners(&self, spec: &ContainerSpec) -> Option<IdMapping> {
        owner::of(&self.roots, spec).mapping()
    }
}
