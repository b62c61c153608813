//! Attaching planned mounts inside the container, after the change of root.
//!
//! Every path is resolved below the new root by `openat2`, with no link leading out and none through `/proc/PID/fd`;
//! mounts are attached by descriptor, so what was checked is what is used.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_sys::mount::{MountAttr, attr, mount_setattr};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::{MountSource, MountStep};
use crate::cgroup_view::CgroupView;
use crate::device;
use crate::error::{Doing, StartError};
use crate::rootfs::open_in_root;

/// What applying the mounts needs to know, and what it finds.
pub(crate) struct Applied {
    /// The container's root, after the change.
    pub root: OwnedFd,
    /// The container's own procfs, if one was mounted.
    pub proc: Option<OwnedFd>,
    /// The container's own `/dev`, if one was mounted.
    pub dev: Option<OwnedFd>,
    /// Mounts that [`make_early`] made, by the number of their step.
    pub early: Vec<(usize, OwnedFd)>,
}

/// Makes the procfs and sysfs of a container with a user namespace, while the host's own are still in sight: without
/// them the kernel refuses, for a new one could reveal what they hide. *Source*: fs/namespace.c, `mount_too_revealing`.
pub(crate) fn make_early(steps: &[MountStep]) -> Result<Vec<(usize, OwnedFd)>, StartError> {
    let mut made = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        match &step.source {
            MountSource::FileSystem { kind, data } if matches!(kind.as_bytes(), b"proc" | b"sysfs") => {
                made.push((n, new_file_system(step, kind, data)?));
            }
            _ => {}
        }
    }
    Ok(made)
}

/// Attaches all steps in order. *Order*: in the container's process, after the change of root, file mode mask 0.
pub(crate) fn apply(
    steps: &[MountStep],
    cgroups: &CgroupView,
    device_clones: &[(&'static str, OwnedFd)],
    applied: &mut Applied,
) -> Result<(), StartError> {
    for (n, step) in steps.iter().enumerate() {
        match &step.source {
            MountSource::FileSystem { kind, data } => {
                let early = applied.early.iter().position(|(made, _)| *made == n);
                let mount = match early {
                    Some(at) => applied.early.swap_remove(at).1,
                    None => new_file_system(step, kind, data)?,
                };
                let is = |name: &[u8], target: &str| kind.as_bytes() == name && step.target == Path::new(target);
                if is(b"tmpfs", "/dev") {
                    device::populate(mount.as_fd(), device_clones.is_empty())?;
                }
                attach_folder(applied.root.as_fd(), step, mount.as_fd())?;
                if is(b"tmpfs", "/dev") {
                    device::attach_clones(mount.as_fd(), device_clones)?;
                    applied.dev = Some(mount);
                } else if is(b"proc", "/proc") {
                    applied.proc = Some(mount);
                }
            }
            MountSource::Bind { tree, is_folder } => bind(applied.root.as_fd(), step, tree.as_fd(), *is_folder)?,
            MountSource::Cgroup => cgroup(applied.root.as_fd(), step, cgroups)?,
        }
    }
    Ok(())
}

fn shown(step: &MountStep) -> impl Fn() -> String + '_ {
    || match &step.source {
        MountSource::FileSystem { kind, .. } => {
            format!("mount {} on `{}`", kind.to_string_lossy(), step.target.display())
        }
        MountSource::Bind { .. } => format!("bind onto `{}`", step.target.display()),
        MountSource::Cgroup => format!("mount control groups on `{}`", step.target.display()),
    }
}

type Data = [(std::ffi::CString, Option<std::ffi::CString>)];

fn new_file_system(step: &MountStep, kind: &std::ffi::CStr, data: &Data) -> Result<OwnedFd, StartError> {
    let what = shown(step);
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).doing(&what)?;
    for (key, value) in data {
        let set = match value {
            Some(value) => rustix::mount::fsconfig_set_string(&fs, key.as_c_str(), value.as_c_str()),
            None => rustix::mount::fsconfig_set_flag(&fs, key.as_c_str()),
        };
        set.doing(|| format!("{}: option `{}`", what(), key.to_string_lossy()))?;
    }
    rustix::mount::fsconfig_create(&fs).doing(&what)?;
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(step.attr.set).unwrap_or(0));
    let mount = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags).doing(&what)?;
    if step.attr.propagation != 0 || step.recursive_attr != MountAttr::default() {
        let change =
            MountAttr { set: step.recursive_attr.set, propagation: step.attr.propagation, ..step.recursive_attr };
        mount_setattr(mount.as_fd(), false, &change).doing(&what)?;
    }
    Ok(mount)
}

