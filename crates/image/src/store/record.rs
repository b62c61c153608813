//! Per-image records: what a start needs to know of an image, in one read. Made from verified documents only.

use std::path::PathBuf;

use holm_spec::Digest;
use holm_spec::oci::image::ImageConfig;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::{Store, file};

/// Larger than any configuration that is let in, with its layer list.
const MAX_RECORD_BYTES: u64 = 16 * 1024 * 1024;

/// What is known of one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Form of this record.
    pub version: u32,
    /// The image id: the digest of its configuration.
    pub id: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// Sum of the sizes of its unpacked layers.
    pub size_bytes: u64,
}

impl Record {
    /// The form that this program writes.
    pub const VERSION: u32 = 1;
}

impl Store {
    pub(super) fn record_path(&self, id: &Digest) -> PathBuf {
        self.images.join("records").join(format!("{}.json", id.hex()))
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.record_path(&record.id);
        let bytes = serde_json::to_vec(record).map_err(|source| StoreError::Json { path: path.clone(), source })?;
        file::replace(&path, &bytes)
    }

    pub(super) fn read_record(&self, id: &Digest) -> Result<Record, StoreError> {
        let path = self.record_path(id);
        let bytes = file::read(&path, MAX_RECORD_BYTES)?.ok_or_else(|| StoreError::NotFound(id.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Json { path, source })
    }
}
