//! From the kernel's first call to a machine that waits for the host: file systems, modules, and a root of its own.
//!
//! The first file system is the kernel's `rootfs`, which cannot be left: `pivot_root` refuses there, and every mount namespace
//! begins with it. So the agent moves to a small tmpfs, deletes what it came with, and executes itself from there; that mount
//! is read-only, so that nothing which enters a container can be made to write over the agent.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;

use holm_sys::process::CStringList;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Resource, Rlimit};

use crate::SECOND_STAGE;
use crate::error::{Doing, Error};
use crate::{log, virtio};

/// A file system of the kernel's.
struct Fixed {
    kind: &'static str,
    at: &'static str,
    flags: MountFlags,
    options: &'static str,
}

const HARD: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const SOFT: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// What loading modules needs; moved along to the agent's own root.
const FIRST: [Fixed; 3] = [
    Fixed { kind: "proc", at: "/proc", flags: HARD, options: "" },
    Fixed { kind: "sysfs", at: "/sys", flags: HARD, options: "" },
    Fixed { kind: "devtmpfs", at: "/dev", flags: MountFlags::NOSUID, options: "mode=0755" },
];

/// What the agent and containers need.
const SECOND: [Fixed; 4] = [
    Fixed { kind: "tmpfs", at: "/run", flags: SOFT, options: "mode=0755" },
    Fixed { kind: "cgroup2", at: "/sys/fs/cgroup", flags: HARD, options: "" },
    Fixed { kind: "devpts", at: "/dev/pts", flags: MountFlags::NOSUID, options: "ptmxmode=0666,mode=0620,gid=5" },
    Fixed { kind: "tmpfs", at: "/dev/shm", flags: SOFT, options: "mode=1777" },
];

/// Where the agent moves; a folder of the first file system.
const NEW_ROOT: &str = "/root";
/// The agent's program, here and there.
const PROGRAM: &str = "/init";
const MODULES: &str = "/modules";

/// Mounts, loads and moves. Comes back only with what failed.
pub(crate) fn first_stage() -> Result<Infallible, Error> {
    mount_all(&FIRST)?;
    load_modules(Path::new(MODULES))?;
    move_to_own_root()?;
    let failed = |e: std::ffi::NulError| Error::refused(format!("name the agent: {e}"));
    let args = CStringList::new([SECOND_STAGE]).map_err(failed)?;
    let env = CStringList::new(["PATH=/"]).map_err(failed)?;
    let source = holm_sys::process::execve(c"/init", &args, &env);
    Err(Error::Call { what: format!("execute `{PROGRAM}`"), source })
}

/// What is left to do once the agent stands on its own root.
pub(crate) fn second_stage() -> Result<(), Error> {
    mount_all(&SECOND)?;
    fs::create_dir_all("/run/holm").doing(|| "make `/run/holm`".into())?;
    raise_limits();
    lend_memory()
}

/// Lets programs reserve more than the machine has, as they can on a host that is larger than the container's limit: what is
/// too much then shows in the same way, when it is used. *Source*: vm.overcommit_memory in the kernel's sysctl/vm documentation.
fn lend_memory() -> Result<(), Error> {
    fs::write("/proc/sys/vm/overcommit_memory", "1").doing(|| "let programs reserve memory".into())
}

fn mount_all(table: &[Fixed]) -> Result<(), Error> {
    for Fixed { kind, at, flags, options } in table {
        let what = || format!("mount {kind} on `{at}`");
        fs::create_dir_all(at).doing(what)?;
        let options = CString::new(*options).unwrap_or_default();
        match rustix::mount::mount(*kind, *at, *kind, *flags, options.as_c_str()) {
            // A kernel may have mounted /dev by itself.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(e) => return Err(Error::Call { what: what(), source: e.into() }),
        }
    }
    Ok(())
}

/// Names of the modules that the channel needs; with what comes before them in the order they are loaded first.
const CHANNEL: [&str; 3] = ["virtio_mmio", "virtio_pci", "virtio_console"];

