//! Owners of the files of a container with a user namespace: which number inside is which outside.
//!
//! Layers and volumes have the numbers inside on disk and are seen through idmapped mounts; the folder of changes and plain
//! binds have those outside. What goes in or out by Holm's own hand is translated here.

use holm_spec::ContainerId;
use holm_spec::container::{ContainerSpec, UserNamespaceMode};
use holm_spec::oci::runtime::IdMapping;

pub(crate) use holm_container::archive::Owners;

use crate::Roots;

/// Longest chain of containers that each join the user namespace of the next.
const MAX_CHAIN: usize = 16;

/// The owners of a container: its own, or of the one whose user namespace it joins.
pub(crate) fn of(roots: &Roots, spec: &ContainerSpec) -> Owners {
    let mut mode = spec.sandbox.userns.clone();
    for _ in 0..MAX_CHAIN {
        match mode {
            UserNamespaceMode::Host => break,
            UserNamespaceMode::Mapped { host_id, size } => {
                return Owners::mapped(IdMapping { container_id: 0, host_id, size });
            }
            UserNamespaceMode::Container(id) => mode = mode_of(roots, &id),
        }
    }
    Owners::SAME
}

fn mode_of(roots: &Roots, id: &ContainerId) -> UserNamespaceMode {
    roots.read_record(id).map_or(UserNamespaceMode::Host, |record| record.spec.sandbox.userns)
}
