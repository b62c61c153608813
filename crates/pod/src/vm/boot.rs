//! Starting a whole machine's hypervisor: its disks, networks, firmware and control group, and the process itself.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use holm_container::cgroup::{Cgroup, Hierarchy};
use holm_network::JoinRequest;
use holm_spec::oci::runtime::{Memory, Pids, Resources};
use holm_spec::vm::{FirmwareKind, VmSpec, VmState};
use holm_sys::packet::{self, Received};
use holm_sys::process::Child;
use holm_vm::disk::image;
use holm_vm::machine::{Accelerator, Boot, DiskFile, Firmware, Hypervisor, Machine, Nic, Origin, Profile, VmmPlan};
use holm_vm::qmp::Qmp;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use serde_json::json;

use super::{disk_file, failed, form, seed};
use crate::error::chain;
use crate::supervisor::network::Attached;
use crate::{Error, Roots, machine};

/// The variables of a machine's UEFI, in its folder.
pub(super) const VARIABLES: &str = "nvram.fd";
/// Where distributions have UEFI for machines: its program, and its variables when it is new.
const UEFI: [(&str, &str); 5] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
];
/// What a hypervisor needs besides the memory of its machine.
const HYPERVISOR_BYTES: u64 = 320 << 20;
/// Threads of a hypervisor.
const HYPERVISOR_TASKS: i64 = 256;
/// Most bytes of its words that are passed on when it gives up.
const WORDS_BYTES: usize = 2000;
/// How long QEMU may take to answer at its start.
const ANSWER: Duration = Duration::from_secs(30);

/// A machine's hypervisor, running; the machine itself stands still until it is told to go on.
pub(super) struct Running {
    pub(super) init: Child,
    pub(super) qmp: Qmp,
    pub(super) console: OwnedFd,
    pub(super) agent: OwnedFd,
    pub(super) group: Option<Cgroup>,
}

/// UEFI's program and its variables when it is new. *Errors*: none is installed.
pub(super) fn uefi_files() -> Result<(PathBuf, PathBuf), Error> {
    let found =
        UEFI.iter().find(|(code, variables)| [code, variables].iter().all(|f| std::path::Path::new(f).exists()));
    found.map(|(code, variables)| (PathBuf::from(code), PathBuf::from(variables))).ok_or_else(|| Error::Machine {
        message: "there is no UEFI for machines on this host".to_owned(),
        hint: Some("install it: `apt install ovmf` or `dnf install edk2-ovmf`; or --firmware bios".to_owned()),
    })
}

/// Takes the machine's places on its networks; the addresses of its last start where they are free, since its guest was told
/// them. *Errors*: nothing is left.
pub(super) fn join(
    roots: &Roots,
    spec: &VmSpec,
    last: &[(String, std::net::Ipv4Addr)],
) -> Result<Option<Attached>, Error> {
    if spec.networks.is_empty() {
        return Ok(None);
    }
    let mut wished = spec.networks.clone();
    for attachment in &mut wished {
        let before = last.iter().find(|(network, _)| *network == attachment.network.as_str());
        attachment.ipv4 = attachment.ipv4.or(before.map(|(_, address)| *address));
    }
    let reserve = |attachments: &[holm_spec::network::AttachmentSpec]| {
        roots.networks().reserve(&JoinRequest {
            container: &spec.id,
            name: spec.name.as_str(),
            attachments,
            ports: &spec.ports,
            dns: &[],
        })
    };
    let joined = match reserve(&wished) {
        // Somebody else has the old address by now, or the network has another subnet.
        Err(_) if wished != spec.networks => reserve(&spec.networks),
        other => other,
    };
    Ok(Some(Attached::new(joined?)))
}

/// Makes the hypervisor. *Errors*: no process and no group is left; networks are the caller's.
pub(super) fn start(
    roots: &Roots,
    spec: &VmSpec,
    attached: Option<&Attached>,
    state: &mut VmState,
) -> Result<Running, Error> {
    let chosen = machine::accelerator(roots, spec.accelerator)?;
    state.accelerator = if chosen.accelerator == Accelerator::Kvm { "kvm" } else { "tcg" }.to_owned();
    let plan = plan(roots, spec, attached, chosen.accelerator)?;
    let group = group(roots, spec)?;
    let path = group.as_ref().map_or_else(String::new, |g| g.path().to_owned());
    match run(spec, plan, group.as_ref()) {
        Ok((init, qmp, console, agent)) => {
            (state.pid, state.cgroup_path) = (init.pid, path);
            Ok(Running { init, qmp, console, agent, group })
        }
        Err(e) => {
            if let Some(group) = group {
                let _ = group.kill_all(ANSWER).and_then(|()| group.remove());
            }
            Err(e)
        }
    }
}

fn plan(roots: &Roots, spec: &VmSpec, attached: Option<&Attached>, accelerator: Accelerator) -> Result<VmmPlan, Error> {
    let joined = attached.map(|a| &a.joined);
    let mut disks = vec![disk(roots, spec)?];
    if let Some(settings) = &spec.seed {
        let file = read_only(seed::disk(spec, settings, joined)?)?;
        let format = image::Format::Raw;
        disks.push(DiskFile { file, read_only: true, format, serial: "seed".to_owned(), throttle: None });
    }
    let taps = joined.map_or_else(|| Ok(Vec::new()), |joined| roots.networks().connect_taps(joined))?;
    let macs = joined.iter().flat_map(|joined| joined.endpoints()).map(|endpoint| endpoint.mac);
    let links = taps.into_iter().zip(macs).zip(0..).map(|((tap, mac), n)| Nic { tap: tap.fd, n, mac: Some(mac) });
    let wanted = Machine {
        boot: Boot::Firmware(firmware(roots, spec)?),
        accelerator,
        profile: Profile::Q35,
        cpus: spec.cpus,
        memory_bytes: spec.memory_bytes,
        disks,
        links: links.collect(),
        shares: Vec::new(),
        user: machine::host_user(&spec.id, accelerator),
        origin: Origin::Cold,
    };
    machine::hypervisor(roots)?.plan(wanted).map_err(|e| machine::trouble(&e, e.hint()))
}

