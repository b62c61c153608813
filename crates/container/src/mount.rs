//! Mounts of a bundle: reading their options into a plan, and attaching the plan inside the container.
//!
//! The plan is pure data and is made before the container's process exists; [`apply`] runs in the container after the
//! change of root, where every path is the container's own.

pub(crate) mod apply;
mod foreign;
mod option;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use holm_spec::oci::runtime::Mount;
use holm_sys::mount::MountAttr;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{Doing, StartError};
use option::Options;

/// One mount, ready to be attached.
#[derive(Debug)]
pub(crate) struct MountStep {
    /// Where, cleaned and absolute inside the container.
    pub target: PathBuf,
    /// What.
    pub source: MountSource,
    /// Attributes of the mount itself, and its propagation.
    pub attr: MountAttr,
    /// Attributes of the mount and all below it.
    pub recursive_attr: MountAttr,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum MountSource {
    /// A new instance of a file system.
    FileSystem {
        /// Its kind.
        kind: CString,
        /// Its options.
        data: Vec<(CString, Option<CString>)>,
    },
    /// A clone of a mount of the host, made before the container's process.
    Bind {
        /// The detached clone.
        tree: OwnedFd,
        /// A folder, rather than a file.
        is_folder: bool,
    },
    /// The container's own control groups.
    Cgroup,
}

/// Plans all mounts of a bundle. Bind sources are cloned here, in the host's mount namespace, so that they keep their
/// peer groups and nothing inside the container can change what their paths mean.
///
/// `users` is the container's user namespace, for mounts whose owners are mapped.
pub(crate) fn plan(
    mounts: &[Mount],
    bundle: Option<&Path>,
    label: Option<&str>,
    users: Option<BorrowedFd<'_>>,
) -> Result<Vec<MountStep>, StartError> {
    mounts.iter().map(|mount| plan_one(mount, bundle, label, users)).collect()
}

fn plan_one(
    mount: &Mount,
    bundle: Option<&Path>,
    label: Option<&str>,
    users: Option<BorrowedFd<'_>>,
) -> Result<MountStep, StartError> {
    let target = clean(&mount.destination)?;
    let kind = mount.kind.as_deref().unwrap_or("");
    let mut options = Options::parse(&mount.options);
    let is_bind = options.bind.is_some() || kind == "bind" || kind == "rbind";
    refuse_over_proc(&target, kind, is_bind)?;
    let source = if is_bind {
        if let Some((key, _)) = options.data.first() {
            let what = format!("use option `{key}` on bind mount `{}`: it belongs to a file system", target.display());
            return Err(StartError::refused(what));
        }
        let source = bind(mount, bundle, options.bind.unwrap_or(true))?;
        map_owners(mount, &source, options.idmap, users)?;
        source
    } else if options.idmap.is_some() || !mount.uid_mappings.is_empty() {
        return Err(StartError::refused(format!("map the owners of `{}`: it is no bind mount", target.display())));
    } else if kind == "cgroup" || kind == "cgroup2" {
        MountSource::Cgroup
    } else {
        if let (Some(label), "tmpfs" | "mqueue" | "devpts") = (label, kind) {
            options.data.push(("context".to_owned(), Some(label.to_owned())));
        }
        file_system(kind, &options, mount)?
    };
    Ok(MountStep { target, source, attr: options.attr, recursive_attr: options.recursive_attr })
}

fn bind(mount: &Mount, bundle: Option<&Path>, recursive: bool) -> Result<MountSource, StartError> {
    let source = mount.source.as_deref().unwrap_or(Path::new(""));
    let absolute = match bundle {
        Some(bundle) if source.is_relative() => bundle.join(source),
        _ => source.to_owned(),
    };
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let what = || format!("bind `{}` to `{}`", absolute.display(), mount.destination.display());
    let tree = match rustix::mount::open_tree(CWD, &absolute, flags) {
        // What is mounted in another namespace can be cloned from within that one only.
        Err(Errno::INVAL) if foreign::is_foreign(&absolute) => foreign::clone(&absolute)?,
        // A detached mount that is held for this container alone. It can be cloned since Linux 6.15, and need not be.
        Err(Errno::INVAL) if absolute.starts_with("/proc/self/fd") => {
            rustix::fs::open(&absolute, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).doing(what)?
        }
        other => other.doing(what)?,
    };
    let stat = rustix::fs::fstat(&tree).doing(what)?;
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(MountSource::Bind { tree, is_folder })
}

/// Shows a bind's owners as its own mappings or the container's user namespace say, if that is asked for.
fn map_owners(
    mount: &Mount,
    source: &MountSource,
    idmap: Option<bool>,
    users: Option<BorrowedFd<'_>>,
) -> Result<(), StartError> {
    let own = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    let (MountSource::Bind { tree, .. }, true) = (source, own || idmap.is_some()) else { return Ok(()) };
    let shown = mount.source.as_deref().unwrap_or(Path::new("")).display();
    let what = || format!("map the owners of `{shown}` for `{}`", mount.destination.display());
    let made = if own {
        Some(crate::namespace::user_namespace(&mount.uid_mappings, &mount.gid_mappings).doing(what)?)
    } else {
        None
    };
    let Some(users) = made.as_ref().map(AsFd::as_fd).or(users) else {
        return Err(StartError::refused(what() + ": the container has no user namespace of its own"));
    };
    let mapped = crate::rootfs::map_owners(tree.as_fd(), users, idmap.unwrap_or(false));
    mapped.map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidInput => {
            StartError::refused(what() + ": its file system does not support idmapped mounts")
        }
        _ => StartError::setup(what(), e),
    })
}

