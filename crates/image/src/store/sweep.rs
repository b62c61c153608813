//! Garbage: marking what is used, renaming the rest into `trash`, deleting it with no lock held.
//!
//! Roots are the images of the index, what else the index lists (other tools' entries), and images that lost their
//! names but are still used. The exclusive lock is held from marking to renaming only.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_spec::Digest;
use holm_spec::oci::image::{Descriptor, Index, Manifest};
use rustix::fs::FlockOperation;

use super::error::{StoreError, io_error};
use super::{Removed, Store, file, index};
use crate::document::{self, ManifestOrIndex};

/// What a prune took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Names and images.
    pub removed: Vec<Removed>,
    /// Disk space given back.
    pub reclaimed_bytes: u64,
}

/// What must stay.
#[derive(Debug, Default)]
struct Marks {
    /// Blobs, as `algorithm/hex`.
    blobs: HashSet<String>,
    /// Layers, by hex.
    layers: HashSet<String>,
    /// Records, by file name.
    records: HashSet<String>,
}

impl Store {
    /// Removes images without a name, or with `all` every image that `in_use` does not know, then everything that no
    /// image refers to: blobs, layers, broken downloads, leftovers of killed processes.
    ///
    /// Waits until nobody holds a [`super::Pin`]. *Order*: the caller must not hold one.
    pub fn prune(&self, all: bool, in_use: &dyn Fn(&Digest) -> bool) -> Result<PruneReport, StoreError> {
        let lock = self.lock_for_sweep(FlockOperation::LockExclusive)?;
        let removed = self.change_index(|index| Ok(drop_unused(index, all, in_use)))?;
        self.sweep(in_use)?;
        drop(lock);
        let reclaimed_bytes = self.empty_trash()?;
        Ok(PruneReport { removed, reclaimed_bytes })
    }

