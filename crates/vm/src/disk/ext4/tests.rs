//! An ext4 that Holm made, before the judges: e2fsck and the kernel.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use holm_kit::{has_command, requires};

use super::geometry::{BLOCKS_PER_GROUP, Geometry};
use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn made(bytes: u64, options: Options<'_>) -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().unwrap();
    format(image.as_file(), bytes, options).unwrap();
    image
}

#[track_caller]
fn assert_clean(image: &tempfile::NamedTempFile) {
    let output = Command::new("e2fsck").arg("-fn").arg(image.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("Fix") && !said.contains("IGNORED"), "{said}");
}

/// Runs a script in a mount namespace of its own, with the image mounted at the folder in `$1`.
#[track_caller]
fn with_mount(image: &tempfile::NamedTempFile, options: &str, script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let script =
        format!("set -e; mount -t ext4 -o loop,{options} \"$0\" \"$1\"; cd \"$1\"; {script}\ncd /; umount \"$1\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).arg(image.path()).arg(folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn can_mount() -> bool {
    rustix::process::geteuid().is_root() && std::path::Path::new("/dev/loop-control").exists()
}

#[test]
fn format_of_all_sizes_is_clean() {
    requires!(has_command("e2fsck"), "needs e2fsck");
    let group = 128 * MIB;
    let odd = [group + 4096, group + 20 * MIB, 17 * group, 17 * group + 3 * MIB, 16 * group + 40 * MIB, 8 * MIB + 1];
    for bytes in [MIB * 8, 16 * MIB, 100 * MIB, group, 2 * GIB, 10 * GIB, 300 * GIB].into_iter().chain(odd) {
        for journal in [true, false] {
            let image = made(bytes, Options { label: "changes", journal });
            assert_eq!(image.as_file().metadata().unwrap().len(), bytes);
            assert_clean(&image);
        }
    }
}

#[test]
fn format_of_ten_gib_writes_little() {
    let image = made(10 * GIB, Options::default());
    let kib = image.as_file().metadata().unwrap().blocks() / 2;
    assert!(kib <= 256, "{kib} KiB");
}

#[test]
fn format_of_a_used_file_leaves_nothing_of_it() {
    requires!(has_command("e2fsck"), "needs e2fsck");
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().write_all_at(&vec![0xa5; 12 << 20], 0).unwrap();
    format(image.as_file(), 32 * MIB, Options::default()).unwrap();
    assert_clean(&image);
    assert!(image.as_file().metadata().unwrap().blocks() < 512);
}

#[test]
fn format_outside_the_limits_leaves_the_file_alone() {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(7).unwrap();
    for bytes in [0, MIN_BYTES - 1, MAX_BYTES + 1, u64::MAX] {
        assert!(matches!(format(image.as_file(), bytes, Options::default()), Err(DiskError::Size { .. })));
    }
    let label = "seventeen letters";
    let refused = format(image.as_file(), GIB, Options { label, journal: true });
    assert!(matches!(refused, Err(DiskError::Label { .. })));
    assert_eq!(image.as_file().metadata().unwrap().len(), 7);
}

#[test]
fn geometry_at_every_size_keeps_its_records_apart() {
    let group = 128 * MIB;
    let sizes = (0..200).map(|n| MIN_BYTES + n * 13 * MIB + n * 4096);
    for bytes in sizes.chain([MAX_BYTES, MAX_BYTES - 4096, TIB, 3 * TIB + 17 * group + 5 * MIB]) {
        let geometry = Geometry::of(bytes, true).unwrap();
        assert!(geometry.blocks * 4096 <= bytes && bytes - geometry.blocks * 4096 < group);
        assert!(geometry.journal() + u64::from(geometry.journal_blocks) <= u64::from(geometry.used_blocks(0)));
        for group in (0..geometry.groups).step_by(1 + geometry.groups as usize / 1000) {
            let (used, there) = (geometry.used_blocks(group), geometry.blocks_in(group));
            assert!(used <= there && there <= BLOCKS_PER_GROUP, "{bytes} bytes, group {group}: {used} of {there}");
            assert!(geometry.inode_table(group) < geometry.blocks);
        }
    }
}

#[test]
fn kernel_mounts_writes_and_leaves_it_clean() {
    requires!(can_mount(), "needs root and loop devices");
    for (bytes, journal) in [(64 * MIB, true), (10 * GIB, true), (10 * GIB, false), (500 * GIB, true)] {
        let image = made(bytes, Options { label: "changes", journal });
        let said = with_mount(
            &image,
            "errors=remount-ro",
            "ls -A; mkdir -p upper/deep work; head -c 3000000 /dev/urandom > upper/deep/file
             for n in $(seq 800); do echo $n > upper/a-file-with-a-long-name-for-the-hash-tree-$n; done
             mknod upper/null c 1 3; ln -s deep upper/link
             cmp upper/deep/file upper/link/file; ls upper | wc -l",
        );
        assert_eq!(said.lines().collect::<Vec<_>>(), ["lost+found", "803"]);
        assert_clean(&image);
        let again = with_mount(&image, "ro", "ls upper | wc -l; cat upper/*-tree-700; rmdir lost+found 2>&1 || true");
        assert!(again.starts_with("803\n700\n"), "{again}");
    }
}

#[test]
fn kernel_fills_it_until_full() {
    requires!(can_mount(), "needs root and loop devices");
    // The second group is short. The kernel keeps 2 % back for itself: fs/ext4/super.c, `ext4_calculate_resv_clusters`.
    let image = made(150 * MIB, Options::default());
    let script = "if cat /dev/zero > all 2>/dev/null; then exit 9; fi; stat -f -c %f .; stat -c %s all";
    let said = with_mount(&image, "errors=remount-ro", script);
    let numbers: Vec<u64> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers[0] < 900 && numbers[1] > 120 * MIB, "{numbers:?}");
    assert_clean(&image);
}
