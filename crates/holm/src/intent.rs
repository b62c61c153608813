//! From flags to intent: what was typed becomes a [`ContainerSpec`], checked, with docker's meaning of every flag.
//!
//! Reads what the flags name (environment, env files, seccomp profiles) through [`Around`]; makes nothing. Whether the
//! kernel and the image allow it is for the engine to say.

pub mod device;
pub mod environment;
pub mod life;
pub mod limit;
pub mod machine;
pub mod mount;
pub mod name;
pub mod namespace;
pub mod network;
pub mod security;
pub mod signal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holm_spec::container::{ContainerSpec, SandboxSpec};
use holm_spec::{ContainerId, Digest, Name};

use crate::args::create::{ContainerFlags, ProcessFlags};
use crate::error::{CODE_HOLM, Failure};

/// What flags may refer to besides themselves.
pub struct Around<'a> {
    /// Variables of this process.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Working folder of this process.
    pub folder: PathBuf,
    /// Finds a container that a flag names.
    pub container: &'a dyn Fn(&str) -> Result<ContainerId, Failure>,
    /// Host ids that containers with their own user namespace have already: first id and number.
    pub used_ids: &'a dyn Fn() -> Result<Vec<(u32, u32)>, Failure>,
    /// The table of subordinate user ids.
    pub subuid: &'a Path,
    /// The network of a container that names none.
    pub default_network: &'a str,
    /// The isolation, kernel and accelerator of a container that does not name them.
    pub machine: MachineDefaults<'a>,
}

/// What settings say of virtual machines.
#[derive(Clone, Copy, Debug)]
pub struct MachineDefaults<'a> {
    /// `container` or `vm`.
    pub isolation: &'a str,
    /// A path; empty for none.
    pub kernel: &'a str,
    /// `auto`, `kvm` or `tcg`.
    pub accel: &'a str,
}

impl MachineDefaults<'static> {
    /// Those without any settings.
    pub const NONE: Self = Self { isolation: "container", kernel: "", accel: "auto" };
}

/// Who the new container is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its identifier.
    pub id: ContainerId,
    /// Its name.
    pub name: Name,
    /// Nanoseconds since the Unix epoch.
    pub created_at_ns: u64,
}

/// The spec that `flags` ask for. The image's identity is not known yet: `image_id` is all zeros.
pub fn container_spec(flags: &ContainerFlags, identity: Identity, around: &Around) -> Result<ContainerSpec, Failure> {
    refuse_what_is_not_there(flags)?;
    let (image, command) = flags.words.split_first().ok_or_else(|| bad("the command needs an image"))?;
    check_combinations(flags)?;
    network::check_combinations(&flags.sandbox)?;
    let process = &flags.process;
    let spec = ContainerSpec {
        version: ContainerSpec::VERSION,
        id: identity.id,
        name: identity.name,
        created_at_ns: identity.created_at_ns,
        image: image.clone(),
        image_id: Digest::sha256(&[0; 32]),
        entrypoint: process.entrypoint.as_deref().map(entrypoint).transpose()?,
        command: (!command.is_empty()).then(|| command.to_vec()),
        env: environment::variables(&process.env_file, &process.env, around)?,
        working_dir: process.workdir.as_deref().map(working_dir).transpose()?,
        user: process.user.as_deref().map(user).transpose()?,
        group_add: process.group_add.clone(),
        tty: flags.tty,
        interactive: flags.interactive,
        labels: environment::labels(&process.label_file, &process.label)?,
        annotations: annotations(process)?,
        mounts: mount::mounts(&flags.files, &around.folder)?,
        sandbox: sandbox(flags, around)?,
        security: security::security(&flags.security, flags.files.read_only, &around.folder)?,
        limits: limit::limits(&flags.limits)?,
        devices: device::devices(&flags.files.device)?,
        device_cgroup_rules: device::rules(&flags.files.device_cgroup_rule)?,
        ulimits: limit::ulimits(&flags.limits.ulimit)?,
        init: process.init,
        stop_signal: flags.life.stop_signal.as_deref().map(|s| signal::checked("--stop-signal", s)).transpose()?,
        stop_timeout_s: life::stop_timeout(flags.life.stop_timeout)?,
        restart: life::restart(flags.life.restart.as_deref())?,
        healthcheck: life::healthcheck(&flags.life)?,
        log: life::log(&flags.life)?,
        auto_remove: flags.rm,
    };
    machine::check(&spec)?;
    Ok(spec)
}