fn attach_folder(root: BorrowedFd<'_>, step: &MountStep, mount: BorrowedFd<'_>) -> Result<(), StartError> {
    let what = shown(step);
    // The masks and label writes rely on these being what they seem (CVE-2019-19921).
    let strict = ["/proc", "/sys", "/dev"].iter().any(|path| step.target == Path::new(path));
    let target = if strict { strict_folder(root, &step.target) } else { ensure_folder(root, &step.target) };
    attach(mount, target.doing(&what)?.as_fd()).doing(what)
}

fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

fn bind(root: BorrowedFd<'_>, step: &MountStep, tree: BorrowedFd<'_>, is_folder: bool) -> Result<(), StartError> {
    const MS_PRIVATE: u64 = 1 << 18;
    let what = shown(step);
    let mut recursive = step.recursive_attr;
    if recursive.propagation == 0 && step.attr.propagation == 0 {
        recursive.propagation = MS_PRIVATE;
    }
    if recursive != MountAttr::default() {
        mount_setattr(tree, true, &recursive).doing(&what)?;
    }
    if step.attr != MountAttr::default() {
        mount_setattr(tree, false, &step.attr).doing(&what)?;
    }
    let target = if is_folder { ensure_folder(root, &step.target) } else { ensure_file(root, &step.target) };
    let target = target.doing(&what)?;
    if step.target.starts_with("/proc") || on_procfs(target.as_fd()).doing(&what)? {
        super::refuse_over_proc(&step.target, "", true)?;
        if !step.target.starts_with("/proc") {
            return Err(StartError::refused(format!("{}: a link leads it into /proc", what())));
        }
    }
    attach(tree, target.as_fd()).doing(what)
}

fn on_procfs(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

fn cgroup(root: BorrowedFd<'_>, step: &MountStep, view: &CgroupView) -> Result<(), StartError> {
    let what = shown(step);
    let target = ensure_folder(root, &step.target).doing(&what)?;
    match view {
        CgroupView::None => Ok(()),
        CgroupView::V2 => {
            let mount = new_file_system(step, c"cgroup2", &[])?;
            attach(mount.as_fd(), target.as_fd()).doing(what)
        }
        CgroupView::V1(groups) => {
            let mode = (c"mode".to_owned(), Some(c"755".to_owned()));
            let holder = new_file_system(&writable(step), c"tmpfs", &[mode])?;
            attach(holder.as_fd(), target.as_fd()).doing(&what)?;
            for (name, tree) in groups {
                mount_setattr(tree.as_fd(), true, &step.attr).doing(&what)?;
                rustix::fs::mkdirat(&holder, name.as_str(), Mode::from_raw_mode(0o755)).doing(&what)?;
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                rustix::mount::move_mount(tree, "", &holder, name.as_str(), flags).doing(&what)?;
            }
            mount_setattr(holder.as_fd(), false, &step.attr).doing(what)
        }
    }
}

/// The same step while its holder is being filled.
fn writable(step: &MountStep) -> MountStep {
    let attr = MountAttr { set: step.attr.set & !attr::RDONLY, ..step.attr };
    MountStep { target: step.target.clone(), source: MountSource::Cgroup, attr, recursive_attr: MountAttr::default() }
}

/// Opens a folder below the root, making what is missing of it. Links inside the root are followed inside it.
pub(crate) fn ensure_folder(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let folder = OFlags::PATH | OFlags::DIRECTORY;
    match open_in_root(root, relative(path), folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    // Most often the last part alone is missing.
    if let (Some(above), Some(name)) = (path.parent(), path.file_name())
        && let Ok(parent) = open_in_root(root, relative(above), folder)
        && matches!(rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)), Ok(()) | Err(Errno::EXIST))
    {
        return open_in_root(root, relative(path), folder);
    }
    let mut done = PathBuf::from("/");
    let mut parent = open_in_root(root, relative(&done), folder)?;
    for part in path.components().skip(1) {
        done.push(part);
        parent = match open_in_root(root, relative(&done), folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => open_in_root(root, relative(&done), folder)?,
                    Err(e) => return Err(e.into()),
                }
            }
            other => other?,
        };
    }
    Ok(parent)
}