/// The machine's own disk. A guest that took its hypervisor over may have changed the header of a qcow2, so it is looked at
/// again; one that was raw stays raw whatever its guest writes to it.
fn disk(roots: &Roots, spec: &VmSpec) -> Result<DiskFile, Error> {
    let path = roots.vm(spec.name.as_str()).join(disk_file(spec.format));
    let mut file = open(&path, OFlags::RDWR)?;
    let format = form(spec.format);
    if format == image::Format::Qcow2 {
        let found = image::inspect(&mut file)?;
        if found.format != format {
            return Err(failed("start", spec.name.as_str(), "its disk is no qcow2 any more", None));
        }
    }
    Ok(DiskFile { file: file.into(), read_only: false, format, serial: "disk".to_owned(), throttle: None })
}

fn firmware(roots: &Roots, spec: &VmSpec) -> Result<Firmware, Error> {
    match spec.firmware {
        FirmwareKind::Bios => Ok(Firmware::Bios),
        FirmwareKind::Uefi => Ok(Firmware::Uefi {
            code: open(&uefi_files()?.0, OFlags::RDONLY)?.into(),
            variables: open(&roots.vm(spec.name.as_str()).join(VARIABLES), OFlags::RDWR)?.into(),
        }),
    }
}

fn open(path: &std::path::Path, how: OFlags) -> Result<File, Error> {
    let file = rustix::fs::open(path, how | OFlags::CLOEXEC, Mode::empty());
    file.map(File::from).map_err(|e| Error::io("open", path.display().to_string(), e))
}

/// The same file for reading alone, which is what QEMU looks for among its descriptors.
fn read_only(file: OwnedFd) -> Result<OwnedFd, Error> {
    open(std::path::Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), OFlags::RDONLY).map(OwnedFd::from)
}

/// The hypervisor's control group: its machine's memory and its own. A host without any can still run it.
fn group(roots: &Roots, spec: &VmSpec) -> Result<Option<Cgroup>, Error> {
    let Ok(hierarchy) = Hierarchy::discover(std::path::Path::new("/sys/fs/cgroup")) else { return Ok(None) };
    let memory = i64::try_from(spec.memory_bytes.saturating_add(HYPERVISOR_BYTES)).unwrap_or(i64::MAX);
    let resources = Resources {
        memory: Some(Memory { limit: Some(memory), ..Memory::default() }),
        pids: Some(Pids { limit: HYPERVISOR_TASKS }),
        ..Resources::default()
    };
    let path = format!("{}/{}", roots.cgroup_parent.trim_matches('/'), spec.id);
    let made = Cgroup::create(&hierarchy, &path, &resources, roots.cgroup_driver);
    made.map(Some).map_err(|e| failed("start", spec.name.as_str(), chain(&e), None))
}

fn run(spec: &VmSpec, plan: VmmPlan, group: Option<&Cgroup>) -> Result<(Child, Qmp, OwnedFd, OwnedFd), Error> {
    let trouble = |message: String| failed("start", spec.name.as_str(), message, None);
    let machine::Vmm { ends, process: init, .. } = machine::start(spec.id.as_str(), plan, group).map_err(trouble)?;
    let mut qmp = Qmp::new(ends.qmp).map_err(|e| trouble(e.to_string()))?;
    let spoken = qmp.begin().map_err(|e| chain(&e)).and_then(|()| grow(&mut qmp, spec));
    if let Err(message) = spoken {
        let _ = holm_sys::process::kill(init.pid, rustix::process::Signal::KILL.as_raw());
        let said = last_words(&init, &ends.console);
        return Err(trouble(format!("{message}; it says `{said}`")));
    }
    Ok((init, qmp, ends.console, ends.channel))
}

/// What a hypervisor that was just killed, or gave up by itself, has said on its console.
fn last_words(init: &Child, console: &OwnedFd) -> String {
    let mut ended = [PollFd::new(&init.pidfd, PollFlags::IN)];
    let _ = rustix::event::poll(&mut ended, Some(&Timespec { tv_sec: 5, tv_nsec: 0 }));
    let _ = rustix::io::ioctl_fionbio(console, true);
    match packet::receive_some(console.as_fd(), WORDS_BYTES) {
        Ok(Received::Packet(bytes, _)) => String::from_utf8_lossy(&bytes).trim().escape_debug().to_string(),
        _ => String::new(),
    }
}

/// Checks that the hypervisor answers, and grows its disk where it is smaller than it is to be.
fn grow(qmp: &mut Qmp, spec: &VmSpec) -> Result<(), String> {
    let nodes =
        qmp.execute("query-named-block-nodes", Some(json!({ "flat": true })), &[], ANSWER).map_err(|e| chain(&e))?;
    let Some(wanted) = spec.disk_bytes else { return Ok(()) };
    let disk = nodes.as_array().into_iter().flatten().find(|node| node["node-name"] == "disk0");
    let size = disk.and_then(|node| node["image"]["virtual-size"].as_u64()).unwrap_or(u64::MAX);
    if size >= wanted {
        return Ok(());
    }
    let arguments = json!({ "node-name": "disk0", "size": wanted });
    qmp.execute("block_resize", Some(arguments), &[], ANSWER).map(drop).map_err(|e| chain(&e))
}
