//! Images: references, registries, the local store, layers and root file systems.
//!
//! Owns everything under the `images/` and `layers/` folders of the data root. Knows nothing of containers: who uses an
//! image is told to it.

pub mod archive;
pub mod clock;
pub mod document;
#[cfg(test)]
mod fixture;
pub mod hash;
pub mod layer;
pub mod progress;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod store;
