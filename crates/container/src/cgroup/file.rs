//! Reading and writing control group files: small, and written in one call each.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, retry_on_intr};

use super::error::CgroupError;

/// Bytes read of one file at most.
const MAX_FILE: u64 = 1 << 20;

/// Opens a file for writing. Never creates it.
pub fn open_write(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Writes a value in one call: the kernel takes each call as a whole value.
pub fn put(fd: &OwnedFd, value: &str) -> Result<(), Errno> {
    retry_on_intr(|| rustix::io::write(fd, value.as_bytes())).map(drop)
}

/// Opens, writes, closes.
pub fn write(path: &Path, value: &str) -> Result<(), Errno> {
    put(&open_write(path)?, value)
}

/// Reads a file.
pub fn read(path: &Path) -> io::Result<String> {
    let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let mut text = Vec::with_capacity(4096);
    File::from(fd).take(MAX_FILE).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads a file; none where it, or its group, is gone.
pub fn read_if_present(path: &Path) -> Result<Option<String>, CgroupError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        // ENODEV: opened, and the group was removed before the read.
        Err(e) if is_gone(&e) => Ok(None),
        Err(source) => Err(CgroupError::Read { path: path.to_owned(), source }),
    }
}

/// Whether an error says that a group is gone.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NODEV))
}

/// The number behind a key in a file of `key number` lines.
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
