//! Plain data of Holm: OCI documents, pod and container specs, names, digests, quantities and on-disk records.
//!
//! Owns the shape and validation of what is stored or sent. Does no I/O and knows no kernel.

pub mod container;
pub mod digest;
pub mod guest;
pub mod id;
pub mod network;
pub mod oci;
pub mod probe;
pub mod protocol;
pub mod quantity;
pub mod signal;
pub mod state;
pub mod vm;

pub use digest::{Digest, DigestError};
pub use id::{ContainerId, IdError, Name};
