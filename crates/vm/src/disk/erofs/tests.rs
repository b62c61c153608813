//! An EROFS that Holm made, before the judges: fsck.erofs and the kernel, entry by entry.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use holm_kit::{has_command, requires};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::*;

/// A tree of its own and its image.
struct Made {
    tree: tempfile::TempDir,
    image: tempfile::NamedTempFile,
    summary: Summary,
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[track_caller]
fn made(fill: impl FnOnce(&Path)) -> Made {
    let tree = tempfile::tempdir().unwrap();
    fill(tree.path());
    let image = tempfile::NamedTempFile::new().unwrap();
    let summary = write(open(tree.path()).as_fd(), image.as_file(), "root").unwrap();
    assert_eq!(image.as_file().metadata().unwrap().len(), summary.image_bytes);
    Made { tree, image, summary }
}

/// A loop device and a mount that nothing else can see.
struct Mounted {
    device: String,
    mount: OwnedFd,
}

impl Mounted {
    fn of(image: &Path) -> Self {
        let output = Command::new("losetup").args(["--find", "--show", "--read-only"]).arg(image).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let mount = || -> rustix::io::Result<OwnedFd> {
            let context = rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            rustix::mount::fsconfig_set_string(context.as_fd(), "source", &device)?;
            rustix::mount::fsconfig_set_flag(context.as_fd(), "ro")?;
            rustix::mount::fsconfig_create(context.as_fd())?;
            let flags = FsMountFlags::FSMOUNT_CLOEXEC;
            rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::MOUNT_ATTR_RDONLY)
        };
        let mount = mount().unwrap_or_else(|e| {
            let _ = Command::new("losetup").args(["-d", &device]).status();
            panic!("cannot mount: {e}");
        });
        Self { device, mount }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/.", std::os::fd::AsRawFd::as_raw_fd(&self.mount)))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Takes effect when the mount goes, right after this.
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

fn can_mount() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists()
}

#[track_caller]
fn assert_sound(image: &Path) {
    if !has_command("fsck.erofs") {
        holm_kit::skip("fsck.erofs", "needs erofs-utils");
        return;
    }
    let output = Command::new("fsck.erofs").args(["-d3", "--extract"]).arg(image).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("No errors found"), "{said}");
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut buffer = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut buffer).unwrap();
    let names = buffer[..length].to_vec();
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::lgetxattr(path, name, &mut buffer).unwrap();
        found.insert(name.to_vec(), buffer[..length].to_vec());
    }
    found
}

fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// Compares two trees in all that a program can see. Gives the number of entries.
#[track_caller]
fn assert_same(wanted: &Path, found: &Path) -> u64 {
    let mut pending = vec![PathBuf::from(".")];
    let mut inodes: BTreeMap<u64, u64> = BTreeMap::new();
    let mut count = 0;
    while let Some(path) = pending.pop() {
        let (a, b) = (wanted.join(&path), found.join(&path));
        let (x, y) = (a.symlink_metadata().unwrap(), b.symlink_metadata().unwrap());
        let facts = |m: &std::fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec(), m.rdev());
        assert_eq!(facts(&x), facts(&y), "{path:?}");
        assert_eq!(xattrs(&a), xattrs(&b), "{path:?}");
        count += 1;
        if x.is_dir() {
            assert_eq!(names(&a), names(&b), "{path:?}");
            pending.extend(names(&a).into_iter().map(|name| path.join(name)));
            let folders = names(&a).iter().filter(|name| a.join(name).symlink_metadata().unwrap().is_dir()).count();
            assert_eq!(y.nlink(), 2 + folders as u64, "{path:?}");
            continue;
        }
        assert_eq!((x.len(), x.nlink()), (y.len(), y.nlink()), "{path:?}");
        assert_eq!(*inodes.entry(x.ino()).or_insert(y.ino()), y.ino(), "{path:?}: another inode");
        if x.is_symlink() {
            assert_eq!(std::fs::read_link(&a).unwrap(), std::fs::read_link(&b).unwrap());
        } else if x.is_file() && x.len() < 64 << 20 {
            assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap(), "{path:?}: other content");
        }
    }
    count
}

#[track_caller]
fn check(fill: impl FnOnce(&Path)) {
    let made = made(fill);
    assert_sound(made.image.path());
    requires!(can_mount(), "needs root and loop devices");
    let mounted = Mounted::of(made.image.path());
    let entries = assert_same(made.tree.path(), &mounted.path());
    assert!(made.summary.inodes <= entries);
}

