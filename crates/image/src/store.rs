//! The local image store: an OCI image layout for blobs and names, and one unpacked folder per layer.
//!
//! (signatures; bodies follow)
#![allow(missing_docs, unused_variables, clippy::todo)]

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use holm_spec::Digest;
use holm_spec::oci::image::ImageConfig;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {verb} `{}`", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot find image `{0}`")]
    NotFound(String),
}

#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}
#[derive(Debug)]
pub struct Pin {
    _lock: std::fs::File,
}
#[derive(Debug)]
pub enum Ingest {
    AlreadyThere,
    Writer(BlobWriter),
}
#[derive(Debug)]
pub struct BlobWriter {
    offset: u64,
}
#[derive(Clone, Debug)]
pub struct Image {
    pub id: Digest,
    pub manifest_digest: Digest,
    pub names: Vec<String>,
    pub config: ImageConfig,
    pub layers: Vec<PathBuf>,
    pub size_bytes: u64,
    pub created: Option<String>,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    Deleted(Digest),
}
#[derive(Clone, Debug, Default)]
pub struct PruneReport {
    pub removed: Vec<Removed>,
    pub reclaimed_bytes: u64,
}

impl Store {
    pub fn open(data_root: &Path) -> Result<Store, StoreError> {
        todo!()
    }
    pub fn pin(&self) -> Result<Pin, StoreError> {
        todo!()
    }
    pub fn resolve(&self, reference: &str) -> Result<Image, StoreError> {
        todo!()
    }
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        todo!()
    }
    pub fn has_blob(&self, digest: &Digest) -> bool {
        todo!()
    }
    pub fn read_blob(&self, digest: &Digest, max_bytes: u64) -> Result<Vec<u8>, StoreError> {
        todo!()
    }
    pub fn open_blob(&self, digest: &Digest) -> Result<std::fs::File, StoreError> {
        todo!()
    }
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        todo!()
    }
    pub fn ingest(&self, digest: &Digest, size_bytes: u64) -> Result<Ingest, StoreError> {
        todo!()
    }
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        todo!()
    }
    pub fn unpack_layer(
        &self,
        diff_id: &Digest,
        media_type: &str,
        compressed: &mut dyn Read,
    ) -> Result<(), StoreError> {
        todo!()
    }
    pub fn add_image(
        &self,
        manifest: &[u8],
        manifest_media_type: &str,
        name: Option<&str>,
    ) -> Result<Image, StoreError> {
        todo!()
    }
    pub fn tag(&self, source: &str, name: &str) -> Result<Image, StoreError> {
        todo!()
    }
    pub fn untag_or_remove(
        &self,
        reference: &str,
        force: bool,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Vec<Removed>, StoreError> {
        todo!()
    }
    pub fn prune(&self, all: bool, in_use: &dyn Fn(&Digest) -> bool) -> Result<PruneReport, StoreError> {
        todo!()
    }
}

impl BlobWriter {
    pub fn offset(&self) -> u64 {
        self.offset
    }
    pub fn reset(&mut self) -> Result<(), StoreError> {
        todo!()
    }
    pub fn commit(self) -> Result<(), StoreError> {
        todo!()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
