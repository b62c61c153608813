//! Looking up on the host what a plan needs: sources of mounts, devices, PIDs of containers whose namespaces are joined.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use holm_container::rootfs::open_in_root;
use holm_spec::container::{ContainerSpec, DeviceSpec, MountKind, MountSpec, NamespaceMode, NetworkMode};
use rustix::fs::OFlags;
use std::os::fd::AsFd;

use crate::plan::{HostDevice, joined_containers, named_devices};
use crate::{Error, Roots, volume};

/// Most devices that one container gets.
const MAX_DEVICES: usize = 4096;
/// Below `/dev`, not devices of the machine.
const NOT_DEVICES: [&str; 6] = ["pts", "shm", "fd", "mqueue", "hugepages", "console"];

/// Where the mounts of a container come from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Host path of each, in order.
    pub paths: Vec<PathBuf>,
    /// The volumes that may be filled from the image, by number.
    pub fillable: Vec<usize>,
    /// What must stay open until the start is recorded.
    pub held: Vec<OwnedFd>,
}

/// Finds or makes the sources of the mounts.
pub(super) fn mounts(roots: &Roots, spec: &ContainerSpec) -> Result<Sources, Error> {
    let Sources { mut paths, mut fillable, mut held } = Sources::default();
    for (n, mount) in spec.mounts.iter().enumerate() {
        paths.push(match mount.kind {
            MountKind::Tmpfs => PathBuf::new(),
            MountKind::Bind => bind(mount)?,
            MountKind::Volume => {
                let mut place = volume::place(roots, &mount.source, &spec.id)?;
                held.append(&mut place.held);
                match &mount.subpath {
                    None => {
                        fillable.extend((place.fillable && !mount.no_copy).then_some(n));
                        place.path
                    }
                    Some(subpath) => {
                        let fd = inside(&place.path, subpath)?;
                        let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
                        held.push(fd);
                        PathBuf::from(path)
                    }
                }
            }
        });
    }
    Ok(Sources { paths, fillable, held })
}

/// A bind's source: there, or made where docker's `-v` would make it.
pub(crate) fn bind(mount: &MountSpec) -> Result<PathBuf, Error> {
    let path = Path::new(&mount.source);
    if !path.is_absolute() {
        return Err(Error::invalid(format!("bind source `{}`", mount.source.escape_default()), "it must be absolute"));
    }
    match std::fs::metadata(path) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && mount.create_source => {
            std::fs::create_dir_all(path).map_err(|e| Error::io("make bind source", mount.source.clone(), e))?;
        }
        Err(e) => return Err(Error::io("use bind source", mount.source.clone(), e)),
    }
    Ok(path.to_owned())
}

/// A folder or file inside a volume; no link in it leads out (CVE-2021-25741 and its kin).
fn inside(folder: &Path, subpath: &str) -> Result<OwnedFd, Error> {
    let failed = |e: std::io::Error| Error::io("use volume subpath", subpath.escape_default().to_string(), e);
    let root = std::fs::File::open(folder).map_err(failed)?;
    open_in_root(root.as_fd(), Path::new(subpath), OFlags::PATH).map_err(failed)
}

/// The devices that were asked for; folders are walked. With `--privileged` all of the machine's.
pub(super) fn devices(spec: &ContainerSpec) -> Result<Vec<HostDevice>, Error> {
    let mut list = Vec::new();
    if spec.security.privileged {
        walk(Path::new("/dev"), Path::new("/dev"), "rwm", &mut list, 0)?;
    }
    for asked in &spec.devices {
        device(asked, &mut list)?;
    }
    Ok(list)
}