/// Bytes that differ from block to block.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn write_of_an_empty_folder_is_sound() {
    check(|_| {});
}

#[test]
fn write_of_files_of_every_size_around_a_block_keeps_them() {
    check(|root| {
        for base in [0, 4096, 8192, 1 << 20, 3 << 20] {
            for extra in [-65_i64, -64, -63, -1, 0, 1, 100, 2000, 4031, 4032, 4033] {
                let Ok(size) = usize::try_from(base + extra) else { continue };
                std::fs::write(root.join(format!("f{size}")), pattern(size)).unwrap();
            }
        }
    });
}

#[test]
fn write_of_odd_names_keeps_them() {
    check(|root| {
        // Before, around and behind `.` and `..` in the order of bytes; not UTF-8; the longest.
        let odd: [&[u8]; 10] = [
            b"!",
            b"-",
            b"...",
            b".a",
            b"..a",
            b"\xff\xfe",
            b"\x01",
            b"new\nline",
            b"\xe2\x82\xac",
            b"/".get(1..).unwrap(),
        ];
        for name in odd.into_iter().filter(|name| !name.is_empty()) {
            std::fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
        }
        let long = root.join("d".repeat(255));
        std::fs::create_dir(&long).unwrap();
        for n in 0..200 {
            let mut name = vec![b'x'; 252];
            name.extend(format!("{n:03}").into_bytes());
            std::fs::write(long.join(OsStr::from_bytes(&name)), [n as u8]).unwrap();
        }
    });
}

#[test]
fn write_of_links_devices_pipes_and_sockets_keeps_them() {
    requires!(rustix::process::geteuid().is_root(), "needs root");
    check(|root| {
        for (name, length) in [("short", 1), ("inline", 4032), ("block", 4033), ("longest", 4095)] {
            symlink("t".repeat(length), root.join(name)).unwrap();
        }
        symlink("/etc/passwd", root.join("outside")).unwrap();
        let node = |name: &str, kind, (major, minor)| {
            let mode = Mode::from_raw_mode(0o640);
            rustix::fs::mknodat(CWD, root.join(name), kind, mode, rustix::fs::makedev(major, minor)).unwrap();
        };
        node("null", FileType::CharacterDevice, (1, 3));
        node("whiteout", FileType::CharacterDevice, (0, 0));
        node("large", FileType::BlockDevice, (259, 70_000));
        node("pipe", FileType::Fifo, (0, 0));
        node("socket", FileType::Socket, (0, 0));
        for name in ["a", "z"] {
            std::fs::create_dir(root.join(name)).unwrap();
            rustix::fs::linkat(CWD, root.join("pipe"), CWD, root.join(name).join("pipe"), AtFlags::empty()).unwrap();
            rustix::fs::linkat(CWD, root.join("short"), CWD, root.join(name).join("s"), AtFlags::empty()).unwrap();
        }
    });
}

