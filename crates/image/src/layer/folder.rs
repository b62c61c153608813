//! Folders of a layer that is being unpacked, as file descriptors. Symlinks resolve inside; nothing leaves the root.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How many folders stay open. Tars list folder by folder, so few are in use at a time.
const OPEN_FOLDERS: usize = 24;

/// Opens the root folder itself.
pub(super) fn open_root(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

/// Opens and creates folders below a root, keeping the last ones open.
#[derive(Debug)]
pub(super) struct Folders {
    root: Rc<OwnedFd>,
    /// Most recently used last.
    open: Vec<(Vec<u8>, Rc<OwnedFd>)>,
}

impl Folders {
    pub fn new(root: File) -> Self {
        Self { root: Rc::new(root.into()), open: Vec::with_capacity(OPEN_FOLDERS) }
    }

    /// The root.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens a folder, creating it and its parents (mode 0755) where they are missing.
    pub fn open(&mut self, path: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(at) = self.open.iter().rposition(|(known, _)| known == path) {
            if at + 1 < self.open.len() {
                let folder = self.open.remove(at);
                self.open.push(folder);
            }
            return Ok(Rc::clone(&self.open[self.open.len() - 1].1));
        }
        let folder = match open_below(&self.root, path, OFlags::empty()) {
            Err(Errno::NOENT) => self.create(path)?,
            result => result?,
        };
        if self.open.len() == OPEN_FOLDERS {
            self.open.remove(0);
        }
        let folder = Rc::new(folder);
        self.open.push((path.to_vec(), Rc::clone(&folder)));
        Ok(folder)
    }

    /// Forgets all open folders. *Order*: after anything but a file was taken away, since paths may mean others now.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    fn create(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let parent = self.open(parent)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(open_below(&self.root, path, OFlags::empty())?),
            Err(e) => Err(e.into()),
        }
    }
}

/// Opens a folder below `root` for reading. With `OFlags::NOFOLLOW`, its last component may not be a symlink.
pub(super) fn open_below(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let mut attempts = 0;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // Something was renamed on this machine while the kernel looked at a `..` of a symlink.
            Err(Errno::AGAIN | Errno::INTR) if attempts < 1000 => attempts += 1,
            result => return result,
        }
    }
}

/// Deletes whatever is called `name` in `folder`, with all that is in it. Follows nothing.
pub(super) fn remove_tree(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        result => return Ok(result?),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&inner)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if child == b"." || child == b".." {
            continue;
        }
        match entry.file_type() {
            FileType::Directory => remove_tree(&inner, child)?,
            _ => rustix::fs::unlinkat(&inner, child, AtFlags::empty())?,
        }
    }
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}