    /// Sweeps if nothing is pinned now or within a moment; otherwise the next removal does it.
    pub(super) fn sweep_if_free(&self, in_use: &dyn Fn(&Digest) -> bool) -> Result<(), StoreError> {
        for _ in 0..20 {
            match self.lock_for_sweep(FlockOperation::NonBlockingLockExclusive) {
                Ok(lock) => {
                    self.sweep(in_use)?;
                    drop(lock);
                    self.empty_trash()?;
                    return Ok(());
                }
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(25));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn lock_for_sweep(&self, operation: FlockOperation) -> Result<File, StoreError> {
        let path = self.images.join("lock");
        let lock = file::open_lock(&path)?;
        file::flock(&lock, operation).map_err(|e| io_error("lock", &path, e))?;
        Ok(lock)
    }

    /// Renames everything unmarked into the trash. *Order*: under the exclusive lock.
    fn sweep(&self, in_use: &dyn Fn(&Digest) -> bool) -> Result<(), StoreError> {
        let marks = self.mark(in_use)?;
        for algorithm in ["sha256", "sha512"] {
            let folder = self.images.join("blobs").join(algorithm);
            self.discard(&folder, |name| !marks.blobs.contains(&format!("{algorithm}/{name}")))?;
        }
        self.discard(&self.images.join("records"), |name| !marks.records.contains(name))?;
        self.discard(&self.images.join("partial"), |_| true)?;
        self.discard(&self.layers.join("partial"), |_| true)?;
        self.discard(&self.layers.join("locks"), |_| true)?;
        let own = ["partial", "locks", "trash"];
        self.discard(&self.layers, |name| !own.contains(&name) && !marks.layers.contains(name))?;
        self.discard(&self.images, |name| name.ends_with(".tmp"))
    }

    fn mark(&self, in_use: &dyn Fn(&Digest) -> bool) -> Result<Marks, StoreError> {
        let mut marks = Marks::default();
        let index = self.read_index()?;
        for descriptor in &index.manifests {
            self.mark_document(descriptor, &mut marks, 0)?;
        }
        for id in index::entries(&index).filter_map(|entry| entry.id.parse::<Digest>().ok()) {
            self.mark_record(&id, &mut marks)?;
        }
        for name in file::names(&self.images.join("records"))? {
            let Some(hex) = name.strip_suffix(".json") else { continue };
            let algorithm = if hex.len() == 64 { "sha256" } else { "sha512" };
            let Ok(id) = format!("{algorithm}:{hex}").parse::<Digest>() else { continue };
            if !marks.records.contains(&name) && in_use(&id) {
                marks.blobs.insert(blob_key(&id));
                self.mark_record(&id, &mut marks)?;
            }
        }
        Ok(marks)
    }

    fn mark_record(&self, id: &Digest, marks: &mut Marks) -> Result<(), StoreError> {
        if !marks.records.insert(format!("{}.json", id.hex())) {
            return Ok(());
        }
        let record = self.read_record(id)?;
        marks.layers.extend(record.config.rootfs.diff_ids.iter().map(|diff_id| diff_id.hex().to_owned()));
        Ok(())
    }

    /// Marks a document and what it refers to. What cannot be read refers to nothing.
    fn mark_document(&self, descriptor: &Descriptor, marks: &mut Marks, depth: u32) -> Result<(), StoreError> {
        marks.blobs.insert(blob_key(&descriptor.digest));
        let bytes = match self.read_blob(&descriptor.digest, document::MAX_DOCUMENT_BYTES) {
            Ok(bytes) => bytes,
            Err(StoreError::Io { verb, path, source }) => return Err(StoreError::Io { verb, path, source }),
            Err(_) => return Ok(()),
        };
        match document::parse_manifest(&bytes, Some(&descriptor.media_type)) {
            Ok(ManifestOrIndex::Manifest(manifest)) => mark_manifest(&manifest, marks),
            Ok(ManifestOrIndex::Index(index)) if depth < 4 => {
                for inner in &index.manifests {
                    self.mark_document(inner, marks, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Renames what `unwanted` says from a folder into the trash.
    fn discard(&self, folder: &Path, unwanted: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let trash = if folder.starts_with(&self.layers) { &self.layers } else { &self.images }.join("trash");
        for name in file::names(folder)?.into_iter().filter(|name| unwanted(name)) {
            let from = folder.join(&name);
            let to = self.free_name(&trash, &name);
            fs::rename(&from, &to).map_err(|e| io_error("delete", &from, e))?;
        }
        Ok(())
    }

    fn free_name(&self, trash: &Path, name: &str) -> PathBuf {
        let pid = std::process::id();
        let mut attempt = 0_u64;
        loop {
            let path = trash.join(format!("{name}.{pid}.{attempt}"));
            if !file::exists(&path) {
                return path;
            }
            attempt += 1;
        }
    }

    /// Deletes what is in the trash, of this and of earlier, killed sweeps. Gives the bytes that were freed.
    fn empty_trash(&self) -> Result<u64, StoreError> {
        let mut freed = 0;
        for trash in [self.images.join("trash"), self.layers.join("trash")] {
            for name in file::names(&trash)? {
                let path = trash.join(name);
                freed += disk_usage(&path, 0);
                file::remove(&path)?;
            }
        }
        Ok(freed)
    }
}

fn mark_manifest(manifest: &Manifest, marks: &mut Marks) {
    marks.blobs.insert(blob_key(&manifest.config.digest));
    marks.blobs.extend(manifest.layers.iter().map(|layer| blob_key(&layer.digest)));
}

fn blob_key(digest: &Digest) -> String {
    format!("{}/{}", digest.algorithm().name(), digest.hex())
}

/// Takes images out of the index.
fn drop_unused(index: &mut Index, all: bool, in_use: &dyn Fn(&Digest) -> bool) -> Vec<Removed> {
    let mut going: Vec<Digest> = Vec::new();
    let mut removed = Vec::new();
    for entry in index::entries(index) {
        let Ok(id) = entry.id.parse::<Digest>() else { continue };
        if (all || entry.name.is_none()) && !in_use(&id) {
            removed.extend(entry.name.map(|name| Removed::Untagged(name.to_owned())));
            if !going.contains(&id) {
                going.push(id);
            }
        }
    }
    let is_going = |d: &Descriptor| {
        d.annotations.get(index::IMAGE_ID).is_some_and(|text| going.iter().any(|id| id.as_str() == text))
    };
    index.manifests.retain(|d| !is_going(d));
    removed.extend(going.into_iter().map(Removed::Deleted));
    removed
}

/// Bytes on disk of a file or tree. Hard links are counted once per name: an upper bound.
fn disk_usage(path: &Path, depth: u32) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() && depth < 1024 {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            bytes += disk_usage(&entry.path(), depth + 1);
        }
    }
    bytes
}
