//! What `inspect` says of containers and volumes, with docker's field names, since scripts everywhere use them.

mod host_config;
mod network;

use std::path::PathBuf;

use holm_pod::{Container, Volume};
use holm_spec::container::{MountKind, MountSpec};
use holm_spec::network::{Endpoint, NetworkSpec};
use holm_spec::state::{Health, Status};
use serde_json::{Value, json};

use super::{container as rows, time};

/// What the record of a container does not say itself.
pub struct Facts<'a> {
    /// Bytes written and bytes of all image layers.
    pub sizes: Option<(u64, u64)>,
    /// Where the files of a volume are.
    pub volume_path: &'a dyn Fn(&str) -> PathBuf,
    /// The folder with hostname, hosts and resolv.conf.
    pub run_folder: PathBuf,
    /// Its places on networks now.
    pub endpoints: &'a [Endpoint],
    /// A network by name.
    pub network: &'a dyn Fn(&str) -> Option<NetworkSpec>,
}

/// What `inspect` says of a container.
pub fn container(container: &Container, facts: &Facts) -> Value {
    let spec = &container.spec;
    let mut words = rows::command(container).into_iter();
    let path = words.next().unwrap_or_default();
    let arguments: Vec<String> = words.collect();
    let file = |name: &str| facts.run_folder.join(name).display().to_string();
    let mut value = json!({
        "Id": spec.id.as_str(),
        "Created": time::rfc3339(spec.created_at_ns),
        "Path": path,
        "Args": arguments,
        "State": state(container),
        "Image": spec.image_id.as_str(),
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": container.log_path.display().to_string(),
        "Name": format!("/{}", spec.name),
        "RestartCount": container.state.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": host_config::profile_name(&spec.security.apparmor),
        "ExecIDs": null,
        "HostConfig": host_config::host_config(spec),
        "GraphDriver": graph(container),
        "Mounts": spec.mounts.iter().map(|m| mount(m, facts)).filter(|m| !m.is_null()).collect::<Vec<_>>(),
        "Config": config(container),
        "NetworkSettings": network::settings(container, facts),
    });
    if let (Some((written, image)), Value::Object(map)) = (facts.sizes, &mut value) {
        map.insert("SizeRw".to_owned(), written.into());
        map.insert("SizeRootFs".to_owned(), written.saturating_add(image).into());
    }
    value
}

fn state(container: &Container) -> Value {
    let state = &container.state;
    let mut value = json!({
        "Status": state.status.word(),
        "Running": state.status.is_live(),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": if state.status.is_live() { state.pid } else { 0 },
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time::rfc3339(state.started_at_ns),
        "FinishedAt": time::rfc3339(state.finished_at_ns),
        "CgroupPath": state.cgroup_path,
    });
    if let (Some(result), Value::Object(map)) = (&state.health, &mut value) {
        map.insert("Health".to_owned(), health(result));
    }
    if let (Some(machine), Some(map)) = (&state.machine, value.as_object_mut()) {
        map.insert("Machine".to_owned(), json!(machine));
    }
    value
}

fn health(health: &Health) -> Value {
    let log: Vec<Value> = health
        .log
        .iter()
        .map(|result| {
            json!({
                "Start": time::rfc3339(result.start_ns),
                "End": time::rfc3339(result.end_ns),
                "ExitCode": result.exit_code,
                "Output": result.output,
            })
        })
        .collect();
    json!({"Status": health.status, "FailingStreak": health.failing_streak, "Log": log})
}

fn graph(container: &Container) -> Value {
    let lower: Vec<String> = container.layers.iter().rev().map(|path| path.display().to_string()).collect();
    let part = |name: &str| container.folder.join(name).display().to_string();
    json!({"Name": "overlay", "Data": {
        "LowerDir": lower.join(":"), "UpperDir": part("upper"), "WorkDir": part("work"), "MergedDir": part("merged"),
    }})
}

fn mount(mount: &MountSpec, facts: &Facts) -> Value {
    let mode = mount.options.join(",");
    let propagation = mount.propagation.clone();
    match mount.kind {
        MountKind::Bind => json!({
            "Type": "bind", "Source": mount.source, "Destination": mount.destination, "Mode": mode, "RW": !mount.read_only,
            "Propagation": propagation.unwrap_or_else(|| "rprivate".to_owned()),
        }),
        MountKind::Volume => json!({
            "Type": "volume", "Name": mount.source, "Source": (facts.volume_path)(&mount.source).display().to_string(),
            "Destination": mount.destination, "Driver": "local", "Mode": mode, "RW": !mount.read_only, "Propagation": "",
        }),
        // Docker lists these in HostConfig.Tmpfs only.
        MountKind::Tmpfs => Value::Null,
    }
}

fn config(container: &Container) -> Value {
    let spec = &container.spec;
    let image = &container.image_config;
    let mut env: Vec<String> = image.env.clone().unwrap_or_default();
    for pair in &spec.env {
        let name = pair.split('=').next().unwrap_or(pair);
        env.retain(|old| old.split('=').next() != Some(name));
        env.push(pair.clone());
    }
    let mut labels = image.labels.clone().unwrap_or_default();
    labels.extend(spec.labels.clone());
    let command = match (&spec.command, &spec.entrypoint) {
        (Some(command), _) => Some(command.clone()),
        (None, Some(_)) => None,
        (None, None) => image.cmd.clone(),
    };
    json!({
        "Hostname": spec.sandbox.hostname.as_deref().unwrap_or(spec.id.short()),
        "Domainname": spec.sandbox.domainname.clone().unwrap_or_default(),
        "User": spec.user.clone().or_else(|| image.user.clone()).unwrap_or_default(),
        "AttachStdin": spec.interactive,
        "AttachStdout": true,
        "AttachStderr": true,
        "ExposedPorts": super::port::exposed_map(container),
        "Tty": spec.tty,
        "OpenStdin": spec.interactive,
        "StdinOnce": spec.interactive,
        "Env": env,
        "Cmd": command,
        "Healthcheck": spec.healthcheck.clone().or_else(|| image.healthcheck.clone()),
        "Image": spec.image,
        "Volumes": image.volumes,
        "WorkingDir": spec.working_dir.clone().or_else(|| image.working_dir.clone()).unwrap_or_default(),
        "Entrypoint": spec.entrypoint.clone().or_else(|| image.entrypoint.clone()),
        "OnBuild": null,
        "Labels": labels,
        "Annotations": spec.annotations,
        "StopSignal": spec.stop_signal.clone().or_else(|| image.stop_signal.clone()).unwrap_or_else(|| "SIGTERM".to_owned()),
        "StopTimeout": spec.stop_timeout_s.unwrap_or(10),
    })
}

/// What `inspect` says of a volume.
pub fn volume(volume: &Volume) -> Value {
    json!({
        "CreatedAt": time::rfc3339(volume.created_at_ns),
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volume.mountpoint.display().to_string(),
        "Name": volume.name.as_str(),
        "Options": volume.options,
        "Scope": "local",
        "Anonymous": volume.anonymous,
    })
}
