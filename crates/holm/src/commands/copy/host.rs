//! Files of the host as a tar, and a tar as files of the host.
//!
//! The tar comes out of a container, so it is hostile: extraction goes by descriptors, component by component, and follows
//! no link; what is no file, folder or link is left out.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::{Failure, printable, warn};

/// Deepest folder that is made.
const DEPTH_MAX: usize = 1024;

/// Writes `source` as a tar under `name`; its content only where there is no name.
pub fn pack(source: &Path, name: Option<&OsStr>, follow: bool, out: &mut File) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::because(format!("cannot copy `{}`", source.display()), &e);
    let mut builder = tar::Builder::new(BufWriter::with_capacity(256 * 1024, out));
    builder.follow_symlinks(false);
    let real = if follow { source.canonicalize().map_err(failed)? } else { source.to_owned() };
    let meta = real.symlink_metadata().map_err(failed)?;
    match name {
        Some(name) if meta.is_dir() => builder.append_dir_all(Path::new(name), &real),
        Some(name) => builder.append_path_with_name(&real, Path::new(name)),
        None => builder.append_dir_all(".", &real),
    }
    .map_err(failed)?;
    builder.into_inner().and_then(|mut out| out.flush()).map_err(failed)
}

/// Unpacks a tar into `folder`. `rename` gives the path of an entry, or leaves it out. Owners are those of the tar where
/// `keep_owner`, else the caller's.
pub fn unpack(
    tar: &mut File,
    folder: &Path,
    rename: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    keep_owner: bool,
) -> Result<(), Failure> {
    use std::io::Seek;
    let failed = |e: io::Error| Failure::because(format!("cannot write into `{}`", folder.display()), &e);
    tar.rewind().map_err(failed)?;
    let root = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let root = root.map_err(|e| failed(e.into()))?;
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(256 * 1024, tar));
    let mut folders: Vec<(PathBuf, u32, Timestamps)> = Vec::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let Some(path) = rename(&entry.path_bytes()) else { continue };
        let path = PathBuf::from(OsStr::from_bytes(&path));
        let result = extract(root.as_fd(), &mut entry, &path, rename, keep_owner);
        match result {
            Ok(Some((mode, times))) => folders.push((path, mode, times)),
            Ok(None) => {}
            Err(error) => {
                return Err(Failure::because(format!("cannot write `{}`", folder.join(&path).display()), &error));
            }
        }
    }
    // A folder without write permission, and its time, only when all is in it.
    for (path, mode, times) in folders.into_iter().rev() {
        if let Ok(fd) = open_folder(root.as_fd(), &path, false) {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(|e| failed(e.into()))?;
            rustix::fs::futimens(&fd, &times).map_err(|e| failed(e.into()))?;
        }
    }
    Ok(())
}

/// The components of a path; `..` is refused.
fn components(path: &Path) -> io::Result<Vec<&OsStr>> {
    use std::path::Component;
    let mut list = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => list.push(name),
            Component::CurDir | Component::RootDir => {}
            _ => return Err(io::Error::other("its path leads out of the folder")),
        }
    }
    if list.len() > DEPTH_MAX { Err(io::Error::other("its path is too deep")) } else { Ok(list) }
}

