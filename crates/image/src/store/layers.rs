//! Unpacked layers: one folder per diff id, under a lock per layer. Owns the `layers` folder.

use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use holm_spec::Digest;
use holm_spec::digest::Algorithm;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::error::{StoreError, io_error};
use super::{Pin, Store, file};
use crate::layer::{self, Unpacked};

/// The commit marker of a layer.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    version: u32,
    diff_id: Digest,
    size_bytes: u64,
    entries: u64,
}

const MARKER_VERSION: u32 = 1;
const MAX_MARKER_BYTES: u64 = 64 * 1024;

/// A layer that is unpacked and verified but not yet visible. Dropping it deletes it.
#[derive(Debug)]
pub(crate) struct StagedLayer {
    store: Store,
    scratch: Scratch,
    diff_id: Digest,
    lock: Option<File>,
}

/// A folder in `partial` that is deleted when dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Store {
    pub(super) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    /// True if the layer is unpacked and complete.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        file::exists(&self.layer_path(diff_id).join("layer.json"))
    }

    /// The unpacked size of a layer.
    pub(crate) fn layer_size(&self, diff_id: &Digest) -> Result<u64, StoreError> {
        let path = self.layer_path(diff_id).join("layer.json");
        let bytes = file::read(&path, MAX_MARKER_BYTES)?.ok_or_else(|| StoreError::LayerMissing(diff_id.clone()))?;
        let marker: Marker = serde_json::from_slice(&bytes).map_err(|source| StoreError::Json { path, source })?;
        Ok(marker.size_bytes)
    }

    /// Unpacks a layer, verifying its diff id over every byte. Reads nothing where it is unpacked already, and waits
    /// while another process unpacks it.
    ///
    /// *Errors*: nothing of the layer stays.
    pub fn unpack_layer(
        &self,
        diff_id: &Digest,
        media_type: &str,
        compressed: &mut dyn Read,
    ) -> Result<(), StoreError> {
        if self.has_layer(diff_id) {
            return Ok(());
        }
        let _pin = self.pin()?;
        let lock = self.lock_layer(diff_id)?;
        if self.has_layer(diff_id) {
            return Ok(());
        }
        let scratch = Scratch::create(self.layers.join("partial").join(diff_id.hex()))?;
        let unpacked = layer::unpack(compressed, media_type, diff_id.algorithm(), &scratch.0.join("fs"))
            .map_err(|source| StoreError::Layer { layer: diff_id.to_string(), source })?;
        if unpacked.diff_id != *diff_id {
            return Err(StoreError::DiffIdMismatch { expected: diff_id.clone(), actual: unpacked.diff_id });
        }
        let staged = StagedLayer::new(self, scratch, unpacked, Some(lock))?;
        self.sync_layers()?;
        staged.publish()
    }

    /// Unpacks a layer whose diff id is not known before its end. `label` names it in errors.
    ///
    /// *Order*: the pin is held until the layer is published or dropped.
    pub(crate) fn stage_layer(
        &self,
        _pin: &Pin,
        label: &str,
        media_type: &str,
        compressed: &mut dyn Read,
    ) -> Result<StagedLayer, StoreError> {
        let scratch = Scratch::create(self.layers.join("partial").join(file::unique_name()))?;
        let unpacked = layer::unpack(compressed, media_type, Algorithm::Sha256, &scratch.0.join("fs"))
            .map_err(|source| StoreError::Layer { layer: label.to_owned(), source })?;
        StagedLayer::new(self, scratch, unpacked, None)
    }

    fn lock_layer(&self, diff_id: &Digest) -> Result<File, StoreError> {
        let path = self.layers.join("locks").join(diff_id.hex());
        let lock = file::open_lock(&path)?;
        file::flock(&lock, FlockOperation::LockExclusive).map_err(|e| io_error("lock", &path, e))?;
        Ok(lock)
    }
}

impl StagedLayer {
    /// Writes the commit marker into the folder; the folder itself is still hidden.
    fn new(store: &Store, scratch: Scratch, unpacked: Unpacked, lock: Option<File>) -> Result<Self, StoreError> {
        let Unpacked { diff_id, size_bytes, entries } = unpacked;
        let path = scratch.0.join("layer.json");
        let marker = Marker { version: MARKER_VERSION, diff_id: diff_id.clone(), size_bytes, entries };
        let bytes = serde_json::to_vec(&marker).map_err(|source| StoreError::Json { path: path.clone(), source })?;
        fs::write(&path, bytes).map_err(|e| io_error("write", &path, e))?;
        Ok(Self { store: store.clone(), scratch, diff_id, lock })
    }

    /// The diff id that the content has.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// Makes the layer visible. *Order*: after [`Store::sync_layers`] or [`Store::sync`].
    pub fn publish(mut self) -> Result<(), StoreError> {
        if self.lock.is_none() {
            self.lock = Some(self.store.lock_layer(&self.diff_id)?);
        }
        if self.store.has_layer(&self.diff_id) {
            return Ok(());
        }
        let target = self.store.layer_path(&self.diff_id);
        file::remove(&target)?;
        fs::rename(&self.scratch.0, &target).map_err(|e| io_error("create", &target, e))?;
        file::sync_folder(&self.store.layers)
    }
}

impl Store {
    /// Waits until everything written to the file system of the layers is on the disk.
    pub(crate) fn sync_layers(&self) -> Result<(), StoreError> {
        let folder = File::open(&self.layers).map_err(|e| io_error("open", &self.layers, e))?;
        rustix::fs::syncfs(&folder).map_err(|e| io_error("sync", &self.layers, e))
    }

    /// Waits until everything written to the store is on the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let device = |path: &PathBuf| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        self.sync_layers()?;
        if device(&self.images) == device(&self.layers) {
            return Ok(());
        }
        let folder = File::open(&self.images).map_err(|e| io_error("open", &self.images, e))?;
        rustix::fs::syncfs(&folder).map_err(|e| io_error("sync", &self.images, e))
    }
}

impl Scratch {
    /// Makes the folder with an empty `fs` in it, over whatever an earlier, broken try has left.
    fn create(path: PathBuf) -> Result<Self, StoreError> {
        file::remove(&path)?;
        DirBuilder::new().mode(0o700).create(&path).map_err(|e| io_error("create", &path, e))?;
        let scratch = Self(path);
        let root = scratch.0.join("fs");
        DirBuilder::new().mode(0o755).create(&root).map_err(|e| io_error("create", &root, e))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a rename there is nothing left under this name; what cannot be deleted is swept later.
        let _ = file::remove(&self.0);
    }
}
