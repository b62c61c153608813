//! Where control groups are mounted, and the path of a group below that. Finds out with one `stat` a controller and
//! without parsing `mountinfo`; makes nothing.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{stat, statfs};

use super::controller::{Controller, ControllerSet};
use super::error::CgroupError;

/// Magic of cgroup2 in `statfs`. *Source*: linux/magic.h.
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
/// Bytes of a group path at most: leaves room for the mount point and a file name within PATH_MAX.
const MAX_PATH: usize = 1024;

/// Which generation of control groups a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A mount for each controller or set of them.
    V1,
    /// One tree.
    V2,
    /// v1 mounts beside a v2 tree.
    Hybrid,
}

/// One v1 mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Mount {
    /// Where.
    pub dir: PathBuf,
    /// Its controllers.
    pub controllers: ControllerSet,
}

/// The control group mounts of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub(super) v1: Vec<V1Mount>,
    pub(super) unified: Option<PathBuf>,
}

impl Hierarchy {
    /// Looks at `root` (`/sys/fs/cgroup`): a v2 tree itself, or a folder of v1 mounts by controller name with, on
    /// hybrid hosts, a v2 tree named `unified`. About a dozen `stat` calls, 10 µs.
    pub fn discover(root: &Path) -> Result<Hierarchy, CgroupError> {
        let failed = |e: rustix::io::Errno| CgroupError::Discover { root: root.to_owned(), source: e.into() };
        if is_cgroup2(root).map_err(failed)? {
            return Ok(Hierarchy { v1: Vec::new(), unified: Some(root.to_owned()) });
        }
        let outside = stat(root).map_err(failed)?.st_dev;
        let mut devices: Vec<u64> = Vec::new();
        let mut v1: Vec<V1Mount> = Vec::new();
        for controller in Controller::ALL {
            let dir = root.join(controller.v1_name());
            let Ok(found) = stat(&dir) else { continue };
            if found.st_dev == outside {
                continue;
            }
            // `cpu` and `cpuacct` are often two links to one mount: one superblock, one device number.
            match devices.iter().position(|&d| d == found.st_dev) {
                Some(at) => v1[at].controllers.insert(controller),
                None => {
                    devices.push(found.st_dev);
                    v1.push(V1Mount { dir, controllers: ControllerSet::of(&[controller]) });
                }
            }
        }
        let unified = root.join("unified");
        let unified = matches!(is_cgroup2(&unified), Ok(true)).then_some(unified);
        if v1.is_empty() && unified.is_none() {
            let source = io::Error::new(io::ErrorKind::NotFound, "neither a cgroup2 mount nor any controller's mount");
            return Err(CgroupError::Discover { root: root.to_owned(), source });
        }
        Ok(Hierarchy { v1, unified })
    }

    /// A hierarchy taken as told, without asking the kernel: for trees that are not control groups, and for hosts with
    /// unusual mount points.
    pub fn assume(v1: Vec<V1Mount>, unified: Option<PathBuf>) -> Hierarchy {
        Hierarchy { v1, unified }
    }

    /// Which generation it is.
    pub fn version(&self) -> Version {
        match (self.v1.is_empty(), &self.unified) {
            (true, _) => Version::V2,
            (false, None) => Version::V1,
            (false, Some(_)) => Version::Hybrid,
        }
    }

    /// The v1 mount of a controller.
    pub(super) fn v1_mount(&self, controller: Controller) -> Option<&V1Mount> {
        self.v1.iter().find(|m| m.controllers.contains(controller))
    }

    /// Everything that v1 mounts offer.
    pub(super) fn v1_controllers(&self) -> ControllerSet {
        self.v1.iter().fold(ControllerSet::EMPTY, |set, m| set.union(m.controllers))
    }

    /// Removes the group `path` from every mount where it has neither processes nor child groups; where it has, it
    /// stays. For a parent folder such as `holm`, after the last container went.
    pub fn remove_if_empty(&self, path: &str) -> Result<(), CgroupError> {
        let path = GroupPath::new(path)?;
        for dir in self.v1.iter().map(|m| &m.dir).chain(&self.unified) {
            let dir = path.under(dir);
            match rustix::fs::rmdir(&dir) {
                Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::BUSY | rustix::io::Errno::NOTEMPTY) => {}
                Err(e) => return Err(CgroupError::Remove { path: dir, source: e.into() }),
            }
        }
        Ok(())
    }
}

fn is_cgroup2(path: &Path) -> rustix::io::Result<bool> {
    Ok(statfs(path)?.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

/// A checked path of a group, relative to a mount: `holm/web-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPath(String);

impl GroupPath {
    /// Checks a path. A leading `/` is taken off; empty and dot components, line breaks and NUL are refused.
    pub fn new(path: &str) -> Result<GroupPath, CgroupError> {
        let bad = |reason| Err(CgroupError::Path { path: path.chars().take(80).collect(), reason });
        let inner = path.strip_prefix('/').unwrap_or(path);
        if inner.is_empty() {
            return bad("it names the root group");
        }
        if inner.len() > MAX_PATH {
            return bad("it is longer than 1024 bytes");
        }
        if inner.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return bad("it holds a control character");
        }
        for part in inner.split('/') {
            if part.is_empty() || part == "." || part == ".." {
                return bad("it has an empty, `.` or `..` component");
            }
            // Such a name would be a file of the parent group.
            if part.starts_with("cgroup.") || part == "tasks" || part == "notify_on_release" || part == "release_agent"
            {
                return bad("a component is the name of a control group file");
            }
            if part.len() > 255 {
                return bad("a component is longer than 255 bytes");
            }
        }
        Ok(GroupPath(inner.to_owned()))
    }

    /// Its text, without a leading `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder under a mount.
    pub fn under(&self, mount: &Path) -> PathBuf {
        mount.join(&self.0)
    }

    /// The folders from the mount down to the parent of the group: `M`, `M/holm` for `holm/web-1`.
    pub fn ancestors_under(&self, mount: &Path) -> Vec<PathBuf> {
        let mut list = vec![mount.to_owned()];
        let parts: Vec<&str> = self.0.split('/').collect();
        for part in &parts[..parts.len() - 1] {
            let next = list[list.len() - 1].join(part);
            list.push(next);
        }
        list
    }
}
