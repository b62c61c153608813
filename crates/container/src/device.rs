//! Device nodes of a container: the few that every program expects, and those that were asked for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::oci::runtime::Device;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::error::{Doing, StartError};
use crate::mount::apply;

/// Name, major and minor number. *Source*: runtime-spec config-linux.md, "Default Devices".
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Link and target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Clones of the host's own default device nodes, for containers that may not make any (user namespaces). The clones
/// are taken from nodes whose numbers were checked, never by a path that the container could have changed.
pub(crate) fn host_clones() -> Result<Vec<(&'static str, OwnedFd)>, StartError> {
    DEFAULT.iter().map(|&(name, major, minor)| Ok((name, host_clone(name, major, minor)?))).collect()
}

fn host_clone(name: &str, major: u32, minor: u32) -> Result<OwnedFd, StartError> {
    let path = format!("/dev/{name}");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, path.as_str(), flags).doing(|| format!("use the host's `{path}`"))?;
    let stat = rustix::fs::fstat(&tree).doing(|| format!("look at `{path}`"))?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || stat.st_rdev != makedev(major, minor) {
        return Err(StartError::refused(format!("use the host's `{path}`: it is not device {major}:{minor}")));
    }
    Ok(tree)
}

/// Fills a `/dev` that nobody else can see yet; with `own_nodes` nodes are made, else they are for [`attach_clones`].
/// *Order*: the file mode mask is 0.
pub(crate) fn populate(dev: BorrowedFd<'_>, own_nodes: bool) -> Result<(), StartError> {
    for (name, major, minor) in DEFAULT {
        if own_nodes {
            let mode = Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor))
                .doing(|| format!("make device `/dev/{name}`"))?;
        }
    }
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(StartError::setup(format!("make link `/dev/{name}`"), e)),
        }
    }
    Ok(())
}

/// Puts clones of the host's nodes into `/dev`. *Order*: after `/dev` was attached itself: before Linux 6.15 nothing can be
/// mounted on a mount that is in no namespace.
pub(crate) fn attach_clones(dev: BorrowedFd<'_>, clones: &[(&'static str, OwnedFd)]) -> Result<(), StartError> {
    clones.iter().try_for_each(|(name, tree)| attach_file(dev, name, tree.as_fd()))
}

/// Attaches a cloned file mount at `dev/name`, making the file to hold it.
pub(crate) fn attach_file(dev: BorrowedFd<'_>, name: &str, tree: BorrowedFd<'_>) -> Result<(), StartError> {
    let what = || format!("attach `/dev/{name}`");
    let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
    drop(rustix::fs::openat(dev, name, flags, Mode::from_raw_mode(0o666)).doing(what)?);
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", dev, name, empty).doing(what)
}

/// Makes a device that was asked for, at its path in the container. *Order*: the file mode mask is 0.
pub(crate) fn make(root: BorrowedFd<'_>, device: &Device) -> Result<(), StartError> {
    let what = || format!("make device `{}`", device.path.display());
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => return Err(StartError::refused(format!("{}: `{other}` is no kind of device", what()))),
    };
    let path = crate::mount::clean(&device.path)?;
    if path == Path::new("/dev/ptmx") {
        // The host's would hand out the host's terminals; the container's own devpts has one.
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(StartError::refused(what()));
    };
    let parent = apply::ensure_folder(root, parent).doing(what)?;
    let number = |n: i64| u32::try_from(n).map_err(|_| StartError::refused(format!("{}: bad number {n}", what())));
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
    let rdev = makedev(number(device.major)?, number(device.minor)?);
    match rustix::fs::mknodat(&parent, name, kind, mode, rdev) {
        Ok(()) => {}
        Err(Errno::EXIST) => return check_existing(parent.as_fd(), Path::new(name), kind, rdev, what),
        Err(e) => return Err(StartError::setup(what(), e)),
    }
    if device.uid.unwrap_or(0) != 0 || device.gid.unwrap_or(0) != 0 {
        let owner = (Some(Uid::from_raw(device.uid.unwrap_or(0))), Some(Gid::from_raw(device.gid.unwrap_or(0))));
        rustix::fs::chownat(&parent, name, owner.0, owner.1, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).doing(what)?;
    }
    Ok(())
}

fn check_existing(
    parent: BorrowedFd<'_>,
    name: &Path,
    kind: FileType,
    rdev: u64,
    what: impl Fn() -> String,
) -> Result<(), StartError> {
    let stat = rustix::fs::statat(parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).doing(&what)?;
    if FileType::from_raw_mode(stat.st_mode) == kind && (kind == FileType::Fifo || stat.st_rdev == rdev) {
        return Ok(());
    }
    Err(StartError::refused(format!("{}: another file is there", what())))
}
