//! Blobs whose digest is not known before their last byte: made here or taken out of archives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use holm_spec::Digest;
use holm_spec::digest::Algorithm;

use super::error::{StoreError, io_error};
use super::{Pin, Store, file};
use crate::hash::Hasher;

/// A blob that is being written. Dropping it deletes it.
#[derive(Debug)]
pub(crate) struct NewBlob {
    file: Option<File>,
    partial: PathBuf,
    hasher: Option<Hasher>,
    size_bytes: u64,
}

impl Store {
    /// Begins a blob. With `hash` off, whoever finishes it knows its digest from elsewhere.
    ///
    /// *Order*: the pin is held until the blob is published or dropped.
    pub(crate) fn new_blob(&self, _pin: &Pin, hash: bool) -> Result<NewBlob, StoreError> {
        let partial = self.images.join("partial").join(file::unique_name());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&partial).map_err(|e| io_error("create", &partial, e))?;
        let hasher = hash.then(|| Hasher::new(Algorithm::Sha256));
        Ok(NewBlob { file: Some(file), partial, hasher, size_bytes: 0 })
    }

    /// Makes a finished blob visible. *Order*: after [`Store::sync`].
    pub(crate) fn publish_blob(&self, blob: NewBlob, digest: &Digest) -> Result<(), StoreError> {
        let target = self.blob_path(digest);
        if file::exists(&target) {
            return Ok(());
        }
        fs::rename(&blob.partial, &target).map_err(|e| io_error("create", &target, e))
    }
}

impl NewBlob {
    /// Ends writing and gives the digest, the size and the bytes from their start. *Order*: it was hashed.
    pub fn read_back(mut self) -> Result<(Digest, u64, File), StoreError> {
        let failed = |e| io_error("read", &self.partial, e);
        let file = File::open(&self.partial).map_err(failed)?;
        let unhashed = || failed(io::ErrorKind::InvalidData.into());
        let digest = self.hasher.take().map(Hasher::finish).ok_or_else(unhashed)?;
        Ok((digest, self.size_bytes, file))
    }

    /// Ends writing. Gives the digest, if it was hashed, and the size.
    pub fn finish(&mut self) -> (Option<Digest>, u64) {
        self.file = None;
        (self.hasher.take().map(Hasher::finish), self.size_bytes)
    }
}

impl Write for NewBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let n = file.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..n]);
        }
        self.size_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        // After a rename there is nothing left under this name.
        let _ = fs::remove_file(&self.partial);
    }
}
