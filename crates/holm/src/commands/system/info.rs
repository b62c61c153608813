//! `info`: the machine, the store, and every setting with where it came from.

use std::fmt::Write as _;
use std::path::Path;

use holm_pod::Container;
use holm_pod::host::{self, Depth, Lack};
use holm_spec::state::Status;
use serde_json::{Value, json};

use super::print_template;
use crate::args::system::Info;
use crate::commands::context::Context;
use crate::commands::{Outcome, doctor, stats};
use crate::error::Failure;
use crate::format::network::driver;
use crate::format::quantity;
use crate::output;

/// The architecture by Go's names.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// `holm info`
pub fn info(context: &Context, flags: &Info) -> Outcome {
    let value = document(context)?;
    match flags.format.as_deref() {
        Some(format) => print_template(format, &value)?,
        None => output::print(&text(&value))?,
    }
    Ok(0)
}

fn document(context: &Context) -> Result<Value, Failure> {
    let engine = context.engine()?;
    let containers = engine.list().map_err(Failure::from)?;
    let count = |wanted: fn(&Container) -> bool| containers.iter().filter(|container| wanted(container)).count();
    let networks: Vec<Value> = engine
        .networks()
        .list_made()
        .map_err(holm_pod::Error::from)?
        .iter()
        .map(|network| {
            let subnets: Vec<String> = network.subnets.iter().map(|s| s.subnet.to_string()).collect();
            json!({"Name": network.name.as_str(), "Driver": driver(network.driver), "Link": network.link, "Subnets": subnets})
        })
        .collect();
    let uname = rustix::system::uname();
    let cgroup = cgroup_version();
    let driver = match context.settings.cgroup_driver.value.as_str() {
        "systemd" => "systemd",
        _ => "cgroupfs",
    };
    let settings: Vec<Value> = context
        .settings
        .all()
        .into_iter()
        .map(|(name, value, origin)| json!({"Name": name, "Value": value, "Origin": origin}))
        .collect();
    Ok(json!({
        "Name": uname.nodename().to_string_lossy(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Containers": containers.len(),
        "ContainersRunning": count(|c| matches!(c.state.status, Status::Running | Status::Restarting)),
        "ContainersPaused": count(|c| c.state.status == Status::Paused),
        "ContainersStopped": count(|c| !c.state.status.is_live()),
        "Images": context.store()?.list()?.len(),
        "Driver": "overlay",
        "DockerRootDir": context.settings.data_root.value.display().to_string(),
        "RunRoot": context.settings.run_root.value.display().to_string(),
        "LoggingDriver": "json-file",
        "Networks": networks,
        "Plugins": {"Network": ["bridge", "cni", "host", "macvlan", "null"], "Volume": ["local"], "Log": ["json-file", "none"]},
        "IPv4Forwarding": forwards("ipv4/ip_forward"),
        "IPv6Forwarding": forwards("ipv6/conf/all/forwarding"),
        "CgroupDriver": driver,
        "CgroupVersion": cgroup,
        "KernelVersion": uname.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSType": "linux",
        "Architecture": uname.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "MemTotal": stats::host_memory_bytes(),
        "SecurityOptions": security_options(),
        "VirtualMachines": machines(context)?,
        "Settings": settings,
    }))
}

/// What virtual machines would be here, as far as it is known without trying: this must cost next to nothing.
fn machines(context: &Context) -> Result<Value, Failure> {
    let question = doctor::question(&context.settings, Depth::Known)?;
    let found = host::look(&context.roots(), question);
    let mut missing = Vec::new();
    let mut lacks =
        |what: &str, lack: Lack| missing.push(json!({"What": what, "Why": lack.message, "Hint": lack.hint}));
    let hypervisor = found.hypervisor.map_err(|lack| lacks("Hypervisor", lack)).ok();
    let accelerator = found.accelerator.map_err(|lack| lacks("Accelerator", lack)).ok();
    let kernel = found.kernel.map_err(|lack| lacks("Kernel", lack)).ok();
    Ok(json!({
        "Hypervisor": hypervisor.map(|found| found.name),
        "Accelerator": accelerator.as_ref().map(|found| found.name),
        "Emulated": accelerator.as_ref().map(|found| found.emulated),
        "Reason": accelerator.map(|found| found.reason),
        "Kernel": kernel.as_ref().map(|found| found.release.clone()),
        "KernelPath": kernel.map(|found| found.path.display().to_string()),
        "Missing": missing,
    }))
}

/// Whether the kernel passes packets on.
fn forwards(name: &str) -> bool {
    std::fs::read_to_string(Path::new("/proc/sys/net").join(name)).is_ok_and(|text| text.trim() == "1")
}

/// `1`, `2`, or `1` for a hybrid: there the limits are in v1. *Source*: cgroups(7); the magic of a cgroup2 mount.
fn cgroup_version() -> &'static str {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" }
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn security_options() -> Vec<&'static str> {
    let there = |path: &str| Path::new(path).exists();
    [
        (there("/proc/sys/kernel/seccomp/actions_avail"), "name=seccomp,profile=builtin"),
        (there("/sys/kernel/security/apparmor"), "name=apparmor"),
        (there("/sys/fs/selinux/enforce"), "name=selinux"),
        (there("/proc/self/ns/user"), "name=userns"),
        (there("/proc/self/ns/cgroup"), "name=cgroupns"),
    ]
    .into_iter()
    .filter_map(|(there, name)| there.then_some(name))
    .collect()
}

