//! What a container's virtual machine is made of on this host: the hypervisor, the accelerator, the kernel, its disks.
//!
//! Owns where these are kept and which are chosen; how each is made is for `holm_vm`. Runs nothing.

mod template;
mod vmm;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holm_container::rootfs::Rootfs;
use holm_spec::ContainerId;
use holm_spec::container::{AcceleratorChoice, MachineProfile, MachineSpec, MountKind};
use holm_spec::state::MachineState;
use holm_vm::kernel::module::Bus;
use holm_vm::kernel::{KernelRequest, KernelSource};
use holm_vm::machine::{
    Accelerator, Boot, DiskFile, HostUser, Hypervisor, Machine, Nic, Origin, Profile, Share, VmmPlan,
};
use holm_vm::qemu::Qemu;
use holm_vm::virtiofs::Virtiofsd;
use holm_vm::{accel, cache, disk};
use rustix::fs::OFlags;

use crate::error::chain;
use crate::layout::Record;
use crate::plan::MachineSize;
use crate::{Error, Roots};

pub(crate) use template::{Kept, Wish, make_in_background, resume};
pub(crate) use vmm::{Vmm, serve, start};

/// Serial of the disk with the image's root.
pub(crate) const ROOT: &str = "root";
/// Serial of the disk with what the container changes.
pub(crate) const CHANGES: &str = "changes";
/// The disk with the changes, in the container's folder.
const CHANGES_FILE: &str = "changes.ext4";
/// Size of that disk. It takes no more room than what is written.
const CHANGES_BYTES: u64 = 16 << 30;
/// Host ids of hypervisors: above those that user namespaces get, one for each container by its own id.
const FIRST_USER: u32 = 0x7800_0000;
const USERS: u32 = 0x0700_0000;
/// Where programs are looked for, where the environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Roots {
    fn machines(&self, what: &str) -> PathBuf {
        self.data.join("machines").join(what)
    }

    /// Where it is kept what programs can do. Without that folder they are asked each time.
    fn programs(&self) -> PathBuf {
        let folder = self.machines("programs");
        let _ = crate::layout::make_folders(&folder);
        folder
    }
}

/// A machine that lacks nothing but its links.
#[derive(Debug)]
pub(crate) struct Prepared {
    qemu: Qemu,
    machine: Machine,
    state: MachineState,
    /// Names what is booted.
    digest: String,
    /// A template may be used.
    template: bool,
}

/// A machine as it is run.
#[derive(Debug)]
pub(crate) struct Planned {
    /// How the hypervisor is run.
    pub vmm: VmmPlan,
    /// What the machine is.
    pub state: MachineState,
    /// The template that it begins from, and the state to go on with.
    pub resumed: Option<(Kept, OwnedFd)>,
    /// The template that it could have begun from.
    pub wish: Option<Wish>,
}

impl Prepared {
    /// The machine with these taps and folders, from a template where there is one.
    pub(crate) fn plan(self, roots: &Roots, taps: Vec<OwnedFd>, shares: Vec<Share>) -> Result<Planned, Error> {
        let Self { qemu, mut machine, mut state, digest, template } = self;
        machine.shares = shares;
        machine.links = taps.into_iter().zip(0..).map(|(tap, n)| Nic { tap, n, mac: None }).collect();
        let (mut resumed, mut wish) = (None, None);
        if template && machine.shares.is_empty() {
            let kept = Kept::of(roots, &qemu, &machine, &digest);
            match kept.load() {
                Some(loaded) => {
                    state.from_template = true;
                    machine.origin = Origin::Restore { memory: loaded.memory };
                    resumed = Some((kept, loaded.state));
                }
                None => wish = wish_of(kept, &qemu, &machine),
            }
        }
        let vmm = qemu.plan(machine).map_err(|e| trouble(&e, e.hint()))?;
        Ok(Planned { vmm, state, resumed, wish })
    }
}

fn wish_of(kept: Kept, qemu: &Qemu, machine: &Machine) -> Option<Wish> {
    let Boot::Direct { kernel, initramfs } = &machine.boot else { return None };
    Some(Wish {
        kept,
        qemu: qemu.clone(),
        kernel: kernel.clone(),
        initramfs: initramfs.clone(),
        accelerator: machine.accelerator,
        profile: machine.profile,
        cpus: machine.cpus,
        memory_bytes: machine.memory_bytes,
        disks: machine.disks.iter().map(|disk| (disk.serial.clone(), disk.read_only)).collect(),
        links: u8::try_from(machine.links.len()).unwrap_or(u8::MAX),
        user: machine.user,
    })
}

