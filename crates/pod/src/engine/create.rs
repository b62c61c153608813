//! Making a container: its name, its folder, its volumes.

use holm_spec::ContainerId;
use holm_spec::container::{ContainerSpec, MountKind};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::{Engine, Prepared};
use crate::layout::{FolderLock, NotTaken, Record, with_parents, write_json};
use crate::{Error, Event, ImageRoot, event, name, removal, supervisor, volume};

impl Engine {
    /// Makes a container: reserves its name, makes its folder and its anonymous volumes. Gives back the spec as recorded.
    ///
    /// *Order*: the caller holds the image store's pin from before the image was resolved.
    pub fn create(&self, spec: ContainerSpec, image: &ImageRoot) -> Result<ContainerSpec, Error> {
        let prepared = self.prepare(spec, image)?;
        let spec = prepared.record.spec.clone();
        // An unlocked folder in the run root would be taken for a crash.
        let removed = prepared.run_lock.remove_folder();
        removed.map_err(|e| Error::io("give up the run folder of", spec.id.short(), e))?;
        Ok(spec)
    }

    /// As [`Engine::create`], for a container that [`Engine::start`] of this same value starts next: the locks are kept over
    /// both and nothing is read twice. Should this process die in between, the container is removed again.
    pub fn create_for_start(&self, spec: ContainerSpec, image: &ImageRoot) -> Result<ContainerSpec, Error> {
        let prepared = self.prepare(spec, image)?;
        let spec = prepared.record.spec.clone();
        self.prepared.replace(Some(prepared));
        Ok(spec)
    }

    fn prepare(&self, mut spec: ContainerSpec, image: &ImageRoot) -> Result<Prepared, Error> {
        let id = spec.id.clone();
        check_sources(&spec)?;
        let _networks = self.check_networks(&mut spec)?;
        let run_lock = FolderLock::make(&self.roots.run_container(&id))?;
        let made = volume::adopt(&self.roots, &mut spec, &image.config).and_then(|()| {
            let record = Record { spec, image_config: image.config.clone(), layers: image.layers.clone() };
            let lock = self.make_folder(&id, &record)?;
            self.reserve_name(record.spec.name.as_str(), &id)?;
            Ok((record, lock))
        });
        match made {
            Ok((record, lock)) => {
                let spec = &record.spec;
                let created = Event::now("container", "create", id.as_str())
                    .with("name", spec.name.as_str())
                    .with("image", spec.image.as_str());
                event::emit(&self.roots.run, &[created]);
                Ok(Prepared { id, record, run_lock, _lock: lock })
            }
            Err(e) => {
                // The first error is the one to report; what is left then is found by the next command.
                if removal::unmake(&self.roots, &id).is_ok() {
                    let _ = run_lock.remove_folder();
                }
                Err(e)
            }
        }
    }

    /// Makes the folder with the record in it, and takes its lock.
    fn make_folder(&self, id: &ContainerId, record: &Record) -> Result<FolderLock, Error> {
        let folder = self.roots.container(id);
        let failed = |e: Errno| Error::io("make container folder", folder.display().to_string(), e);
        with_parents(&self.roots.containers(), || rustix::fs::mkdir(&folder, Mode::RWXU)).map_err(failed)?;
        // The root of a container is what `upper` shows: everybody may enter it.
        rustix::fs::mkdir(folder.join("upper"), Mode::from_raw_mode(0o755)).map_err(failed)?;
        rustix::fs::mkdir(folder.join("work"), Mode::RWXU).map_err(failed)?;
        write_json(&folder, "config.json", record)?;
        FolderLock::wait(&folder)?.ok_or_else(|| Error::NoSuchContainer(id.short().to_owned()))
    }

    /// Takes a name. One that a crash left to a container that is not there is taken over.
    pub(super) fn reserve_name(&self, name: &str, id: &ContainerId) -> Result<(), Error> {
        for _ in 0..16 {
            match name::reserve(&self.roots, name, id) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io("reserve the name", name, e)),
            }
            let Some(owner) = name::owner(&self.roots, name) else { continue };
            let taken = || Error::NameTaken { name: name.to_owned(), owner: owner.short().to_owned() };
            if self.roots.container(&owner).exists() {
                return Err(taken());
            }
            // Being made by somebody at this moment, or left over.
            match FolderLock::try_now(&self.roots.run_container(&owner))? {
                Err(NotTaken::Held) => return Err(taken()),
                Err(NotTaken::Gone) if self.roots.container(&owner).exists() => return Err(taken()),
                Err(NotTaken::Gone) => name::release(&self.roots, name, &owner),
                Ok(lock) => {
                    name::release(&self.roots, name, &owner);
                    let _ = lock.remove_folder();
                }
            }
        }
        Err(Error::invalid(format!("name `{name}`"), "others keep taking it"))
    }

    /// Gives back every name that the container has. Looks at all names: for what is rare.
    pub(super) fn release_names_of(&self, id: &ContainerId) {
        let Ok(names) = std::fs::read_dir(self.roots.data.join("names")) else { return };
        for name in names.flatten() {
            if let Some(name) = name.file_name().to_str() {
                name::release(&self.roots, name, id);
            }
        }
    }
}

/// Binds whose source must be there already are refused now, not at the start.
fn check_sources(spec: &ContainerSpec) -> Result<(), Error> {
    for mount in spec.mounts.iter().filter(|m| m.kind == MountKind::Bind) {
        supervisor::bind_source(mount)?;
    }
    Ok(())
}
