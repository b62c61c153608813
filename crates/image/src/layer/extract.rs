//! Creating the entries of a layer. Works on file descriptors of folders only, creates with `O_EXCL` and never follows
//! the last component of a path.
//!
//! Whiteouts take overlayfs form: `.wh.NAME` becomes a character device 0:0 called NAME, `.wh..wh..opq` the attribute
//! `trusted.overlay.opaque` of its folder. Modes and times of folders are set last, deepest first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::LayerError;
use super::entry::{Entry, Kind, TarPath, Time};
use super::folder::{self, Folders};
use super::tar_stream::TarStream;

/// Names with this start hide something of a lower layer.
const WHITEOUT: &[u8] = b".wh.";
/// Names with this start are for the layer format itself.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// Hides all that lower layers have in the folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why an entry cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// A system call failed.
    #[error("cannot {verb} `{path}`")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The path inside the layer, escaped.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A whiteout of nothing, of `.` or of `..`.
    #[error("cannot unpack whiteout `{0}`: it names nothing in its folder")]
    Whiteout(String),
    /// The root is something else than a folder.
    #[error("cannot replace the root folder by something else")]
    Root,
}

/// What a folder gets at the end.
#[derive(Debug)]
struct FolderMeta {
    mode: u32,
    owner: (u32, u32),
    times: Timestamps,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Creates entries below one root.
#[derive(Debug)]
pub(super) struct Extractor {
    folders: Folders,
    /// In the order of paths, so that all below one path are neighbours.
    pending: BTreeMap<Vec<u8>, FolderMeta>,
    size_bytes: u64,
    /// Who owns what is created.
    creator: (u32, u32),
}

impl Extractor {
    /// Starts with an empty root.
    pub fn new(root: File) -> Result<Self, LayerError> {
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).map_err(|e| LayerError::Root(e.into()))?;
        let creator = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Ok(Self { folders: Folders::new(root), pending: BTreeMap::new(), size_bytes: 0, creator })
    }

    /// Creates one entry, taking its content from the stream.
    pub fn add(&mut self, entry: &Entry, stream: &mut TarStream<impl BufRead>) -> Result<(), LayerError> {
        let path = &entry.path;
        let name = path.name();
        if path.is_root() {
            if entry.kind != Kind::Folder {
                return Err(ExtractError::Root.into());
            }
            self.pending.insert(Vec::new(), meta_of(entry));
            return Ok(());
        }
        if name != OPAQUE && path.first().starts_with(WHITEOUT_META) {
            // What AUFS kept for itself.
            return Ok(());
        }
        let parent = self.folders.open(path.parent()).map_err(|e| failed("open the folder of", path, e))?;
        if name == OPAQUE {
            set_opaque(parent.as_fd()).map_err(|e| failed("mark the folder of", path, e))?;
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            self.add_whiteout(&parent, path, hidden)?;
        } else {
            self.add_entry(&parent, entry, stream)?;
        }
        Ok(())
    }

    /// Sets what is pending of folders. Gives the sum of the sizes of regular files.
    pub fn finish(mut self) -> Result<u64, LayerError> {
        self.folders.forget();
        // Backwards, what is in a folder comes before the folder.
        for (path, meta) in std::mem::take(&mut self.pending).into_iter().rev() {
            let opened = if path.is_empty() {
                self.folders.root().try_clone()
            } else {
                folder::open_below(self.folders.root(), &path, OFlags::NOFOLLOW).map_err(io::Error::from)
            };
            let done = opened.and_then(|folder| {
                let owner = (meta.owner != self.creator).then_some(meta.owner);
                set_meta(folder.as_fd(), meta.mode, owner, &meta.xattrs, &meta.times)
            });
            done.map_err(|e| failed_at("set the attributes of", &path, e))?;
        }
        Ok(self.size_bytes)
    }