/// Loads what the order lists. As soon as the channel's port is there, drivers stop to take devices by themselves: until the
/// host says what this machine is, none of its disks and links is looked at.
fn load_modules(folder: &Path) -> Result<(), Error> {
    let order = match fs::read_to_string(folder.join("order")) {
        Ok(order) => order,
        // A kernel with everything in it.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Error::Call { what: "read the order of modules".into(), source: e }),
    };
    let names: Vec<&str> = order.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    let (channel, others) = names.split_at(for_channel(&names));
    channel.iter().for_each(|name| load(folder, name));
    virtio::wait_for_port()?;
    fs::write("/sys/bus/virtio/drivers_autoprobe", "0").doing(|| "leave devices unbound".into())?;
    others.iter().for_each(|name| load(folder, name));
    Ok(())
}

/// How many of the modules come first.
fn for_channel(names: &[&str]) -> usize {
    let is_channel = |name: &&str| CHANNEL.iter().any(|module| name.replace('-', "_").contains(module));
    names.iter().rposition(is_channel).map_or(0, |last| last + 1)
}

/// Loads one module. One that the kernel has already, or does not take, is not in the way of the others: what lacks it says so.
fn load(folder: &Path, name: &str) {
    let path = folder.join(name);
    let loaded = File::open(&path).and_then(|file| Ok(rustix::system::finit_module(&file, c"", 0)?));
    match loaded {
        Err(e) if e.raw_os_error() != Some(Errno::EXIST.raw_os_error()) => {
            log::error(&format!("cannot load module `{}`: {e}", path.display()));
        }
        _ => {}
    }
}

fn move_to_own_root() -> Result<(), Error> {
    let what = || "move to a root of its own".to_owned();
    fs::create_dir_all(NEW_ROOT).doing(what)?;
    rustix::mount::mount("tmpfs", NEW_ROOT, "tmpfs", SOFT, c"size=16m,mode=0755").doing(what)?;
    fs::copy(PROGRAM, format!("{NEW_ROOT}{PROGRAM}")).doing(what)?;
    for folder in ["proc", "sys", "dev", "run"] {
        fs::create_dir(Path::new(NEW_ROOT).join(folder)).doing(what)?;
    }
    for Fixed { at, .. } in &FIRST {
        rustix::mount::mount_move(*at, format!("{NEW_ROOT}{at}")).doing(what)?;
    }
    // All that it came with is memory.
    let _ = fs::remove_dir_all(MODULES);
    let _ = fs::remove_file(PROGRAM);
    rustix::process::chdir(NEW_ROOT).doing(what)?;
    rustix::mount::mount_move(".", "/").doing(what)?;
    rustix::process::chroot(".").doing(what)?;
    rustix::process::chdir("/").doing(what)?;
    rustix::mount::mount_remount("/", SOFT.union(MountFlags::RDONLY), c"").doing(what)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).doing(what)
}

/// Gives what starts from here the limits that services have where docker runs, instead of the kernel's for its first process.
fn raise_limits() {
    // *Source*: docker.service: LimitNPROC=infinity, LimitCORE=infinity; the number of files is containerd's usual one.
    let files = 1_048_576;
    let limits = [(Resource::Nofile, Some(files)), (Resource::Nproc, None), (Resource::Core, None)];
    for (resource, most) in limits {
        if let Err(e) = rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most }) {
            log::error(&format!("cannot raise limit {resource:?}: {e}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_the_channel_come_first() {
        assert_eq!(for_channel(&["virtio_ring.ko", "virtio_mmio.ko", "virtio_console.ko", "virtio_blk.ko"]), 3);
        assert_eq!(for_channel(&["00-virtio-pci.ko", "virtio_blk.ko"]), 1);
        assert_eq!(for_channel(&["virtio_blk.ko", "overlay.ko"]), 0);
        assert_eq!(for_channel(&[]), 0);
    }
}
