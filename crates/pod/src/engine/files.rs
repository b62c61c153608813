//! Files of a container from outside: `cp`, `export`, `diff`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use holm_container::archive::{self, Scope};
use holm_container::namespace;
use holm_container::rootfs::{Rootfs, Upper, open_in_root};
use holm_spec::ContainerId;
use holm_spec::container::{MountKind, MountSpec};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::Engine;
use crate::layout::{FolderLock, Record, start_ticks};
use crate::owner::{self, Owners};
use crate::{Change, ChangeKind, Error, PathStat};

/// A container's root as seen from outside, and what must be held while it is looked at.
struct Root {
    fd: OwnedFd,
    record: Record,
    owners: Owners,
    runs: bool,
    locks: Option<(FolderLock, FolderLock)>,
}

impl Engine {
    /// What a path inside is; symbolic links at its end are not followed.
    pub fn stat_path(&self, id: &ContainerId, path: &OsStr) -> Result<PathStat, Error> {
        if self.in_machine(id)? {
            return self.guest_stat_path(id, path);
        }
        let root = self.root(id)?;
        let failed = |e: io::Error| path_error("find", path, &root.record, &e);
        let Base { fd, at, .. } = root.base(&self.roots, path).map_err(failed)?;
        let node = open_in_root(fd.as_fd(), &at, OFlags::PATH | OFlags::NOFOLLOW).map_err(failed)?;
        let stat = rustix::fs::statat(&node, "", AtFlags::EMPTY_PATH).map_err(|e| failed(e.into()))?;
        let link_target = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&node, "", Vec::new()).map_err(|e| failed(e.into()))?;
                Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
            }
            _ => None,
        };
        let name = absolute(path).file_name().unwrap_or(OsStr::new("/")).to_owned();
        Ok(PathStat { name, size: stat.st_size.cast_unsigned(), mode: stat.st_mode, link_target })
    }

    /// Writes the file or folder at `path` as a tar, named by its last component (`path/.` gives the content only).
    pub fn copy_from(
        &self,
        id: &ContainerId,
        path: &OsStr,
        follow_link: bool,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        if self.in_machine(id)? {
            return self.guest_copy_from(id, path, follow_link, out);
        }
        let root = self.root(id)?;
        let failed = |e: io::Error| path_error("copy", path, &root.record, &e);
        let Base { fd, at, owners, .. } = root.base(&self.roots, path).map_err(failed)?;
        let whole = absolute(path);
        let content_only = path.as_bytes().ends_with(b"/.") || path == "." || whole == Path::new("/");
        let follow = if follow_link || content_only { OFlags::empty() } else { OFlags::NOFOLLOW };
        let node = open_in_root(fd.as_fd(), &at, OFlags::PATH | follow).map_err(failed)?;
        let name = if content_only { Path::new("") } else { Path::new(whole.file_name().unwrap_or_default()) };
        archive::write_tree(&node, name, Scope::Everything, owners, out).map_err(failed)
    }

    /// Unpacks a tar into the existing folder `path`. Owners are kept as in the tar where `keep_owner`, else root.
    pub fn copy_to(&self, id: &ContainerId, path: &OsStr, keep_owner: bool, tar: &mut dyn Read) -> Result<(), Error> {
        if self.in_machine(id)? {
            return self.guest_copy_to(id, path, keep_owner, tar);
        }
        let root = self.root(id)?;
        let failed = |e: io::Error| path_error("copy into", path, &root.record, &e);
        let Base { fd, at, is_root, owners } = root.base(&self.roots, path).map_err(failed)?;
        if root.record.spec.security.read_only_rootfs && !root.runs && is_root {
            return Err(failed(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)));
        }
        let folder = open_in_root(fd.as_fd(), &at, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        archive::unpack(&folder, tar, keep_owner, owners).map_err(failed)
    }

    /// What changed against the image. What was made to mount something on is left out.
    pub fn diff(&self, id: &ContainerId) -> Result<Vec<Change>, Error> {
        let container = self.get(id)?;
        self.fetch_changes(id)?;
        let found = holm_image::layer::changes(&self.upper(id), &container.layers).map_err(|e| {
            Error::io("compare", container.spec.name.as_str(), io::Error::other(crate::error::chain(&e)))
        })?;
        let asked: Vec<PathBuf> = container.spec.mounts.iter().map(|m| PathBuf::from(&m.destination)).collect();
        let list = found.into_iter().map(|change| Change {
            kind: match change.kind {
                holm_image::layer::ChangeKind::Added => ChangeKind::Added,
                holm_image::layer::ChangeKind::Changed => ChangeKind::Modified,
                holm_image::layer::ChangeKind::Deleted => ChangeKind::Deleted,
            },
            path: change.path,
        });
        Ok(without_mount_points(list.collect(), &asked))
    }

    /// Writes its whole root file system as a tar (volumes left out).
    pub fn export(&self, id: &ContainerId, out: &mut dyn Write) -> Result<(), Error> {
        if self.in_machine(id)? {
            return self.guest_export(id, out);
        }
        let root = self.root(id)?;
        let failed = |e: io::Error| path_error("export", OsStr::new("/"), &root.record, &e);
        archive::write_tree(&root.fd, Path::new(""), Scope::OneMount, root.owners, out).map_err(failed)
    }

    /// The root of a running container as it sees it; of one that does not run, an overlay of its own, with the container
    /// kept from being started meanwhile.
    fn root(&self, id: &ContainerId) -> Result<Root, Error> {
        if self.supervisor(id)?.is_some() {
            let record = self.roots.read_record(id)?;
            let state = self.roots.read_state(id)?;
            let failed = |e: rustix::io::Errno| Error::io("open the root of", record.spec.name.as_str(), e);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let path = format!("/proc/{}/root", state.pid);
            if state.pid > 0 {
                let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
                // The process is still the one that was recorded, so the root was its own.
                if start_ticks(state.pid) == Some(state.pid_start_ticks) {
                    let owners = owner::of(&self.roots, &record.spec);
                    return Ok(Root { fd, record, owners, runs: true, locks: None });
                }
            }
            return Err(self.not_running(id, "open the root of", record.spec.name.to_string()));
        }
        let lock = self.lock(id)?;
        let run_lock = self.responsibility(id, "open the root of")?;
        let record = self.roots.read_record(id)?;
        let folder = self.roots.container(id);
        let (upper, work) = (folder.join("upper"), folder.join("work"));
        let failed = |e: io::Error| Error::io("open the root of", record.spec.name.as_str(), e);
        let upper = Upper { upper: &upper, work: &work, volatile: false };
        let owners = owner::of(&self.roots, &record.spec);
        let made = match owners.mapping() {
            Some(map) => {
                let users = namespace::user_namespace(&[map], &[map]).map_err(failed)?;
                Rootfs::overlay_mapped(&record.layers, upper, users.as_fd(), (map.host_id, map.host_id))
            }
            None => Rootfs::overlay(&record.layers, Some(upper)),
        };
        let rootfs = made.map_err(|e| failed(io::Error::other(crate::error::chain(&e))))?;
        let fd = rootfs.open_in_root(Path::new("/"), OFlags::PATH | OFlags::DIRECTORY).map_err(failed)?;
        Ok(Root { fd, record, owners, runs: false, locks: Some((run_lock, lock)) })
    }
}