fn file_system(kind: &str, options: &Options, mount: &Mount) -> Result<MountSource, StartError> {
    let text = |s: &str| {
        let what = || StartError::refused(format!("mount `{}`: a NUL byte in it", mount.destination.display()));
        CString::new(s).map_err(|_| what())
    };
    if kind.is_empty() {
        let what = format!("mount `{}`: it names no type", mount.destination.display());
        return Err(StartError::refused(what));
    }
    let mut data = Vec::with_capacity(options.data.len() + 1);
    // `source` shows in /proc/mounts; those of kernel file systems say nothing and are not worth a call.
    if let Some(source) = mount.source.as_deref().and_then(Path::to_str)
        && !matches!(kind, "proc" | "tmpfs" | "devpts" | "mqueue" | "sysfs")
    {
        data.push((text("source")?, Some(text(source)?)));
    }
    for (key, value) in &options.data {
        data.push((text(key)?, value.as_deref().map(text).transpose()?));
    }
    Ok(MountSource::FileSystem { kind: text(kind)?, data })
}

/// Makes a destination absolute and free of `.` and `..`.
pub(crate) fn clean(path: &Path) -> Result<PathBuf, StartError> {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if cleaned == Path::new("/") {
        return Err(StartError::refused(format!("mount on `{}`: it is the root", path.display())));
    }
    Ok(cleaned)
}

/// What may be mounted below `/proc` beside a procfs: files that others emulate, and nothing that could hide or fake
/// what the masks and label writes rely on. *Source*: the list that runc has kept since CVE-2019-16884.
const ALLOWED_IN_PROC: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
];

fn refuse_over_proc(target: &Path, kind: &str, is_bind: bool) -> Result<(), StartError> {
    let at_proc = target == Path::new("/proc");
    let allowed = ALLOWED_IN_PROC.iter().any(|path| target == Path::new(path));
    if (at_proc && (kind == "proc" || is_bind)) || !target.starts_with("/proc") || allowed {
        return Ok(());
    }
    Err(StartError::refused(format!("mount on `{}`: nothing may cover /proc", target.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: &str, destination: &str, options: &[&str]) -> Result<MountStep, StartError> {
        let mount = Mount {
            destination: destination.into(),
            kind: Some(kind.into()),
            source: Some("/".into()),
            options: options.iter().map(|s| (*s).to_owned()).collect(),
            ..Mount::default()
        };
        plan_one(&mount, None, None, None)
    }

    #[test]
    fn destinations_are_cleaned_and_never_the_root() {
        assert_eq!(clean(Path::new("a/../../b/./c")).unwrap(), Path::new("/b/c"));
        for bad in ["/", "..", "/a/..", ""] {
            assert!(clean(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_but_proc_covers_proc() {
        assert!(one("proc", "/proc", &[]).is_ok());
        assert!(one("tmpfs", "/proc", &[]).is_err());
        assert!(one("tmpfs", "/x/../proc/sys", &[]).is_err());
        assert!(one("bind", "/proc/self", &["bind"]).is_err());
        assert!(one("bind", "/proc/meminfo", &["bind"]).is_ok());
        assert!(one("bind", "/process", &["bind"]).is_ok());
    }

    #[test]
    fn owners_are_mapped_by_a_user_namespace_and_on_binds_only() {
        let error = |kind, options: &[&str]| one(kind, "/x", options).unwrap_err().to_string();
        assert!(error("bind", &["bind", "idmap"]).contains("no user namespace"));
        assert!(error("tmpfs", &["idmap"]).contains("no bind mount"));
    }

    #[test]
    fn file_system_options_on_a_bind_are_an_error() {
        assert!(one("bind", "/x", &["rbind", "size=4k"]).is_err());
        assert!(one("tmpfs", "/x", &["size=4k"]).is_ok());
    }
}
