//! QEMU as a hypervisor: finding it, what it can do, its command line, and how it is shut in.
//!
//! Runs it only once per file, to ask what it can do; machines are planned here and run by others.

mod command;
mod jail;
pub(crate) mod probe;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_sys::packet;
use rustix::net::SocketType;

use crate::machine::{Accelerator, Boot, Ends, Error, Hypervisor, Machine, Origin, Profile, VmmPlan};
pub use probe::Facts;

/// Name of the program.
const PROGRAM: &str = "qemu-system-x86_64";

/// Most virtio devices: the places that `microvm` has for them. *Source*: QEMU hw/i386/microvm.c, with two IOAPICs.
const MAX_DEVICES: usize = 24;

/// A usable QEMU.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    facts: Facts,
}

impl Qemu {
    /// Finds it in the folders of `path` (as the variable `PATH` has them) and learns what it can do; that is kept in the folder
    /// `cache` for as long as its file stays the same.
    pub fn find(path: &str, cache: &Path) -> Result<Self, Error> {
        let program = locate(path)?;
        let facts = Facts::of(&program, cache)?;
        Self::usable(program, facts)
    }

    /// The same without running it: `None` where what it can do is not in `cache`.
    pub fn known(path: &str, cache: &Path) -> Result<Option<Self>, Error> {
        let program = locate(path)?;
        let facts = Facts::kept(&program, cache)?;
        facts.map(|facts| Self::usable(program, facts)).transpose()
    }

    fn usable(program: PathBuf, facts: Facts) -> Result<Self, Error> {
        if facts.version < (7, 0, 0) {
            let (major, minor, micro) = facts.version;
            return Err(Error::TooOld { found: format!("{major}.{minor}.{micro}") });
        }
        Ok(Self { program, facts })
    }

    /// Its file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What it can do.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    fn check(&self, machine: &Machine) -> Result<(), Error> {
        let name = match machine.profile {
            Profile::Microvm => "microvm",
            Profile::Q35 => "q35",
        };
        if !self.facts.machines.iter().any(|known| known == name) {
            return Err(Error::Lacks { program: self.program.clone(), what: "machine", name });
        }
        let word = |text: &str, most: usize| {
            let fits = (1..=most).contains(&text.len());
            fits && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if let Some(disk) = machine.disks.iter().find(|disk| !word(&disk.serial, 20)) {
            return Err(Error::Value(format!("a disk of serial `{}`", disk.serial.escape_debug())));
        }
        if let Some(share) = machine.shares.iter().find(|share| !word(&share.tag, 36)) {
            return Err(Error::Value(format!("a share of tag `{}`", share.tag.escape_debug())));
        }
        let device = match machine.profile {
            Profile::Microvm => "vhost-user-fs-device",
            Profile::Q35 => "vhost-user-fs-pci",
        };
        if !machine.shares.is_empty() && !self.facts.has(device) {
            return Err(Error::Lacks { program: self.program.clone(), what: "device", name: device });
        }
        // The channel and the random numbers are two more.
        let devices = machine.disks.len() + machine.links.len() + machine.shares.len() + 2;
        if devices > MAX_DEVICES {
            let text = format!("{devices} devices (disks, networks, folders of the host): {MAX_DEVICES} are the most");
            return Err(Error::Value(text));
        }
        if !(1..=64).contains(&machine.cpus) {
            return Err(Error::Value(format!("{} processors: 1 to 64 are possible", machine.cpus)));
        }
        if machine.memory_bytes < 64 << 20 {
            return Err(Error::Value(format!("{} bytes of memory: 64 MiB are the least", machine.memory_bytes)));
        }
        if !machine.shares.is_empty() && !matches!(machine.origin, Origin::Cold) {
            return Err(Error::Value("shares in a machine that is saved or restored".to_owned()));
        }
        match &machine.boot {
            Boot::Direct { kernel, initramfs } => readable(kernel).and_then(|()| readable(initramfs)),
            Boot::Firmware(_) if machine.profile != Profile::Q35 => {
                Err(Error::Value("a firmware and another profile than q35".to_owned()))
            }
            Boot::Firmware(_) => Ok(()),
        }
    }
}

impl Hypervisor for Qemu {
    fn plan(&self, machine: Machine) -> Result<VmmPlan, Error> {
        self.check(&machine)?;
        let pair = || packet::pair(SocketType::STREAM).map_err(Error::io("connect", &self.program));
        let ((channel, their_channel), (qmp, their_qmp), (console, their_console)) = (pair()?, pair()?, pair()?);
        let output = their_console.try_clone().map_err(Error::io("connect", &self.program))?;
        let mut files = Files::default();
        let ends = command::Ends {
            channel: files.add(their_channel),
            qmp: files.add(their_qmp),
            console: files.add(their_console),
        };
        let kvm = machine.accelerator == Accelerator::Kvm;
        let jail = jail::Jail {
            program: &self.program,
            boot: match &machine.boot {
                Boot::Direct { kernel, initramfs } => {
                    vec![(kernel.clone(), jail::KERNEL), (initramfs.clone(), jail::INITRAMFS)]
                }
                Boot::Firmware(_) => Vec::new(),
            },
            user: machine.user,
            kvm,
            proc: !matches!(machine.origin, Origin::Cold),
        };
        let args = command::line(&self.program, &self.facts, machine, &ends, &mut files);
        let (spec, root) = jail.spec(args)?;
        Ok(VmmPlan { spec, root, files: files.list, output, ends: Ends { channel, qmp, console } })
    }
}

fn locate(path: &str) -> Result<PathBuf, Error> {
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    let found = folders.map(|folder| Path::new(folder).join(PROGRAM)).find_map(|file| file.canonicalize().ok());
    found.ok_or(Error::NoProgram { program: PROGRAM })
}

/// The descriptors that the program will have, in order.
#[derive(Debug, Default)]
struct Files {
    list: Vec<OwnedFd>,
}

impl Files {
    /// The number under which the program will find it.
    fn add(&mut self, file: OwnedFd) -> usize {
        self.list.push(file);
        2 + self.list.len()
    }
}

fn readable(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let kept = fs::metadata(path).map_err(Error::io("look at", path))?;
    if kept.permissions().mode() & 0o004 == 0 { Err(Error::Unreadable(path.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
