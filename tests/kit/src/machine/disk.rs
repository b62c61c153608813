//! What a machine boots from: the distribution's cloud kernel, an initramfs, and a root disk with systemd. Made once.
//!
//! Kept under the target folder by the content of what goes in. Nothing is installed on the host and nothing is mounted:
//! `mke2fs` fills the file system.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::debian::{codename, make_root};
use crate::guest_kernel::{PACKAGE, guest_kernel, release};
use crate::{Debian, Holm, sha256, target_folder};

const PACKAGES: &str = "systemd-sysv,dbus,kmod,apparmor,busybox-static,iproute2,procps";
/// Those, and what runs virtual machines.
const PACKAGES_KVM: &str = "systemd-sysv,dbus,kmod,apparmor,busybox-static,iproute2,procps,qemu-system-x86";
/// Modules for the disks and the agent's port; those they need come with them.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_console"];
/// Units that a test has no use for, and that only cost time.
const MASKED: [&str; 9] = [
    "apparmor.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_reap.service",
    "e2scrub_all.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-timesyncd.service",
    "systemd-update-utmp.service",
];
const AGENT: &str = include_str!("agent.sh");
const SERVICE: &str = include_str!("agent.service");
const INIT: &str = include_str!("init.sh");
/// A change of how the disk is made, which the texts above do not show, wants another number.
const RECIPE: u32 = 1;

/// What a machine is for, which decides what is installed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Containers.
    Containers,
    /// Virtual machines inside, so it has QEMU and the kernel's file. A disk of its own: QEMU is larger than all else.
    Machines,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Containers => "machine",
            Self::Machines => "machine-kvm",
        }
    }

    fn packages(self) -> &'static str {
        match self {
            Self::Containers => PACKAGES,
            Self::Machines => PACKAGES_KVM,
        }
    }

    fn disk_size(self) -> &'static str {
        match self {
            Self::Containers => "1536M",
            Self::Machines => "2560M",
        }
    }

    /// Memory of the machine, MiB.
    pub(super) fn memory_mib(self) -> &'static str {
        match self {
            Self::Containers => "768",
            Self::Machines => "1536",
        }
    }
}

/// The files.
pub(super) struct BootFiles {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) root: PathBuf,
}

/// Makes the files, or finds them from before.
///
/// # Panics
/// If they cannot be made.
pub(super) fn boot_files(kind: Kind) -> BootFiles {
    let kept = target_folder().join("test-images");
    fs::create_dir_all(&kept).expect("make a folder for kept disks");
    let kept = kept.canonicalize().expect("a path");
    let lock = File::create(kept.join("machine.lock")).expect("make a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("take a lock");
    let codename = codename();
    let all =
        [&RECIPE.to_string(), kind.packages(), PACKAGE, &MODULES.join(","), &MASKED.join(","), AGENT, SERVICE, INIT];
    let digest = sha256(all.join("\n").as_bytes());
    let folder = kept.join(format!("{}-{codename}-{}", kind.name(), &digest["sha256:".len()..][..16]));
    if !folder.exists() {
        let work = tempfile::Builder::new().prefix(".making-").tempdir_in(&kept).expect("make a folder");
        make(kind, &codename, work.path(), &kept.join("packages"));
        fs::rename(work.path().join("done"), &folder).expect("keep the disk");
    }
    BootFiles { kernel: folder.join("kernel"), initrd: folder.join("initrd"), root: folder.join("root") }
}

fn make(kind: Kind, codename: &str, work: &Path, packages: &Path) {
    let (root, done) = (work.join("root"), work.join("done"));
    make_root(&Debian { name: kind.name(), packages: kind.packages(), entrypoint: &[] }, codename, &root, packages);
    fs::create_dir(&done).expect("make a folder");
    let version = take_kernel(&root, &done.join("kernel"));
    if kind == Kind::Machines {
        fs::create_dir_all(root.join("boot")).expect("make a folder");
        fs::copy(done.join("kernel"), root.join(format!("boot/vmlinuz-{version}"))).expect("copy the kernel");
    }
    make_initrd(&root, &version, &work.join("initrd"), &done.join("initrd"));
    settle(&root);
    let disk = done.join("root");
    let line = Holm::program("mke2fs").args(["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d"]);
    line.arg(&root).arg(&disk).arg(kind.disk_size()).limit(Duration::from_secs(120)).ok();
}

/// Takes the kernel and, into the root, its modules; its version.
fn take_kernel(root: &Path, target: &Path) -> String {
    let folder = guest_kernel();
    let version = release(&folder);
    fs::copy(folder.join(format!("boot/vmlinuz-{version}")), target).expect("copy the kernel");
    fs::create_dir_all(root.join("lib/modules")).expect("make a folder");
    let modules = folder.join("lib/modules").join(&version);
    Holm::program("cp").arg("-a").arg(modules).arg(root.join("lib/modules/")).ok();
    Holm::program("chroot").arg(root).args(["depmod", &version]).ok();
    version
}

/// An initramfs with busybox and the modules, numbered in the order in which they are loaded.
fn make_initrd(root: &Path, version: &str, tree: &Path, initrd: &Path) {
    for folder in ["bin", "dev", "modules"] {
        fs::create_dir_all(tree.join(folder)).expect("make a folder");
    }
    fs::copy(root.join("bin/busybox"), tree.join("bin/busybox")).expect("copy busybox");
    fs::write(tree.join("init"), INIT).expect("write init");
    Holm::program("chmod").arg("755").arg(tree.join("init")).ok();
    Holm::program("mknod").arg(tree.join("dev/console")).args(["c", "5", "1"]).ok();
    let line = Holm::program("chroot").arg(root).args(["modprobe", "--set-version", version, "--show-depends", "-a"]);
    let order = line.args(MODULES).ok();
    let mut known = Vec::new();
    for path in order.stdout.lines().filter_map(|line| line.strip_prefix("insmod ")).map(str::trim) {
        if !known.contains(&path) {
            let name = Path::new(path).file_name().expect("a name").to_string_lossy();
            let target = tree.join(format!("modules/{:02}-{name}", known.len()));
            fs::copy(root.join(path.trim_start_matches('/')), target).expect("copy a module");
            known.push(path);
        }
    }
    let script = "find . | busybox cpio -o -H newc >\"$0\"";
    Holm::program("sh").args(["-c", script]).arg(initrd).folder(tree).ok();
}

/// Puts the agent in, takes out what only costs time.
fn settle(root: &Path) {
    let units = root.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants");
    fs::create_dir_all(&wanted).expect("make a folder");
    fs::create_dir_all(root.join("usr/local/lib/holm-test")).expect("make a folder");
    fs::write(root.join("usr/local/lib/holm-test/agent.sh"), AGENT).expect("write the agent");
    fs::write(units.join("agent.service"), SERVICE).expect("write the agent's unit");
    symlink("/etc/systemd/system/agent.service", wanted.join("agent.service")).expect("enable the agent");
    for unit in MASKED {
        let path = units.join(unit);
        let _ = fs::remove_file(&path);
        symlink("/dev/null", path).expect("mask a unit");
    }
    symlink("/lib/systemd/system/multi-user.target", units.join("default.target")).expect("set the target");
    fs::write(root.join("etc/hostname"), "machine\n").expect("name the machine");
}
