//! Owners of the files of a container with a user namespace: which number inside is which outside.
//!
//! Layers and volumes have the numbers inside on disk and are seen through idmapped mounts; the folder of changes and plain
//! binds have those outside. What goes in or out by Holm's own hand is translated here.

use std::io;

use holm_spec::ContainerId;
use holm_spec::container::{ContainerSpec, UserNamespaceMode};
use holm_spec::oci::runtime::{IdMapping, OVERFLOW_ID};

use crate::Roots;

/// Longest chain of containers that each join the user namespace of the next.
const MAX_CHAIN: usize = 16;

/// A translation; without a mapping numbers are the same on both sides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owners(Option<IdMapping>);

impl Owners {
    /// Numbers are as they are.
    pub(crate) const SAME: Self = Self(None);

    /// Those of a container: its own, or of the one whose user namespace it joins.
    pub(crate) fn of(roots: &Roots, spec: &ContainerSpec) -> Self {
        let mut mode = spec.sandbox.userns.clone();
        for _ in 0..MAX_CHAIN {
            match mode {
                UserNamespaceMode::Host => break,
                UserNamespaceMode::Mapped { host_id, size } => {
                    return Self(Some(IdMapping { container_id: 0, host_id, size }));
                }
                UserNamespaceMode::Container(id) => mode = mode_of(roots, &id),
            }
        }
        Self::SAME
    }

    /// The mapping, where there is one.
    pub(crate) fn mapping(self) -> Option<IdMapping> {
        self.0
    }

    /// How the container sees an id of the host.
    pub(crate) fn inside(self, host: u32) -> u32 {
        self.0.map_or(host, |map| map.inside(host).unwrap_or(OVERFLOW_ID))
    }

    /// The host's id of one of the container's. *Errors*: it has no such id.
    pub(crate) fn outside(self, inside: u32) -> io::Result<u32> {
        let Some(map) = self.0 else { return Ok(inside) };
        let why = || format!("owner {inside} is none of the container's {} ids", map.size);
        map.outside(inside).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, why()))
    }
}

fn mode_of(roots: &Roots, id: &ContainerId) -> UserNamespaceMode {
    roots.read_record(id).map_or(UserNamespaceMode::Host, |record| record.spec.sandbox.userns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_translated_within_the_mapping_only() {
        let owners = Owners(Some(IdMapping { container_id: 0, host_id: 1000, size: 10 }));
        let inside: Vec<u32> = [999, 1000, 1009, 1010].into_iter().map(|id| owners.inside(id)).collect();
        assert_eq!(inside, [OVERFLOW_ID, 0, 9, OVERFLOW_ID]);
        assert_eq!((owners.outside(0).unwrap(), owners.outside(9).unwrap()), (1000, 1009));
        assert!(owners.outside(10).is_err());
        assert_eq!((Owners::SAME.inside(7), Owners::SAME.outside(7).unwrap()), (7, 7));
    }
}
