//! From folders to tar streams: an overlay's upper folder as a layer, a whole root for export.
//!
//! Walks by file descriptor with `O_NOFOLLOW`, so a tree that changes meanwhile can spoil the archive but not lead out
//! of it. Sockets are left out, as all tar programs do.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::oci::runtime::{IdMapping, OVERFLOW_ID};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::entry::MAX_DEPTH;
use super::folder;
use super::tar_writer::{Member, MemberKind, TarWriter};

/// Largest list of attribute names, the kernel's own limit.
const XATTR_LIST_BYTES: usize = 64 * 1024;

/// Why a folder cannot be turned into a tar stream.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// A system call failed.
    #[error("cannot {verb} `{path}`")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The path inside the tree, escaped.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The stream cannot be written.
    #[error("cannot write the tar stream")]
    Write(#[source] io::Error),
    /// The tree is too deep.
    #[error("cannot archive `{path}`: it is more than {MAX_DEPTH} folders deep")]
    TooDeep {
        /// The path inside the tree, escaped.
        path: String,
    },
    /// A file of a container has a name that layers use for whiteouts.
    #[error("cannot archive `{0}`: names that start with `.wh.` are whiteouts in a layer")]
    WhiteoutName(String),
    /// The overlay was mounted with options that leave content in lower layers.
    #[error("cannot archive `{0}`: overlayfs keeps its content elsewhere")]
    Redirect(String),
}

/// Writes an overlay's upper folder as a layer: whiteouts and opaque folders take the form of the image specification.
/// `owners` is the mapping of the user namespace in which the folder was written: the layer has the ids inside.
pub fn tar_from_overlay_upper(upper: &Path, owners: Option<IdMapping>, out: &mut dyn Write) -> Result<(), DiffError> {
    let root = folder::open_root(upper).map_err(|e| failed("open", upper.as_os_str().as_encoded_bytes(), e))?;
    walk(root.as_fd(), true, owners, out)
}

/// Writes a whole root. What is mounted in it is left out.
pub fn tar_from_dir(root: BorrowedFd<'_>, out: &mut dyn Write) -> Result<(), DiffError> {
    walk(root, false, None, out)
}

fn walk(root: BorrowedFd<'_>, overlay: bool, owners: Option<IdMapping>, out: &mut dyn Write) -> Result<(), DiffError> {
    let stat = rustix::fs::fstat(root).map_err(|e| failed("inspect", b"/", e))?;
    let mut walk = Walk { tar: TarWriter::new(out), links: HashMap::new(), overlay, owners, device: stat.st_dev };
    walk.folder(root, &inside(stat, owners), b"./", 0)?;
    walk.tar.finish().map_err(DiffError::Write)?;
    Ok(())
}

struct Walk<W> {
    tar: TarWriter<W>,
    /// First path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    overlay: bool,
    owners: Option<IdMapping>,
    device: u64,
}

impl<W: Write> Walk<W> {
    /// Writes a folder and what is in it. `path` ends in a slash.
    fn folder(&mut self, folder: BorrowedFd<'_>, stat: &Stat, path: &[u8], depth: usize) -> Result<(), DiffError> {
        if depth > MAX_DEPTH {
            return Err(DiffError::TooDeep { path: path.escape_ascii().to_string() });
        }
        let (xattrs, opaque) = self.xattrs(folder, path)?;
        self.tar.member(&member(path, MemberKind::Folder, stat, 0, &xattrs)).map_err(DiffError::Write)?;
        if stat.st_dev != self.device {
            return Ok(());
        }
        if opaque {
            let marker = [path, b".wh..wh..opq"].concat();
            self.tar.member(&Member::file(&marker, 0)).map_err(DiffError::Write)?;
        }
        for name in names(folder).map_err(|e| failed("list", path, e))? {
            self.child(folder, &name, path, depth)?;
        }
        Ok(())
    }

