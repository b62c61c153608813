//! Volumes: a folder and a record each, under the data root.
//!
//! Owns `volumes/`. A volume's folder is made whole under another name and renamed, so there is never half a volume.

mod driver;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holm_container::rootfs::Rootfs;
use holm_spec::container::{ContainerSpec, MountKind, MountSpec};
use holm_spec::oci::image::RunConfig;
use holm_spec::{ContainerId, Name};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::layout::{make_folders, now_ns, read_json, with_parents, write_json};
use crate::owner::Owners;
use crate::removal::remove_tree;
use crate::{Engine, Error, Event, PruneReport, Roots, Volume, event, tree};

pub(crate) use driver::Place;

const DATA: &str = "_data";
const RECORD: &str = "volume.json";

/// Makes a volume, or gives back the one that has the name.
pub(crate) fn create(
    roots: &Roots,
    name: Option<&Name>,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    anonymous: bool,
) -> Result<Volume, Error> {
    driver::check(&options)?;
    let name = match name {
        Some(name) => {
            if let Some(found) = find(roots, name.as_str())? {
                return Ok(found);
            }
            name.clone()
        }
        None => crate::engine::new_id()?.as_str().parse().map_err(|_| Error::invalid("a random volume name", "bug"))?,
    };
    let folder = roots.volumes().join(name.as_str());
    let temporary = roots.volumes().join(format!(".new-{}", crate::engine::new_id()?.short()));
    let failed = |e: Errno| Error::io("make volume", name.to_string(), e);
    with_parents(&roots.volumes(), || rustix::fs::mkdir(&temporary, Mode::RWXU)).map_err(failed)?;
    // 0755 as docker's: whoever a container runs as must reach what is in it.
    rustix::fs::mkdir(temporary.join(DATA), Mode::from_raw_mode(0o755)).map_err(failed)?;
    rustix::fs::chmod(temporary.join(DATA), Mode::from_raw_mode(0o755)).map_err(failed)?;
    let volume = Volume {
        name: name.clone(),
        created_at_ns: now_ns(),
        anonymous,
        labels,
        options,
        mountpoint: folder.join(DATA),
    };
    let made =
        write_json(&temporary, RECORD, &volume).and_then(|()| rustix::fs::rename(&temporary, &folder).map_err(failed));
    if let Err(e) = made {
        let _ = remove_tree(&temporary);
        // Somebody else made it at the same time: theirs is as good.
        return find(roots, name.as_str())?.ok_or(e);
    }
    event::emit(&roots.run, &[Event::now("volume", "create", name.as_str())]);
    Ok(volume)
}

/// The folder of a named volume, which is made where it is missing.
pub(crate) fn ensure(roots: &Roots, name: &str) -> Result<PathBuf, Error> {
    let checked: Name = name.parse().map_err(|e: holm_spec::IdError| Error::invalid("a volume", e.to_string()))?;
    let folder = roots.volumes().join(checked.as_str()).join(DATA);
    if folder.is_dir() {
        return Ok(folder);
    }
    create(roots, Some(&checked), BTreeMap::new(), BTreeMap::new(), false).map(|v| v.mountpoint)
}

/// What the container `user` mounts for a volume, which is made where it is missing.
pub(crate) fn place(roots: &Roots, name: &str, user: &ContainerId) -> Result<Place, Error> {
    let folder = ensure(roots, name)?;
    match find(roots, name)? {
        Some(volume) if !volume.options.is_empty() => {
            driver::provide(roots, name, &roots.volumes().join(name), &volume.options, user)
        }
        _ => Ok(Place { path: folder, fillable: true, held: Vec::new() }),
    }
}

/// The folder on the host in which a volume's files are while no container has it.
pub(crate) fn folder(roots: &Roots, name: &str) -> PathBuf {
    let own = roots.volumes().join(name).join(DATA);
    find(roots, name).ok().flatten().and_then(|volume| driver::folder(&volume.options)).unwrap_or(own)
}

fn find(roots: &Roots, name: &str) -> Result<Option<Volume>, Error> {
    // Only what fits the grammar of names can be a path component.
    let Ok(name) = name.parse::<Name>() else { return Ok(None) };
    let folder = roots.volumes().join(name.as_str());
    let found: Option<Volume> = read_json(&folder.join(RECORD))?;
    Ok(found.map(|volume| Volume { mountpoint: folder.join(DATA), name, ..volume }))
}

/// Gives the spec its anonymous volumes: names for mounts without one, and a volume for each path that the image declares
/// and nothing else is mounted on.
pub(crate) fn adopt(roots: &Roots, spec: &mut ContainerSpec, image: &RunConfig) -> Result<(), Error> {
    let declared = image.volumes.iter().flat_map(|v| v.keys());
    for path in declared.filter(|p| p.starts_with('/')) {
        let same = |m: &MountSpec| m.destination.trim_end_matches('/') == path.trim_end_matches('/');
        if !spec.mounts.iter().any(same) {
            spec.mounts.push(MountSpec {
                kind: MountKind::Volume,
                source: String::new(),
                destination: path.clone(),
                read_only: false,
                propagation: None,
                no_copy: false,
                non_recursive: false,
                create_source: false,
                subpath: None,
                options: Vec::new(),
            });
        }
    }
    for mount in spec.mounts.iter_mut().filter(|m| m.kind == MountKind::Volume) {
        if mount.source.is_empty() {
            mount.source = create(roots, None, BTreeMap::new(), BTreeMap::new(), true)?.name.to_string();
        } else {
            ensure(roots, &mount.source)?;
        }
    }
    Ok(())
}

