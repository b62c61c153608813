//! Owners of the files of a container with a user namespace: which number inside is which outside.

use std::io;

use holm_spec::oci::runtime::{IdMapping, OVERFLOW_ID};

/// A translation; without a mapping numbers are the same on both sides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners(Option<IdMapping>);

impl Owners {
    /// Numbers are as they are.
    pub const SAME: Self = Self(None);

    /// Numbers are as this mapping says, for users and groups alike.
    pub fn mapped(mapping: IdMapping) -> Self {
        Self(Some(mapping))
    }

    /// The mapping, where there is one.
    pub fn mapping(self) -> Option<IdMapping> {
        self.0
    }

    /// How the container sees an id of the host.
    pub fn inside(self, host: u32) -> u32 {
        self.0.map_or(host, |map| map.inside(host).unwrap_or(OVERFLOW_ID))
    }

    /// The host's id of one of the container's. *Errors*: it has no such id.
    pub fn outside(self, inside: u32) -> io::Result<u32> {
        let Some(map) = self.0 else { return Ok(inside) };
        let why = || format!("owner {inside} is none of the container's {} ids", map.size);
        map.outside(inside).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, why()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_translated_within_the_mapping_only() {
        let owners = Owners::mapped(IdMapping { container_id: 0, host_id: 1000, size: 10 });
        let inside: Vec<u32> = [999, 1000, 1009, 1010].into_iter().map(|id| owners.inside(id)).collect();
        assert_eq!(inside, [OVERFLOW_ID, 0, 9, OVERFLOW_ID]);
        assert_eq!((owners.outside(0).unwrap(), owners.outside(9).unwrap()), (1000, 1009));
        assert!(owners.outside(10).is_err());
        assert_eq!((Owners::SAME.inside(7), Owners::SAME.outside(7).unwrap()), (7, 7));
    }
}