    fn add_entry(
        &mut self,
        parent: &OwnedFd,
        entry: &Entry,
        stream: &mut TarStream<impl BufRead>,
    ) -> Result<(), LayerError> {
        let path = &entry.path;
        match &entry.kind {
            Kind::File | Kind::Sparse { .. } => return self.add_file(parent, entry, stream),
            Kind::Folder => return Ok(self.add_folder(parent, entry)?),
            Kind::HardLink(target) => return Ok(self.add_hard_link(parent, path, target)?),
            Kind::Symlink(target) => {
                self.replacing(parent, path, |name| rustix::fs::symlinkat(target.as_slice(), parent, name))?;
            }
            Kind::CharDevice(major, minor) => {
                self.add_node(parent, entry, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))?;
            }
            Kind::BlockDevice(major, minor) => {
                self.add_node(parent, entry, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))?;
            }
            Kind::Fifo => self.add_node(parent, entry, FileType::Fifo, 0)?,
        }
        self.set_meta_of_node(parent, entry).map_err(|e| failed("set the attributes of", path, e))?;
        Ok(())
    }

    fn add_file(
        &mut self,
        parent: &OwnedFd,
        entry: &Entry,
        stream: &mut TarStream<impl BufRead>,
    ) -> Result<(), LayerError> {
        let path = &entry.path;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = self.replacing(parent, path, |name| rustix::fs::openat(parent, name, flags, mode))?;
        match &entry.kind {
            Kind::Sparse { regions, size_bytes } => {
                for &(offset, length) in regions {
                    copy(&file, offset, length, path, stream)?;
                }
                rustix::fs::ftruncate(&file, *size_bytes).map_err(|e| failed("resize", path, e))?;
            }
            _ => copy(&file, 0, entry.content_bytes, path, stream)?,
        }
        self.size_bytes = self.size_bytes.saturating_add(entry.content_bytes);
        set_meta(file.as_fd(), entry.mode, self.owner(entry), &entry.xattrs, &times(entry))
            .map_err(|e| failed("set the attributes of", path, e))?;
        Ok(())
    }

    fn add_folder(&mut self, parent: &OwnedFd, entry: &Entry) -> Result<(), ExtractError> {
        let (path, name) = (&entry.path, entry.path.name());
        // Private until the end; only then it gets its mode.
        let mode = Mode::from_raw_mode(0o700);
        match rustix::fs::mkdirat(parent, name, mode) {
            Err(Errno::EXIST) => {
                let found = stat(parent, name).map_err(|e| failed("inspect", path, e))?;
                if found.kind != FileType::Directory {
                    self.take_away(parent, path)?;
                    rustix::fs::mkdirat(parent, name, mode).map_err(|e| failed("create", path, e))?;
                }
                if found.is_whiteout {
                    // The lower folder was taken away and this one made in its place: they must not be merged.
                    self.set_opaque_at(path).map_err(|e| failed("mark", path, e))?;
                }
            }
            result => result.map_err(|e| failed("create", path, e))?,
        }
        self.pending.insert(path.as_bytes().to_vec(), meta_of(entry));
        Ok(())
    }

    /// Links to an entry of this layer: the root holds nothing else.
    fn add_hard_link(&mut self, parent: &OwnedFd, path: &TarPath, target: &TarPath) -> Result<(), ExtractError> {
        if target == path {
            return Ok(());
        }
        let from = self.folders.open(target.parent()).map_err(|e| failed("open the folder of", target, e))?;
        self.replacing(parent, path, |name| rustix::fs::linkat(&from, target.name(), parent, name, AtFlags::empty()))
    }

    fn add_node(
        &mut self,
        parent: &OwnedFd,
        entry: &Entry,
        kind: FileType,
        device: rustix::fs::Dev,
    ) -> Result<(), ExtractError> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        self.replacing(parent, &entry.path, |name| rustix::fs::mknodat(parent, name, kind, mode, device))
    }

    /// Hides `hidden` of lower layers. What this layer itself has under that name stays, but is not merged.
    fn add_whiteout(&mut self, parent: &OwnedFd, path: &TarPath, hidden: &[u8]) -> Result<(), ExtractError> {
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(ExtractError::Whiteout(path.as_bytes().escape_ascii().to_string()));
        }
        let mode = Mode::empty();
        match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, mode, rustix::fs::makedev(0, 0)) {
            Err(Errno::EXIST) => {
                let found = stat(parent, hidden).map_err(|e| failed("inspect", path, e))?;
                if found.kind == FileType::Directory {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    rustix::fs::openat(parent, hidden, flags, Mode::empty())
                        .map_err(io::Error::from)
                        .and_then(|folder| set_opaque(folder.as_fd()))
                        .map_err(|e| failed("mark", path, e))?;
                }
                Ok(())
            }
            result => result.map_err(|e| failed("create", path, e)),
        }
    }

    fn set_opaque_at(&mut self, path: &TarPath) -> io::Result<()> {
        let folder = self.folders.open(path.as_bytes())?;
        set_opaque(folder.as_fd())
    }

    /// Creates `path`, taking away what an earlier entry put there.
    fn replacing<T>(
        &mut self,
        parent: &OwnedFd,
        path: &TarPath,
        create: impl Fn(&[u8]) -> Result<T, Errno>,
    ) -> Result<T, ExtractError> {
        match create(path.name()) {
            Err(Errno::EXIST) => {
                self.take_away(parent, path)?;
                create(path.name()).map_err(|e| failed("create", path, e))
            }
            result => result.map_err(|e| failed("create", path, e)),
        }
    }

    fn take_away(&mut self, parent: &OwnedFd, path: &TarPath) -> Result<(), ExtractError> {
        let found = stat(parent, path.name()).map_err(|e| failed("inspect", path, e))?;
        folder::remove_tree(parent, path.name()).map_err(|e| failed("replace", path, e))?;
        if matches!(found.kind, FileType::Directory | FileType::Symlink) {
            self.folders.forget();
        }
        if found.kind == FileType::Directory {
            let own = path.as_bytes();
            let below: Vec<Vec<u8>> = self
                .pending
                .range(own.to_vec()..)
                .map(|(known, _)| known)
                .take_while(|known| known.starts_with(own))
                .filter(|known| known.len() == own.len() || known[own.len()] == b'/')
                .cloned()
                .collect();
            for known in below {
                self.pending.remove(&known);
            }
        }
        Ok(())
    }

    fn owner(&self, entry: &Entry) -> Option<(u32, u32)> {
        Some((entry.uid, entry.gid)).filter(|owner| *owner != self.creator)
    }

    /// Sets owner, mode and times of what cannot be opened.
    fn set_meta_of_node(&self, parent: &OwnedFd, entry: &Entry) -> io::Result<()> {
        let name = entry.path.name();
        if let Some((uid, gid)) = self.owner(entry) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            // Just created by `mknodat` in a private folder, so it is no symlink.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// What is there already.
struct Found {
    kind: FileType,
    is_whiteout: bool,
}

fn stat(parent: &OwnedFd, name: &[u8]) -> io::Result<Found> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok(Found { kind, is_whiteout: kind == FileType::CharacterDevice && stat.st_rdev == 0 })
}

