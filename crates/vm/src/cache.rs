//! Kernels and initramfs as machines boot them, made once and kept by content.
//!
//! ```text
//! lock                  held by who makes or removes something
//! made-KEY.json         what KEY came to; KEY says what went in: the identity of the kernel's file and of its modules'
//!                       folder, the agent, the list of modules, the recipe
//! kernel-HASH           an ELF file, or a bzImage where that is what boots
//! initramfs-HASH        an archive
//! ```
//! Everything appears by rename after it is complete. Whoever finds a record and both files of the length it says needs
//! no lock and reads nothing else.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use holm_spec::digest::push_hex;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::initramfs;
use crate::kernel::image::Image;
use crate::kernel::module::{Bus, ModuleTree, wanted};
use crate::kernel::{Error, KernelSource, io_error};

/// A change of how something is made, which its inputs do not show, wants another number.
const RECIPE: u32 = 1;
const LOCK: &str = "lock";
const PARTIAL: &str = ".making";

/// What a machine boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestKernel {
    /// An ELF file with an entry for hypervisors, or a bzImage.
    pub image: PathBuf,
    /// An initramfs that is not packed.
    pub initramfs: PathBuf,
    /// The kernel's release; its file's name where it does not say one.
    pub release: String,
    /// Names both files' content; for [`prune`] and as part of other keys.
    pub digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    image: String,
    image_bytes: u64,
    initramfs: String,
    initramfs_bytes: u64,
    release: String,
    digest: String,
}

impl Record {
    /// The record's files, if they are there and whole.
    fn standing(self, cache: &Path) -> Option<GuestKernel> {
        let (image, initramfs) = (cache.join(&self.image), cache.join(&self.initramfs));
        let has = |path: &Path, bytes| path.metadata().is_ok_and(|found| found.len() == bytes);
        let stands = has(&image, self.image_bytes) && has(&initramfs, self.initramfs_bytes);
        stands.then_some(GuestKernel { image, initramfs, release: self.release, digest: self.digest })
    }
}

/// What a machine with that bus boots from: found in `cache`, or made there while others who want something wait.
///
/// *Errors*: nothing half-made is found later. *Order*: what is to outlive a [`prune`] must be named to it.
pub fn prepare(cache: &Path, source: &KernelSource, agent: &[u8], bus: Bus) -> Result<GuestKernel, Error> {
    let path = cache.join(format!("made-{}.json", key(source, agent, bus)?));
    if let Some(found) = read_record(&path).and_then(|record| record.standing(cache)) {
        return Ok(found);
    }
    let _lock = lock(cache)?;
    if let Some(found) = read_record(&path).and_then(|record| record.standing(cache)) {
        return Ok(found);
    }
    let record = make(cache, source, agent, bus)?;
    let text = serde_json::to_vec(&record).map_err(|error| io_error("write", &path, error))?;
    write_whole(cache, &path, &text)?;
    record.standing(cache).ok_or_else(|| io_error("find", &path, io::ErrorKind::NotFound))
}

/// Removes what belongs to none of the digests in `keep`, and what killed processes left. Machines that run keep what they
/// have opened.
pub fn prune(cache: &Path, keep: &HashSet<String>) -> Result<(), Error> {
    if !cache.exists() {
        return Ok(());
    }
    let _lock = lock(cache)?;
    let names = list(cache)?;
    let mut kept = HashSet::from([LOCK.to_owned()]);
    for name in names.iter().filter(|name| name.starts_with("made-")) {
        if let Some(record) = read_record(&cache.join(name)).filter(|record| keep.contains(&record.digest)) {
            kept.extend([name.clone(), record.image, record.initramfs]);
        }
    }
    for name in names.iter().filter(|name| !kept.contains(*name)) {
        let path = cache.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &path, error)),
            _ => {}
        }
    }
    Ok(())
}

fn list(cache: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(cache).map_err(|error| io_error("list", cache, error))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Everything that a result depends on, by what costs least to find out.
fn key(source: &KernelSource, agent: &[u8], bus: Bus) -> Result<String, Error> {
    let mut text = format!("{RECIPE}\n{}", hash(agent));
    for path in std::iter::once(&source.kernel).chain(&source.modules) {
        let found = path.metadata().map_err(|error| io_error("examine", path, error))?;
        let time = (found.mtime(), found.mtime_nsec());
        let _ = write!(text, "\n{path:?} {} {} {} {time:?}", found.dev(), found.ino(), found.len());
    }
    for module in wanted(bus) {
        let _ = write!(text, "\n{} {}", module.name, module.needed);
    }
    Ok(hash(text.as_bytes()))
}

fn hash(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    push_hex(&mut text, &Sha256::digest(bytes));
    text
}

fn read_record(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The lock, in a folder that is made for it.
fn lock(cache: &Path) -> Result<File, Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(cache).map_err(|error| io_error("make", cache, error))?;
    let path = cache.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| io_error("open", &path, error))?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|()| file).map_err(|error| io_error("lock", &path, error)),
        }
    }
}

/// *Order*: under the lock.
fn make(cache: &Path, source: &KernelSource, agent: &[u8], bus: Bus) -> Result<Record, Error> {
    let file = fs::read(&source.kernel).map_err(|error| io_error("read", &source.kernel, error))?;
    let bootable = Image::recognise(&file).and_then(|image| image.bootable());
    let bootable = bootable.map_err(|fault| Error::Kernel { path: source.kernel.clone(), source: fault })?;
    let modules = match &source.modules {
        Some(folder) => ModuleTree::open(folder)?.resolve(wanted(bus), bootable.release.as_deref())?,
        None => Vec::new(),
    };
    let archive = initramfs::build(agent, &modules);
    let image_bytes = bootable.vmlinux.as_deref().unwrap_or(&file);
    let image = keep(cache, "kernel", image_bytes)?;
    let initramfs = keep(cache, "initramfs", &archive)?;
    let file_name = || source.kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Record {
        digest: hash(format!("{image}\n{initramfs}").as_bytes()),
        image,
        image_bytes: image_bytes.len() as u64,
        initramfs,
        initramfs_bytes: archive.len() as u64,
        release: bootable.release.unwrap_or_else(file_name),
    })
}

/// Keeps a file by its content; its name. One that is there already, and whole, stays.
fn keep(cache: &Path, kind: &str, bytes: &[u8]) -> Result<String, Error> {
    let name = format!("{kind}-{}", hash(bytes));
    let path = cache.join(&name);
    if !path.metadata().is_ok_and(|found| found.len() == bytes.len() as u64) {
        write_whole(cache, &path, bytes)?;
    }
    Ok(name)
}

/// Under a temporary name, on the disk, and then by rename. *Order*: under the lock, so the one name is enough. The
/// hypervisor reads as another user, so everybody may; nobody else gets through the folder.
fn write_whole(cache: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let partial = cache.join(PARTIAL);
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &partial, error)),
        _ => {}
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(0o444).open(&partial);
    let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| io_error("write", &partial, error))?;
    fs::rename(&partial, path).map_err(|error| io_error("make", path, error))
}

#[cfg(test)]
mod tests;
