//! Blobs: content under its digest. Owns `blobs` and `partial`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use holm_spec::Digest;
use rustix::fs::FlockOperation;

use super::error::{StoreError, io_error};
use super::{Pin, Store, file};
use crate::hash::{self, Hasher};

/// What [`Store::ingest`] found.
#[derive(Debug)]
pub enum Ingest {
    /// The blob is in the store already, perhaps since a moment ago by another process.
    AlreadyThere,
    /// The blob is to be written.
    Writer(BlobWriter),
}

/// Takes the bytes of one blob, and only one process at a time has it.
///
/// Dropping it without [`BlobWriter::commit`] keeps what was written, for the next try to go on from.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    digest: Digest,
    size_bytes: u64,
    offset: u64,
    hasher: Hasher,
    _pin: Pin,
}

impl Store {
    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.images.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// True if the blob is in the store.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        file::exists(&self.blob_path(digest))
    }

    /// Opens a blob for reading. Its content was verified when it came in.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => StoreError::BlobMissing(digest.clone()),
            _ => io_error("open", &path, e),
        })
    }

    /// Reads a whole blob.
    ///
    /// *Errors*: [`StoreError::BlobTooLarge`] above `max_bytes`; [`StoreError::DigestMismatch`] if it was damaged.
    pub fn read_blob(&self, digest: &Digest, max_bytes: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let mut file = self.open_blob(digest)?;
        let size_bytes = file.metadata().map_err(|e| io_error("inspect", &path, e))?.len();
        if size_bytes > max_bytes {
            return Err(StoreError::BlobTooLarge { digest: digest.clone(), size_bytes, limit_bytes: max_bytes });
        }
        let mut bytes = Vec::with_capacity(size_bytes as usize);
        Read::by_ref(&mut file).take(max_bytes).read_to_end(&mut bytes).map_err(|e| io_error("read", &path, e))?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(StoreError::DigestMismatch { expected: digest.clone(), actual });
        }
        Ok(bytes)
    }

    /// Stores bytes as a blob under their SHA-256 digest.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = hash::sha256(bytes);
        match self.ingest(&digest, bytes.len() as u64)? {
            Ingest::AlreadyThere => {}
            Ingest::Writer(mut writer) => {
                writer.reset()?;
                writer.append(bytes)?;
                writer.commit()?;
            }
        }
        Ok(digest)
    }

    /// Begins to store a blob of known digest and size, waiting while another process does the same.
    ///
    /// The writer starts behind what an earlier, broken try has left: see [`BlobWriter::offset`].
    pub fn ingest(&self, digest: &Digest, size_bytes: u64) -> Result<Ingest, StoreError> {
        let pin = self.pin()?;
        let target = self.blob_path(digest);
        let name = format!("{}-{}", digest.algorithm().name(), digest.hex());
        let partial = self.images.join("partial").join(name);
        let file = loop {
            if file::exists(&target) {
                return Ok(Ingest::AlreadyThere);
            }
            let file = open_partial(&partial)?;
            file::flock(&file, FlockOperation::LockExclusive).map_err(|e| io_error("lock", &partial, e))?;
            // Whoever had the lock may have renamed or deleted the file meanwhile.
            let same = |ours: &fs::Metadata, now: &fs::Metadata| (ours.dev(), ours.ino()) == (now.dev(), now.ino());
            let ours = file.metadata().map_err(|e| io_error("inspect", &partial, e))?;
            match fs::symlink_metadata(&partial) {
                Ok(now) if same(&ours, &now) => break file,
                _ => {}
            }
        };
        if file::exists(&target) {
            file::remove(&partial)?;
            return Ok(Ingest::AlreadyThere);
        }
        let hasher = Hasher::new(digest.algorithm());
        let digest = digest.clone();
        let mut writer = BlobWriter { file, partial, target, digest, size_bytes, offset: 0, hasher, _pin: pin };
        writer.resume()?;
        Ok(Ingest::Writer(writer))
    }
}

fn open_partial(path: &PathBuf) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|e| io_error("open", path, e))
}

impl BlobWriter {
    /// How many bytes are there already, from an earlier try: the next byte to write.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Throws away what is there, to start from the first byte.
    pub fn reset(&mut self) -> Result<(), StoreError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|e| io_error("empty", &self.partial, e))?;
        self.offset = 0;
        self.hasher = Hasher::new(self.digest.algorithm());
        Ok(())
    }

    /// Verifies size and digest and makes the blob visible.
    ///
    /// *Errors*: a blob that is too short stays for a later try; one with the wrong digest is deleted.
    pub fn commit(self) -> Result<(), StoreError> {
        if self.offset != self.size_bytes {
            return Err(StoreError::SizeMismatch {
                digest: self.digest,
                actual_bytes: self.offset,
                expected_bytes: self.size_bytes,
            });
        }
        let actual = self.hasher.finish();
        if actual != self.digest {
            file::remove(&self.partial)?;
            return Err(StoreError::DigestMismatch { expected: self.digest, actual });
        }
        self.file.sync_all().map_err(|e| io_error("sync", &self.partial, e))?;
        fs::rename(&self.partial, &self.target).map_err(|e| io_error("create", &self.target, e))
    }

    /// `write_all` with the store's error.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_all(bytes).map_err(|e| io_error("write", &self.partial, e))
    }

    /// Hashes what an earlier try left behind.
    fn resume(&mut self) -> Result<(), StoreError> {
        let left = self.file.metadata().map_err(|e| io_error("inspect", &self.partial, e))?.len();
        if left > self.size_bytes {
            return self.reset();
        }
        let mut buffer = vec![0; if left == 0 { 0 } else { 256 * 1024 }];
        while self.offset < left {
            let n = self.file.read(&mut buffer).map_err(|e| io_error("read", &self.partial, e))?;
            if n == 0 {
                break;
            }
            self.hasher.update(&buffer[..n]);
            self.offset += n as u64;
        }
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.size_bytes - self.offset {
            let text = format!("the blob has more than the announced {} bytes", self.size_bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let n = match self.file.write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                // Give the room back at once; there is nothing to go on from on a full disk.
                let _ = self.reset();
                return Err(e);
            }
            result => result?,
        };
        self.hasher.update(&bytes[..n]);
        self.offset += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
