//! From what was asked, the image's configuration and facts of the host to the OCI document that `container` runs.
//!
//! A pure function: it reads no file and makes none, so every rule here is tested as data. Looking up the facts is for
//! `supervisor::boot`. Labels and environment of an image are data only; none is ever interpreted.

mod device;
mod guest;
mod mount;
mod process;
mod resource;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holm_container::user::ResolvedUser;
use holm_spec::container::{ContainerSpec, NamespaceMode, NetworkMode, UserNamespaceMode};
use holm_spec::oci::image::RunConfig;
use holm_spec::oci::runtime::{IdMapping, Linux, Namespace, NamespaceKind, Root, Spec, VERSION};

use crate::Error;

pub(crate) use guest::{MachineSize, guest_exec, guest_run, hypervisor_resources, machine_size};
pub(crate) use process::{exec_process, stop_signal};
pub(crate) use resource::{limits_of_update, named_devices};

/// A device node of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// `c` or `b`.
    pub kind: char,
    /// Path inside the container.
    pub path: PathBuf,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Any of `rwm`.
    pub permissions: String,
}

/// Facts that the plan needs beside what was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The user, resolved in the image.
    pub user: ResolvedUser,
    /// Host path of each of the spec's mounts, in order; not used for tmpfs.
    pub sources: Vec<PathBuf>,
    /// The container's folder.
    pub folder: PathBuf,
    /// Which of `hosts`, `hostname` and `resolv.conf` are in it, to be mounted over the image's.
    pub files: Vec<&'static str>,
    /// PID of the init of each container whose namespaces are joined.
    pub pids: BTreeMap<String, i32>,
    /// The host's devices that were asked for; with `--privileged` all of them.
    pub devices: Vec<HostDevice>,
    /// Block devices named in limits, by path.
    pub block_devices: BTreeMap<String, (u32, u32)>,
    /// `thermal_throttle` folders of this machine's CPUs.
    pub thermal_throttle: Vec<String>,
    /// The host's name.
    pub host_name: String,
    /// Whether the kernel enforces SELinux.
    pub selinux: bool,
}

/// Paths that a container cannot read. *Source*: moby daemon/pkg/oci/defaults.go.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that a container cannot write. *Source*: as [`MASKED`].
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Makes the OCI document.
pub(crate) fn plan(spec: &ContainerSpec, image: &RunConfig, facts: &Facts, cgroup: &str) -> Result<Spec, Error> {
    let (masked_paths, readonly_paths) = guarded_paths(spec, facts);
    let namespaces = namespaces(spec, facts)?;
    let own_uts = namespaces.iter().any(|n| n.kind == NamespaceKind::Uts && n.path.is_none());
    let mappings = match spec.sandbox.userns {
        UserNamespaceMode::Mapped { host_id, size } => vec![IdMapping { container_id: 0, host_id, size }],
        UserNamespaceMode::Host | UserNamespaceMode::Container(_) => Vec::new(),
    };
    let linux = Linux {
        uid_mappings: mappings.clone(),
        gid_mappings: mappings,
        sysctl: sysctls(spec),
        resources: Some(resource::resources(spec, facts)?),
        cgroups_path: Some(cgroup.to_owned()),
        namespaces,
        devices: device::nodes(&facts.devices),
        masked_paths,
        readonly_paths,
        mount_label: process::selinux_label(spec, facts, true),
        ..Linux::default()
    };
    Ok(Spec {
        oci_version: VERSION.to_owned(),
        process: Some(process::process(spec, image, facts)?),
        root: Some(Root { path: PathBuf::from("rootfs"), readonly: spec.security.read_only_rootfs }),
        hostname: own_uts.then(|| host_name(spec, facts)),
        domainname: spec.sandbox.domainname.clone().filter(|_| own_uts),
        mounts: mount::mounts(spec, facts)?,
        hooks: None,
        annotations: spec.annotations.clone(),
        linux: Some(linux),
    })
}

/// The host name inside: what was asked, the host's where its network or UTS namespace is shared, else the short id.
pub(crate) fn host_name(spec: &ContainerSpec, facts: &Facts) -> String {
    let shared = matches!(spec.sandbox.network, NetworkMode::Host | NetworkMode::Container(_))
        || matches!(spec.sandbox.uts, NamespaceMode::Host);
    match &spec.sandbox.hostname {
        Some(name) => name.clone(),
        None if shared && !facts.host_name.is_empty() => facts.host_name.clone(),
        None => spec.id.short().to_owned(),
    }
}