/// Finds and makes what the machine of a container needs. *Errors*: what is missing, with what to do.
pub(crate) fn prepare(
    roots: &Roots,
    id: &ContainerId,
    record: &Record,
    asked: &MachineSpec,
    size: MachineSize,
) -> Result<Prepared, Error> {
    let qemu = hypervisor(roots)?;
    let chosen = accelerator(roots, asked.accelerator)?;
    let profile = match asked.profile {
        MachineProfile::Auto | MachineProfile::Microvm => Profile::Microvm,
        MachineProfile::Q35 => Profile::Q35,
    };
    let shares = record.spec.mounts.iter().any(|mount| mount.kind != MountKind::Tmpfs);
    let kernel = kernel(roots, asked.kernel.as_deref(), profile, shares)?;
    let root = root_disk(roots, record)?;
    let changes = changes_disk(&roots.container(id))?;
    let format = disk::image::Format::Raw;
    let disk =
        |file, read_only, serial: &str| DiskFile { file, read_only, format, serial: serial.to_owned(), throttle: None };
    let (major, minor, micro) = qemu.facts().version;
    let state = MachineState {
        hypervisor: format!("QEMU {major}.{minor}.{micro}"),
        accelerator: if chosen.accelerator == Accelerator::Kvm { "kvm" } else { "tcg" }.to_owned(),
        emulated: chosen.accelerator != Accelerator::Kvm,
        reason: chosen.reason,
        profile: if profile == Profile::Microvm { "microvm" } else { "q35" }.to_owned(),
        kernel: kernel.release.clone(),
        from_template: false,
        cpus: size.cpus,
        memory_bytes: size.memory_bytes,
    };
    let machine = Machine {
        boot: Boot::Direct { kernel: kernel.image, initramfs: kernel.initramfs },
        accelerator: chosen.accelerator,
        profile,
        cpus: size.cpus,
        memory_bytes: size.memory_bytes,
        disks: vec![disk(root, true, ROOT), disk(changes, false, CHANGES)],
        links: Vec::new(),
        shares: Vec::new(),
        user: host_user(id, chosen.accelerator),
        origin: Origin::Cold,
    };
    Ok(Prepared { qemu, machine, state, digest: kernel.digest, template: asked.template })
}

/// What runs the instructions, and why not KVM where it is not.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub accelerator: Accelerator,
    pub reason: String,
}

pub(crate) fn hypervisor(roots: &Roots) -> Result<Qemu, Error> {
    Qemu::find(&programs(), &roots.programs()).map_err(|e| trouble(&e, e.hint()))
}

/// The same where that is known already.
pub(crate) fn known_hypervisor(roots: &Roots) -> Result<Option<Qemu>, Error> {
    Qemu::known(&programs(), &roots.machines("programs")).map_err(|e| trouble(&e, e.hint()))
}

/// What serves folders of the host.
pub(crate) fn file_server(roots: &Roots) -> Result<Virtiofsd, Error> {
    Virtiofsd::find(&programs(), &roots.programs()).map_err(|e| trouble(&e, e.hint()))
}

/// The folders in which programs are looked for.
pub(crate) fn programs() -> String {
    std::env::var("PATH").unwrap_or_else(|_| PATH.to_owned())
}

/// Decides by trying: a device that opens says nothing of whether a kernel runs on it.
pub(crate) fn accelerator(roots: &Roots, choice: AcceleratorChoice) -> Result<Chosen, Error> {
    choose(accel::Accelerator::detect(&roots.run), choice)
}

/// The same where it has been tried already.
pub(crate) fn known_accelerator(roots: &Roots, choice: AcceleratorChoice) -> Option<Result<Chosen, Error>> {
    accel::Accelerator::known(&roots.run).map(|host| choose(host, choice))
}

fn choose(host: accel::Accelerator, choice: AcceleratorChoice) -> Result<Chosen, Error> {
    let emulated = |reason: String| -> Result<Chosen, Error> {
        let message =
            "the rate of this processor's clock cannot be found out, and emulated machines need it".to_owned();
        let tsc_khz = host.tsc_khz.ok_or(Error::Machine { message, hint: None })?;
        Ok(Chosen { accelerator: Accelerator::Tcg { tsc_khz }, reason })
    };
    let host = host.clone().without_root();
    match (choice, host.kvm.works()) {
        (AcceleratorChoice::Tcg, _) => emulated("emulation was asked for".to_owned()),
        (_, true) => Ok(Chosen { accelerator: Accelerator::Kvm, reason: String::new() }),
        (AcceleratorChoice::Auto, false) => emulated(host.kvm.reason()),
        (AcceleratorChoice::Kvm, false) => {
            let message = format!("KVM was asked for and does not work here: {}", host.kvm.reason());
            Err(Error::Machine { message, hint: host.kvm.hint() })
        }
    }
}

