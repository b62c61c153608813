//! The local image store: an OCI image layout for blobs and names, and one unpacked folder per layer.
//!
//! ```text
//! <data root>/images/            an OCI image layout that other tools can read in place
//!   oci-layout  index.json       names are annotations of the index entries
//!   blobs/<algorithm>/<hex>      manifests, configurations and layers as they came
//!   records/<config hex>.json    what a start needs to know of an image, in one read
//!   partial/                     blobs on their way in; each is its own lock
//!   trash/                       what is being deleted
//!   lock                         shared: nothing may vanish; exclusive: sweeping
//!   index.lock                   exclusive: index.json is being replaced
//! <data root>/layers/
//!   <diff id hex>/fs             the layer, unpacked alone, in overlayfs form
//!   <diff id hex>/layer.json     its commit marker
//!   partial/ locks/ trash/       as above
//! ```
//!
//! Everything appears by rename after it is complete and verified, so a kill at any moment leaves the old state or
//! the new one; leftovers are found by being in `partial` or `trash`. Who uses an image is told by the caller.
//!
//! Owns these folders. Does not know registries, containers, or mounts.

mod blob;
mod commit;
mod error;
mod file;
mod image;
mod index;
mod layers;
mod new_blob;
mod record;
mod remove;
mod sweep;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

pub use blob::{BlobWriter, Ingest};
pub(crate) use commit::{NewLayer, descriptor, made_manifest};
pub use error::StoreError;
pub use image::Image;
pub(crate) use layers::StagedLayer;
pub(crate) use new_blob::NewBlob;
pub use remove::Removed;
pub use sweep::PruneReport;

use error::io_error;

/// The image store of one data root.
///
/// Holds paths only: opening is cheap, and any number of processes may have the same store open.
#[derive(Clone, Debug)]
pub struct Store {
    images: PathBuf,
    layers: PathBuf,
}

/// Keeps everything in the store from being deleted until it is dropped.
///
/// *Order*: hold one from before looking for blobs, layers or images until what uses them is recorded. Do not call
/// [`Store::prune`] while holding one.
#[derive(Debug)]
pub struct Pin {
    _lock: File,
}

impl Store {
    /// Opens the store of a data root, making its folders (mode 0700) where they are missing.
    pub fn open(data_root: &Path) -> Result<Self, StoreError> {
        let store = Self { images: data_root.join("images"), layers: data_root.join("layers") };
        if !file::exists(&store.images.join("oci-layout")) {
            store.create(data_root)?;
        }
        Ok(store)
    }

    /// Makes the folders. The file `oci-layout` comes last and says that all is there.
    fn create(&self, data_root: &Path) -> Result<(), StoreError> {
        file::ensure_folder(data_root)?;
        for folder in ["blobs/sha256", "blobs/sha512", "records", "partial", "trash"] {
            file::ensure_folder(&self.images.join(folder))?;
        }
        for folder in ["partial", "locks", "trash"] {
            file::ensure_folder(&self.layers.join(folder))?;
        }
        let _lock = self.lock_index()?;
        let index = self.index_path();
        if !file::exists(&index) {
            file::replace(&index, index::EMPTY.as_bytes())?;
        }
        file::replace(&self.images.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// Keeps everything from being deleted until the pin is dropped. Waits while a sweep is marking.
    pub fn pin(&self) -> Result<Pin, StoreError> {
        let path = self.images.join("lock");
        let lock = file::open_lock(&path)?;
        file::flock(&lock, FlockOperation::LockShared).map_err(|e| io_error("lock", &path, e))?;
        Ok(Pin { _lock: lock })
    }

    /// The OCI image layout folder, for tools that read one in place.
    pub fn layout_folder(&self) -> &Path {
        &self.images
    }

    /// Takes the lock under which `index.json` is replaced.
    fn lock_index(&self) -> Result<File, StoreError> {
        let path = self.images.join("index.lock");
        let lock = file::open_lock(&path)?;
        file::flock(&lock, FlockOperation::LockExclusive).map_err(|e| io_error("lock", &path, e))?;
        Ok(lock)
    }

    fn index_path(&self) -> PathBuf {
        self.images.join("index.json")
    }
}
