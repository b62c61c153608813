//! From a tree to a tar stream.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxFlags};
use tar::{Builder, EntryType, Header};

use super::{Owners, attribute};

/// Deepest folder that is written; each level holds a descriptor.
const MAX_DEPTH: usize = 400;

/// How far a tree reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Into what is mounted below.
    Everything,
    /// Mount points are written as empty folders.
    OneMount,
}

struct Writer<'a> {
    tar: Builder<&'a mut dyn Write>,
    scope: Scope,
    owners: Owners,
    mount: u64,
    linked: HashMap<(u32, u32, u64), PathBuf>,
    /// Extended attributes are written too.
    attributes: bool,
}

/// Writes what `node` (opened with `O_PATH`) is, as `name`; a folder with all below it. An empty name leaves the folder's own
/// entry out and names what is in it alone. Owners are written as the container sees them.
pub fn write_tree(node: &OwnedFd, name: &Path, scope: Scope, owners: Owners, out: &mut dyn Write) -> io::Result<()> {
    let stat = describe(node)?;
    let (tar, mount, linked) = (Builder::new(out), stat.stx_mnt_id, HashMap::new());
    let mut writer = Writer { tar, scope, owners, mount, linked, attributes: false };
    writer.entry(node, name, 0)?;
    writer.tar.finish()
}

/// Writes a folder of changes as overlayfs keeps them: what is in it, whiteouts being devices 0/0, with the extended attributes
/// of files and folders.
pub fn write_changes(folder: &OwnedFd, out: &mut dyn Write) -> io::Result<()> {
    let stat = describe(folder)?;
    let (tar, mount, linked) = (Builder::new(out), stat.stx_mnt_id, HashMap::new());
    let (scope, owners) = (Scope::OneMount, Owners::SAME);
    let mut writer = Writer { tar, scope, owners, mount, linked, attributes: true };
    writer.entry(folder, Path::new(""), 0)?;
    writer.tar.finish()
}

fn describe(node: &OwnedFd) -> io::Result<rustix::fs::Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    Ok(rustix::fs::statx(node, "", flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?)
}

fn header(stat: &rustix::fs::Statx, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(u32::from(stat.stx_mode) & 0o7777);
    header.set_uid(stat.stx_uid.into());
    header.set_gid(stat.stx_gid.into());
    header.set_mtime(u64::try_from(stat.stx_mtime.tv_sec).unwrap_or(0));
    header.set_size(size);
    header
}

impl Writer<'_> {
    fn entry(&mut self, node: &OwnedFd, name: &Path, depth: usize) -> io::Result<()> {
        let mut stat = describe(node)?;
        stat.stx_uid = self.owners.inside(stat.stx_uid);
        stat.stx_gid = self.owners.inside(stat.stx_gid);
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        if kind != FileType::Directory && stat.stx_nlink > 1 {
            let inode = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
            if let Some(first) = self.linked.get(&inode) {
                let first = first.clone();
                return self.tar.append_link(&mut header(&stat, EntryType::Link, 0), name, first);
            }
            self.linked.insert(inode, name.to_owned());
        }
        if self.attributes
            && !name.as_os_str().is_empty()
            && matches!(kind, FileType::Directory | FileType::RegularFile)
        {
            let found = attribute::read(node)?;
            if !found.is_empty() {
                self.tar.append_pax_extensions(found.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
            }
        }
        match kind {
            FileType::Directory => self.folder(node, &stat, name, depth),
            FileType::RegularFile => {
                // Through its descriptor: whatever has its name by now, this is the file that was looked at.
                let path = format!("/proc/self/fd/{}", node.as_raw_fd());
                let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
                // A file that shrinks meanwhile is filled up with zeros, one that grows is cut: the header is out.
                let content = std::fs::File::from(file).chain(io::repeat(0)).take(stat.stx_size);
                self.tar.append_data(&mut header(&stat, EntryType::Regular, stat.stx_size), name, content)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(node, "", Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                self.tar.append_link(&mut header(&stat, EntryType::Symlink, 0), name, target)
            }
            FileType::Fifo => self.plain(&stat, EntryType::Fifo, name),
            FileType::CharacterDevice => self.plain(&stat, EntryType::Char, name),
            FileType::BlockDevice => self.plain(&stat, EntryType::Block, name),
            // A socket means nothing without the program that listens.
            _ => Ok(()),
        }
    }

    fn plain(&mut self, stat: &rustix::fs::Statx, kind: EntryType, name: &Path) -> io::Result<()> {
        let mut header = header(stat, kind, 0);
        if kind != EntryType::Fifo {
            header.set_device_major(stat.stx_rdev_major)?;
            header.set_device_minor(stat.stx_rdev_minor)?;
        }
        self.tar.append_data(&mut header, name, io::empty())
    }

    fn folder(&mut self, node: &OwnedFd, stat: &rustix::fs::Statx, name: &Path, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            let text = format!("`{}` is nested deeper than {MAX_DEPTH} folders", name.display());
            return Err(io::Error::other(text));
        }
        if !name.as_os_str().is_empty() {
            self.tar.append_data(&mut header(stat, EntryType::Directory, 0), name, io::empty())?;
        }
        if self.scope == Scope::OneMount && stat.stx_mnt_id != self.mount {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(node, ".", flags, Mode::empty())?;
        let mut names: Vec<CString> = Vec::new();
        let mut entries = Dir::read_from(&folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?.file_name().to_owned();
            if !matches!(entry.to_bytes(), b"." | b"..") {
                names.push(entry);
            }
        }
        drop(entries);
        names.sort();
        for entry in names {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = match rustix::fs::openat(folder.as_fd(), &entry, flags, Mode::empty()) {
                Ok(inner) => inner,
                // Gone since it was listed.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(e) => return Err(e.into()),
            };
            self.entry(&inner, &name.join(OsStr::from_bytes(entry.to_bytes())), depth + 1)?;
        }
        Ok(())
    }
}
