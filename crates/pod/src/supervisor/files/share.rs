//! The files of a container that shares another one's network: that one's own, so that what changes there changes here.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use holm_container::rootfs::open_in_root;
use holm_spec::ContainerId;
use holm_spec::container::ContainerSpec;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

const NAMES: [&str; 3] = ["resolv.conf", "hostname", "hosts"];

/// Provides the other container's three files; the names of those that `folder` holds now, to be mounted.
pub(super) fn provide(folder: &Path, other: &ContainerId, spec: &ContainerSpec) -> Result<Vec<&'static str>, Error> {
    let mut mounted = Vec::new();
    let Some(theirs) = folder.parent().map(|all| all.join(other.as_str())) else { return Ok(mounted) };
    for name in NAMES {
        if spec.mounts.iter().any(|m| Path::new(&m.destination) == Path::new("/etc").join(name)) {
            continue;
        }
        let failed = |e: std::io::Error| Error::io("share", theirs.join(name).display().to_string(), e);
        if link(&theirs, name, &folder.join(name)).map_err(failed)? {
            mounted.push(name);
        }
    }
    Ok(mounted)
}

/// Makes `to` another name of the other container's file. False where it has none.
///
/// The file in its folder is Holm's. That in its root file system is the container's: it is opened without leaving that root,
/// and only a plain file is taken, since a link would be followed on the host when it is mounted.
fn link(theirs: &Path, name: &str, to: &Path) -> std::io::Result<bool> {
    match rustix::fs::unlink(to) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    match rustix::fs::link(theirs.join(name), to) {
        Err(Errno::NOENT) => {}
        other => return Ok(other.map(|()| true)?),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, theirs.join("upper"), flags, Mode::empty())?;
    let file = match open_in_root(root.as_fd(), &Path::new("etc").join(name), OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(e) => return Err(e),
    };
    if !FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() {
        return Ok(false);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, path, CWD, to, AtFlags::SYMLINK_FOLLOW)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;

    #[test]
    fn files_are_shared_and_a_link_of_the_containers_is_not_followed() {
        let all = tempfile::tempdir().unwrap();
        let other = ContainerId::from_random(&[9; 32]);
        let (theirs, ours) = (all.path().join(other.as_str()), all.path().join("ours"));
        std::fs::create_dir_all(theirs.join("upper/etc")).unwrap();
        std::fs::create_dir(&ours).unwrap();
        std::fs::write(theirs.join("hosts"), "mounted").unwrap();
        std::fs::write(theirs.join("upper/etc/hostname"), "written").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", theirs.join("upper/etc/resolv.conf")).unwrap();
        assert_eq!(provide(&ours, &other, &spec()).unwrap(), ["hostname", "hosts"]);
        std::fs::write(theirs.join("hosts"), "changed").unwrap();
        assert_eq!(std::fs::read_to_string(ours.join("hosts")).unwrap(), "changed");
        assert_eq!(std::fs::read_to_string(ours.join("hostname")).unwrap(), "written");
        assert!(!ours.join("resolv.conf").exists());
    }
}