/// Where a path is looked up.
struct Base {
    fd: OwnedFd,
    /// Absolute below `fd`.
    at: PathBuf,
    /// `fd` is the root of the container, not of a volume.
    is_root: bool,
    /// Of what is there.
    owners: Owners,
}

impl Root {
    /// The folder to look `path` up in. A container that does not run has nothing mounted: there a path below a volume or
    /// a bind is looked up in its source. So is what is mounted with mapped owners: nobody outside can make files there.
    fn base(&self, roots: &crate::Roots, path: &OsStr) -> io::Result<Base> {
        let at = absolute(path);
        let fitting = self.record.spec.mounts.iter().filter(|m| at.starts_with(absolute(OsStr::new(&m.destination))));
        let nearest = fitting.filter(|m| self.runs || m.kind != MountKind::Tmpfs).max_by_key(|m| m.destination.len());
        let elsewhere = |m: &&MountSpec| m.kind != MountKind::Tmpfs && (!self.runs || self.is_mapped(m));
        let Some(mount) = nearest.filter(elsewhere) else {
            return Ok(Base { fd: self.fd.try_clone()?, at, is_root: nearest.is_none(), owners: self.owners });
        };
        let owners = if self.is_mapped(mount) { Owners::SAME } else { self.owners };
        let destination = absolute(OsStr::new(&mount.destination));
        let below = Path::new("/").join(at.strip_prefix(&destination).unwrap_or(Path::new("")));
        let source = match mount.kind {
            MountKind::Volume => crate::volume::folder(roots, &mount.source),
            MountKind::Bind | MountKind::Tmpfs => PathBuf::from(&mount.source),
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let mut fd = rustix::fs::open(&source, flags, Mode::empty())?;
        if let Some(subpath) = &mount.subpath {
            fd = open_in_root(fd.as_fd(), Path::new(subpath), OFlags::PATH)?;
        }
        Ok(Base { fd, at: below, is_root: false, owners })
    }

    /// Whether the container sees other owners in a mount than are on disk.
    fn is_mapped(&self, mount: &MountSpec) -> bool {
        let asked = || mount.options.iter().any(|o| o == "idmap" || o == "ridmap");
        self.owners.mapping().is_some() && (mount.kind == MountKind::Volume || asked())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // A folder without its holder would be taken for a crash.
        if let Some((run_lock, lock)) = self.locks.take() {
            let _ = run_lock.remove_folder();
            drop(lock);
        }
    }
}

/// The path from the root, without `.` and `..`, which cannot climb above it.
fn absolute(path: &OsStr) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.as_bytes().split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                clean.pop();
            }
            part => clean.push(OsStr::from_bytes(part)),
        }
    }
    clean
}

