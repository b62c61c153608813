//! Empty container folders kept for the containers to come, so that a start makes none of the three itself.
//!
//! Making an inode costs a start on ext4 0.1 ms, and several times that for minutes after many were deleted. A container
//! that is deleted leaves its folder here, with `upper` and `work` in it and nothing else, as long as there is room; the
//! next one takes it by a rename. Nobody waits for either, and there is no more in it than in a folder just made.

use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::Roots;
use crate::layout::with_parents;
use crate::removal::remove_tree;

/// How many are kept. They hold no data: three folders each.
const SLOTS: u32 = 4;

/// Makes the folder of a container, with `upper` and `work` in it. *Errors*: the kernel's; what was made is left.
pub(crate) fn make_folder(roots: &Roots, folder: &Path) -> Result<(), Errno> {
    if (0..SLOTS).any(|slot| rustix::fs::rename(slot_path(roots, slot), folder).is_ok()) {
        return Ok(());
    }
    with_parents(&roots.containers(), || rustix::fs::mkdir(folder, Mode::RWXU))?;
    make_upper(folder)?;
    rustix::fs::mkdir(folder.join("work"), Mode::RWXU)
}

/// The root of a container is what `upper` shows: everybody may enter it.
fn make_upper(folder: &Path) -> Result<(), Errno> {
    rustix::fs::mkdir(folder.join("upper"), Mode::from_raw_mode(0o755))
}

/// Removes a folder out of which a container was, or empties and keeps it. Succeeds where it is gone.
pub(crate) fn keep_or_remove(roots: &Roots, gone: &Path) -> std::io::Result<()> {
    let free = (0..SLOTS).map(|slot| slot_path(roots, slot)).find(|path| !path.exists());
    if let Some(slot) = free
        && empty(gone).is_ok()
        && with_parents(&roots.spare(), || rustix::fs::rename(gone, &slot)).is_ok()
    {
        return Ok(());
    }
    remove_tree(gone)
}

fn slot_path(roots: &Roots, slot: u32) -> std::path::PathBuf {
    roots.spare().join(slot.to_string())
}

/// Leaves of a container's folder itself, `work`, and a new `upper`: the old one has the owner, mode and attributes that the
/// container gave its root.
fn empty(folder: &Path) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let names = |path: &Path| -> rustix::io::Result<Vec<std::path::PathBuf>> {
        let entries = Dir::new(rustix::fs::open(path, flags, Mode::empty())?)?;
        let name = |entry: rustix::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let found = entries.filter_map(Result::ok).map(name).filter(|name| name != "." && name != "..");
        Ok(found.map(|name| path.join(name)).collect())
    };
    let work = folder.join("work");
    for path in names(folder)?.into_iter().filter(|path| *path != work).chain(names(&work)?) {
        remove_tree(&path)?;
    }
    Ok(make_upper(folder)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_used_folder_comes_back_as_a_new_one() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots {
            data: root.path().join("data"),
            run: root.path().join("run"),
            cgroup_parent: "none".into(),
            cgroup_driver: Default::default(),
        };
        let first = roots.containers().join("first");
        make_folder(&roots, &first).unwrap();
        for path in ["config.json", "container.log", "upper/secret", "work/left"] {
            fs::write(first.join(path), "x").unwrap();
        }
        fs::set_permissions(first.join("upper"), fs::Permissions::from_mode(0o777)).unwrap();
        keep_or_remove(&roots, &first).unwrap();
        assert!(!first.exists());
        let second = roots.containers().join("second");
        make_folder(&roots, &second).unwrap();
        let tree = |path: &Path| fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!(tree(&second).len(), 2, "{:?}", tree(&second));
        assert!(tree(&second.join("upper")).is_empty() && tree(&second.join("work")).is_empty());
        assert_eq!(fs::metadata(second.join("upper")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert!(tree(&roots.spare()).is_empty());
    }

    #[test]
    fn what_finds_no_slot_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots {
            data: root.path().to_owned(),
            run: root.path().join("run"),
            cgroup_parent: "none".into(),
            cgroup_driver: Default::default(),
        };
        let folders: Vec<_> = (0..=SLOTS).map(|n| roots.containers().join(n.to_string())).collect();
        folders.iter().for_each(|folder| make_folder(&roots, folder).unwrap());
        folders.iter().for_each(|folder| keep_or_remove(&roots, folder).unwrap());
        assert_eq!(fs::read_dir(roots.spare()).unwrap().count(), SLOTS as usize);
        assert_eq!(fs::read_dir(roots.containers()).unwrap().count(), 0);
        keep_or_remove(&roots, &folders[0]).unwrap();
    }
}
