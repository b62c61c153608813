//! Making, listing and removing whole machines, and cleaning up after killed supervisors.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use holm_network::Networks;
use holm_spec::state::ContainerState;
use holm_spec::vm::{DiskFormat, FirmwareKind, VmSpec};
use holm_vm::disk::copy;
use holm_vm::disk::image::{self, Format};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Vm, VmRequest, boot, disk_file, failed, snapshot};
use crate::engine::connect;
use crate::layout::{FolderLock, now_ns, with_parents, write_json};
use crate::{Engine, Error, Event, Roots, event, name, new_id, removal};

/// What a folder's name begins with that is being made.
const UNFINISHED: &str = ".new-";

impl Engine {
    /// Makes a whole machine: copies the image, sparsely or by sharing blocks. `progress` hears how many bytes of how many are
    /// copied. *Errors*: nothing is left.
    pub fn vm_create(&self, request: VmRequest, progress: &mut dyn FnMut(u64, u64)) -> Result<VmSpec, Error> {
        let roots = self.roots();
        let name = request.name.as_str().to_owned();
        if roots.vm(&name).exists() {
            return Err(failed(
                "make",
                &name,
                "there is one of that name",
                Some("choose another --name, or `holm vm rm` it"),
            ));
        }
        if let Some(owner) = name::owner(roots, &name) {
            let message = format!("container {} has that name, by which networks find it", owner.short());
            return Err(failed("make", &name, message, Some("choose another --name")));
        }
        let mut networks = request.networks.clone();
        check_networks(&roots.networks(), &mut networks)?;
        let shown = request.image.display().to_string();
        let mut image = open(&request.image)?;
        let found = image::inspect(&mut image)
            .map_err(|e| failed("make", &name, format!("`{shown}`: {}", crate::error::chain(&e)), None))?;
        if let Some(bytes) = request.disk_bytes.filter(|bytes| *bytes < found.size_bytes) {
            let message = format!("the image has {} bytes already, more than {bytes}", found.size_bytes);
            return Err(failed("make", &name, message, Some("a disk can only grow: leave --disk-size out")));
        }
        let spec = VmSpec {
            version: VmSpec::VERSION,
            id: new_id()?,
            name: request.name,
            created_at_ns: now_ns(),
            image: shown,
            cpus: request.cpus,
            memory_bytes: request.memory_bytes,
            format: match found.format {
                Format::Raw => DiskFormat::Raw,
                Format::Qcow2 => DiskFormat::Qcow2,
            },
            disk_bytes: request.disk_bytes,
            firmware: request.firmware,
            accelerator: request.accelerator,
            seed: request.seed,
            networks,
            ports: request.ports,
        };
        let fresh = roots.vms().join(format!("{UNFINISHED}{}", spec.id));
        let lock = FolderLock::make(&fresh)?;
        let made = fill(lock.path(), &spec, &image, progress).and_then(|()| publish(roots, &fresh, &spec));
        if made.is_err() {
            let _ = removal::remove_tree(&fresh);
        }
        made?;
        self.emit(&Event::now("vm", "create", spec.id.as_str()).with("name", spec.name.as_str()));
        Ok(spec)
    }

    /// One machine.
    pub fn vm_get(&self, name: &str) -> Result<Vm, Error> {
        let roots = self.roots();
        let spec = roots.read_vm(name)?;
        let running = connect(&roots.run_vm(name), name)?.is_some();
        let endpoints = if running { roots.networks().endpoints_of(&spec.id)? } else { Vec::new() };
        let (state, snapshots) = (roots.read_vm_state(name)?, snapshot::list(&roots.vm(name))?);
        Ok(Vm { spec, state, running, endpoints, snapshots, folder: roots.vm(name) })
    }

