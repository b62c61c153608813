//! Clones of mounts that only another process's mount namespace has, as for `--ipc container:X`, which shares `/dev/shm`.
//!
//! A process in between enters that namespace, clones the mount and hands it back; it is in nobody's control group and PID
//! namespace but ours, and ends at once.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use holm_sys::process::{self, Fork, clone_flag};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::{WaitId, WaitIdOptions};

use crate::channel::{self, Message};
use crate::error::{Doing, StartError};
use crate::rootfs::open_in_root;

/// Whether the path names something below another process's root: `/proc/PID/root/...`.
pub(super) fn is_foreign(path: &Path) -> bool {
    split(path).is_some()
}

fn split(path: &Path) -> Option<(i32, &Path)> {
    let mut parts = path.components();
    let fixed = (parts.next()?, parts.next()?.as_os_str());
    let pid = parts.next()?.as_os_str().to_str()?.parse().ok()?;
    let root = parts.next()?.as_os_str();
    (fixed == (Component::RootDir, "proc".as_ref()) && root == "root").then_some((pid, parts.as_path()))
}

/// Clones the mount at such a path, with what is mounted below it.
pub(super) fn clone(path: &Path) -> Result<OwnedFd, StartError> {
    let what = || format!("clone the mount of `{}`", path.display());
    let Some((pid, inside)) = split(path) else { return Err(StartError::refused(what())) };
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).doing(what)?;
    let (ours, theirs) = channel::pair()?;
    let child = match process::fork().doing(what)? {
        Fork::Child => {
            drop(ours);
            let sent = within(&namespace, inside, what).and_then(|tree| theirs.send_console(tree.as_fd()));
            if let Err(e) = sent {
                theirs.send_error(&e);
            }
            process::exit_now(0);
        }
        Fork::Parent(child) => child,
    };
    drop(theirs);
    let heard = ours.hear();
    rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).doing(what)?;
    match heard? {
        Message::Console(tree) => Ok(tree),
        _ => Err(StartError::refused(what())),
    }
}

fn within(namespace: &File, inside: &Path, what: impl Fn() -> String) -> Result<OwnedFd, StartError> {
    process::setns(namespace.as_fd(), clone_flag::NEWNS).doing(&what)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty()).doing(&what)?;
    let found = open_in_root(root.as_fd(), inside, OFlags::PATH).doing(&what)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(&found, "", flags).doing(&what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_another_root_are_foreign() {
        assert_eq!(split(Path::new("/proc/12/root/dev/shm")), Some((12, Path::new("dev/shm"))));
        for other in ["/proc/self/root/x", "/proc/12/cwd/x", "/dev/shm", "proc/12/root/x"] {
            assert!(!is_foreign(Path::new(other)), "{other}");
        }
    }
}
