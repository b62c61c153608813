//! Images that are made once, by one of several, or not at all.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use holm_kit::requires;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::*;

fn image(folder: &Path, key: &str, content: &[u8]) -> Result<File, DiskError> {
    root_image(folder, key, |mut file| file.write_all(content).map_err(io_error("write", "the image")))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn root_image_of_a_known_key_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("vm/roots");
    image(&below, "a", b"first").unwrap();
    let mut text = String::new();
    image(&below, "a", b"second").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), names(&below)), ("first", vec!["a.img".to_owned()]));
}

#[test]
fn root_image_wanted_by_many_at_once_is_made_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (count, start) = (AtomicUsize::new(0), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let made = root_image(folder.path(), "key", |mut file| {
                    count.fetch_add(1, Ordering::SeqCst);
                    file.write_all(b"content").map_err(io_error("write", "the image"))
                });
                let mut text = String::new();
                made.unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "content");
            });
        }
    });
    assert_eq!((count.into_inner(), names(folder.path())), (1, vec!["key.img".to_owned()]));
}

#[test]
fn root_image_that_fails_leaves_nothing_and_can_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let refused = root_image(folder.path(), "key", |mut file| {
        file.write_all(b"half").unwrap();
        Err(DiskError::Changing("x".to_owned()))
    });
    assert!(matches!(refused, Err(DiskError::Changing(_))));
    assert!(names(folder.path()).is_empty());
    image(folder.path(), "key", b"whole").unwrap();
}

#[test]
fn root_image_after_a_crash_starts_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key.new"), "what a crash left, longer than the image").unwrap();
    let mut text = String::new();
    image(folder.path(), "key", b"image").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), names(folder.path())), ("image", vec!["key.img".to_owned()]));
}

#[test]
fn root_image_on_a_full_disk_leaves_nothing_and_says_so() {
    requires!(rustix::process::geteuid().is_root(), "needs root");
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_set_string(context.as_fd(), "size", "256k").unwrap();
    rustix::mount::fsconfig_create(context.as_fd()).unwrap();
    let flags = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    let small: OwnedFd = rustix::mount::fsmount(context.as_fd(), flags.0, flags.1).unwrap();
    let folder = PathBuf::from(format!("/proc/self/fd/{}/roots", small.as_raw_fd()));
    let refused = image(&folder, "key", &vec![1; 1 << 20]).unwrap_err();
    let DiskError::Io { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert!(names(&folder).is_empty());
    image(&folder, "key", &[1; 1000]).unwrap();
}

#[test]
fn root_image_of_a_key_that_is_a_path_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for key in ["", "..", "a/b", "a.b", "a\0", &"k".repeat(201)] {
        assert!(matches!(image(folder.path(), key, b""), Err(DiskError::Key(_))), "{key}");
    }
    image(folder.path(), &"k".repeat(200), b"").unwrap();
}

#[test]
fn remove_unused_keeps_what_is_wanted_and_what_is_being_made() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(remove_unused(&folder.path().join("missing"), &|_| false).unwrap(), 0);
    let mut in_use = image(folder.path(), "old", &[7; 8192]).unwrap();
    image(folder.path(), "kept", b"x").unwrap();
    fs::write(folder.path().join("crashed.new"), [0; 4096]).unwrap();
    fs::write(folder.path().join("not-ours"), "x").unwrap();
    root_image(folder.path(), "now", |mut file| {
        let bytes = remove_unused(folder.path(), &|key| key == "kept").unwrap();
        assert!(bytes >= 8192 + 4096, "{bytes}");
        assert_eq!(names(folder.path()), ["kept.img", "not-ours", "now.new"]);
        file.write_all(b"now").map_err(io_error("write", "the image"))
    })
    .unwrap();
    assert_eq!(names(folder.path()), ["kept.img", "not-ours", "now.img"]);
    let mut bytes = Vec::new();
    in_use.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 8192);
}
