//! The root file system of a hypervisor: places for mounts, and links as the host has them.
//!
//! Owns the making of the empty tree. What is mounted in it stands in the OCI document.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::Error;

/// What an otherwise empty root holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootTree {
    /// Folders, relative; those above another need not be named.
    pub folders: Vec<PathBuf>,
    /// Empty files, relative.
    pub files: Vec<PathBuf>,
    /// Links, relative, and their targets.
    pub links: Vec<(PathBuf, PathBuf)>,
}

impl RootTree {
    /// Makes the tree in an existing folder. What is there stays. *Errors*: the call that failed; the tree is made in part.
    pub fn make(&self, at: &Path) -> Result<(), Error> {
        let folder = |path: &Path| {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
            made.map_err(Error::io("make folder", path))
        };
        self.folders.iter().try_for_each(|path| folder(&at.join(path)))?;
        for path in &self.files {
            let path = at.join(path);
            path.parent().map_or(Ok(()), folder)?;
            let opened = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(&path);
            opened.map(drop).map_err(Error::io("make file", &path))?;
        }
        for (path, target) in &self.links {
            let path = at.join(path);
            match symlink(target, &path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("make link", &path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