fn open_folder(root: BorrowedFd<'_>, path: &Path, make: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut current = rustix::io::fcntl_dupfd_cloexec(root, 3)?;
    for name in components(path)? {
        current = match rustix::fs::openat(&current, name, flags, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755))?;
                rustix::fs::openat(&current, name, flags, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(current)
}

/// Makes one entry; for a folder, the mode and times to set at the end.
fn extract(
    root: BorrowedFd<'_>,
    entry: &mut tar::Entry<'_, impl Read>,
    path: &Path,
    rename: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    keep_owner: bool,
) -> io::Result<Option<(u32, Timestamps)>> {
    let mode = entry.header().mode()? & 0o7777;
    let seconds = entry.header().mtime().ok().and_then(|n| i64::try_from(n).ok()).unwrap_or(0);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let id = |n: io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok());
    let owner = if keep_owner { id(entry.header().uid()).zip(id(entry.header().gid())) } else { None };
    // The host's set-id bits are not for a container to set.
    let mode = if keep_owner { mode } else { mode & 0o1777 };
    let names = components(path)?;
    let kind = entry.header().entry_type();
    let Some((name, _)) = names.split_last() else { return Ok(None) };
    if kind.is_dir() {
        let fd = open_folder(root, path, true)?;
        chown(&fd, owner)?;
        return Ok(Some((mode, times)));
    }
    let folder = open_folder(root, path.parent().unwrap_or(Path::new("")), true)?;
    if !matches!(rustix::fs::unlinkat(&folder, *name, AtFlags::empty()), Ok(()) | Err(Errno::NOENT)) {
        return Err(io::Error::other("something that is no file is there already"));
    }
    if kind.is_file() || kind == tar::EntryType::Continuous || kind == tar::EntryType::GNUSparse {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&folder, *name, flags, Mode::from_raw_mode(0o600))?);
        io::copy(entry, &mut file)?;
        chown(&file, owner)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        rustix::fs::futimens(&file, &times)?;
    } else if kind.is_symlink() {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        rustix::fs::symlinkat(OsStr::from_bytes(&target), &folder, *name)?;
        if let Some((uid, gid)) = owner {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&folder, *name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)?;
        }
        rustix::fs::utimensat(&folder, *name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    } else if kind.is_hard_link() {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let Some(target) = rename(&target) else { return Ok(None) };
        let target = PathBuf::from(OsStr::from_bytes(&target));
        let from = open_folder(root, target.parent().unwrap_or(Path::new("")), false)?;
        let last = components(&target)?.last().copied().unwrap_or_default().to_owned();
        rustix::fs::linkat(&from, &last, &folder, *name, AtFlags::empty())?;
    } else {
        warn(&format!("`{}` is left out: it is no file, folder or link", printable(&path.to_string_lossy())));
    }
    Ok(None)
}

fn chown(fd: impl AsFd, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &str)]) -> File {
        let mut builder = tar::Builder::new(tempfile::tempfile().expect("file"));
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            let data = if *kind == tar::EntryType::Regular { content.as_bytes() } else { &[] };
            header.set_size(data.len() as u64);
            let name = &mut header.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            if *kind != tar::EntryType::Regular {
                let link = &mut header.as_old_mut().linkname;
                link[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, data).expect("entry");
        }
        builder.into_inner().expect("archive")
    }

    fn unpacked(entries: &[(&str, tar::EntryType, &str)]) -> (tempfile::TempDir, Result<(), Failure>) {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("in")).expect("folder");
        std::fs::write(folder.path().join("outside"), "kept").expect("file");
        let result = unpack(&mut archive(entries), &folder.path().join("in"), &|name| Some(name.to_vec()), false);
        (folder, result)
    }

    #[test]
    fn files_round_trip_without_set_id_bits() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, result) = unpacked(&[
            ("a/", tar::EntryType::Directory, ""),
            ("a/b", tar::EntryType::Regular, "text"),
            ("a/c", tar::EntryType::Symlink, "b"),
            ("a/d", tar::EntryType::Link, "a/b"),
            ("a/fifo", tar::EntryType::Fifo, ""),
        ]);
        assert_eq!(result, Ok(()));
        let inside = folder.path().join("in/a");
        assert_eq!(std::fs::read_to_string(inside.join("d")).expect("link"), "text");
        assert_eq!(std::fs::read_link(inside.join("c")).expect("link"), Path::new("b"));
        assert_eq!(inside.join("b").metadata().expect("file").permissions().mode() & 0o7777, 0o755);
        assert!(!inside.join("fifo").exists());
        let mut spool = tempfile::tempfile().expect("file");
        pack(&inside, Some(OsStr::new("x")), false, &mut spool).expect("pack");
        let again = tempfile::tempdir().expect("folder");
        unpack(&mut spool, again.path(), &|name| Some(name.to_vec()), false).expect("unpack");
        assert_eq!(std::fs::read_to_string(again.path().join("x/b")).expect("file"), "text");
    }

    #[test]
    fn nothing_gets_out_of_the_folder() {
        for entries in [
            vec![("../outside", tar::EntryType::Regular, "bad")],
            vec![("a", tar::EntryType::Symlink, ".."), ("a/outside", tar::EntryType::Regular, "bad")],
            vec![("a", tar::EntryType::Symlink, "../outside"), ("a", tar::EntryType::Regular, "bad")],
            vec![("a", tar::EntryType::Link, "../outside"), ("a", tar::EntryType::Regular, "bad")],
            vec![("a", tar::EntryType::Symlink, ".."), ("b", tar::EntryType::Link, "a/outside")],
        ] {
            let (folder, _) = unpacked(&entries);
            assert_eq!(std::fs::read_to_string(folder.path().join("outside")).expect("file"), "kept", "{entries:?}");
            assert!(!folder.path().join("in/b").exists());
        }
    }
}
