//! A root file system for a container with a user namespace: the same layers, seen through idmapped mounts, so that files
//! which belong to root on disk belong to the container's root, and nothing is copied or chowned.
//!
//! The folder of changes is not mapped: overlayfs itself works in it as the host's root, whom the mapping does not know.
//! What the container writes has its owners' ids of the host there.
//!
//! *Kernel*: 5.19 for idmapped layers of an overlay.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_sys::mount::{MountAttr, attr, mount_setattr};
use rustix::fs::{CWD, Gid, Uid};
use rustix::mount::OpenTreeFlags;

use super::{Rootfs, RootfsError, Upper, failed};

impl Rootfs {
    /// As [`Rootfs::overlay`], with the owners of layers mapped by the user namespace `users`
    /// ([`user_namespace`](crate::namespace::user_namespace)), whose root is `root` on the host.
    pub fn overlay_mapped(
        layers: &[PathBuf],
        upper: Upper<'_>,
        users: BorrowedFd<'_>,
        root: (u32, u32),
    ) -> Result<Self, RootfsError> {
        let clones: Vec<OwnedFd> = layers.iter().map(|layer| mapped_clone(layer, users)).collect::<Result<_, _>>()?;
        let links: Vec<PathBuf> = clones.iter().map(link_to).collect();
        let (uid, gid) = (Uid::from_raw(root.0), Gid::from_raw(root.1));
        rustix::fs::chown(upper.upper, Some(uid), Some(gid)).map_err(failed("make over", upper.upper))?;
        // The overlay holds what it needs of the clones; they are let go here.
        Self::overlay(&links, Some(upper))
    }
}

fn link_to(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn mapped_clone(path: &Path, users: BorrowedFd<'_>) -> Result<OwnedFd, RootfsError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = rustix::mount::open_tree(CWD, path, flags).map_err(failed("clone the mount of", path))?;
    map_owners(clone.as_fd(), users, false).map_err(|source| RootfsError::Call {
        what: "map the owners (its file system must support idmapped mounts) of",
        path: path.to_owned(),
        source,
    })?;
    Ok(clone)
}

/// Shows the owners of a detached mount through the user namespace `users`: who is root on disk is its root. *Errors*: the
/// kernel's; EINVAL where the file system cannot.
pub(crate) fn map_owners(tree: BorrowedFd<'_>, users: BorrowedFd<'_>, recursive: bool) -> std::io::Result<()> {
    let userns_fd = u64::try_from(users.as_raw_fd()).unwrap_or(u64::MAX);
    mount_setattr(tree, recursive, &MountAttr { set: attr::IDMAP, userns_fd, ..MountAttr::default() })
}