/// Copies `length` bytes of the entry's content to `offset`.
fn copy(
    file: &OwnedFd,
    mut offset: u64,
    length: u64,
    path: &TarPath,
    stream: &mut TarStream<impl BufRead>,
) -> Result<(), LayerError> {
    let end = offset + length;
    while offset < end {
        let piece = stream.content()?;
        let wanted = usize::try_from(end - offset).map_or(piece.len(), |left| left.min(piece.len()));
        let written = match rustix::io::pwrite(file, &piece[..wanted], offset) {
            Err(Errno::INTR) => 0,
            result => result.map_err(|e| failed("write", path, e))?,
        };
        stream.consume_content(written);
        offset += written as u64;
    }
    Ok(())
}

/// Owner first, since it clears set-id bits and capabilities; times last, since all else changes them.
fn set_meta(
    file: impl AsFd,
    mode: u32,
    owner: Option<(u32, u32)>,
    xattrs: &[(Vec<u8>, Vec<u8>)],
    times: &Timestamps,
) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    for (name, value) in xattrs {
        match rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
            // A file system without user attributes loses them, as with docker; a lost capability would be an error.
            Err(Errno::OPNOTSUPP) if name.starts_with(b"user.") => {}
            result => result?,
        }
    }
    Ok(rustix::fs::futimens(&file, times)?)
}

/// Makes overlayfs hide what lower layers have in a folder.
fn set_opaque(folder: impl AsFd) -> io::Result<()> {
    match rustix::fs::fsetxattr(&folder, c"trusted.overlay.opaque", b"y", XattrFlags::empty()) {
        // In a user namespace overlayfs looks at this one instead.
        Err(Errno::PERM) => Ok(rustix::fs::fsetxattr(&folder, c"user.overlay.opaque", b"y", XattrFlags::empty())?),
        result => Ok(result?),
    }
}

fn meta_of(entry: &Entry) -> FolderMeta {
    let owner = (entry.uid, entry.gid);
    FolderMeta { mode: entry.mode, owner, times: times(entry), xattrs: entry.xattrs.clone() }
}

fn times(entry: &Entry) -> Timestamps {
    let timespec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: timespec(entry.atime.unwrap_or(entry.mtime)), last_modification: timespec(entry.mtime) }
}

fn failed(verb: &'static str, path: &TarPath, source: impl Into<io::Error>) -> ExtractError {
    failed_at(verb, path.as_bytes(), source)
}

fn failed_at(verb: &'static str, path: &[u8], source: impl Into<io::Error>) -> ExtractError {
    ExtractError::Io { verb, path: path.escape_ascii().to_string(), source: source.into() }
}
