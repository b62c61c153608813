//! Taking a container away: its folder, its name, its anonymous volumes; and trees of files that strangers made.
//!
//! *Order*: the caller holds the lock of the run folder, which is what makes a crash half-way found again.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::ContainerId;
use holm_spec::container::MountKind;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::layout::{Record, with_parents};
use crate::{Error, Event, Roots, event, name, volume};

/// Folders deeper than this are moved up before they are removed, so that no tree, however deep, needs more than this many
/// descriptors or stack frames.
const MAX_DEPTH: usize = 64;

/// Removes a container that nothing runs in. Succeeds where it is gone. From the rename on, it does not exist; what follows
/// is finished by `recover` if this process dies.
pub(crate) fn dispose(roots: &Roots, id: &ContainerId, record: Option<&Record>, volumes: bool) -> Result<(), Error> {
    let read;
    let record = match record {
        Some(record) => Some(record),
        None => {
            read = roots.read_record(id).ok();
            read.as_ref()
        }
    };
    to_trash(roots, id)?;
    if let Some(record) = record {
        name::release(roots, record.spec.name.as_str(), id);
        if volumes {
            remove_anonymous_volumes(roots, id, record);
        }
        return bury(roots, id, record);
    }
    let gone = roots.trash().join(id.as_str());
    remove_tree(&gone).map_err(|e| Error::io("remove", gone.display().to_string(), e))
}

/// What is left to do for a container that [`hide`] has taken out of sight.
pub(crate) fn bury(roots: &Roots, id: &ContainerId, record: &Record) -> Result<(), Error> {
    let destroyed = Event::now("container", "destroy", id.as_str())
        .with("name", record.spec.name.as_str())
        .with("image", record.spec.image.as_str());
    event::emit(&roots.run, &[destroyed]);
    let gone = roots.trash().join(id.as_str());
    remove_tree(&gone).map_err(|e| Error::io("remove", gone.display().to_string(), e))
}

/// Undoes a creation that failed half-way: nobody has heard of the container yet.
pub(crate) fn unmake(roots: &Roots, id: &ContainerId) -> Result<(), Error> {
    let record = roots.read_record(id).ok();
    to_trash(roots, id)?;
    if let Some(record) = &record {
        remove_anonymous_volumes(roots, id, record);
    }
    let gone = roots.trash().join(id.as_str());
    remove_tree(&gone).map_err(|e| Error::io("remove", gone.display().to_string(), e))
}

/// Takes a container out of sight: no command finds it, its name or its anonymous volumes any more. [`bury`] does the
/// rest.
pub(crate) fn hide(roots: &Roots, id: &ContainerId, record: &Record) -> Result<(), Error> {
    to_trash(roots, id)?;
    name::release(roots, record.spec.name.as_str(), id);
    remove_anonymous_volumes(roots, id, record);
    Ok(())
}

fn remove_anonymous_volumes(roots: &Roots, id: &ContainerId, record: &Record) {
    for mount in record.spec.mounts.iter().filter(|m| m.kind == MountKind::Volume) {
        volume::remove_if_anonymous(roots, &mount.source, id);
    }
}

fn to_trash(roots: &Roots, id: &ContainerId) -> Result<(), Error> {
    let (folder, trash) = (roots.container(id), roots.trash());
    let gone = trash.join(id.as_str());
    match with_parents(&trash, || rustix::fs::rename(&folder, &gone)) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) if !folder.exists() => Ok(()),
        // A former try left something under that name.
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            remove_tree(&gone).map_err(|e| Error::io("remove", gone.display().to_string(), e))?;
            rustix::fs::rename(&folder, &gone).map_err(|e| Error::io("remove", folder.display().to_string(), e))
        }
        Err(e) => Err(Error::io("remove", folder.display().to_string(), e)),
    }
}

/// Removes a file or a tree of any depth without following a link. Succeeds where it is gone.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let top = open_folder(CWD, path)?;
    let mut moved = 0u64;
    // Each round empties the tree to the depth; what was moved up is there for the next.
    loop {
        let before = moved;
        empty(&top, &top, 0, &mut moved)?;
        if moved == before {
            break;
        }
    }
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn open_folder(at: BorrowedFd<'_>, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

fn empty(top: &OwnedFd, folder: &OwnedFd, depth: usize, moved: &mut u64) -> io::Result<()> {
    let mut folders: Vec<CString> = Vec::new();
    let mut entries = Dir::read_from(folder)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match entry.file_type() {
            FileType::Directory => folders.push(name.to_owned()),
            _ => match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => folders.push(name.to_owned()),
                Err(e) => return Err(e.into()),
            },
        }
    }
    drop(entries);
    for name in folders {
        // Most folders here are empty: overlayfs' own, and what mounts were attached to.
        match rustix::fs::unlinkat(folder, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        if depth >= MAX_DEPTH {
            loop {
                *moved += 1;
                match rustix::fs::renameat(folder, &name, top, format!(".moved-{moved}")) {
                    Ok(()) => break,
                    // The tree has that name already.
                    Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            continue;
        }
        let inner = open_folder(folder.as_fd(), &name)?;
        empty(top, &inner, depth + 1, moved)?;
        drop(inner);
        match rustix::fs::unlinkat(folder, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Something below was moved into this very folder (the top) or came meanwhile: the next round has it.
            Err(Errno::NOTEMPTY) if depth == 0 => *moved += 1,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_deeper_than_the_descriptor_limit_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().join("top");
        rustix::fs::mkdir(&top, Mode::RWXU).unwrap();
        let mut at = open_folder(CWD, &top).unwrap();
        for _ in 0..1200 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/etc/passwd", &at, "link").unwrap();
            at = open_folder(at.as_fd(), "d").unwrap();
        }
        drop(at);
        remove_tree(&top).unwrap();
        assert!(!top.exists() && Path::new("/etc/passwd").exists());
        remove_tree(&top).unwrap();
    }

    #[test]
    fn removing_a_link_leaves_what_it_points_to() {
        let root = tempfile::tempdir().unwrap();
        let (kept, top) = (root.path().join("kept"), root.path().join("top"));
        std::fs::create_dir_all(kept.join("in")).unwrap();
        std::fs::create_dir(&top).unwrap();
        std::os::unix::fs::symlink(&kept, top.join("a")).unwrap();
        remove_tree(&top).unwrap();
        assert!(kept.join("in").exists());
    }
}
