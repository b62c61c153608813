//! Templates of booted machines: which one fits, and making the one that is missing, in the background.
//!
//! ```text
//! machines/templates/KEY/       memory and state, whole or not there
//! machines/templates/KEY.lock   held by who makes it; says why that failed the last time
//! ```
//! A template is saved before any container's name, clock, random bytes, disks or links are in it: these come with the setup.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use holm_container::cgroup::{Cgroup, Hierarchy};
use holm_spec::oci::runtime::Resources;
use holm_vm::disk::cache::key_of;
use holm_vm::disk::image::Format;
use holm_vm::machine::{Accelerator, Boot, DiskFile, HostUser, Hypervisor, Machine, Nic, Origin, Profile};
use holm_vm::qemu::Qemu;
use holm_vm::qmp::Qmp;
use holm_vm::template;
use rustix::fs::{FlockOperation, MemfdFlags};
use rustix::process::{WaitId, WaitIdOptions};

use super::vmm;
use crate::Roots;
use crate::error::chain;

/// How long the machine of a template may take to boot: it runs at the lowest priority.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long what is left of one may take to die.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a disk that stands for those of containers.
const PLACEHOLDER_BYTES: u64 = 64 << 10;

/// Where a machine's template is, or would be.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    key: String,
}

impl Kept {
    /// The template of machines like this one, which boots what the digest names.
    pub(super) fn of(roots: &Roots, qemu: &Qemu, machine: &Machine, digest: &str) -> Self {
        let key = format!("{} {digest} {}", template::shape(machine), qemu.facts().identity);
        let name = key_of([key.as_bytes()]);
        Self { folder: roots.machines("templates").join(&name[..32]), key }
    }

    /// What a machine begins from, if it was made. One that cannot be read is as good as none.
    pub(super) fn load(&self) -> Option<template::Loaded> {
        template::load(&self.folder, &self.key).ok().flatten()
    }

    /// Takes it away: a machine could not begin from it.
    pub(crate) fn discard(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A template that is missing.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(super) kept: Kept,
    pub(super) qemu: Qemu,
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    pub(super) accelerator: Accelerator,
    pub(super) profile: Profile,
    pub(super) cpus: u32,
    pub(super) memory_bytes: u64,
    /// Serial of each disk, and whether it is read-only.
    pub(super) disks: Vec<(String, bool)>,
    pub(super) links: u8,
    pub(super) user: HostUser,
}

/// Makes a missing template in a process of its own, which nobody waits for.
pub(crate) fn make_in_background(roots: &Roots, wish: Wish, hierarchy: Option<Hierarchy>, resources: Resources) {
    let parent = roots.cgroup_parent.trim_matches('/').to_owned();
    let driver = roots.cgroup_driver;
    let mut parts = Some((wish, hierarchy, resources));
    let mut run = || {
        let Some((wish, hierarchy, resources)) = parts.take() else { return 125 };
        // The container's lock and sockets are not ours to hold open.
        if holm_sys::detach::keep_only(Vec::new()).is_err() {
            return 125;
        }
        let _ = rustix::thread::set_name(c"holm-template");
        let _ = rustix::process::nice(19);
        let Some(mut lock) = wish.lock() else { return 0 };
        let path = format!("{parent}/template-{}-{}", wish.name(), rustix::process::getpid().as_raw_pid());
        let group = hierarchy.as_ref().and_then(|h| Cgroup::create(h, &path, &resources, driver).ok());
        let made = wish.make(group.as_ref());
        if let Some(group) = group {
            let _ = group.kill_all(KILL_PATIENCE).and_then(|()| group.remove());
        }
        match made {
            Ok(()) => 0,
            Err(why) => {
                let _ = writeln!(lock, "{why}");
                1
            }
        }
    };
    // Without one the next start is a cold one too.
    let _ = holm_sys::detach::spawn_detached(&mut run);
}

impl Wish {
    fn name(&self) -> String {
        self.kept.folder.file_name().unwrap_or_default().to_string_lossy().chars().take(12).collect()
    }