fn bad(message: &str) -> Failure {
    Failure::new(message).with_code(CODE_HOLM)
}

fn refuse_what_is_not_there(flags: &ContainerFlags) -> Result<(), Failure> {
    if !flags.sandbox.link.is_empty() {
        return Err(bad("cannot use --link: docker gave it up long ago")
            .with_hint("holm network create NAME; containers with --network NAME find each other by name"));
    }
    Ok(())
}

fn check_combinations(flags: &ContainerFlags) -> Result<(), Failure> {
    let restarts = flags.life.restart.as_deref().is_some_and(|policy| policy != "no" && !policy.is_empty());
    if flags.rm && restarts {
        return Err(bad("cannot use --rm together with --restart")
            .with_hint("a container that is removed when it ends cannot be started again: choose one"));
    }
    for stream in &flags.attach {
        if !matches!(stream.to_ascii_lowercase().as_str(), "stdin" | "stdout" | "stderr") {
            return Err(Failure::flag("--attach", stream, "it must be stdin, stdout or stderr"));
        }
    }
    Ok(())
}

fn entrypoint(text: &str) -> Result<Vec<String>, Failure> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // Podman's form, which its users have in scripts; no program's path starts so.
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|e| Failure::flag("--entrypoint", text, e.to_string()));
    }
    Ok(vec![text.to_owned()])
}

fn working_dir(text: &str) -> Result<String, Failure> {
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err(Failure::flag("--workdir", text, "a working folder must be an absolute path"))
}

/// A user as typed, checked for form only: who it is, the image's own tables say.
pub fn user(text: &str) -> Result<String, Failure> {
    let (name, group) = text.split_once(':').unwrap_or((text, ""));
    let fine = |part: &str| !part.contains(|c: char| c.is_control() || c == ':' || c == '/');
    if text.is_empty() || text.len() > 256 || !fine(name) || !fine(group) {
        return Err(Failure::flag("--user", text, "it must be USER[:GROUP], by name or number"));
    }
    for part in [name, group] {
        let number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if number && part.parse::<u32>().map_or(true, |id| id > i32::MAX as u32) {
            return Err(Failure::flag("--user", text, format!("ids go from 0 to {}", i32::MAX)));
        }
    }
    Ok(text.to_owned())
}

fn annotations(process: &ProcessFlags) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::flag("--annotation", text, "it must be KEY=VALUE")),
    };
    process.annotation.iter().map(pair).collect()
}

fn sandbox(flags: &ContainerFlags, around: &Around) -> Result<SandboxSpec, Failure> {
    let asked = &flags.sandbox;
    Ok(SandboxSpec {
        isolation: machine::isolation(&flags.machine, around)?,
        hostname: asked.hostname.as_deref().map(|n| namespace::host_name("--hostname", n)).transpose()?,
        domainname: asked.domainname.as_deref().map(|n| namespace::host_name("--domainname", n)).transpose()?,
        network: network::mode(asked, around)?,
        ports: network::published(&asked.publish)?,
        exposed: network::exposed(&asked.expose)?,
        publish_all: asked.publish_all,
        pid: namespace::pid(asked.pid.as_deref(), around)?,
        ipc: namespace::ipc(asked.ipc.as_deref(), around)?,
        uts: namespace::private_or_host("--uts", asked.uts.as_deref(), around)?,
        cgroupns: namespace::private_or_host("--cgroupns", asked.cgroupns.as_deref(), around)?,
        userns: namespace::user(asked.userns.as_deref(), around)?,
        time: false,
        shm_size_bytes: flags.limits.shm_size.as_deref().map(|s| limit::size("--shm-size", s)).transpose()?,
        sysctls: namespace::sysctls(&asked.sysctl)?,
        extra_hosts: namespace::hosts(&asked.add_host)?,
        dns: namespace::name_servers(&asked.dns)?,
        dns_search: asked.dns_search.clone(),
        dns_options: asked.dns_option.clone(),
        cgroup_parent: asked.cgroup_parent.as_deref().map(namespace::cgroup_parent).transpose()?,
    })
}
