//! What a machine boots from: the distribution's cloud kernel, an initramfs with the agent, a root disk with busybox.
//!
//! The kernel's package is only unpacked, once, below the target folder. Nothing is installed and nothing is mounted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Its dependency is the package with the files.
const KERNEL: &str = "linux-image-cloud-amd64";
/// Modules in the order in which they are wanted; those they need come with them.
const MODULES: [&str; 6] = ["virtio_mmio", "virtio_console", "virtio_blk", "virtio_net", "overlay", "erofs"];

/// The files.
pub struct Files {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub root: PathBuf,
}

fn run(program: &str, args: &[&str], folder: &Path) -> String {
    let made = Command::new(program).args(args).current_dir(folder).stdin(Stdio::null()).output();
    let made = made.unwrap_or_else(|e| panic!("cannot run {program}: {e}"));
    assert!(made.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8_lossy(&made.stdout).into_owned()
}

/// Makes the files in `work`.
pub fn make(work: &Path) -> Files {
    let unpacked = unpacked_kernel();
    let boot = unpacked.join("boot");
    let is_kernel = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-"));
    let kernel = paths(&boot).into_iter().find(is_kernel).expect("a kernel");
    let modules = paths(&unpacked.join("lib/modules")).pop().expect("modules");
    let initramfs = work.join("initramfs");
    fs::write(&initramfs, initramfs_of(&modules)).expect("write the initramfs");
    Files { kernel, initramfs, root: root_disk(work) }
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("list a folder").map(|entry| entry.expect("an entry").path()).collect()
}

fn unpacked_kernel() -> PathBuf {
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kernel");
    fs::create_dir_all(&kept).expect("make a folder");
    let lock = File::create(kept.join("lock")).expect("make a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("take a lock");
    let done = kept.join("unpacked");
    if !done.exists() {
        let work = tempfile::tempdir_in(&kept).expect("make a folder");
        let depends = run("apt-cache", &["depends", "--important", KERNEL], work.path());
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).expect("a package");
        run("apt-get", &["download", package], work.path());
        let file = paths(work.path()).pop().expect("a package");
        run("dpkg-deb", &["-x", file.to_str().expect("a name"), "unpacked"], work.path());
        fs::rename(work.path().join("unpacked"), &done).expect("keep the kernel");
    }
    done
}

/// A cpio in the form `newc`. *Source*: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
fn initramfs_of(modules: &Path) -> Vec<u8> {
    let mut cpio = Vec::new();
    let mut order = Vec::new();
    let all = BTreeSet::from_iter(find(modules));
    MODULES.iter().for_each(|module| add_with_needs(module, &all, &mut order));
    entry(&mut cpio, "dev", 0o040_755, (0, 0), &[]);
    entry(&mut cpio, "dev/console", 0o020_600, (5, 1), &[]);
    entry(&mut cpio, "init", 0o100_755, (0, 0), holm_vm::agent::AGENT);
    entry(&mut cpio, "modules", 0o040_755, (0, 0), &[]);
    let mut names = String::new();
    for path in &order {
        let name = path.file_name().expect("a name").to_string_lossy();
        entry(&mut cpio, &format!("modules/{name}"), 0o100_644, (0, 0), &fs::read(path).expect("read a module"));
        names.push_str(&format!("{name}\n"));
    }
    entry(&mut cpio, "modules/order", 0o100_644, (0, 0), names.as_bytes());
    entry(&mut cpio, "TRAILER!!!", 0, (0, 0), &[]);
    cpio
}

fn entry(cpio: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
    let fields = [0, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, device.0, device.1, name.len() as u32 + 1, 0];
    cpio.extend(b"070701");
    fields.iter().for_each(|field| cpio.extend(format!("{field:08x}").bytes()));
    cpio.extend(name.bytes().chain([0]));
    cpio.resize(cpio.len().next_multiple_of(4), 0);
    cpio.extend(content);
    cpio.resize(cpio.len().next_multiple_of(4), 0);
}

fn find(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("list modules").map(|entry| entry.expect("an entry"));
    entries
        .flat_map(|entry| match entry.file_type().expect("a type").is_dir() {
            true => find(&entry.path()),
            false => vec![entry.path()],
        })
        .filter(|path| path.extension().is_some_and(|e| e == "ko"))
        .collect()
}

fn add_with_needs(module: &str, all: &BTreeSet<PathBuf>, order: &mut Vec<PathBuf>) {
    let is_it =
        |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem.to_string_lossy().replace('-', "_") == module);
    let path = all.iter().find(is_it).unwrap_or_else(|| panic!("no module {module}"));
    if order.contains(path) {
        return;
    }
    let bytes = fs::read(path).expect("read a module");
    let at = bytes.windows(9).position(|w| w == b"\0depends=").expect("what it depends on");
    let text: Vec<u8> = bytes[at + 9..].iter().copied().take_while(|b| *b != 0).collect();
    for needed in String::from_utf8(text).expect("names").split(',').filter(|name| !name.is_empty()) {
        add_with_needs(needed, all, order);
    }
    order.push(path.clone());
}

fn root_disk(work: &Path) -> PathBuf {
    let (tree, disk) = (work.join("tree"), work.join("root.erofs"));
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "home/user"] {
        fs::create_dir_all(tree.join(folder)).expect("make a folder");
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("copy busybox, of the package busybox-static");
    for applet in run("/bin/busybox", &["--list"], work).lines().filter(|name| *name != "busybox") {
        let _ = std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet));
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        .expect("users");
    fs::write(tree.join("etc/group"), "root:x:0:\nuser:x:1000:\nmore:x:2000:user\n").expect("groups");
    fs::write(tree.join("etc/hosts"), "of the image\n").expect("hosts");
    run("mkfs.erofs", &["-T0", "--all-root", disk.to_str().unwrap(), tree.to_str().unwrap()], work);
    disk
}
