//! What of a plan is for a virtual machine: the same document, less what another kernel cannot have, and what the machine itself
//! may use of the host.

use holm_container::capability;
use holm_spec::container::{ContainerSpec, MountKind, Profile};
use holm_spec::guest::{Exec, Identity, OwnFile, Run};
use holm_spec::oci::image::RunConfig;
use holm_spec::oci::runtime::{Capabilities, Memory, NamespaceKind, Pids, Process, Resources, Spec};

use super::process::exec_process;
use super::{Facts, plan};
use crate::Error;

/// Memory of a machine whose container has no limit.
const DEFAULT_MEMORY_BYTES: u64 = 512 << 20;
/// What the guest's kernel and agent need beside the container. With 64 MiB a container limited to 48 MiB had 45 MiB available: the
/// machine was short before the container reached its limit.
const KERNEL_BYTES: u64 = 128 << 20;
/// And the part of its memory that it keeps account of it in: 64 bytes for each page, page tables, reserves.
const KERNEL_SHARE: u64 = 32;
/// What the hypervisor needs beside the guest's memory: its program, its buffers and, under emulation, translated code.
const HYPERVISOR_BYTES: u64 = 256 << 20;
/// Threads of a hypervisor.
const HYPERVISOR_TASKS: i64 = 256;
/// What each server of a folder needs: what it knows of the files that the guest knows of.
const SERVER_BYTES: u64 = 64 << 20;
/// Threads of such a server.
const SERVER_TASKS: i64 = 64;
/// Most processors of one machine.
const MAX_CPUS: u64 = 64;
/// The control group in the guest.
const GROUP: &str = "holm/container";

/// Processors and memory of a container's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MachineSize {
    pub cpus: u32,
    pub memory_bytes: u64,
}

/// As many processors as the limit reaches into, one where there is none; memory for the limit and the kernel, which has its own
/// needs above it.
pub(crate) fn machine_size(spec: &ContainerSpec) -> MachineSize {
    let quota = spec.limits.cpu_quota_us.and_then(|q| u64::try_from(q).ok()).filter(|q| *q > 0);
    let from_quota =
        quota.map(|q| q.saturating_mul(1_000_000_000) / spec.limits.cpu_period_us.unwrap_or(100_000).max(1));
    let nanos = spec.limits.nano_cpus.filter(|n| *n > 0).or(from_quota).unwrap_or(1_000_000_000);
    let cpus = nanos.div_ceil(1_000_000_000).clamp(1, MAX_CPUS);
    let memory = match spec.limits.memory_bytes {
        Some(limit) => limit.saturating_add(KERNEL_BYTES).saturating_add(limit / KERNEL_SHARE),
        None => DEFAULT_MEMORY_BYTES,
    };
    // Machines have whole pages, and profiles of machines want whole mebibytes.
    let memory_bytes = memory.div_ceil(1 << 20) << 20;
    MachineSize { cpus: u32::try_from(cpus).unwrap_or(1), memory_bytes }
}

/// The container's first process as its agent is to run it. `facts` are the guest's: sources as they are there.
pub(crate) fn guest_run(
    spec: &ContainerSpec,
    image: &RunConfig,
    facts: &Facts,
    files: Vec<OwnFile>,
    seccomp_text: Option<String>,
) -> Result<Run, Error> {
    let mut oci = plan(spec, image, facts, GROUP)?;
    if let Some(linux) = &mut oci.linux {
        linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
        if let Some(resources) = &mut linux.resources {
            // The machine has these: its processors, its disks. The host's group holds it to them.
            (resources.cpu, resources.block_io) = (None, None);
            resources.hugepage_limits.clear();
        }
    }
    let env = spec.env.iter().chain(image.env.iter().flatten());
    Ok(Run {
        spec: Box::new(oci),
        identity: Identity {
            user: spec.user.clone().or_else(|| image.user.clone()).filter(|user| !user.is_empty()),
            groups: spec.group_add.clone(),
            unprivileged: unprivileged(spec, spec.security.privileged)?,
            keep_home: env.into_iter().any(|entry| entry.starts_with("HOME=")),
        },
        files,
        init: spec.init,
        stdin: spec.interactive,
        seccomp: if spec.security.privileged && spec.security.seccomp == Profile::Default {
            Profile::Unconfined
        } else {
            spec.security.seccomp.clone()
        },
        seccomp_text,
    })
}

/// One more process of a running container. The number is the caller's to choose.
pub(crate) fn guest_exec(
    spec: &ContainerSpec,
    image: &RunConfig,
    running: &Spec,
    asked: &Process,
    user: Option<&str>,
    privileged: bool,
) -> Result<Exec, Error> {
    let process = exec_process(spec, running, asked, None, privileged)?;
    let env = spec.env.iter().chain(image.env.iter().flatten()).chain(&asked.env);
    let own = || spec.user.clone().or_else(|| image.user.clone()).filter(|user| !user.is_empty());
    Ok(Exec {
        process: 0,
        spec: Box::new(process),
        identity: Some(Identity {
            user: user.map(str::to_owned).or_else(own),
            groups: spec.group_add.clone(),
            unprivileged: unprivileged(spec, privileged || spec.security.privileged)?,
            keep_home: env.into_iter().any(|entry| entry.starts_with("HOME=")),
        }),
        unfiltered: privileged || spec.security.privileged,
        // Its descriptors come with it; an input without anything is an empty one.
        stdin: true,
    })
}

