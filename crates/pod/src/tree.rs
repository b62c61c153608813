//! Trees of files by descriptors: copying with owners, modes, times and attributes; measuring. No link is ever followed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::owner::Owners;

/// Deepest folder that is copied: a file name deeper than this cannot be opened by path anyway.
const MAX_DEPTH: usize = 400;
/// Most bytes of one extended attribute.
const MAX_ATTRIBUTE_BYTES: usize = 64 * 1024;

/// Whether a folder has no entries.
pub(crate) fn is_empty(folder: &OwnedFd) -> io::Result<bool> {
    let mut entries = Dir::read_from(folder)?;
    while let Some(entry) = entries.read() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies the content of one folder, and the folder's own owner and mode, onto another. Owners get the numbers that the
/// container has for them.
pub(crate) fn copy(from: &OwnedFd, to: &OwnedFd, owners: Owners) -> io::Result<()> {
    let mut copy = Copy { top: to, owners, linked: HashMap::new() };
    copy.folder(from, to, Path::new(""), 0)?;
    dress(from, to, &inside(rustix::fs::fstat(from)?, owners))
}

fn inside(mut stat: Stat, owners: Owners) -> Stat {
    stat.st_uid = owners.inside(stat.st_uid);
    stat.st_gid = owners.inside(stat.st_gid);
    stat
}

/// A copy that is being made.
struct Copy<'a> {
    top: &'a OwnedFd,
    owners: Owners,
    /// First path of each file that has several.
    linked: HashMap<(u64, u64), std::path::PathBuf>,
}

impl Copy<'_> {
    fn folder(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!("folders are nested deeper than {MAX_DEPTH}")));
        }
        let mut names = Vec::new();
        let mut entries = Dir::read_from(from)?;
        while let Some(entry) = entries.read() {
            let name = entry?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        drop(entries);
        for name in names {
            use std::os::unix::ffi::OsStrExt;
            let inner = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            let stat = inside(rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?, self.owners);
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind != FileType::Directory && stat.st_nlink > 1 {
                if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                    rustix::fs::linkat(self.top, first, to, &name, AtFlags::empty())?;
                    continue;
                }
                self.linked.insert((stat.st_dev, stat.st_ino), inner.clone());
            }
            match kind {
                FileType::Directory => {
                    rustix::fs::mkdirat(to, &name, Mode::RWXU)?;
                    let (a, b) = (open(from, &name, OFlags::DIRECTORY)?, open(to, &name, OFlags::DIRECTORY)?);
                    self.folder(&a, &b, &inner, depth + 1)?;
                    dress(&a, &b, &stat)?;
                }
                FileType::RegularFile => {
                    let a = open(from, &name, OFlags::empty())?;
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let b = rustix::fs::openat(to, &name, flags, Mode::RUSR | Mode::WUSR)?;
                    copy_bytes(&a, &b)?;
                    dress(&a, &b, &stat)?;
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(from, &name, Vec::new())?;
                    rustix::fs::symlinkat(&target, to, &name)?;
                    own(to, &name, &stat)?;
                }
                FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                    rustix::fs::mknodat(to, &name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
                    own(to, &name, &stat)?;
                }
                // A socket means nothing without the program that listens.
                _ => {}
            }
        }
        Ok(())
    }
}

fn open(at: &OwnedFd, name: &std::ffi::CStr, more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | more;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// Copies bytes inside the kernel where it can.
fn copy_bytes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    loop {
        match rustix::fs::copy_file_range(from, None, to, None, 1 << 30) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(e) => return Err(e.into()),
        }
    }
    let (mut from, mut to) = (std::fs::File::from(from.try_clone()?), std::fs::File::from(to.try_clone()?));
    io::copy(&mut from, &mut to).map(drop)
}

fn own(at: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    Ok(rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Owner, attributes, mode and times, in the order in which none undoes another.
fn dress(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    copy_attributes(from, to)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |seconds: i64, nanos: i64| Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec.cast_signed()),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
    };
    Ok(rustix::fs::futimens(to, &times)?)
}

/// File capabilities and users' attributes. What steers overlayfs or labels files is the image's no more.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0u8; MAX_ATTRIBUTE_BYTES];
    let n = match rustix::fs::flistxattr(from, &mut names) {
        Ok(n) => n,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for name in names[..n].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let kept =
            name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
        if !kept {
            continue;
        }
        let mut value = vec![0u8; MAX_ATTRIBUTE_BYTES];
        let n = rustix::fs::fgetxattr(from, name, &mut value)?;
        match rustix::fs::fsetxattr(to, name, &value[..n], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Bytes that a tree takes on disk; files with several names count once. Folders that vanish meanwhile are passed over.
pub(crate) fn usage(root: &Path) -> io::Result<u64> {
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.nlink() > 1 && !seen.insert((meta.dev(), meta.ino())) {
                continue;
            }
            total += meta.blocks() * 512;
        }
    }
    Ok(total)
}
