//! Trees of a container as tar streams, both ways, by descriptors only.
//!
//! The root, its links and the stream are a stranger's. Reading never follows a link and never opens what is no file or
//! folder; writing goes through real folders below the target only, so neither can touch anything outside (CVE-2019-14271,
//! CVE-2018-15664 and their kin). Nothing of the image is run.

mod attribute;
mod owner;
mod unpack;
mod write;

pub use owner::Owners;
pub use unpack::{unpack, unpack_changes};
pub use write::{Scope, write_changes, write_tree};

#[cfg(test)]
mod tests;