/// Where the kernel is that a machine gets.
pub(crate) fn kernel_source(kernel: Option<&Path>) -> Result<KernelSource, Error> {
    KernelSource::find(KernelRequest { kernel, modules: None }).map_err(|e| trouble(&e, e.hint().as_deref()))
}

pub(crate) fn kernel(
    roots: &Roots,
    kernel: Option<&Path>,
    profile: Profile,
    shares: bool,
) -> Result<cache::GuestKernel, Error> {
    let source = kernel_source(kernel)?;
    let bus = match profile {
        Profile::Microvm if shares => Bus::MmioSharing,
        Profile::Microvm => Bus::Mmio,
        Profile::Q35 => Bus::Pci,
    };
    let made = cache::prepare(&roots.machines("kernels"), &source, holm_vm::agent::AGENT, bus);
    made.map_err(|e| trouble(&e, e.hint().as_deref()))
}

/// The image's root as one read-only file, made once.
fn root_disk(roots: &Roots, record: &Record) -> Result<OwnedFd, Error> {
    let folder = roots.machines("roots");
    let key = disk::cache::key_of(record.layers.iter().map(|layer| content_name(layer)));
    let made = disk::cache::root_image(&folder, &key, |file| {
        let rootfs = Rootfs::overlay(&record.layers, None).map_err(|e| trouble(&e, None))?;
        let root = rootfs.open_in_root(Path::new("/"), OFlags::RDONLY | OFlags::DIRECTORY);
        let root = root.map_err(|e| Error::io("open", "the image's root", e))?;
        disk::erofs::write(root.as_fd(), file, ROOT).map(drop).map_err(Error::from)
    });
    made.map(OwnedFd::from)
}

/// The part of a layer's path that names its content: `layers/DIGEST/fs`.
fn content_name(layer: &Path) -> &[u8] {
    layer.parent().and_then(Path::file_name).unwrap_or(layer.as_os_str()).as_encoded_bytes()
}

/// The disk with the container's changes, made at its first start.
fn changes_disk(folder: &Path) -> Result<OwnedFd, Error> {
    let path = folder.join(CHANGES_FILE);
    let failed = |e: std::io::Error| Error::io("open", path.display().to_string(), e);
    match File::options().read(true).write(true).open(&path) {
        Ok(file) => return Ok(file.into()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    // Named when it is whole: a start that was cut off leaves nothing that the next would take for a disk.
    let fresh = folder.join("changes.new");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(failed)?;
    disk::ext4::format(&file, CHANGES_BYTES, disk::ext4::Options::default())?;
    std::fs::rename(&fresh, &path).map_err(failed)?;
    Ok(file.into())
}

/// Who a container's hypervisor is on the host: a user that no file is of. Two are the same for one in a hundred million pairs,
/// and then still see nothing of each other.
fn user_of(id: &ContainerId) -> u32 {
    let number = u32::from_str_radix(&id.as_str()[..8], 16).unwrap_or(0);
    FIRST_USER + number % USERS
}

/// The same with its group: that of `/dev/kvm` where it is to open that.
pub(crate) fn host_user(id: &ContainerId, accelerator: Accelerator) -> HostUser {
    let uid = user_of(id);
    let kvm_group = accel::group().filter(|_| accelerator == Accelerator::Kvm);
    HostUser { uid, gid: kvm_group.unwrap_or(uid) }
}

/// Loads a filter into the process that listens to a guest, which has given up all else by then.
pub(crate) fn confine_attendant() -> std::io::Result<()> {
    let none: [&str; 0] = [];
    let filter = holm_container::seccomp::default_profile(&none);
    let program = holm_container::seccomp::compile(&filter, holm_container::seccomp::Arch::native());
    let program = program.map_err(|e| std::io::Error::other(chain(&e)))?;
    holm_container::seccomp::load(&program).map(drop)
}

impl From<disk::DiskError> for Error {
    fn from(error: disk::DiskError) -> Self {
        trouble(&error, None)
    }
}

pub(crate) fn trouble(error: &dyn std::error::Error, hint: Option<&str>) -> Error {
    Error::Machine { message: chain(error), hint: hint.map(str::to_owned) }
}
