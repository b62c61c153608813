//! One root image per chain of layers, made once and shared by all machines.
//!
//! ```text
//! KEY.img   complete, synced, never changed
//! KEY.new   being made; whoever holds its lock makes it, and one without a holder is what a crash left
//! ```
//!
//! Knows nothing of what is in an image: the caller makes it.

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::error::{DiskError, io_error};

/// Most bytes of a key: a file name with room for the suffix.
const MAX_KEY_BYTES: usize = 200;
const COMPLETE: &str = "img";
const PARTIAL: &str = "new";

/// The key of what is made of these parts in this order: layers by their content's names.
pub fn key_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The image of a key, opened for reading; made if it is not there.
///
/// `make` gets an empty file. Of two who want one image at once, the second waits for the first. *Errors*: what `make`
/// says, a full disk among it; then nothing is left of the image. The folder is made, its parents too, with mode 0700.
pub fn root_image<E>(folder: &Path, key: &str, make: impl FnOnce(&File) -> Result<(), E>) -> Result<File, E>
where
    E: From<DiskError>,
{
    check_key(key)?;
    let target = folder.join(format!("{key}.{COMPLETE}"));
    let partial = folder.join(format!("{key}.{PARTIAL}"));
    if let Some(image) = open_complete(&target)? {
        return Ok(image);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| failed("create", folder, e))?;
    let file = loop {
        let file = open_partial(&partial).map_err(|e| failed("open", &partial, e))?;
        lock(&file).map_err(|e| failed("lock", &partial, e))?;
        // Whoever had the lock may have completed or deleted the file meanwhile.
        let current = is_at(&file, &partial).map_err(|e| failed("inspect", &partial, e))?;
        if let Some(image) = open_complete(&target)? {
            if current {
                remove(&partial)?;
            }
            return Ok(image);
        }
        if current {
            break file;
        }
    };
    let made = fill(&file, folder, &partial, &target, make);
    if made.is_err() {
        let _ = fs::remove_file(&partial);
    }
    made
}

/// Makes the image and gives it its name. What is handed on cannot write to it.
fn fill<E: From<DiskError>>(
    file: &File,
    folder: &Path,
    partial: &Path,
    target: &Path,
    make: impl FnOnce(&File) -> Result<(), E>,
) -> Result<File, E> {
    file.set_len(0).map_err(|e| failed("empty", partial, e))?;
    make(file)?;
    file.sync_all().map_err(|e| failed("sync", partial, e))?;
    // Opened before others can see it, and remove it.
    let image = File::open(partial).map_err(|e| failed("open", partial, e))?;
    fs::rename(partial, target).map_err(|e| failed("create", target, e))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed("sync", folder, e))?;
    Ok(image)
}

/// Removes images whose key is not to be kept, and what crashes left. Gives the bytes of disk that this gave back.
///
/// An image that is in use lives on until its last descriptor is closed. *Errors*: the first, after all was tried.
pub fn remove_unused(folder: &Path, keep: &dyn Fn(&str) -> bool) -> Result<u64, DiskError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(failed("list", folder, e)),
    };
    let (mut bytes, mut first_error) = (0, None);
    for entry in entries {
        let removed = entry.map_err(|e| failed("list", folder, e)).and_then(|entry| remove_one(&entry.path(), keep));
        match removed {
            Ok(freed) => bytes += freed,
            Err(e) => first_error = first_error.or(Some(e)),
        }
    }
    first_error.map_or(Ok(bytes), Err)
}

fn remove_one(path: &Path, keep: &dyn Fn(&str) -> bool) -> Result<u64, DiskError> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once('.'));
    // Held until the file is gone.
    let _lock;
    match name {
        Some((key, COMPLETE)) if !keep(key) => _lock = None,
        Some((_, PARTIAL)) => match lock_idle(path)? {
            Some(file) => _lock = Some(file),
            None => return Ok(0),
        },
        _ => return Ok(0),
    }
    let bytes = fs::symlink_metadata(path).map_or(0, |found| found.blocks() * 512);
    remove(path)?;
    Ok(bytes)
}

/// Takes the lock of a file that nobody makes an image in; `None` where somebody does or it is gone.
fn lock_idle(path: &Path) -> Result<Option<File>, DiskError> {
    let file = match OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("open", path, e)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(failed("lock", path, e.into())),
    }
    let current = is_at(&file, path).map_err(|e| failed("inspect", path, e))?;
    Ok(current.then_some(file))
}

const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

fn open_partial(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(NOFOLLOW).open(path)
}

fn open_complete(path: &PathBuf) -> Result<Option<File>, DiskError> {
    match OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("open", path, e)),
    }
}

fn lock(file: &File) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            result => return result.map_err(Into::into),
        }
    }
}

/// Whether a path still names the open file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(now) => Ok((ours.dev(), ours.ino()) == (now.dev(), now.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("delete", path, e)),
        _ => Ok(()),
    }
}

/// A key becomes a file name, so it may be nothing but one.
fn check_key(key: &str) -> Result<(), DiskError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'+');
    if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.bytes().all(plain) {
        return Err(DiskError::Key(key.to_owned()));
    }
    Ok(())
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> DiskError {
    io_error(what, &path.to_string_lossy())(source)
}
