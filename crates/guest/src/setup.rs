//! Making the machine one container's: clock, random pool, name, devices, links, file systems.
//!
//! The same steps after a cold boot and in a machine that was restored from another's saved state: all that must differ
//! between two machines comes from here.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use holm_container::rootfs::{Rootfs, Upper};
use holm_spec::guest::{Disk, Mounted, Setup};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::time::{ClockId, Timespec};

use crate::error::{Doing, Error};
use crate::{link, log, virtio};

/// Where the image's root is mounted.
const ROOT: &str = "/run/holm/root";
/// Where the file system of changes is mounted.
const CHANGES: &str = "/run/holm/changes";
/// Where folders of the host may be mounted.
const SHARES: &str = "/run/holm/shares";
/// Least entropy that is worth the name. *Source*: the kernel's own pool has 256 bits.
const MIN_ENTROPY_BYTES: usize = 32;
/// What containers with a network of their own may do, as docker has it. *Source*: ip-sysctl.
const SYSCTLS: [(&str, &str); 2] =
    [("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"), ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")];

/// What was made.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The container's root file system.
    pub(crate) rootfs: Rootfs,
    /// Whether changes are kept on a disk.
    on_disk: bool,
}

/// Does all that the host asks for; what it asked for and could not be had.
pub(crate) fn set_up(setup: &Setup) -> Result<(Machine, Vec<String>), Error> {
    let entropy = hexadecimal(&setup.entropy).filter(|bytes| bytes.len() >= MIN_ENTROPY_BYTES);
    let entropy = entropy.ok_or_else(|| Error::refused("take entropy that is not 32 bytes or more in hexadecimal"))?;
    seed(&entropy)?;
    set_clock(setup.clock_ns)?;
    rustix::system::sethostname(setup.host_name.as_bytes())
        .doing(|| format!("set the host name to `{}`", setup.host_name.escape_debug()))?;
    virtio::bind_all()?;
    let mut warnings = Vec::new();
    for (path, value) in SYSCTLS {
        if let Err(e) = fs::write(path, value) {
            warnings.push(format!("cannot write `{value}` to `{path}`: {e}"));
        }
    }
    link::set_up(&setup.links)?;
    mount_disk(&setup.root, Path::new(ROOT), MountFlags::RDONLY, c"")?;
    match &setup.changes {
        Some(disk) => mount_disk(disk, Path::new(CHANGES), MountFlags::empty(), c"")?,
        None => mount("tmpfs", Path::new("tmpfs"), Path::new(CHANGES), MountFlags::empty(), c"mode=0755,size=50%")?,
    }
    setup.shares.iter().try_for_each(mount_share)?;
    let rootfs = overlay()?;
    Ok((Machine { rootfs, on_disk: setup.changes.is_some() }, warnings))
}

impl Machine {
    /// Makes the root file system anew, for another run: the mount of the last one ended with it.
    pub(crate) fn renew(&mut self) -> Result<(), Error> {
        self.rootfs = overlay()?;
        Ok(())
    }

    /// The folder of the container's changes.
    pub(crate) fn changes() -> PathBuf {
        Path::new(CHANGES).join("upper")
    }
}

/// Writes out what is in memory and unmounts the file system of changes, so that it is whole. What cannot be done is logged:
/// the machine is switched off in any case.
pub(crate) fn take_down(machine: Option<Machine>) {
    let Some(machine) = machine else { return };
    drop(machine.rootfs);
    rustix::fs::sync();
    if !machine.on_disk {
        return;
    }
    // Where something still holds on to it, at least nothing more is written.
    if rustix::mount::unmount(CHANGES, UnmountFlags::empty()).is_err()
        && let Err(e) = rustix::mount::mount_remount(CHANGES, MountFlags::RDONLY, c"")
    {
        log::error(&format!("cannot unmount `{CHANGES}`: {e}"));
    }
    rustix::fs::sync();
}

fn overlay() -> Result<Rootfs, Error> {
    let (upper, work) = (Machine::changes(), Path::new(CHANGES).join("work"));
    for folder in [&upper, &work] {
        fs::create_dir_all(folder).doing(|| format!("make `{}`", folder.display()))?;
    }
    // Nothing is synced in memory anyway, and a volatile overlay could not be made a second time.
    let upper = Upper { upper: &upper, work: &work, volatile: false };
    Ok(Rootfs::overlay(&[ROOT.into()], Some(upper))?)
}

fn seed(entropy: &[u8]) -> Result<(), Error> {
    let what = || "seed the random pool".to_owned();
    let pool = File::options().write(true).open("/dev/urandom").doing(what)?;
    // In pieces that one call takes.
    entropy.chunks(256).try_for_each(|piece| holm_sys::random::seed(pool.as_fd(), piece).doing(what))
}

fn set_clock(ns: u64) -> Result<(), Error> {
    let what = || "set the clock".to_owned();
    let tv_sec = i64::try_from(ns / 1_000_000_000).map_err(|_| Error::refused(what()))?;
    let time = Timespec { tv_sec, tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0) };
    rustix::time::clock_settime(ClockId::Realtime, time).doing(what)
}

fn mount_disk(disk: &Disk, at: &Path, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Error> {
    if !matches!(disk.file_system.as_str(), "erofs" | "ext4") {
        return Err(Error::refused(format!("mount file system `{}`", disk.file_system.escape_debug())));
    }
    let device = virtio::disk(&disk.serial)?;
    mount(&disk.file_system, &device, at, flags, options)
}

fn mount(kind: &str, source: &Path, at: &Path, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Error> {
    let what = || format!("mount {kind} `{}` on `{}`", source.display(), at.display());
    fs::create_dir_all(at).doing(what)?;
    rustix::mount::mount(source, at, kind, flags, options).doing(what)
}

fn mount_share(share: &Mounted) -> Result<(), Error> {
    let below = share.at.strip_prefix(SHARES).is_ok_and(|rest| !rest.as_os_str().is_empty());
    if !below || share.at.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(Error::refused(format!("mount a share on `{}`: it is not below `{SHARES}`", share.at.display())));
    }
    // A device node of the host's has a number of the host's, which is another device here.
    let mut flags = MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, share.read_only);
    let mounted = virtio::wait_binding(|| match mount("virtiofs", Path::new(&share.tag), &share.at, flags, c"") {
        Ok(()) => Ok(Some(())),
        // No device with this tag, or not yet.
        Err(Error::Call { source, .. }) if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(None),
        Err(e) => Err(e),
    })?;
    mounted.ok_or_else(|| Error::refused(format!("find the share `{}`", share.tag.escape_debug())))
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().iter().map(|byte| char::from(*byte).to_digit(16));
    let digits: Vec<u8> = digits.map(|digit| u8::try_from(digit?).ok()).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_pairs_of_digits() {
        assert_eq!(hexadecimal("00fF10"), Some(vec![0, 255, 16]));
        for bad in ["0", "0g", "é"] {
            assert_eq!(hexadecimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn shares_are_mounted_in_their_folder_only() {
        for at in ["/run/holm/shares", "/run/holm/root", "/run/holm/shares/../x", "/", "shares/x"] {
            let share = Mounted { tag: "x".into(), at: at.into(), read_only: false };
            assert!(matches!(mount_share(&share), Err(Error::Refused(_))), "{at}");
        }
    }
}
