//! Docker's `HostConfig` of a container.

use holm_spec::container::{
    ContainerSpec, LogDriver, MountKind, MountSpec, NamespaceMode, NetworkMode, Profile, RestartPolicy,
    UserNamespaceMode,
};
use serde_json::{Map, Value, json};

use crate::format::container::network;
use crate::format::port;

/// The `HostConfig` part.
pub fn host_config(spec: &ContainerSpec) -> Value {
    let mut value = json!({
        "Binds": null_if_empty(binds(spec)),
        "ContainerIDFile": "",
        "LogConfig": log_config(spec),
        "NetworkMode": first_network(spec),
        "PortBindings": port::asked(&spec.sandbox.ports),
        "RestartPolicy": restart_policy(spec.restart),
        "AutoRemove": spec.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "Annotations": spec.annotations,
        "Mounts": mounts(spec),
        "CapAdd": null_if_empty(spec.security.cap_add.clone()),
        "CapDrop": null_if_empty(spec.security.cap_drop.clone()),
        "CgroupnsMode": namespace(&spec.sandbox.cgroupns, "private"),
        "Dns": spec.sandbox.dns,
        "DnsOptions": spec.sandbox.dns_options,
        "DnsSearch": spec.sandbox.dns_search,
        "ExtraHosts": null_if_empty(spec.sandbox.extra_hosts.clone()),
        "GroupAdd": null_if_empty(spec.group_add.clone()),
        "IpcMode": namespace(&spec.sandbox.ipc, "private"),
        "Cgroup": "",
        "Links": null,
        "PidMode": namespace(&spec.sandbox.pid, ""),
        "Privileged": spec.security.privileged,
        "PublishAllPorts": spec.sandbox.publish_all,
        "ReadonlyRootfs": spec.security.read_only_rootfs,
        "SecurityOpt": null_if_empty(security_options(spec)),
        "Tmpfs": tmpfs(spec),
        "UTSMode": namespace(&spec.sandbox.uts, ""),
        "UsernsMode": user_namespace(&spec.sandbox.userns),
        "ShmSize": spec.sandbox.shm_size_bytes.unwrap_or(64 << 20),
        "Sysctls": spec.sandbox.sysctls,
        "Runtime": "holm",
        "Isolation": if spec.sandbox.isolation.machine().is_some() { "vm" } else { "" },
        "Init": spec.init,
        "Ulimits": ulimits(spec),
        "Devices": devices(spec),
        "DeviceCgroupRules": null_if_empty(spec.device_cgroup_rules.clone()),
        "CgroupParent": spec.sandbox.cgroup_parent.clone().unwrap_or_default(),
    });
    if let (Value::Object(map), Value::Object(more)) = (&mut value, limits(spec)) {
        map.extend(more);
    }
    value
}

/// Docker names one network here, the first.
fn first_network(spec: &ContainerSpec) -> String {
    match &spec.sandbox.network {
        NetworkMode::Networks(list) => list.first().map_or_else(String::new, |a| a.network.to_string()),
        other => network(other),
    }
}

fn null_if_empty(list: Vec<String>) -> Value {
    if list.is_empty() { Value::Null } else { list.into() }
}

fn limits(spec: &ContainerSpec) -> Value {
    let limits = &spec.limits;
    let rates = |list: &[(String, u64)]| -> Value {
        list.iter().map(|(path, rate)| json!({"Path": path, "Rate": rate})).collect::<Vec<_>>().into()
    };
    let weights: Vec<Value> =
        limits.blkio_weight_device.iter().map(|(path, weight)| json!({"Path": path, "Weight": weight})).collect();
    json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory_bytes.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": weights,
        "BlkioDeviceReadBps": rates(&limits.device_read_bps),
        "BlkioDeviceWriteBps": rates(&limits.device_write_bps),
        "BlkioDeviceReadIOps": rates(&limits.device_read_iops),
        "BlkioDeviceWriteIOps": rates(&limits.device_write_iops),
        "CpuPeriod": limits.cpu_period_us.unwrap_or(0),
        "CpuQuota": limits.cpu_quota_us.unwrap_or(0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
        "MemoryReservation": limits.memory_reservation_bytes.unwrap_or(0),
        "MemorySwap": limits.memory_swap_bytes.unwrap_or(0),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "OomScoreAdj": limits.oom_score_adj.unwrap_or(0),
        "PidsLimit": limits.pids,
    })
}

