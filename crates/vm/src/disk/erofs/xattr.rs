//! Xattrs: read from the tree, and as they stand behind an inode.
//!
//! ```text
//! header (12 bytes: nothing shared)   { name length, prefix, value length, name, value, zeros to 4 bytes }*
//! ```

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::super::error::{DiskError, io_error};

const HEADER_BYTES: usize = 12;
/// Units of 4 bytes, of which the inode's 16 bits count all but the header's.
const UNIT_BYTES: usize = 4;
const MAX_BYTES: usize = HEADER_BYTES + (u16::MAX as usize - 1) * UNIT_BYTES;

/// The prefixes there are, with their numbers; an ACL is all prefix. *Source*: fs/erofs/xattr.h.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];
/// Overlayfs' own: they direct an overlay and are not content.
const OVERLAY: &[u8] = b"trusted.overlay.";

/// What xattrs are read from.
pub(super) enum Source<'a> {
    /// An open file or folder.
    Open(BorrowedFd<'a>),
    /// What is better not opened: the path of a link or device, of which the last part is not followed.
    Path(&'a CStr),
}

impl Source<'_> {
    fn list(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Source::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Source::Path(path) => rustix::fs::llistxattr(*path, buffer),
        }
    }

    fn get(&self, name: &CStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Source::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
            Source::Path(path) => rustix::fs::lgetxattr(*path, name, buffer),
        }
    }
}

/// Reads and encodes all xattrs that an EROFS can hold; nothing where there are none.
///
/// `scratch` is room for 64 KiB, the most that the kernel lists or gives.
pub(super) fn read(source: &Source<'_>, object: &str, scratch: &mut [u8]) -> Result<Vec<u8>, DiskError> {
    let length = match source.list(scratch) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(length) => length,
        Err(e) => return Err(io_error("list the xattrs of", object)(e)),
    };
    let names = scratch[..length].to_vec();
    let mut bytes = vec![0; HEADER_BYTES];
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let Some((rest, prefix)) = split(name.to_bytes()) else { continue };
        let length = match source.get(name, scratch) {
            Ok(length) => length,
            // What is listed but not there is an ACL that the mode says already, or not for us.
            Err(Errno::NODATA) => continue,
            Err(e) => return Err(io_error("read an xattr of", object)(e)),
        };
        append(&mut bytes, rest, prefix, &scratch[..length], object)?;
    }
    if bytes.len() == HEADER_BYTES {
        bytes.clear();
    }
    Ok(bytes)
}

/// The part of a name behind its prefix, and the prefix' number.
fn split(name: &[u8]) -> Option<(&[u8], u8)> {
    if name.starts_with(OVERLAY) {
        return None;
    }
    let known = |(prefix, number): &(&'static [u8], u8)| Some((name.strip_prefix(*prefix)?, *number));
    PREFIXES.iter().find_map(known)
}

fn append(bytes: &mut Vec<u8>, name: &[u8], prefix: u8, value: &[u8], object: &str) -> Result<(), DiskError> {
    let unfit = |reason| DiskError::Unfit { object: object.to_owned(), reason };
    let name_length = u8::try_from(name.len()).map_err(|_| unfit("an xattr's name is longer than 255 bytes"))?;
    let length = u16::try_from(value.len()).map_err(|_| unfit("an xattr has more than 65535 bytes"))?;
    bytes.extend([name_length, prefix]);
    bytes.extend(length.to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(UNIT_BYTES), 0);
    if bytes.len() > MAX_BYTES {
        return Err(unfit("its xattrs have more than 256 KiB"));
    }
    Ok(())
}

/// What the inode says about the length of its xattrs.
pub(super) fn count_field(xattrs: &[u8]) -> u16 {
    match xattrs.len().checked_sub(HEADER_BYTES) {
        None => 0,
        // At most `MAX_BYTES` were encoded.
        Some(rest) => (1 + rest / UNIT_BYTES) as u16,
    }
}