#[test]
fn write_of_hard_links_makes_one_inode_with_the_names_that_are_there() {
    let outside = tempfile::tempdir().unwrap();
    let outer = outside.path().join("outer");
    let made = made(|root| {
        std::fs::write(root.join("one"), pattern(9000)).unwrap();
        std::fs::create_dir(root.join("folder")).unwrap();
        for n in 0..300 {
            std::fs::hard_link(root.join("one"), root.join("folder").join(format!("n{n}"))).unwrap();
        }
        // Fills clusters, so that the inode is on disk when its last name is found.
        for n in 0..3000 {
            std::fs::write(root.join("folder").join(format!("f{n}")), pattern(300)).unwrap();
        }
        std::fs::create_dir(root.join("zzz")).unwrap();
        std::fs::hard_link(root.join("one"), root.join("zzz/last")).unwrap();
        std::fs::write(root.join("half"), "half").unwrap();
        // A name that is not in the tree does not count.
        std::fs::hard_link(root.join("half"), &outer).unwrap();
    });
    assert_eq!(made.summary.inodes, 1 + 2 + 2 + 3000);
    assert_sound(made.image.path());
    std::fs::remove_file(&outer).unwrap();
    requires!(can_mount(), "needs root and loop devices");
    assert_same(made.tree.path(), &Mounted::of(made.image.path()).path());
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// An ACL of version 2 that lets user 1000 read: linux/posix_acl_xattr.h.
fn acl() -> Vec<u8> {
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [(1_u16, 6_u16, !0), (2, 4, 1000_u32), (4, 4, !0), (0x10, 4, !0), (0x20, 0, !0)] {
        acl.extend(tag.to_le_bytes());
        acl.extend(rights.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

#[test]
fn write_of_xattrs_keeps_all_but_overlayfs_own() {
    requires!(rustix::process::geteuid().is_root(), "needs root");
    // cap_net_raw=ep, revision 2: linux/capability.h.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let fill = |root: &Path| {
        for name in ["file", "many", "large"] {
            std::fs::write(root.join(name), pattern(5000)).unwrap();
        }
        std::fs::create_dir(root.join("folder")).unwrap();
        symlink("file", root.join("link")).unwrap();
        set_xattr(&root.join("file"), "security.capability", &capability);
        set_xattr(&root.join("file"), "user.empty", b"");
        set_xattr(&root.join("file"), "system.posix_acl_access", &acl());
        set_xattr(&root.join("folder"), "system.posix_acl_default", &acl());
        set_xattr(&root.join("link"), "trusted.of-the-link", &pattern(3000));
        set_xattr(root, "trusted.root", b"x");
        for n in 0..30 {
            set_xattr(&root.join("many"), &format!("user.number-{n}"), &pattern(n));
        }
        set_xattr(&root.join("large"), "user.large", &pattern(3900));
    };
    check(fill);
    let hostile = made(|root| {
        set_xattr(root, "trusted.overlay.opaque", b"y");
        set_xattr(root, "trusted.kept", b"y");
    });
    requires!(can_mount(), "needs root and loop devices");
    let kept = xattrs(&Mounted::of(hostile.image.path()).path());
    assert_eq!(kept.into_keys().collect::<Vec<_>>(), [b"trusted.kept".to_vec()]);
}

#[test]
fn write_of_owners_modes_and_times_keeps_them() {
    requires!(rustix::process::geteuid().is_root(), "needs root");
    check(|root| {
        for (n, seconds) in [0_i64, 1, 1_700_000_000, 4_294_967_296, -1].into_iter().enumerate() {
            let path = root.join(format!("f{n}"));
            std::fs::write(&path, "x").unwrap();
            std::os::unix::fs::chown(&path, Some(70_000 + n as u32), Some(u32::MAX - 1)).unwrap();
            rustix::fs::chmod(&path, Mode::from_raw_mode(0o4000 | n as u32)).unwrap();
            let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        }
        rustix::fs::chmod(root, Mode::from_raw_mode(0o1777)).unwrap();
    });
}

#[test]
fn write_of_a_sparse_file_beyond_four_gib_costs_what_its_data_costs() {
    const GIB: u64 = 1 << 30;
    let made = made(|root| {
        let file = std::fs::File::create(root.join("sparse")).unwrap();
        file.set_len(5 * GIB + 77).unwrap();
        file.write_all_at(b"middle", 4 * GIB + 12_345).unwrap();
        file.write_all_at(b"end", 5 * GIB + 74).unwrap();
        std::fs::File::create(root.join("hole")).unwrap().set_len(1_000_001).unwrap();
        std::fs::write(root.join("behind"), pattern(10_000)).unwrap();
    });
    assert!(made.image.as_file().metadata().unwrap().blocks() < 2048);
    requires!(can_mount(), "needs root and loop devices");
    let mounted = Mounted::of(made.image.path());
    assert_same(made.tree.path(), &mounted.path());
    let file = std::fs::File::open(mounted.path().join("sparse")).unwrap();
    let mut bytes = [1; 8];
    for (offset, wanted) in [(4 * GIB + 12_344, b"\0middle\0"), (5 * GIB + 69, b"\0\0\0\0\0end"), (3 * GIB, &[0; 8])] {
        file.read_exact_at(&mut bytes, offset).unwrap();
        assert_eq!(&bytes, wanted);
    }
}

#[test]
fn write_of_a_folder_with_a_hundred_thousand_entries_finds_each() {
    let made = made(|root| {
        for n in 0..100_000 {
            std::fs::File::create(root.join(format!("entry-{n}"))).unwrap();
        }
    });
    assert_eq!(made.summary.inodes, 100_001);
    requires!(can_mount(), "needs root and loop devices");
    let mounted = Mounted::of(made.image.path());
    assert_eq!(names(&mounted.path()), names(made.tree.path()));
    for n in (0..100_000).step_by(97) {
        let path = mounted.path().join(format!("entry-{n}"));
        assert!(path.is_file(), "{path:?}");
        assert!(!mounted.path().join(format!("entry-{n}x")).exists());
    }
}

#[test]
fn write_of_a_tree_deeper_than_any_path_reaches_its_end() {
    let tree = tempfile::tempdir().unwrap();
    let mut folder = open(tree.path());
    for _ in 0..600 {
        // Longer than what a path holds, and more folders than may be kept open; a sibling makes the walk come back.
        for name in ["deeper-and-deeper", "sibling"] {
            rustix::fs::mkdirat(&folder, name, Mode::RWXU).unwrap();
        }
        folder =
            rustix::fs::openat(&folder, "deeper-and-deeper", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let image = tempfile::NamedTempFile::new().unwrap();
    let summary = write(open(tree.path()).as_fd(), image.as_file(), "").unwrap();
    assert_eq!(summary.inodes, 1 + 2 * 600);
    requires!(can_mount(), "needs root and loop devices");
    let mounted = Mounted::of(image.path());
    let mut found = mounted.mount.try_clone().unwrap();
    for _ in 0..600 {
        assert!(rustix::fs::statat(&found, "sibling", AtFlags::SYMLINK_NOFOLLOW).is_ok());
        found =
            rustix::fs::openat(&found, "deeper-and-deeper", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
}

/// A read-only overlay of layers, lowest last, that nothing else can see: what images are handed over as.
fn overlay(layers: &[&Path]) -> OwnedFd {
    let layers: Vec<_> = layers.iter().map(|layer| layer.to_str().unwrap()).collect();
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir", layers.join(":")).unwrap();
    rustix::mount::fsconfig_create(context.as_fd()).unwrap();
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap()
}

#[test]
fn write_of_an_overlay_shows_what_the_overlay_shows() {
    requires!(can_mount(), "needs root and loop devices");
    let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in ["kept", "opaque", "merged"] {
        std::fs::create_dir(lower.path().join(folder)).unwrap();
        std::fs::write(lower.path().join(folder).join("below"), pattern(6000)).unwrap();
        std::fs::hard_link(lower.path().join(folder).join("below"), lower.path().join(folder).join("again")).unwrap();
    }
    for folder in ["opaque", "merged"] {
        std::fs::create_dir(upper.path().join(folder)).unwrap();
        std::fs::write(upper.path().join(folder).join("above"), "above").unwrap();
    }
    set_xattr(&upper.path().join("opaque"), "trusted.overlay.opaque", b"y");
    let whiteout = upper.path().join("merged/again");
    rustix::fs::mknodat(CWD, &whiteout, FileType::CharacterDevice, Mode::empty(), 0).unwrap();

    let merged = overlay(&[upper.path(), lower.path()]);
    let image = tempfile::NamedTempFile::new().unwrap();
    write(merged.as_fd(), image.as_file(), "root").unwrap();
    assert_sound(image.path());
    let mounted = Mounted::of(image.path());
    assert_eq!(names(&mounted.path().join("opaque")), ["above"]);
    assert_eq!(names(&mounted.path().join("merged")), ["above", "below"]);
    let inode = |name: &str| mounted.path().join("kept").join(name).metadata().unwrap().ino();
    assert_eq!(inode("below"), inode("again"));
    for (name, links) in [("kept/below", 2), ("merged/below", 1)] {
        assert_eq!(mounted.path().join(name).metadata().unwrap().nlink(), links);
        assert!(std::fs::read(mounted.path().join(name)).unwrap() == pattern(6000));
    }
    assert!(xattrs(&mounted.path().join("opaque")).is_empty());
}

#[test]
fn write_with_a_label_too_long_writes_nothing() {
    let tree = tempfile::tempdir().unwrap();
    let image = tempfile::NamedTempFile::new().unwrap();
    let refused = write(open(tree.path()).as_fd(), image.as_file(), "sixteen letters!");
    assert!(matches!(refused, Err(DiskError::Label { .. })));
    assert_eq!(image.as_file().metadata().unwrap().len(), 0);
}