/// What users other than root get: see `capabilities`.
fn unprivileged(spec: &ContainerSpec, privileged: bool) -> Result<Capabilities, Error> {
    let security = &spec.security;
    let bits = capability::resolve(&security.cap_add, &security.cap_drop, privileged)
        .map_err(|e| Error::invalid("the capabilities", e.to_string()))?;
    Ok(Capabilities { bounding: capability::sets(bits).bounding, ..Capabilities::default() })
}

/// Limits of the host for all that runs the machine, which may open a few harmless devices, and `/dev/kvm` where it is to use it.
pub(crate) fn hypervisor_resources(
    spec: &ContainerSpec,
    facts: &Facts,
    size: MachineSize,
    kvm: bool,
) -> Result<Resources, Error> {
    let asked = super::resource::limits(&spec.limits, facts)?;
    let servers = spec.mounts.iter().filter(|mount| mount.kind != MountKind::Tmpfs).count();
    let needs = HYPERVISOR_BYTES + SERVER_BYTES * servers as u64;
    let memory = i64::try_from(size.memory_bytes.saturating_add(needs)).unwrap_or(i64::MAX);
    let tasks = HYPERVISOR_TASKS + SERVER_TASKS * i64::try_from(servers).unwrap_or(0);
    Ok(Resources {
        cpu: asked.cpu,
        block_io: asked.block_io,
        hugepage_limits: asked.hugepage_limits,
        devices: super::device::of_hypervisor(kvm),
        memory: Some(Memory { limit: Some(memory), ..Memory::default() }),
        pids: Some(Pids { limit: tasks }),
        ..Resources::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;
    use holm_spec::oci::runtime::DeviceRule;

    #[test]
    fn size_follows_the_limits() {
        let size = |change: fn(&mut holm_spec::container::Limits)| {
            let mut spec = spec();
            change(&mut spec.limits);
            let MachineSize { cpus, memory_bytes } = machine_size(&spec);
            (cpus, memory_bytes >> 20)
        };
        assert_eq!(size(|_| {}), (1, 512));
        assert_eq!(size(|l| l.nano_cpus = Some(1_500_000_000)), (2, 512));
        assert_eq!(size(|l| (l.cpu_quota_us, l.cpu_period_us) = (Some(300_000), Some(100_000))), (3, 512));
        assert_eq!(size(|l| l.cpu_quota_us = Some(-1)), (1, 512));
        assert_eq!(size(|l| l.nano_cpus = Some(u64::MAX)), (64, 512));
        assert_eq!(size(|l| l.memory_bytes = Some((64 << 20) + 1)), (1, 195));
    }

    #[test]
    fn the_guests_document_has_no_network_namespace_and_no_limits_of_the_hosts() {
        let mut spec = spec();
        spec.limits.nano_cpus = Some(500_000_000);
        spec.limits.memory_bytes = Some(64 << 20);
        spec.limits.pids = Some(7);
        spec.user = Some("web".to_owned());
        let image = RunConfig { entrypoint: Some(vec!["/run".to_owned()]), ..RunConfig::default() };
        let run = guest_run(&spec, &image, &Facts::default(), Vec::new(), None).unwrap();
        let linux = run.spec.linux.unwrap();
        assert!(linux.namespaces.iter().all(|n| n.kind != NamespaceKind::Network));
        assert!(linux.namespaces.iter().any(|n| n.kind == NamespaceKind::Pid));
        let resources = linux.resources.unwrap();
        assert_eq!((resources.cpu, resources.pids), (None, Some(Pids { limit: 7 })));
        assert_eq!(resources.memory.unwrap().limit, Some(64 << 20));
        assert_eq!(run.identity.user.as_deref(), Some("web"));
        assert!(run.identity.unprivileged.effective.is_empty() && !run.identity.unprivileged.bounding.is_empty());
        let host = hypervisor_resources(&spec, &Facts::default(), machine_size(&spec), true).unwrap();
        assert_eq!(host.memory.unwrap().limit, Some((64 + 130 + 256) << 20));
        assert_eq!(host.cpu.unwrap().quota, Some(50_000));
        let emulated = hypervisor_resources(&spec, &Facts::default(), machine_size(&spec), false).unwrap();
        let kvm =
            |rules: &[DeviceRule]| rules.iter().any(|r| (r.allow, r.major, r.minor) == (true, Some(10), Some(232)));
        assert_eq!((kvm(&host.devices), kvm(&emulated.devices)), (true, false));
        assert!(!emulated.devices[0].allow && emulated.devices[0].kind.is_none(), "all is refused first");
    }
}