    /// The right to make it; none where another is about to, or has made it by now.
    fn lock(&self) -> Option<File> {
        std::fs::create_dir_all(self.kept.folder.parent()?).ok()?;
        let file = File::create(self.kept.folder.with_extension("lock")).ok()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        (!self.kept.folder.exists()).then_some(file)
    }

    fn make(&self, group: Option<&Cgroup>) -> Result<(), String> {
        let memory = template::empty_memory(self.memory_bytes).map_err(|e| chain(&e))?;
        let origin = Origin::Template { memory: memory.try_clone().map_err(|e| e.to_string())? };
        let plan = self.qemu.plan(self.machine(origin)?).map_err(|e| chain(&e))?;
        let vmm = vmm::start("template", plan, group)?;
        let saved = Qmp::new(vmm.ends.qmp).map_err(|e| chain(&e)).and_then(|mut qmp| {
            qmp.begin().map_err(|e| chain(&e))?;
            template::greeted(vmm.ends.channel.as_fd(), BOOT_TIMEOUT).map_err(|e| chain(&e))?;
            template::save(&mut qmp, memory.as_fd(), &self.kept.key, &self.kept.folder).map_err(|e| chain(&e))
        });
        let saved = saved.map_err(|why| format!("{why}; its console ended:\n{}", last_words(&vmm.ends.console)));
        let _ = rustix::process::pidfd_send_signal(&vmm.process.pidfd, rustix::process::Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(vmm.process.pidfd.as_fd()), WaitIdOptions::EXITED);
        saved
    }

    /// The machine with disks and links that stand for those of containers: its guest has not looked at them.
    fn machine(&self, origin: Origin) -> Result<Machine, String> {
        let disk = |(serial, read_only): &(String, bool)| -> Result<DiskFile, String> {
            let file = placeholder(*read_only).map_err(|e| e.to_string())?;
            Ok(DiskFile { file, read_only: *read_only, serial: serial.clone(), format: Format::Raw, throttle: None })
        };
        let link = |n: u8| -> Result<Nic, String> {
            let name = format!("hvt{}-{n}", rustix::process::getpid().as_raw_pid());
            Ok(Nic { tap: holm_sys::tap::open(&name).map_err(|e| e.to_string())?, n, mac: None })
        };
        Ok(Machine {
            boot: Boot::Direct { kernel: self.kernel.clone(), initramfs: self.initramfs.clone() },
            accelerator: self.accelerator,
            profile: self.profile,
            cpus: self.cpus,
            memory_bytes: self.memory_bytes,
            disks: self.disks.iter().map(disk).collect::<Result<_, _>>()?,
            links: (0..self.links).map(link).collect::<Result<_, _>>()?,
            shares: Vec::new(),
            user: self.user,
            origin,
        })
    }
}

/// What can be read of a console now.
fn last_words(console: &OwnedFd) -> String {
    let mut text = vec![0; 4096];
    let _ = rustix::io::ioctl_fionbio(console, true);
    let n = rustix::io::read(console, &mut text[..]).unwrap_or(0);
    String::from_utf8_lossy(&text[..n]).into_owned()
}

/// An empty disk, opened as the hypervisor is told that it is.
fn placeholder(read_only: bool) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"holm-placeholder", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, PLACEHOLDER_BYTES)?;
    match read_only {
        true => File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(OwnedFd::from),
        false => Ok(file),
    }
}

/// Lets a machine that was planned from a template go on. The error is a text.
pub(crate) fn resume(qmp: &OwnedFd, state: &OwnedFd) -> Result<(), String> {
    let qmp = qmp.try_clone().map_err(|e| e.to_string())?;
    let mut qmp = Qmp::new(qmp).map_err(|e| chain(&e))?;
    qmp.begin().map_err(|e| chain(&e))?;
    template::resume(&mut qmp, state.as_fd()).map_err(|e| chain(&e))
}
