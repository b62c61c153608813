//! Reading manifests, indexes and configurations from untrusted bytes. Owns their limits; does no I/O.
#![allow(missing_docs, unused_variables, clippy::todo)]

use holm_spec::oci::image::{ImageConfig, Index, Manifest};

#[derive(Clone, Debug, PartialEq)]
pub enum ManifestOrIndex {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("cannot read {0}")]
    Placeholder(String),
}

/// `media_type` is what the registry or the descriptor called it; `None` where nobody did.
pub fn parse_manifest(bytes: &[u8], media_type: Option<&str>) -> Result<ManifestOrIndex, DocumentError> {
    todo!()
}

pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, DocumentError> {
    todo!()
}