fn ensure_file(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    match open_in_root(root, relative(path), OFlags::PATH) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = ensure_folder(root, parent)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o755)) {
        Ok(_) | Err(Errno::EXIST) => open_in_root(root, relative(path), OFlags::PATH),
        Err(e) => Err(e.into()),
    }
}

/// Opens a folder whose path may hold no link at all, making it if it is missing.
fn strict_folder(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat2(root, relative(path), flags, Mode::empty(), resolve);
    match open() {
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(root, relative(path), Mode::from_raw_mode(0o755))?;
            Ok(open()?)
        }
        other => Ok(other?),
    }
}

fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

/// What is attached over masked paths. Both are mounted in the container itself: before Linux 6.15 only what is mounted
/// in one's own namespace can be cloned.
pub(crate) struct Masks {
    null: OwnedFd,
    empty: Option<OwnedFd>,
}

impl Masks {
    /// Takes the container's `/dev/null`, which must be what it seems (CVE-2025-31133).
    pub(crate) fn new(root: BorrowedFd<'_>) -> Result<Self, StartError> {
        let what = || "use the container's /dev/null for masking".to_owned();
        let null = open_in_root(root, Path::new("dev/null"), OFlags::PATH).doing(what)?;
        let stat = rustix::fs::fstat(&null).doing(what)?;
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !is_device || stat.st_rdev != rustix::fs::makedev(1, 3) {
            return Err(StartError::refused(what() + ": it is not device 1:3"));
        }
        Ok(Self { null, empty: None })
    }

    /// Makes a path unreadable: an empty folder or `/dev/null` is attached over it. What is not there needs no mask.
    pub(crate) fn mask(&mut self, root: BorrowedFd<'_>, path: &Path) -> Result<(), StartError> {
        let what = || format!("mask `{}`", path.display());
        let target = match open_in_root(root, relative(path), OFlags::PATH) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
            other => other.doing(what)?,
        };
        let stat = rustix::fs::fstat(&target).doing(what)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return attach(clone(self.null.as_fd(), false).doing(what)?.as_fd(), target.as_fd()).doing(what);
        }
        match &self.empty {
            Some(empty) => attach(clone(empty.as_fd(), false).doing(what)?.as_fd(), target.as_fd()).doing(what),
            None => {
                let empty = empty_folder().doing(what)?;
                attach(empty.as_fd(), target.as_fd()).doing(what)?;
                self.empty = Some(empty);
                Ok(())
            }
        }
    }
}

fn empty_folder() -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&fs, "nr_blocks", "1")?;
    rustix::mount::fsconfig_set_string(&fs, "nr_inodes", "1")?;
    rustix::mount::fsconfig_create(&fs)?;
    Ok(rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?)
}

fn clone(fd: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(fd, "", flags)?)
}

/// Makes a path and all below it read-only. What is not there needs none of it.
pub(crate) fn make_read_only(root: BorrowedFd<'_>, path: &Path) -> Result<(), StartError> {
    let what = || format!("make `{}` read-only", path.display());
    let target = match open_in_root(root, relative(path), OFlags::PATH) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        other => other.doing(what)?,
    };
    let tree = clone(target.as_fd(), true).doing(what)?;
    let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
    mount_setattr(tree.as_fd(), true, &change).doing(what)?;
    attach(tree.as_fd(), target.as_fd()).doing(what)
}