/// Copies what the image has at `destination` into a volume that is empty. The image is read inside the mounted root only
/// (CVE-2022-23648). The volume has the owners' numbers inside, whatever the root file system shows.
pub(crate) fn fill(rootfs: &Rootfs, destination: &str, folder: &Path, owners: Owners) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::io("fill the volume from", destination.escape_default().to_string(), e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let from = match rootfs.open_in_root(Path::new(destination), flags) {
        Ok(fd) => fd,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    if !tree::is_empty(&to).map_err(failed)? {
        return Ok(());
    }
    tree::copy(&from, &to, owners).map_err(failed)
}

/// Removes a container's anonymous volume unless another container uses it. Failures are left to `volume prune`.
pub(crate) fn remove_if_anonymous(roots: &Roots, name: &str, user: &ContainerId) {
    let Ok(Some(volume)) = find(roots, name) else { return };
    if volume.anonymous && user_of(roots, name, Some(user)).is_none() {
        let _ = remove(roots, &volume);
    }
}

fn remove(roots: &Roots, volume: &Volume) -> Result<(), Error> {
    let name = volume.name.as_str();
    let failed = |e: std::io::Error| Error::io("remove volume", name, e);
    let gone = roots.trash().join(format!("volume-{name}"));
    remove_tree(&gone).map_err(failed)?;
    let folder = roots.volumes().join(name);
    match with_parents(&roots.trash(), || rustix::fs::rename(&folder, &gone)) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(failed(e.into())),
    }
    event::emit(&roots.run, &[Event::now("volume", "destroy", name)]);
    remove_tree(&gone).map_err(failed)
}

/// A container other than `but` that uses the volume.
fn user_of(roots: &Roots, name: &str, but: Option<&ContainerId>) -> Option<ContainerId> {
    let uses = |spec: &ContainerSpec| spec.mounts.iter().any(|m| m.kind == MountKind::Volume && m.source == name);
    crate::engine::ids(roots)
        .ok()?
        .into_iter()
        .find(|id| Some(id) != but && roots.read_record(id).is_ok_and(|record| uses(&record.spec)))
}

impl Engine {
    /// Makes a volume; one of that name that is there already is given back. A random name where absent. `options` are
    /// `type`, `device` and `o` of one that is not a folder of Holm's.
    pub fn volume_create(
        &self,
        name: Option<&Name>,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        make_folders(&self.roots().volumes()).map_err(|e| Error::io("make folder", "volumes", e))?;
        create(self.roots(), name, labels, options, name.is_none())
    }

    /// All volumes by name.
    pub fn volume_list(&self) -> Result<Vec<Volume>, Error> {
        let folder = self.roots().volumes();
        let failed = |e| Error::io("list", folder.display().to_string(), e);
        let mut list = Vec::new();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(list),
            Err(e) => return Err(failed(e)),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            if let Some(volume) = name.to_str().and_then(|n| find(self.roots(), n).ok().flatten()) {
                list.push(volume);
            }
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// One volume.
    pub fn volume_get(&self, name: &str) -> Result<Volume, Error> {
        find(self.roots(), name)?.ok_or_else(|| Error::NoSuchVolume(name.escape_default().to_string()))
    }

    /// Removes a volume that no container uses. With `force` a missing one is no error.
    pub fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        let volume = match self.volume_get(name) {
            Err(Error::NoSuchVolume(_)) if force => return Ok(()),
            other => other?,
        };
        if let Some(user) = user_of(self.roots(), name, None) {
            return Err(Error::VolumeInUse { name: name.to_owned(), user: user.short().to_owned() });
        }
        remove(self.roots(), &volume)
    }

    /// Removes anonymous volumes that no container uses, or with `all` all such volumes, but for those to `keep`.
    pub fn volume_prune(&self, all: bool, keep: &dyn Fn(&Volume) -> bool) -> Result<PruneReport, Error> {
        let mut report = PruneReport::default();
        for volume in self.volume_list()?.into_iter().filter(|v| (all || v.anonymous) && !keep(v)) {
            if user_of(self.roots(), volume.name.as_str(), None).is_some() {
                continue;
            }
            let bytes = self.volume_usage(volume.name.as_str()).unwrap_or(0);
            remove(self.roots(), &volume)?;
            report.removed.push(volume.name.to_string());
            report.reclaimed_bytes += bytes;
        }
        Ok(report)
    }

    /// Bytes in a volume.
    pub fn volume_usage(&self, name: &str) -> Result<u64, Error> {
        let volume = self.volume_get(name)?;
        tree::usage(&volume.mountpoint).map_err(|e| Error::io("measure volume", name, e))
    }
}