fn path_error(verb: &'static str, path: &OsStr, record: &Record, cause: &io::Error) -> Error {
    let path = path.to_string_lossy().escape_default().to_string();
    Error::Path { verb, path, name: record.spec.name.to_string(), why: cause.to_string() }
}

/// What a start makes in every container.
const MADE: [&str; 6] = ["/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", "/sys"];

/// Leaves out what was added to be mounted on or is made at every start, what is below it, and folders that changed by that
/// alone.
fn without_mount_points(changes: Vec<Change>, asked: &[PathBuf]) -> Vec<Change> {
    let made = |path: &Path| MADE.iter().any(|m| path.starts_with(m)) || asked.iter().any(|a| a == path);
    let (hidden, mut kept): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|c| made(&c.path) && c.kind != ChangeKind::Deleted);
    let had_hidden = |path: &Path| hidden.iter().any(|h| h.path.parent() == Some(path));
    let paths: Vec<PathBuf> = kept.iter().map(|c| c.path.clone()).collect();
    let has_others = |path: &Path| paths.iter().any(|p| p != path && p.starts_with(path));
    kept.retain(|c| c.kind != ChangeKind::Modified || !had_hidden(&c.path) || has_others(&c.path));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_cannot_climb() {
        for (path, expected) in
            [("a/./b", "/a/b"), ("/../../etc", "/etc"), ("", "/"), ("/a/b/../c/", "/a/c"), (".", "/")]
        {
            assert_eq!(absolute(OsStr::new(path)), Path::new(expected));
        }
    }

    #[test]
    fn diff_leaves_mount_points_out_and_keeps_the_rest() {
        use ChangeKind::*;
        let change = |kind, path: &str| Change { kind, path: path.into() };
        let found = vec![
            change(Modified, "/etc"),
            change(Added, "/etc/hosts"),
            change(Added, "/data"),
            change(Modified, "/root"),
            change(Added, "/root/file"),
        ];
        let expected = vec![change(Modified, "/root"), change(Added, "/root/file")];
        assert_eq!(without_mount_points(found.clone(), &["/data".into()]), expected);
        let more = [found, vec![change(Added, "/etc/mine")]].concat();
        let kept = without_mount_points(more, &["/data".into()]);
        assert!(kept.contains(&change(Modified, "/etc")) && kept.contains(&change(Added, "/etc/mine")));
        let deleted = vec![change(Deleted, "/etc/hosts")];
        assert_eq!(without_mount_points(deleted.clone(), &[]), deleted);
    }
}
