//! How processes get into a group.
//!
//! On v2 by `CLONE_INTO_CGROUP`: the child is born there. On v1 the child writes `0` to each `tasks` file while it has
//! one thread: 10 to 15 µs each here, where writing a pid to `cgroup.procs` takes the lock that stops every fork and
//! exit of the machine and first waits for an RCU grace period (240 µs here, milliseconds on many CPUs).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::CgroupView;

use super::error::CgroupError;
use super::{Cgroup, ControllerSet, file};

/// Open descriptors through which a child enters a container's groups. All are close-on-exec.
#[derive(Debug)]
pub struct Entry {
    v2: Option<OwnedFd>,
    tasks: Vec<OwnedFd>,
    /// Folders of the v1 groups, by the names of their controllers.
    v1_dirs: Vec<(&'static str, PathBuf)>,
}

impl Entry {
    /// The v2 group, for `CLONE_INTO_CGROUP`.
    pub fn v2_folder(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// The v1 `tasks` files. The child writes `0` to each.
    ///
    /// *Order*: while it is single-threaded, before it forks and before it gives up privileges. The descriptors stay
    /// valid after `pivot_root`.
    pub fn v1_tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.tasks.iter().map(AsFd::as_fd).collect()
    }

    /// What the container may see of its groups: on v2 a mount that its cgroup namespace roots at its own group; on v1
    /// a detached mount of each own group.
    ///
    /// *Privilege*: CAP_SYS_ADMIN on v1. *Kernel*: 5.2.
    pub fn view(&self) -> Result<CgroupView, Errno> {
        if self.v1_dirs.is_empty() {
            return Ok(CgroupView::V2);
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = |(name, dir): &(&'static str, PathBuf)| {
            Ok(((*name).to_owned(), rustix::mount::open_tree(rustix::fs::CWD, dir, flags)?))
        };
        self.v1_dirs.iter().map(tree).collect::<Result<_, Errno>>().map(CgroupView::V1)
    }
}

pub(super) fn of_group(group: &Cgroup) -> Result<Entry, CgroupError> {
    let mut entry = Entry { v2: None, tasks: Vec::new(), v1_dirs: Vec::new() };
    if let Some(dir) = group.v2_dir() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = rustix::fs::open(&dir, flags, Mode::empty());
        entry.v2 = Some(opened.map_err(|e| CgroupError::Open { path: dir, source: e.into() })?);
    }
    for mount in &group.hierarchy.v1 {
        if group.made_v1.is_some_and(|made| made.intersection(mount.controllers).is_empty()) {
            continue;
        }
        let dir = group.path.under(&mount.dir);
        let path = dir.join("tasks");
        match file::open_write(&path) {
            Ok(fd) => {
                entry.tasks.push(fd);
                entry.v1_dirs.extend(mount.controllers.iter().map(|c| (c.v1_name(), dir.clone())));
            }
            // An opened group does not know in which mounts it is.
            Err(Errno::NOENT) if group.made_v1.is_none() => {}
            Err(e) => return Err(CgroupError::Open { path, source: e.into() }),
        }
    }
    if entry.v2.is_none() && entry.tasks.is_empty() {
        let path = group.tracking_dirs().into_iter().next().unwrap_or_default();
        return Err(CgroupError::Open { path, source: Errno::NOENT.into() });
    }
    Ok(entry)
}

/// Moves a process with all its threads into the groups (or, `only`, into some v1 groups).
pub(super) fn move_in(group: &Cgroup, pid: i32, only: Option<ControllerSet>) -> Result<(), CgroupError> {
    let mut dirs = Vec::new();
    for mount in &group.hierarchy.v1 {
        let wanted = only.or(group.made_v1).is_none_or(|set| !set.intersection(mount.controllers).is_empty());
        if wanted {
            dirs.push((group.path.under(&mount.dir), only.or(group.made_v1).is_none()));
        }
    }
    if only.is_none()
        && let Some(dir) = group.v2_dir()
    {
        dirs.push((dir, false));
    }
    let value = pid.to_string();
    let mut joined = false;
    for (dir, may_lack) in dirs {
        let path = dir.join("cgroup.procs");
        match file::write(&path, &value) {
            Ok(()) => joined = true,
            Err(Errno::NOENT) if may_lack => {}
            Err(e) => return Err(CgroupError::Join { pid, path, source: e.into() }),
        }
    }
    if joined {
        return Ok(());
    }
    let path = group.tracking_dirs().into_iter().next().unwrap_or_default();
    Err(CgroupError::Join { pid, path, source: Errno::NOENT.into() })
}
