//! Whose interfaces the plugin has made: the runtime's words for them, found by an internal identifier.

use std::path::PathBuf;

use holm_spec::ContainerId;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::{Error, Roots, record};

/// An interface of a container that Holm does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The runtime's identifier.
    pub container: String,
    /// The interface.
    pub ifname: String,
    /// Name of the configuration.
    pub config: String,
    /// The network.
    pub network: String,
}

/// The identifier under which an interface is known here: the same for the same words, on every machine and for good.
///
/// *Source*: two FNV-1a of 128 bits. Nobody gains by a collision: runtimes are trusted, and an owner is compared.
pub(super) fn internal_id(container: &str, ifname: &str) -> ContainerId {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let words = || container.bytes().chain([0]).chain(ifname.bytes());
    let hash = |basis: u128, words: &mut dyn Iterator<Item = u8>| {
        words.fold(basis, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
    };
    let first = hash(BASIS, &mut words());
    let second = hash(first, &mut words());
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&first.to_be_bytes());
    bytes[16..].copy_from_slice(&second.to_be_bytes());
    ContainerId::from_random(&bytes)
}

impl Roots {
    fn cni_owners(&self) -> PathBuf {
        self.run().join("cni-plugin")
    }

    pub(super) fn cni_owner(&self, id: &ContainerId) -> Result<Option<Owner>, Error> {
        record::read(&self.cni_owners().join(id.as_str()))
    }

    /// Writes whose interface it is, unless that is written: gives whether it was not. Only one of two calls can.
    pub(super) fn claim_cni_owner(&self, id: &ContainerId, owner: &Owner) -> Result<bool, Error> {
        let folder = self.cni_owners();
        record::make_folder(&folder)?;
        // Whole before it has its name, and with a name of this process's own before that.
        let own = format!("{id}.{}", std::process::id());
        record::write(&folder, &own, owner)?;
        let (own, path) = (folder.join(own), folder.join(id.as_str()));
        let named = rustix::fs::renameat_with(CWD, &own, CWD, &path, RenameFlags::NOREPLACE);
        match named {
            Ok(()) => Ok(true),
            Err(e) => {
                let _ = rustix::fs::unlink(&own);
                if e == Errno::EXIST { Ok(false) } else { Err(Error::io("write", path.display().to_string(), e)) }
            }
        }
    }

    pub(super) fn remove_cni_owner(&self, id: &ContainerId) -> Result<(), Error> {
        let path = self.cni_owners().join(id.as_str());
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("remove", path.display().to_string(), e)),
        }
    }

    /// All of them.
    pub(super) fn all_cni_owners(&self) -> Result<Vec<(ContainerId, Owner)>, Error> {
        let mut found = Vec::new();
        for id in record::names(&self.cni_owners())?.iter().filter_map(|name| name.parse().ok()) {
            found.extend(self.cni_owner(&id)?.map(|owner| (id, owner)));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ_where_words_do_and_stay_what_they_are() {
        let id = |container, ifname| internal_id(container, ifname).to_string();
        assert_eq!(id("a", "eth0"), id("a", "eth0"));
        let all = [id("a", "eth0"), id("b", "eth0"), id("a", "eth1"), id("aeth", "0"), id("", "")];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| one[..10] != other[..10]), "links on the host are named by it");
        }
    }
}
