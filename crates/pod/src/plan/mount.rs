//! The mounts of a plan: the kernel's file systems, the container's own files, and what was asked for.

use std::path::{Path, PathBuf};

use holm_spec::container::{ContainerSpec, MountKind, MountSpec, NamespaceMode, NetworkMode, UserNamespaceMode};
use holm_spec::oci::runtime::Mount;

use super::Facts;
use crate::Error;

const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// All mounts in the order in which they are made: shorter paths first, so that none hides another.
pub(super) fn mounts(spec: &ContainerSpec, facts: &Facts) -> Result<Vec<Mount>, Error> {
    let mut asked = Vec::new();
    for (mount, source) in spec.mounts.iter().zip(&facts.sources) {
        asked.push(asked_mount(mount, source, spec.sandbox.userns != UserNamespaceMode::Host, facts.selinux)?);
    }
    let mut all = defaults(spec, facts)?;
    all.extend(own_files(facts));
    all.retain(|m| !asked.iter().any(|a| a.destination == m.destination));
    // `--tmpfs /dev/shm` and a bind over /dev must come in the place of the default, before what lies below.
    let kernel_count = all.len();
    all.append(&mut asked);
    let depth = |m: &Mount| m.destination.components().count();
    let (kernel, user) = all.split_at_mut(kernel_count);
    user.sort_by_key(depth);
    let mut merged: Vec<Mount> = Vec::with_capacity(kernel.len() + user.len());
    let (mut over, mut rest) = (Vec::new(), Vec::new());
    for mount in user.iter() {
        let below = kernel.iter().any(|k| k.destination.starts_with(&mount.destination));
        if below { over.push(mount.clone()) } else { rest.push(mount.clone()) }
    }
    merged.append(&mut over);
    merged.extend(kernel.iter().cloned());
    merged.append(&mut rest);
    Ok(merged)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: PathBuf::from(destination),
        kind: Some(kind.to_owned()),
        source: Some(PathBuf::from(source)),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..Mount::default()
    }
}

fn defaults(spec: &ContainerSpec, facts: &Facts) -> Result<Vec<Mount>, Error> {
    let writable = spec.security.privileged;
    let guard = |options: &[&'static str]| -> Vec<&'static str> {
        let mut list = options.to_vec();
        if !writable {
            list.push("ro");
        }
        list
    };
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
    ];
    // A new sysfs shows the network namespace it was made in; only the owner of that namespace may make one.
    let foreign_network = !matches!(spec.sandbox.network, NetworkMode::None);
    if spec.sandbox.userns != UserNamespaceMode::Host && foreign_network {
        list.push(mount("/sys", "bind", "/sys", &guard(&["rbind", "nosuid", "noexec", "nodev"])));
    } else {
        list.push(mount("/sys", "sysfs", "sysfs", &guard(&["nosuid", "noexec", "nodev"])));
    }
    list.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &guard(&["nosuid", "noexec", "nodev", "relatime"])));
    let size = format!("size={}", spec.sandbox.shm_size_bytes.unwrap_or(DEFAULT_SHM_BYTES));
    let shared = |list: &mut Vec<Mount>, root: &str| {
        list.push(mount("/dev/shm", "bind", &format!("{root}/dev/shm"), &["bind", "nosuid", "noexec", "nodev"]));
    };
    // A new mount of it shows the queues of whichever IPC namespace the container is in.
    list.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    match &spec.sandbox.ipc {
        NamespaceMode::Private | NamespaceMode::Path(_) => {
            list.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
        }
        NamespaceMode::Host => shared(&mut list, ""),
        NamespaceMode::Container(id) => {
            let pid = facts.pids.get(id.as_str()).copied().unwrap_or(0);
            shared(&mut list, &format!("/proc/{pid}/root"));
        }
    }
    Ok(list)
}

/// `hosts`, `hostname` and `resolv.conf` of the container's folder.
fn own_files(facts: &Facts) -> Vec<Mount> {
    let own = |name: &&str| {
        let source = facts.folder.join(name).display().to_string();
        mount(&format!("/etc/{name}"), "bind", &source, &["bind", "rprivate"])
    };
    facts.files.iter().map(own).collect()
}

fn asked_mount(asked: &MountSpec, source: &Path, has_users: bool, selinux: bool) -> Result<Mount, Error> {
    let destination = clean(&asked.destination)?;
    let access = match (asked.read_only, asked.non_recursive) {
        (false, _) => "rw",
        (true, false) => "rro",
        (true, true) => "ro",
    };
    let mut options: Vec<String> = Vec::new();
    let kind = match asked.kind {
        MountKind::Tmpfs => {
            options.extend(["nosuid", "nodev", "noexec", "mode=1777"].map(str::to_owned));
            if asked.read_only {
                options.push("ro".to_owned());
            }
            "tmpfs"
        }
        MountKind::Bind | MountKind::Volume => {
            options.push(if asked.non_recursive { "bind" } else { "rbind" }.to_owned());
            options.push(asked.propagation.clone().unwrap_or_else(|| "rprivate".to_owned()));
            // A mount that was made for this start has the flags that its volume asks for.
            if asked.read_only || !source.starts_with("/proc/self/fd") {
                options.push(access.to_owned());
            }
            // A volume has the owners' numbers inside, for whichever containers use it; a bind has the host's.
            if asked.kind == MountKind::Volume && has_users {
                options.push("idmap".to_owned());
            }
            "bind"
        }
    };
    // `z` and `Z` label files for SELinux; a container without a label needs none.
    if let Some(option) = asked.options.iter().find(|o| selinux && matches!(o.as_str(), "z" | "Z")) {
        let what = format!("mount option `{option}` on `{}`", asked.destination.escape_default());
        return Err(Error::invalid(what, "files are not labelled; label them by chcon"));
    }
    options.extend(asked.options.iter().filter(|o| !matches!(o.as_str(), "z" | "Z")).cloned());
    let source = if asked.kind == MountKind::Tmpfs { Path::new("tmpfs") } else { source };
    Ok(Mount { destination, kind: Some(kind.to_owned()), source: Some(source.to_owned()), options, ..Mount::default() })
}

/// An absolute destination without `.` and `..`. Links in it are for `container` to resolve inside the root.
fn clean(destination: &str) -> Result<PathBuf, Error> {
    let wrong = |why: &str| Error::invalid(format!("mount destination `{}`", destination.escape_default()), why);
    if !destination.starts_with('/') {
        return Err(wrong("it must be absolute"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in destination.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(wrong("it must not be the root"));
    }
    Ok(PathBuf::from(format!("/{}", parts.join("/"))))
}
