//! What a container was given by plugins, on disk: enough for anybody to take it back, whoever is dead by then.
//!
//! ```text
//! run/network/cni/<container id>      written before the first plugin is run, removed after the last was told to undo
//! ```

use std::path::PathBuf;

use holm_spec::ContainerId;
use holm_spec::network::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::NetworkList;
use crate::{Error, Roots, record};

/// An attachment of a container by plugins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub version: u32,
    pub container: ContainerId,
    /// The list as it was read then: the file may be another by now.
    pub list: NetworkList,
    /// Folders of plugins.
    pub folders: Vec<PathBuf>,
    /// Path of the network namespace; it leads nowhere once the container's supervisor is gone.
    pub netns: String,
    pub ifname: String,
    pub args: String,
    /// Values of capabilities.
    pub runtime: Map<String, Value>,
    /// What the last plugin said; absent while plugins are run.
    pub result: Option<Value>,
    /// Its place, for those who look.
    pub endpoint: Option<Endpoint>,
}

impl Attachment {
    pub(super) const VERSION: u32 = 1;
}

impl Roots {
    fn cni(&self) -> PathBuf {
        self.run().join("cni")
    }

    pub(super) fn cni_attachment(&self, container: &ContainerId) -> Result<Option<Attachment>, Error> {
        record::read(&self.cni().join(container.as_str()))
    }

    /// What plugins gave a container.
    pub(crate) fn cni_endpoint(&self, container: &ContainerId) -> Result<Option<Endpoint>, Error> {
        Ok(self.cni_attachment(container)?.and_then(|attachment| attachment.endpoint))
    }

    pub(super) fn write_cni_attachment(&self, attachment: &Attachment) -> Result<(), Error> {
        record::make_folder(&self.cni())?;
        record::write(&self.cni(), attachment.container.as_str(), attachment)
    }

    pub(super) fn remove_cni_attachment(&self, container: &ContainerId) -> Result<(), Error> {
        let path = self.cni().join(container.as_str());
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("remove", path.display().to_string(), e)),
        }
    }

    /// Containers that have something of plugins.
    pub(super) fn cni_containers(&self) -> Result<Vec<ContainerId>, Error> {
        Ok(record::names(&self.cni())?.iter().filter_map(|name| name.parse().ok()).collect())
    }
}
