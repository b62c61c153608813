//! Extended attributes of what is in a stream of changes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// What stands before an attribute's name in a stream. *Source*: star(1), taken over by GNU tar and all of the field.
const PREFIX: &str = "SCHILY.xattr.";
/// Most bytes of a list of names, and of a value. *Source*: linux/limits.h, `XATTR_LIST_MAX`, `XATTR_SIZE_MAX`.
const MAX_BYTES: usize = 65_536;

/// Those that mean something elsewhere: the user's own, capabilities of programs, access lists, and that a folder hides what
/// lies below it. Labels and all else of the overlay's belong to the file system that they are on.
fn is_kept(name: &str) -> bool {
    name.starts_with("user.")
        || matches!(
            name,
            "security.capability" | "system.posix_acl_access" | "system.posix_acl_default" | "trusted.overlay.opaque"
        )
}

/// Names and values of what is opened with `O_PATH`, in the form of a stream.
pub(super) fn read(node: &OwnedFd) -> io::Result<Vec<(String, Vec<u8>)>> {
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    let mut names = vec![0u8; MAX_BYTES];
    let length = match rustix::fs::listxattr(&path, &mut names[..]) {
        Ok(length) => length,
        // A file system without any.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    let mut value = vec![0u8; MAX_BYTES];
    for name in names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        if !is_kept(name) {
            continue;
        }
        match rustix::fs::getxattr(&path, name, &mut value[..]) {
            Ok(length) => found.push((format!("{PREFIX}{name}"), value[..length].to_vec())),
            // Gone since it was listed.
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(found)
}

/// The attribute that a record of a stream is, if it is one that is kept.
pub(super) fn of_record(key: &str, value: &[u8]) -> Option<(String, Vec<u8>)> {
    let name = key.strip_prefix(PREFIX).filter(|name| is_kept(name))?;
    Some((name.to_owned(), value.to_vec()))
}

/// Gives them to a file or folder. *Order*: after its owner, which takes a program's capabilities away.
pub(super) fn write(fd: &OwnedFd, attributes: &[(String, Vec<u8>)]) -> io::Result<()> {
    for (name, value) in attributes {
        match rustix::fs::fsetxattr(fd, name.as_str(), value, XattrFlags::empty()) {
            // The file system here has none.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