fn device(asked: &DeviceSpec, list: &mut Vec<HostDevice>) -> Result<(), Error> {
    let (host, inside) = (Path::new(&asked.host_path), Path::new(&asked.container_path));
    let failed = |e| Error::io("use device", asked.host_path.escape_default().to_string(), e);
    if !inside.is_absolute() {
        return Err(Error::invalid(format!("device path `{}`", inside.display()), "it must be absolute"));
    }
    let before = list.len();
    let meta = std::fs::metadata(host).map_err(failed)?;
    if meta.is_dir() {
        walk(host, inside, &asked.permissions, list, 0)?;
    } else if let Some(found) = node(&meta, inside, &asked.permissions) {
        list.push(found);
    }
    if list.len() == before {
        return Err(Error::invalid(format!("device `{}`", asked.host_path.escape_default()), "it is no device"));
    }
    Ok(())
}

fn node(meta: &std::fs::Metadata, inside: &Path, permissions: &str) -> Option<HostDevice> {
    let kind = match meta.file_type() {
        t if t.is_char_device() => 'c',
        t if t.is_block_device() => 'b',
        _ => return None,
    };
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let permissions = if permissions.is_empty() { "rwm" } else { permissions }.to_owned();
    let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
    Some(HostDevice { kind, path: inside.to_owned(), major, minor, mode, uid, gid, permissions })
}

fn walk(host: &Path, inside: &Path, permissions: &str, list: &mut Vec<HostDevice>, depth: u32) -> Result<(), Error> {
    let failed = |e| Error::io("list devices in", host.display().to_string(), e);
    for entry in std::fs::read_dir(host).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if depth == 0 && NOT_DEVICES.iter().any(|n| name == *n) {
            continue;
        }
        // Links are left out: they name devices that are listed anyway.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && depth < 4 {
            walk(&entry.path(), &inside.join(&name), permissions, list, depth + 1)?;
        } else if let Some(found) = node(&meta, &inside.join(&name), permissions) {
            if list.len() >= MAX_DEVICES {
                return Err(Error::invalid(
                    format!("devices of `{}`", host.display()),
                    format!("the limit is {MAX_DEVICES}"),
                ));
            }
            list.push(found);
        }
    }
    Ok(())
}

/// Numbers of the block devices that limits name.
pub(crate) fn block_devices(limits: &holm_spec::container::Limits) -> BTreeMap<String, (u32, u32)> {
    named_devices(limits)
        .filter_map(|path| {
            let meta = std::fs::metadata(path).ok().filter(|m| m.file_type().is_block_device())?;
            Some((path.to_owned(), (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()))))
        })
        .collect()
}

/// PIDs of the containers whose namespaces are joined; those that do not run are left out.
pub(super) fn pids(roots: &Roots, spec: &ContainerSpec) -> BTreeMap<String, i32> {
    joined_containers(spec)
        .into_iter()
        .filter_map(|id| {
            let state = roots.read_state(id).ok()?;
            (state.status.is_live() && state.pid > 0).then(|| (id.to_string(), state.pid))
        })
        .collect()
}

/// The host name of who the container shares its network or its name with; empty where it shares neither.
pub(super) fn host_name(roots: &Roots, spec: &ContainerSpec) -> String {
    let hosts = |spec: &ContainerSpec| {
        matches!(spec.sandbox.network, NetworkMode::Host) || matches!(spec.sandbox.uts, NamespaceMode::Host)
    };
    let of_host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    match &spec.sandbox.network {
        _ if hosts(spec) => of_host(),
        NetworkMode::Container(id) => match roots.read_record(id) {
            Ok(other) if hosts(&other.spec) && other.spec.sandbox.hostname.is_none() => of_host(),
            Ok(other) => other.spec.sandbox.hostname.unwrap_or_else(|| id.short().to_owned()),
            Err(_) => String::new(),
        },
        _ => String::new(),
    }
}

/// The folders that tell how hot a CPU ran, a side channel.
pub(super) fn thermal_throttle() -> Vec<String> {
    let folder = |n: usize| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle");
    (0..8192).map(folder).take_while(|path| Path::new(path).exists()).collect()
}