fn namespaces(spec: &ContainerSpec, facts: &Facts) -> Result<Vec<Namespace>, Error> {
    let sandbox = &spec.sandbox;
    let of = |id: &holm_spec::ContainerId, file: &str| -> Result<PathBuf, Error> {
        let pid = facts.pids.get(id.as_str()).copied().filter(|pid| *pid > 0);
        let pid =
            pid.ok_or_else(|| Error::invalid(format!("container `{}`'s namespace", id.short()), "it does not run"))?;
        Ok(Path::new("/proc").join(pid.to_string()).join("ns").join(file))
    };
    let mut list = vec![Namespace { kind: NamespaceKind::Mount, path: None }];
    let mut add = |kind, path| list.push(Namespace { kind, path });
    let modes = [
        (NamespaceKind::Pid, &sandbox.pid, "pid"),
        (NamespaceKind::Ipc, &sandbox.ipc, "ipc"),
        (NamespaceKind::Uts, &sandbox.uts, "uts"),
        (NamespaceKind::Cgroup, &sandbox.cgroupns, "cgroup"),
    ];
    for (kind, mode, file) in modes {
        match mode {
            NamespaceMode::Private => add(kind, None),
            NamespaceMode::Host => {}
            NamespaceMode::Container(id) => add(kind, Some(of(id, file)?)),
            NamespaceMode::Path(path) => add(kind, Some(path.clone())),
        }
    }
    match &sandbox.network {
        NetworkMode::None | NetworkMode::Networks(_) | NetworkMode::Cni(_) => add(NamespaceKind::Network, None),
        NetworkMode::Host => {}
        NetworkMode::Container(id) => add(NamespaceKind::Network, Some(of(id, "net")?)),
        NetworkMode::Path(path) => add(NamespaceKind::Network, Some(path.clone())),
    }
    match &sandbox.userns {
        UserNamespaceMode::Host => {}
        UserNamespaceMode::Mapped { .. } => add(NamespaceKind::User, None),
        UserNamespaceMode::Container(id) => add(NamespaceKind::User, Some(of(id, "user")?)),
    }
    if sandbox.time {
        add(NamespaceKind::Time, None);
    }
    Ok(list)
}

/// The containers whose namespaces are joined.
pub(crate) fn joined_containers(spec: &ContainerSpec) -> Vec<&holm_spec::ContainerId> {
    let s = &spec.sandbox;
    let modes = [&s.pid, &s.ipc, &s.uts, &s.cgroupns];
    let mut ids: Vec<_> = modes
        .into_iter()
        .filter_map(|mode| if let NamespaceMode::Container(id) = mode { Some(id) } else { None })
        .collect();
    if let NetworkMode::Container(id) = &s.network {
        ids.push(id);
    }
    if let UserNamespaceMode::Container(id) = &s.userns {
        ids.push(id);
    }
    ids
}

/// What was asked, over docker's two defaults for a network namespace of its own: low ports for every user, and ping
/// without a capability. The group range cannot be mapped in a user namespace, so it is left alone there.
fn sysctls(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if matches!(spec.sandbox.network, NetworkMode::Path(_) | NetworkMode::Cni(_)) && !spec.security.privileged {
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        if spec.sandbox.userns == UserNamespaceMode::Host {
            all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        }
    }
    all.extend(spec.sandbox.sysctls.iter().map(|(k, v)| (k.clone(), v.clone())));
    all
}

fn guarded_paths(spec: &ContainerSpec, facts: &Facts) -> (Vec<String>, Vec<String>) {
    let security = &spec.security;
    let mut masked: Vec<String> = Vec::new();
    let mut read_only: Vec<String> = Vec::new();
    let all_open = security.privileged || security.unmask.iter().any(|p| p.eq_ignore_ascii_case("ALL"));
    if !all_open {
        masked.extend(MASKED.map(str::to_owned));
        masked.extend(facts.thermal_throttle.iter().cloned());
        read_only.extend(READ_ONLY.map(str::to_owned));
    }
    let open = |path: &String| security.unmask.iter().any(|u| u == path);
    masked.retain(|p| !open(p));
    read_only.retain(|p| !open(p));
    masked.extend(security.mask.iter().cloned());
    (masked, read_only)
}

#[cfg(test)]
mod tests;

/// A spec for tests.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A container that asks for nothing.
    pub(crate) fn spec() -> ContainerSpec {
        serde_json::from_value(serde_json::json!({
            "version": 1,
            "id": "ab".repeat(32),
            "name": "web",
            "created_at_ns": 1,
            "image": "busybox",
            "image_id": format!("sha256:{}", "00".repeat(32)),
        }))
        .unwrap()
    }
}
