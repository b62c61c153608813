//! What a container changed: an overlay's upper folder compared with its lower ones. Reads, never writes.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::diff::{DiffError, names};
use super::entry::MAX_DEPTH;
use super::folder;

/// How a path changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was there before.
    Changed,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// The letter that `docker diff` prints.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How it changed.
    pub kind: ChangeKind,
    /// Absolute, as the container sees it.
    pub path: PathBuf,
}

/// Compares an overlay's upper folder with its lower ones (lowest first). Sorted by path.
pub fn changes(upper: &Path, lowers: &[PathBuf]) -> Result<Vec<Change>, DiffError> {
    let open = |path: &Path| {
        let name = path.as_os_str().as_encoded_bytes();
        folder::open_root(path).map(OwnedFd::from).map_err(|e| failed("open", name, e))
    };
    let root = open(upper)?;
    let below = lowers.iter().rev().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    compare(root.as_fd(), below, b"/", 0, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The same folder in each lower layer that shows it, topmost first.
type Lowers = Vec<OwnedFd>;

fn compare(
    folder: BorrowedFd<'_>,
    lowers: Lowers,
    path: &[u8],
    depth: usize,
    found: &mut Vec<Change>,
) -> Result<(), DiffError> {
    if depth > MAX_DEPTH {
        return Err(DiffError::TooDeep { path: path.escape_ascii().to_string() });
    }
    let mut add = |kind, bytes: &[u8]| found.push(Change { kind, path: OsString::from_vec(bytes.to_vec()).into() });
    let own = names(folder).map_err(|e| failed("list", path, e))?;
    let opaque = is_opaque(folder);
    if opaque {
        let own: BTreeSet<&CString> = own.iter().collect();
        for name in lower_names(&lowers).map_err(|e| failed("list", path, e))? {
            if !own.contains(&name) {
                add(ChangeKind::Deleted, &[path, name.to_bytes()].concat());
            }
        }
    }
    let mut inner_folders = Vec::new();
    for name in own {
        let full = [path, name.to_bytes()].concat();
        let kind = kind_of(folder, &name).map_err(|e| failed("inspect", &full, e))?;
        let below = visible(&lowers, &name).map_err(|e| failed("inspect", &full, e))?;
        match (kind, below) {
            (Kind::Absent, _) | (Kind::Whiteout, false) => continue,
            (Kind::Whiteout, true) => add(ChangeKind::Deleted, &full),
            (_, true) => add(ChangeKind::Changed, &full),
            (_, false) => add(ChangeKind::Added, &full),
        }
        if kind == Kind::Folder {
            inner_folders.push((name, full));
        }
    }
    for (name, mut full) in inner_folders {
        let inner = open_inner(folder, &name).map_err(|e| failed("open", &full, e))?;
        let below = inner_lowers(&lowers, &name).map_err(|e| failed("open", &full, e))?;
        full.push(b'/');
        compare(inner.as_fd(), below, &full, depth + 1, found)?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Absent,
    Whiteout,
    Folder,
    Other,
}

fn kind_of(folder: BorrowedFd<'_>, name: &CString) -> io::Result<Kind> {
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Kind::Absent),
        result => result?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Folder,
        FileType::CharacterDevice if stat.st_rdev == 0 => Kind::Whiteout,
        _ => Kind::Other,
    })
}

/// True if the merged lower layers show `name`.
fn visible(lowers: &Lowers, name: &CString) -> io::Result<bool> {
    for lower in lowers.iter() {
        match kind_of(lower.as_fd(), name)? {
            Kind::Absent => {}
            Kind::Whiteout => return Ok(false),
            _ => return Ok(true),
        }
        if is_opaque(lower.as_fd()) {
            return Ok(false);
        }
    }
    Ok(false)
}

/// The lower layers' folders of that name that overlayfs would merge.
fn inner_lowers(lowers: &Lowers, name: &CString) -> io::Result<Lowers> {
    let mut inner = Vec::new();
    for lower in lowers.iter() {
        match kind_of(lower.as_fd(), name)? {
            Kind::Absent => {}
            Kind::Folder => inner.push(open_inner(lower.as_fd(), name)?),
            _ => break,
        }
        if is_opaque(lower.as_fd()) {
            break;
        }
    }
    Ok(inner)
}

fn lower_names(lowers: &Lowers) -> io::Result<BTreeSet<CString>> {
    let mut all = BTreeSet::new();
    for lower in lowers.iter() {
        all.extend(names(lower.as_fd())?);
        if is_opaque(lower.as_fd()) {
            break;
        }
    }
    let mut shown = BTreeSet::new();
    for name in all {
        if visible(lowers, &name)? {
            shown.insert(name);
        }
    }
    Ok(shown)
}

fn open_inner(folder: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

fn is_opaque(folder: BorrowedFd<'_>) -> bool {
    [c"trusted.overlay.opaque", c"user.overlay.opaque"].into_iter().any(|name| {
        let mut value = [0_u8; 4];
        rustix::fs::fgetxattr(folder, name, &mut value).is_ok_and(|n| &value[..n] == b"y")
    })
}

fn failed(verb: &'static str, path: &[u8], source: impl Into<io::Error>) -> DiffError {
    DiffError::Io { verb, path: path.escape_ascii().to_string(), source: source.into() }
}