    /// All machines, by name.
    pub fn vm_list(&self) -> Result<Vec<Vm>, Error> {
        let mut names = names(&self.roots().vms())?;
        names.retain(|name| !name.starts_with('.'));
        names.sort_unstable();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            match self.vm_get(&name) {
                Ok(vm) => found.push(vm),
                // It was removed meanwhile.
                Err(Error::NoSuchVm(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// Removes a machine and its disk; one that runs with `force` only, which kills it.
    pub fn vm_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        let roots = self.roots();
        let spec = roots.read_vm(name)?;
        if force {
            self.vm_stop(name, 0)?;
        }
        let lock = self.vm_lock(name)?;
        let Some(run_lock) = self.vm_responsibility(name, "remove")? else {
            return Err(failed("remove", name, "it runs", Some("`holm vm stop` it, or `holm vm rm -f`")));
        };
        let hidden = roots.trash().join(spec.id.as_str());
        with_parents(&roots.trash(), || rustix::fs::rename(lock.path(), &hidden))
            .map_err(|e| Error::io("remove", lock.path().display().to_string(), e))?;
        run_lock.remove_folder().map_err(|e| Error::io("remove the run folder of", name, e))?;
        removal::remove_tree(&hidden).map_err(|e| Error::io("remove", hidden.display().to_string(), e))?;
        self.emit(&Event::now("vm", "destroy", spec.id.as_str()).with("name", name));
        Ok(())
    }

    /// Cleans up after killed supervisors of whole machines, and after commands that were killed while they made one.
    pub(crate) fn recover_vms(&self) -> Result<(), Error> {
        let mut first = Ok(());
        for name in names(&self.roots().run_vms())? {
            if let Ok(lock) = FolderLock::try_now(&self.roots().run_vm(&name))? {
                first = first.and(self.recover_vm(&name, lock));
            }
        }
        for unfinished in names(&self.roots().vms())?.into_iter().filter(|name| name.starts_with(UNFINISHED)) {
            let path = self.roots().vms().join(unfinished);
            if let Ok(_lock) = FolderLock::try_now(&path)? {
                let removed = removal::remove_tree(&path);
                first = first.and(removed.map_err(|e| Error::io("remove", path.display().to_string(), e)));
            }
        }
        first
    }

    /// Takes away what a killed supervisor left. `lock` is that of the run folder.
    pub(super) fn recover_vm(&self, name: &str, lock: FolderLock) -> Result<(), Error> {
        let roots = self.roots();
        if let Ok(spec) = roots.read_vm(name) {
            let mut state = roots.read_vm_state(name)?;
            let group = ContainerState { cgroup_path: state.cgroup_path.clone(), ..ContainerState::default() };
            self.kill_group(&spec.id, None, &group)?;
            roots.networks().release_all(&spec.id)?;
            if state.pid != 0 {
                (state.pid, state.finished_at_ns) = (0, now_ns());
                state.cgroup_path.clear();
                state.error = "its supervisor was killed".to_owned();
                roots.write_vm_state(name, &state)?;
                let died = Event::now("vm", "die", spec.id.as_str()).with("name", name);
                event::emit(&roots.run, &[died]);
            }
        }
        lock.remove_folder().map_err(|e| Error::io("remove the run folder of", name, e))
    }
}

/// Looks whether the networks are there, and names them by their names.
fn check_networks(networks: &Networks, list: &mut [holm_spec::network::AttachmentSpec]) -> Result<(), Error> {
    for attachment in list {
        let network = networks.check(attachment).map_err(|e| match e {
            holm_network::Error::NoSuchNetwork(name) => Error::NoSuchNetwork(name),
            other => other.into(),
        })?;
        attachment.network = network.name;
    }
    Ok(())
}

fn open(path: &Path) -> Result<File, Error> {
    // A FIFO must not keep anybody waiting.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path.display().to_string(), e))?;
    Ok(File::from(file))
}

/// Makes a file that only root reads.
pub(super) fn make_file(path: &Path) -> Result<File, Error> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    file.map(File::from).map_err(|e| Error::io("make", path.display().to_string(), e))
}

/// The bytes of a file or block device.
pub(super) fn length(file: &File, path: &str) -> Result<u64, Error> {
    rustix::fs::seek(file.as_fd(), rustix::fs::SeekFrom::End(0)).map_err(|e| Error::io("measure", path, e))
}

fn fill(folder: &Path, spec: &VmSpec, image: &File, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Error> {
    let path = folder.join(disk_file(spec.format));
    let disk = make_file(&path)?;
    let bytes = length(image, &spec.image)?;
    copy::copy(image, &disk, bytes, progress)?;
    if let Some(bytes) = spec.disk_bytes.filter(|_| spec.format == DiskFormat::Raw) {
        disk.set_len(bytes).map_err(|e| Error::io("grow", path.display().to_string(), e))?;
    }
    if spec.firmware == FirmwareKind::Uefi {
        let (_, variables) = boot::uefi_files()?;
        let template = open(&variables)?;
        let bytes = length(&template, "the variables of UEFI")?;
        copy::copy(&template, &make_file(&folder.join(boot::VARIABLES))?, bytes, &mut |_, _| {})?;
    }
    write_json(folder, "vm.json", spec)
}

/// Gives a machine that is whole its name.
fn publish(roots: &Roots, fresh: &Path, spec: &VmSpec) -> Result<(), Error> {
    let name = spec.name.as_str();
    match rustix::fs::rename(fresh, roots.vm(name)) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err(failed("make", name, "there is one of that name", None)),
        other => other.map_err(|e| Error::io("make", roots.vm(name).display().to_string(), e)),
    }
}

/// Names in a folder; none where there is none.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |e| Error::io("list", folder.display().to_string(), e);
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(failed(e)),
    }
}
