//! Volumes that are something else than a folder of Holm's: docker's options `type`, `device` and `o` of the local driver.
//!
//! Owns their meaning. Nothing is mounted on the host: each start makes a detached mount that the container takes, and with the
//! last container it is gone. A file system in memory is one for all containers that use it at a time, so a further one takes
//! the mount of one that runs. *Source*: moby volume/local/local_unix.go.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::ContainerId;
use holm_spec::container::{MountKind, MountSpec};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use crate::layout::start_ticks;
use crate::{Error, Roots};

/// Flags of a mount rather than options of its file system: name and bit, none for those that are the default.
const FLAGS: [(&str, MountAttrFlags); 14] = [
    ("ro", MountAttrFlags::MOUNT_ATTR_RDONLY),
    ("rw", MountAttrFlags::empty()),
    ("nosuid", MountAttrFlags::MOUNT_ATTR_NOSUID),
    ("suid", MountAttrFlags::empty()),
    ("nodev", MountAttrFlags::MOUNT_ATTR_NODEV),
    ("dev", MountAttrFlags::empty()),
    ("noexec", MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ("exec", MountAttrFlags::empty()),
    ("noatime", MountAttrFlags::MOUNT_ATTR_NOATIME),
    ("relatime", MountAttrFlags::empty()),
    ("strictatime", MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    ("nodiratime", MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ("defaults", MountAttrFlags::empty()),
    ("async", MountAttrFlags::empty()),
];

/// What a container mounts for a volume.
pub(crate) struct Place {
    /// Where it is.
    pub path: PathBuf,
    /// It may be filled from the image: it is not in use, and its path goes through nothing of a container's.
    pub fillable: bool,
    /// What must be held until the container has it.
    pub held: Vec<OwnedFd>,
}

/// Options, read.
struct Options<'a> {
    kind: &'a str,
    device: &'a str,
    bind: Option<bool>,
    flags: MountAttrFlags,
    data: Vec<(&'a str, Option<&'a str>)>,
}

fn read(options: &BTreeMap<String, String>) -> Result<Options<'_>, Error> {
    let wrong = |why: String| Error::invalid("the options of a volume", why);
    if let Some(key) = options.keys().find(|key| !matches!(key.as_str(), "type" | "device" | "o")) {
        return Err(wrong(format!("there is no `{}`: they are type, device and o", key.escape_default())));
    }
    let get = |key: &str| options.get(key).map_or("", String::as_str);
    let mut read = Options {
        kind: get("type"),
        device: get("device"),
        bind: None,
        flags: MountAttrFlags::empty(),
        data: Vec::new(),
    };
    for word in get("o").split(',').filter(|word| !word.is_empty()) {
        match (word, FLAGS.iter().find(|(name, _)| *name == word)) {
            ("bind", _) => read.bind = Some(false),
            ("rbind", _) => read.bind = Some(true),
            (_, Some((_, flag))) => read.flags |= *flag,
            _ => read.data.push(word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)))),
        }
    }
    if read.kind == "bind" {
        read.bind.get_or_insert(false);
    }
    if read.bind.is_some() {
        if !Path::new(read.device).is_absolute() {
            return Err(wrong("a bind needs an absolute path as its device".to_owned()));
        }
        if let Some((key, _)) = read.data.first() {
            return Err(wrong(format!("`{}` is not for a bind", key.escape_default())));
        }
    } else if matches!(read.kind, "" | "none") {
        return Err(wrong("they need a type, or o=bind".to_owned()));
    } else if read.device.is_empty() && read.kind != "tmpfs" {
        return Err(wrong(format!("type `{}` needs a device", read.kind.escape_default())));
    }
    Ok(read)
}

/// Refuses options that mean nothing.
pub(super) fn check(options: &BTreeMap<String, String>) -> Result<(), Error> {
    if options.is_empty() { Ok(()) } else { read(options).map(drop) }
}

/// The host's folder that a volume with these options is, if it is one.
pub(super) fn folder(options: &BTreeMap<String, String>) -> Option<PathBuf> {
    let read = read(options).ok()?;
    read.bind.map(|_| PathBuf::from(read.device))
}