fn machine_text(out: &mut String, machines: &Value) {
    let part = |name: &str| crate::error::printable(machines[name].as_str().unwrap_or_default());
    let _ = writeln!(out, "Virtual machines:");
    if machines["Hypervisor"].is_string() {
        let _ = writeln!(out, " Hypervisor: {}", part("Hypervisor"));
    }
    if machines["Accelerator"].is_string() {
        let emulated = if machines["Emulated"] == true { ", emulated: " } else { "" };
        let _ = writeln!(out, " Accelerator: {}{emulated}{}", part("Accelerator"), part("Reason"));
    }
    if machines["Kernel"].is_string() {
        let _ = writeln!(out, " Kernel: {} ({})", part("Kernel"), part("KernelPath"));
    }
    for lack in machines["Missing"].as_array().into_iter().flatten() {
        let part = |name: &str| crate::error::printable(lack[name].as_str().unwrap_or_default());
        let hint = if lack["Hint"].is_string() { format!(": {}", part("Hint")) } else { String::new() };
        let _ = writeln!(out, " {}: {}{hint}", part("What"), part("Why"));
    }
}

fn text(value: &Value) -> String {
    let field = |name: &str| match &value[name] {
        Value::String(text) => crate::error::printable(text),
        other => other.to_string(),
    };
    let mut out = String::new();
    for (title, name) in [
        ("Version", "ServerVersion"),
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Storage driver", "Driver"),
        ("Logging driver", "LoggingDriver"),
        ("Cgroup driver", "CgroupDriver"),
        ("Cgroup version", "CgroupVersion"),
        ("Kernel", "KernelVersion"),
        ("Operating system", "OperatingSystem"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ] {
        let _ = writeln!(out, "{title}: {}", field(name));
    }
    let _ = writeln!(out, "Memory: {}", quantity::binary(value["MemTotal"].as_u64().unwrap_or(0)));
    let options: Vec<&str> =
        value["SecurityOptions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let _ = writeln!(
        out,
        "Security: {}",
        options.iter().map(|o| o.trim_start_matches("name=")).collect::<Vec<_>>().join(" ")
    );
    machine_text(&mut out, &value["VirtualMachines"]);
    let on = |name: &str| if value[name] == true { "on" } else { "off" };
    let _ = writeln!(out, "Forwarding: IPv4 {}, IPv6 {}", on("IPv4Forwarding"), on("IPv6Forwarding"));
    let _ = writeln!(out, "Networks:");
    for network in value["Networks"].as_array().into_iter().flatten() {
        let part = |name: &str| crate::error::printable(network[name].as_str().unwrap_or_default());
        let subnets: Vec<&str> =
            network["Subnets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let _ = writeln!(out, " {}: {} {} {}", part("Name"), part("Driver"), part("Link"), subnets.join(" "));
    }
    let _ = writeln!(out, "Name: {}", field("Name"));
    let _ = writeln!(out, "Settings:");
    for setting in value["Settings"].as_array().into_iter().flatten() {
        let part = |name: &str| crate::error::printable(setting[name].as_str().unwrap_or_default());
        let _ = writeln!(out, " {}: {} ({})", part("Name"), part("Value"), part("Origin"));
    }
    out
}
