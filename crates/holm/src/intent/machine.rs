//! Isolation: a container on the host's kernel, or a virtual machine, and what a virtual machine cannot have.

use holm_spec::container::{
    AcceleratorChoice, ContainerSpec, Isolation, MachineProfile, MachineSpec, NamespaceMode, NetworkMode,
    UserNamespaceMode,
};

use super::Around;
use crate::args::create::MachineFlags;
use crate::error::Failure;

/// `--isolation` and what goes with `--isolation vm`.
pub fn isolation(flags: &MachineFlags, around: &Around) -> Result<Isolation, Failure> {
    let defaults = around.machine;
    match flags.isolation.as_deref().unwrap_or(defaults.isolation) {
        "container" | "default" | "process" => {
            alone(flags)?;
            Ok(Isolation::Container)
        }
        "vm" => Ok(Isolation::Vm(MachineSpec {
            kernel: kernel(flags, around),
            accelerator: accelerator(Some(flags.accel.as_deref().unwrap_or(defaults.accel)))?,
            profile: profile(flags.machine.as_deref())?,
            template: !flags.no_template,
        })),
        other => Err(Failure::flag("--isolation", other, "there is no such kind")
            .with_hint("--isolation container, or --isolation vm for a kernel of its own")),
    }
}

/// What the flag names, else the settings; none for the host's own kernel.
fn kernel(flags: &MachineFlags, around: &Around) -> Option<std::path::PathBuf> {
    let set = Some(around.machine.kernel).filter(|path| !path.is_empty()).map(std::path::PathBuf::from);
    flags.kernel.clone().or(set).map(|path| around.folder.join(path))
}

/// Flags that only a virtual machine has.
fn alone(flags: &MachineFlags) -> Result<(), Failure> {
    let first = [
        ("--kernel", flags.kernel.is_some()),
        ("--accel", flags.accel.is_some()),
        ("--machine", flags.machine.is_some()),
        ("--no-template", flags.no_template),
    ]
    .into_iter()
    .find(|(_, given)| *given);
    match first {
        None => Ok(()),
        Some((flag, _)) => Err(super::bad(&format!("cannot use {flag} without --isolation vm"))
            .with_hint("a container runs on the host's kernel: add --isolation vm, or leave it out")),
    }
}

/// `--accel`, or the setting.
pub fn accelerator(text: Option<&str>) -> Result<AcceleratorChoice, Failure> {
    match text {
        None | Some("auto") => Ok(AcceleratorChoice::Auto),
        Some("kvm") => Ok(AcceleratorChoice::Kvm),
        Some("tcg") => Ok(AcceleratorChoice::Tcg),
        Some(other) => Err(Failure::flag("--accel", other, "there is no such accelerator")
            .with_hint("--accel auto, kvm (refuses to fall back) or tcg (emulation)")),
    }
}

fn profile(text: Option<&str>) -> Result<MachineProfile, Failure> {
    match text {
        None | Some("auto") => Ok(MachineProfile::Auto),
        Some("microvm") => Ok(MachineProfile::Microvm),
        Some("q35") => Ok(MachineProfile::Q35),
        Some(other) => Err(Failure::flag("--machine", other, "there is no such kind of machine")
            .with_hint("--machine auto, microvm or q35")),
    }
}

/// What another kernel cannot share with the host's.
pub fn check(spec: &ContainerSpec) -> Result<(), Failure> {
    if spec.sandbox.isolation.machine().is_none() {
        return Ok(());
    }
    let sandbox = &spec.sandbox;
    let refused = |flag: &str, why: &str, hint: &str| {
        Err(super::bad(&format!("cannot use {flag} with --isolation vm: {why}")).with_hint(hint))
    };
    match &sandbox.network {
        NetworkMode::None | NetworkMode::Networks(_) => {}
        NetworkMode::Host => {
            let hint = "-p publishes ports on the host; or --isolation container";
            return refused("--network host", "the host's network stack is in the host's kernel", hint);
        }
        NetworkMode::Container(_) | NetworkMode::Path(_) => {
            let why = "a network namespace cannot reach into another kernel";
            return refused("a joined network", why, "put both on one network: holm network create NAME");
        }
        NetworkMode::Cni(_) => {
            let why = "its plugins set up a network namespace of the host's kernel";
            return refused("a CNI network", why, "use a network of Holm's: holm network create NAME");
        }
    }
    for (flag, mode) in
        [("--pid", &sandbox.pid), ("--ipc", &sandbox.ipc), ("--uts", &sandbox.uts), ("--cgroupns", &sandbox.cgroupns)]
    {
        if *mode != NamespaceMode::Private {
            return refused(flag, "namespaces cannot be shared between kernels", "leave it out");
        }
    }
    if sandbox.userns != UserNamespaceMode::Host {
        return refused("--userns", "the machine has users of its own already", "leave it out");
    }
    if !spec.devices.is_empty() {
        let why = "a device node of the host's means nothing to another kernel";
        return refused("--device", why, "use --isolation container for work with devices");
    }
    Ok(())
}