/// Provides the volume `name` with these options for the container `user`. `folder` is the volume's own.
pub(super) fn provide(
    roots: &Roots,
    name: &str,
    folder: &Path,
    options: &BTreeMap<String, String>,
    user: &ContainerId,
) -> Result<Place, Error> {
    let options = read(options)?;
    if options.bind.is_some() && options.flags.is_empty() {
        return Ok(Place { path: options.device.into(), fillable: true, held: Vec::new() });
    }
    let mut held = Vec::new();
    if options.kind == "tmpfs" {
        // Held until the record of the start is written: who comes next finds this container then.
        held.push(lock(name, folder)?);
        if let Some(path) = of_running_user(roots, name, user)? {
            return Ok(Place { path, fillable: false, held });
        }
    }
    let failed = |e: std::io::Error| Error::io("mount volume", name, e);
    let mount = match options.bind {
        Some(recursive) => clone(&options, recursive).map_err(failed)?,
        None => file_system(&options).map_err(failed)?,
    };
    // The dot makes it the folder, for calls that take no link at the end of a path.
    let path = format!("/proc/self/fd/{}/.", mount.as_raw_fd()).into();
    held.push(mount);
    Ok(Place { path, fillable: true, held })
}

fn lock(name: &str, folder: &Path) -> Result<OwnedFd, Error> {
    let failed = |e: rustix::io::Errno| Error::io("lock volume", name, e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(folder, flags, Mode::empty()).map_err(failed)?;
    rustix::fs::flock(&fd, FlockOperation::LockExclusive).map_err(failed)?;
    Ok(fd)
}

/// The volume as another container has it. *Errors*: that one is in a virtual machine, whose mounts are another kernel's.
fn of_running_user(roots: &Roots, name: &str, but: &ContainerId) -> Result<Option<PathBuf>, Error> {
    for id in crate::engine::ids(roots)?.into_iter().filter(|id| id != but) {
        let (Ok(record), Ok(state)) = (roots.read_record(&id), roots.read_state(&id)) else { continue };
        let uses = |m: &&MountSpec| m.kind == MountKind::Volume && m.source == name;
        let mounts = || record.spec.mounts.iter().filter(uses);
        let runs = state.pid > 0 && start_ticks(state.pid) == Some(state.pid_start_ticks);
        if runs && record.spec.sandbox.isolation.machine().is_some() && mounts().next().is_some() {
            let why = format!("the virtual machine of `{}` has it, and it is in memory", record.spec.name);
            return Err(Error::invalid(format!("volume `{name}`"), why));
        }
        if let Some(mount) = mounts().find(|m| m.subpath.is_none()).filter(|_| runs) {
            return Ok(Some(PathBuf::from(format!("/proc/{}/root{}", state.pid, mount.destination))));
        }
    }
    Ok(None)
}

fn clone(options: &Options<'_>, recursive: bool) -> std::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount = rustix::mount::open_tree(CWD, options.device, flags)?;
    let set = u64::from(options.flags.bits());
    let change = holm_sys::mount::MountAttr { set, ..Default::default() };
    holm_sys::mount::mount_setattr(mount.as_fd(), recursive, &change)?;
    Ok(mount)
}

fn file_system(options: &Options<'_>) -> std::io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen(options.kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !options.device.is_empty() {
        rustix::mount::fsconfig_set_string(&fs, "source", options.device)?;
    }
    for (key, value) in &options.data {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&fs, *key, *value)?,
            None => rustix::mount::fsconfig_set_flag(&fs, *key)?,
        }
    }
    rustix::mount::fsconfig_create(&fs)?;
    Ok(rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, options.flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        for (pairs, fits) in [
            (&[][..], true),
            (&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=7,nosuid")], true),
            (&[("type", "none"), ("device", "/x"), ("o", "bind")], true),
            (&[("type", "bind"), ("device", "/x")], true),
            (&[("type", "nfs"), ("device", ":/x"), ("o", "addr=192.0.2.1,rw")], true),
            (&[("type", "none"), ("device", "/x")], false),
            (&[("type", "none"), ("device", "x"), ("o", "bind")], false),
            (&[("type", "bind"), ("device", "/x"), ("o", "size=1m")], false),
            (&[("type", "nfs"), ("o", "addr=192.0.2.1")], false),
            (&[("o", "size=1m")], false),
            (&[("size", "1m")], false),
        ] {
            assert_eq!(check(&options(pairs)).is_ok(), fits, "{pairs:?}");
        }
    }

    #[test]
    fn flags_are_told_from_options_of_the_file_system() {
        let all = options(&[("type", "tmpfs"), ("o", "ro,size=1m,noswap,nodev,rw")]);
        let read = read(&all).unwrap();
        assert_eq!(read.flags, MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV);
        assert_eq!(read.data, [("size", Some("1m")), ("noswap", None)]);
    }
}