fn binds(spec: &ContainerSpec) -> Vec<String> {
    let bind = |mount: &MountSpec| {
        let mut options = mount.options.clone();
        if mount.read_only {
            options.insert(0, "ro".to_owned());
        }
        options.extend(mount.propagation.clone());
        let tail = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
        format!("{}:{}{tail}", mount.source, mount.destination)
    };
    spec.mounts.iter().filter(|m| m.kind == MountKind::Bind && m.create_source).map(bind).collect()
}

fn mounts(spec: &ContainerSpec) -> Vec<Value> {
    let one = |mount: &MountSpec| {
        let kind = match mount.kind {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
        };
        json!({"Type": kind, "Source": mount.source, "Target": mount.destination, "ReadOnly": mount.read_only})
    };
    spec.mounts.iter().filter(|m| m.kind != MountKind::Bind || !m.create_source).map(one).collect()
}

fn tmpfs(spec: &ContainerSpec) -> Value {
    let all: Map<String, Value> = spec
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Tmpfs)
        .map(|mount| (mount.destination.clone(), mount.options.join(",").into()))
        .collect();
    if all.is_empty() { Value::Null } else { all.into() }
}

fn log_config(spec: &ContainerSpec) -> Value {
    let name = match spec.log.driver {
        LogDriver::JsonFile => "json-file",
        LogDriver::None => "none",
    };
    let mut options = Map::new();
    if spec.log.max_size_bytes > 0 {
        options.insert("max-size".to_owned(), spec.log.max_size_bytes.to_string().into());
    }
    if spec.log.max_files > 1 {
        options.insert("max-file".to_owned(), spec.log.max_files.to_string().into());
    }
    json!({"Type": name, "Config": options})
}

fn restart_policy(policy: RestartPolicy) -> Value {
    let (name, count) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::OnFailure { maximum_retry_count } => ("on-failure", maximum_retry_count),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    json!({"Name": name, "MaximumRetryCount": count})
}

fn namespace(mode: &NamespaceMode, private: &str) -> String {
    match mode {
        NamespaceMode::Private => private.to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(id) => format!("container:{id}"),
        NamespaceMode::Path(path) => format!("ns:{}", path.display()),
    }
}

fn user_namespace(mode: &UserNamespaceMode) -> String {
    match mode {
        UserNamespaceMode::Host => String::new(),
        UserNamespaceMode::Mapped { host_id, size } => format!("mapped:{host_id}:{size}"),
        UserNamespaceMode::Container(id) => format!("container:{id}"),
    }
}

/// Docker's word for a profile.
pub fn profile_name(profile: &Profile) -> String {
    match profile {
        Profile::Default => String::new(),
        Profile::Unconfined => "unconfined".to_owned(),
        Profile::Named(name) => name.clone(),
    }
}

fn security_options(spec: &ContainerSpec) -> Vec<String> {
    let security = &spec.security;
    let mut list = Vec::new();
    for (key, profile) in [("seccomp", &security.seccomp), ("apparmor", &security.apparmor)] {
        if *profile != Profile::Default {
            list.push(format!("{key}={}", profile_name(profile)));
        }
    }
    list.extend(security.selinux.iter().map(|label| format!("label={label}")));
    if let Some(on) = security.no_new_privileges {
        list.push(format!("no-new-privileges={on}"));
    }
    list.extend(security.mask.iter().map(|path| format!("mask={path}")));
    list.extend(security.unmask.iter().map(|path| format!("unmask={path}")));
    list
}

fn ulimits(spec: &ContainerSpec) -> Value {
    let number = |n: u64| i64::try_from(n).unwrap_or(-1);
    let one = |limit: &holm_spec::oci::runtime::Rlimit| {
        let name = limit.kind.trim_start_matches("RLIMIT_").to_ascii_lowercase();
        json!({"Name": name, "Soft": number(limit.soft), "Hard": number(limit.hard)})
    };
    if spec.ulimits.is_empty() { Value::Null } else { spec.ulimits.iter().map(one).collect::<Vec<_>>().into() }
}

fn devices(spec: &ContainerSpec) -> Vec<Value> {
    let one = |device: &holm_spec::container::DeviceSpec| {
        json!({
            "PathOnHost": device.host_path, "PathInContainer": device.container_path, "CgroupPermissions": device.permissions,
        })
    };
    spec.devices.iter().map(one).collect()
}