    fn child(&mut self, folder: BorrowedFd<'_>, name: &CString, parent: &[u8], depth: usize) -> Result<(), DiffError> {
        // The root is `./`, what is in it has no such prefix.
        let prefix = if depth == 0 { &b""[..] } else { parent };
        let path = [prefix, name.to_bytes()].concat();
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            result => inside(result.map_err(|e| failed("inspect", &path, e))?, self.owners),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.overlay && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            let marker = [prefix, b".wh.", name.to_bytes()].concat();
            return self.tar.member(&Member::file(&marker, 0)).map_err(DiffError::Write);
        }
        if self.overlay && name.to_bytes().starts_with(b".wh.") {
            return Err(DiffError::WhiteoutName(path.escape_ascii().to_string()));
        }
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|e| failed("open", &path, e))?;
            return self.folder(inner.as_fd(), &stat, &[&path[..], b"/"].concat(), depth + 1);
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let linked = member(&path, MemberKind::HardLink(first), &stat, 0, &[]);
                return self.tar.member(&linked).map_err(DiffError::Write);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        self.leaf(folder, name, &path, &stat, kind)
    }

    fn leaf(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CString,
        path: &[u8],
        stat: &Stat,
        kind: FileType,
    ) -> Result<(), DiffError> {
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let target;
        let kind = match kind {
            FileType::RegularFile => return self.file(folder, name, path),
            FileType::Symlink => {
                target = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(|e| failed("read", path, e))?;
                MemberKind::Symlink(target.to_bytes())
            }
            FileType::CharacterDevice => MemberKind::CharDevice(device.0, device.1),
            FileType::BlockDevice => MemberKind::BlockDevice(device.0, device.1),
            FileType::Fifo => MemberKind::Fifo,
            _ => return Ok(()),
        };
        self.tar.member(&member(path, kind, stat, 0, &[])).map_err(DiffError::Write)
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &CString, path: &[u8]) -> Result<(), DiffError> {
        // It may have become a fifo since it was inspected: opening must not wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: OwnedFd =
            rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|e| failed("open", path, e))?;
        let stat = inside(rustix::fs::fstat(&file).map_err(|e| failed("inspect", path, e))?, self.owners);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let (xattrs, _) = self.xattrs(file.as_fd(), path)?;
        let size = stat.st_size.cast_unsigned();
        self.tar.member(&member(path, MemberKind::File, &stat, size, &xattrs)).map_err(DiffError::Write)?;
        self.tar.content(&mut File::from(file), size).map_err(|e| failed("copy", path, e))
    }

    /// The attributes that go into the stream, and whether overlayfs calls the folder opaque.
    fn xattrs(&self, fd: BorrowedFd<'_>, path: &[u8]) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, bool), DiffError> {
        let mut list = vec![0_u8; XATTR_LIST_BYTES];
        let length = match rustix::fs::flistxattr(fd, list.as_mut_slice()) {
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            result => result.map_err(|e| failed("list the attributes of", path, e))?,
        };
        let mut kept = Vec::new();
        let mut opaque = false;
        for name in list[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
            let own = name.strip_prefix(b"trusted.overlay.").or_else(|| name.strip_prefix(b"user.overlay."));
            match own {
                Some(b"opaque") if self.overlay => opaque = xattr(fd, name, path)? == b"y",
                Some(b"redirect" | b"metacopy") if self.overlay => {
                    return Err(DiffError::Redirect(path.escape_ascii().to_string()));
                }
                Some(_) => {}
                None if name == b"security.capability" || name.starts_with(b"user.") => {
                    let mut value = xattr(fd, name, path)?;
                    if let (Some(owners), b"security.capability") = (&self.owners, name) {
                        without_root_id(&mut value, owners);
                    }
                    kept.push((name.to_vec(), value));
                }
                None => {}
            }
        }
        Ok((kept, opaque))
    }
}

/// With the owner's ids inside; those that the mapping does not know are nobody's.
fn inside(mut stat: Stat, owners: Option<IdMapping>) -> Stat {
    if let Some(owners) = owners {
        stat.st_uid = owners.inside(stat.st_uid).unwrap_or(OVERFLOW_ID);
        stat.st_gid = owners.inside(stat.st_gid).unwrap_or(OVERFLOW_ID);
    }
    stat
}

/// Capabilities that a file has for the root of a user namespace become those for any root, as the image's own are.
/// *Source*: linux/capability.h, `struct vfs_ns_cap_data` (revision 3) and `vfs_cap_data` (revision 2).
fn without_root_id(value: &mut Vec<u8>, owners: &IdMapping) {
    const REVISION: usize = 3;
    let root = value.get(20..24).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    if value.get(REVISION) == Some(&3) && root.and_then(|id| owners.inside(id)) == Some(0) {
        value[REVISION] = 2;
        value.truncate(20);
    }
}

fn xattr(fd: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Vec<u8>, DiffError> {
    let mut value = vec![0_u8; XATTR_LIST_BYTES];
    let length =
        rustix::fs::fgetxattr(fd, name, value.as_mut_slice()).map_err(|e| failed("read an attribute of", path, e))?;
    value.truncate(length);
    Ok(value)
}

/// The names in a folder, sorted, so that one tree always gives one stream.
pub(super) fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if name.to_bytes() != b"." && name.to_bytes() != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn member<'a>(
    path: &'a [u8],
    kind: MemberKind<'a>,
    stat: &Stat,
    size: u64,
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
) -> Member<'a> {
    let mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
    Member { path, kind, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, size, xattrs }
}

fn failed(verb: &'static str, path: &[u8], source: impl Into<io::Error>) -> DiffError {
    DiffError::Io { verb, path: path.escape_ascii().to_string(), source: source.into() }
}
