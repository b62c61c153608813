//! Overlays that older kernels make only of mounts which are in a tree: made in a mount namespace for the purpose, which
//! is gone before the overlay is used, so that nothing is ever mounted on the host's tree.
//!
//! Two things need it: layers through idmapped mounts before Linux 6.15, where overlayfs refuses a mount that is in no
//! namespace; and more layers than fit `fsconfig` before Linux 6.8, which have to go through `mount` in one page.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use holm_sys::process::{clone_flag, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::{RootfsError, Upper, failed};

/// Always there, and not needed in the namespace: a small file system is mounted over it.
const PLACE: &str = "/proc";

/// A layer.
pub(super) enum Lower {
    /// A folder, absolute.
    Folder(PathBuf),
    /// A detached mount.
    Mount(OwnedFd),
}

/// Makes the overlay. *Privilege*: CAP_SYS_ADMIN and CAP_SYS_CHROOT. Only the calling thread is moved, and is back when
/// this returns; *Errors* where it cannot be brought back as well.
pub(super) fn overlay(lowers: &[Lower], upper: Option<Upper<'_>>) -> Result<OwnedFd, RootfsError> {
    let here = Path::new("/");
    let enter = |source| RootfsError::Call { what: "make a mount namespace beside that of", path: here.into(), source };
    let leave = |source| RootfsError::Call { what: "return to the mount namespace of", path: here.into(), source };
    let folder = |path: &str| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| enter(e.into()))
    };
    let (root, cwd) = (folder("/")?, folder(".")?);
    let home = rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| enter(e.into()))?;
    unshare(clone_flag::NEWNS).map_err(enter)?;
    let made = make(lowers, upper);
    setns(home.as_fd(), clone_flag::NEWNS).map_err(leave)?;
    let back = || -> rustix::io::Result<()> {
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        rustix::process::fchdir(&cwd)
    };
    back().map_err(|e| leave(e.into()))?;
    made
}

fn make(lowers: &[Lower], upper: Option<Upper<'_>>) -> Result<OwnedFd, RootfsError> {
    let place = Path::new(PLACE);
    // Nothing of what is mounted here may reach the host.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(failed("make private", Path::new("/")))?;
    rustix::mount::mount("tmpfs", place, "tmpfs", MountFlags::empty(), None)
        .map_err(failed("mount tmpfs on", place))?;
    rustix::process::chdir(place).map_err(failed("enter", place))?;
    // The shortest names there are: all of them have to fit one page.
    let mut options = String::from("lowerdir=");
    for (number, lower) in lowers.iter().enumerate().rev() {
        attach(&number.to_string(), lower)?;
        let _ = write!(options, "{number}{}", if number == 0 { "" } else { ":" });
    }
    if let Some(upper) = upper {
        let _ = write!(options, ",upperdir={},workdir={}", upper.upper.display(), upper.work.display());
        options.push_str(if upper.volatile { ",volatile" } else { "" });
    }
    let root = Path::new("root");
    rustix::fs::mkdir(root, Mode::RWXU).map_err(failed("make", root))?;
    let bad = |_| failed("use the path", root)(rustix::io::Errno::INVAL);
    let options = std::ffi::CString::new(options).map_err(bad)?;
    rustix::mount::mount("overlay", root, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(failed("mount an overlay at", root))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, root, flags).map_err(failed("clone the overlay at", root))
}

fn attach(name: &str, lower: &Lower) -> Result<(), RootfsError> {
    let at = Path::new(name);
    match lower {
        Lower::Folder(folder) => symlink(folder, at).map_err(|source| RootfsError::Call {
            what: "link to the layer",
            path: folder.clone(),
            source,
        }),
        Lower::Mount(mount) => {
            rustix::fs::mkdir(at, Mode::RWXU).map_err(failed("make", at))?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(mount, "", CWD, at, flags).map_err(failed("attach the layer at", at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::{MAX_LAYERS, Rootfs};

    fn mounts() -> String {
        std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo")
    }

    #[test]
    fn most_layers_are_stacked_and_the_thread_is_where_it_was() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let layer = |n: usize| {
            let path = folder.path().join(n.to_string());
            std::fs::create_dir(&path).expect("a layer");
            std::fs::write(path.join("top"), n.to_string()).expect("a file");
            std::fs::write(path.join(format!("only-{n}")), "").expect("a file");
            Lower::Folder(path)
        };
        let lowers: Vec<Lower> = (0..MAX_LAYERS).map(layer).collect();
        let namespace = || std::fs::read_link("/proc/thread-self/ns/mnt").expect("a namespace");
        let before = (namespace(), mounts(), std::env::current_dir().expect("a folder"));
        let root = Rootfs { mount: overlay(&lowers, None).expect("an overlay") };
        assert_eq!((namespace(), mounts(), std::env::current_dir().expect("a folder")), before);
        let mut top = String::new();
        let file = root.open_in_root(Path::new("top"), OFlags::RDONLY).expect("the file");
        std::io::Read::read_to_string(&mut std::fs::File::from(file), &mut top).expect("its text");
        assert_eq!(top, (MAX_LAYERS - 1).to_string());
        assert!(root.open_in_root(Path::new("only-0"), OFlags::RDONLY).is_ok());
    }
}
