//! From a tar stream into an existing folder.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::{Owners, attribute};

/// Most entries of one stream.
const MAX_ENTRIES: usize = 8_000_000;

/// Unpacks `tar` into `folder`. Files that are there are replaced; folders that are there are kept. Owners as in the stream
/// where `keep_owner`, else root; both are the container's.
///
/// *Errors*: what came before is there.
pub fn unpack(folder: &OwnedFd, tar: &mut dyn Read, keep_owner: bool, owners: Owners) -> io::Result<()> {
    unpack_all(folder, tar, keep_owner, owners, false)
}

/// Unpacks what [`write_changes`](super::write_changes) wrote, owners and extended attributes as in the stream.
///
/// *Privilege*: CAP_SYS_ADMIN, for the attributes of the overlay's. *Errors*: what came before is there.
pub fn unpack_changes(folder: &OwnedFd, tar: &mut dyn Read) -> io::Result<()> {
    unpack_all(folder, tar, true, Owners::SAME, true)
}

fn unpack_all(
    folder: &OwnedFd,
    tar: &mut dyn Read,
    keep_owner: bool,
    owners: Owners,
    attributes: bool,
) -> io::Result<()> {
    let mut archive = Archive::new(tar);
    // Modes and times of folders come last: filling a folder changes its time, and its mode may forbid it.
    let mut folders: Vec<(PathBuf, Dress)> = Vec::new();
    for (n, entry) in archive.entries()?.enumerate() {
        if n >= MAX_ENTRIES {
            return Err(io::Error::other(format!("the stream has more than {MAX_ENTRIES} entries")));
        }
        let mut entry = entry?;
        let path = clean(&entry.path_bytes())?;
        let mut dress = Dress::of(&entry, keep_owner, owners)?;
        if attributes {
            dress.attributes = attributes_of(&mut entry)?;
        }
        let named = |e: io::Error| io::Error::new(e.kind(), format!("`{}`: {e}", path.display()));
        if path.as_os_str().is_empty() {
            continue;
        }
        if place(folder, &path, &mut entry, &dress, owners).map_err(named)? {
            folders.push((path, dress));
        }
    }
    for (path, dress) in folders.iter().rev() {
        // Replaced by something else later in the stream, perhaps.
        if let Ok(inner) = inside(folder, path, OFlags::RDONLY | OFlags::DIRECTORY) {
            dress.put_on(&inner)?;
        }
    }
    Ok(())
}

/// Owner, mode and time of an entry.
struct Dress {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    mtime: i64,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Dress {
    fn of<R: Read>(entry: &Entry<'_, R>, keep_owner: bool, owners: Owners) -> io::Result<Self> {
        let header = entry.header();
        let number = |id: u64| {
            let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| io::Error::other("an owner's id is out of range"))
        };
        let (uid, gid) = if keep_owner { (number(header.uid()?)?, number(header.gid()?)?) } else { (0, 0) };
        Ok(Self {
            uid: Uid::from_raw(owners.outside(uid)?),
            gid: Gid::from_raw(owners.outside(gid)?),
            mode: Mode::from_raw_mode(header.mode()? & 0o7777),
            mtime: i64::try_from(header.mtime()?).unwrap_or(0),
            attributes: Vec::new(),
        })
    }

    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }

    fn put_on(&self, fd: &OwnedFd) -> io::Result<()> {
        rustix::fs::fchown(fd, Some(self.uid), Some(self.gid))?;
        rustix::fs::fchmod(fd, self.mode)?;
        attribute::write(fd, &self.attributes)?;
        Ok(rustix::fs::futimens(fd, &self.times())?)
    }

    fn put_on_name(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        rustix::fs::chownat(parent, name, Some(self.uid), Some(self.gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::utimensat(parent, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// The extended attributes that stand before an entry.
fn attributes_of<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let Some(records) = entry.pax_extensions()? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for record in records {
        let record = record?;
        found.extend(record.key().ok().and_then(|key| attribute::of_record(key, record.value_bytes())));
    }
    Ok(found)
}

/// A relative path without `.`; `..` is refused.
fn clean(raw: &[u8]) -> io::Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(raw)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let text = String::from_utf8_lossy(raw).escape_default().to_string();
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{text}` leads out of the target")));
            }
        }
    }
    Ok(path)
}

/// Opens below `folder` without going through any link.
fn inside(folder: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::LOOP) => return Err(io::Error::other("a link is in its way")),
            other => return Ok(other?),
        }
    }
}

/// Opens the folder that an entry goes into, making what is missing.
fn parent(folder: &OwnedFd, path: &Path, owners: Owners) -> io::Result<OwnedFd> {
    let parent = path.parent().unwrap_or(Path::new(""));
    match inside(folder, parent, OFlags::PATH | OFlags::DIRECTORY) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut at = inside(folder, Path::new(""), OFlags::PATH | OFlags::DIRECTORY)?;
    for name in parent.iter() {
        match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) if owners.mapping().is_some() => {
                let root = owners.outside(0)?;
                let (uid, gid) = (Uid::from_raw(root), Gid::from_raw(root));
                rustix::fs::chownat(&at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        at = inside(&at, Path::new(name), OFlags::PATH | OFlags::DIRECTORY)?;
    }
    Ok(at)
}

/// Makes one entry; whether it is a folder, whose dress comes later.
fn place<R: Read>(
    folder: &OwnedFd,
    path: &Path,
    entry: &mut Entry<'_, R>,
    dress: &Dress,
    owners: Owners,
) -> io::Result<bool> {
    let at = parent(folder, path, owners)?;
    let Some(name) = path.file_name() else { return Ok(false) };
    let kind = entry.header().entry_type();
    if kind == EntryType::Directory {
        return match rustix::fs::mkdirat(&at, name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if is_folder(&at, name)? => Ok(true),
            Err(e) => Err(e.into()),
        };
    }
    clear(&at, name)?;
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&at, name, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = std::fs::File::from(file);
            io::copy(entry, &mut file)?;
            dress.put_on(&file.into())?;
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("a link without a target"))?;
            rustix::fs::symlinkat(OsStr::from_bytes(&target), &at, name)?;
            dress.put_on_name(&at, name)?;
        }
        EntryType::Link => {
            let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("a link without a target"))?;
            // To what the descriptor is, not to what the name may be by now.
            let target = inside(folder, &clean(&target)?, OFlags::PATH | OFlags::NOFOLLOW)?;
            let old = format!("/proc/self/fd/{}", target.as_raw_fd());
            rustix::fs::linkat(rustix::fs::CWD, old, &at, name, AtFlags::SYMLINK_FOLLOW)?;
        }
        EntryType::Fifo => node(&at, name, FileType::Fifo, 0, dress)?,
        EntryType::Char | EntryType::Block => {
            let header = entry.header();
            let (major, minor) = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
            let kind = if kind == EntryType::Char { FileType::CharacterDevice } else { FileType::BlockDevice };
            node(&at, name, kind, rustix::fs::makedev(major, minor), dress)?;
        }
        // What else there is in tar streams has no form as a file.
        _ => {}
    }
    Ok(false)
}

fn node(at: &OwnedFd, name: &OsStr, kind: FileType, device: u64, dress: &Dress) -> io::Result<()> {
    rustix::fs::mknodat(at, name, kind, dress.mode, device)?;
    dress.put_on_name(at, name)
}

fn is_folder(at: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let stat = rustix::fs::statat(at.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Takes away what has the name. A folder is not replaced by something else.
fn clear(at: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(io::Error::other("a folder has that name")),
        Err(e) => Err(e.into()),
    }
}
