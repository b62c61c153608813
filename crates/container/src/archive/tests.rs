//! Round trips and attacks on both directions.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use tar::{Builder, EntryType, Header};

use super::*;

fn path_fd(path: &Path) -> std::os::fd::OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap()
}

fn folder_fd(path: &Path) -> std::os::fd::OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn entry(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &[u8], link: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(7);
    header.set_gid(8);
    header.set_size(content.len() as u64);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

#[test]
fn tree_survives_both_ways() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    std::fs::create_dir_all(from.join("sub/deep")).unwrap();
    std::fs::create_dir(&to).unwrap();
    std::fs::write(from.join("sub/file"), b"content").unwrap();
    std::fs::hard_link(from.join("sub/file"), from.join("same")).unwrap();
    symlink("/etc/passwd", from.join("sub/link")).unwrap();
    rustix::fs::mkfifoat(CWD, from.join("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    std::os::unix::fs::chown(from.join("sub/file"), Some(1234), Some(5678)).unwrap();
    let mut stream = Vec::new();
    write_tree(&path_fd(&from), Path::new("x"), Scope::OneMount, Owners::SAME, &mut stream).unwrap();
    unpack(&folder_fd(&to), &mut &stream[..], true, Owners::SAME).unwrap();
    let copy = to.join("x");
    assert_eq!(std::fs::read(copy.join("sub/file")).unwrap(), b"content");
    let (a, b) = (copy.join("sub/file").metadata().unwrap(), copy.join("same").metadata().unwrap());
    assert_eq!((a.ino(), a.uid(), a.gid()), (b.ino(), 1234, 5678));
    assert_eq!(std::fs::read_link(copy.join("sub/link")).unwrap(), Path::new("/etc/passwd"));
    assert!(copy.join("sub/deep").is_dir() && copy.join("fifo").exists());
    unpack(&folder_fd(&to), &mut &stream[..], false, Owners::SAME).unwrap();
    assert_eq!(copy.join("sub/file").metadata().unwrap().uid(), 0);
}

#[test]
fn stream_cannot_leave_the_target() {
    for (link, name) in [("", &b"../out"[..]), ("", b"a/../../out"), ("../", b"l/out"), ("/tmp", b"l/out")] {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let mut tar = Builder::new(Vec::new());
        if !link.is_empty() {
            entry(&mut tar, EntryType::Symlink, b"l", link, b"");
        }
        entry(&mut tar, EntryType::Regular, name, "", b"evil");
        let stream = tar.into_inner().unwrap();
        assert!(unpack(&folder_fd(&target), &mut &stream[..], false, Owners::SAME).is_err(), "{name:?} by {link:?}");
        assert!(!root.path().join("out").exists() && !Path::new("/tmp/out").exists());
    }
}

#[test]
fn absolute_names_and_hard_links_stay_in_the_target() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(root.path().join("secret"), b"secret").unwrap();
    let mut tar = Builder::new(Vec::new());
    entry(&mut tar, EntryType::Regular, b"/etc/file", "", b"in");
    let stream = tar.into_inner().unwrap();
    unpack(&folder_fd(&target), &mut &stream[..], false, Owners::SAME).unwrap();
    assert_eq!(std::fs::read(target.join("etc/file")).unwrap(), b"in");
    for link in ["../secret", "/etc/passwd"] {
        let mut tar = Builder::new(Vec::new());
        entry(&mut tar, EntryType::Link, b"got", link, b"");
        let stream = tar.into_inner().unwrap();
        assert!(unpack(&folder_fd(&target), &mut &stream[..], false, Owners::SAME).is_err(), "{link}");
        assert!(!target.join("got").exists());
    }
}

#[test]
fn links_of_the_container_are_not_written_through() {
    let root = tempfile::tempdir().unwrap();
    let (target, outside) = (root.path().join("target"), root.path().join("outside"));
    std::fs::create_dir(&target).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), b"old").unwrap();
    symlink(&outside, target.join("folder")).unwrap();
    symlink(outside.join("file"), target.join("file")).unwrap();
    let mut tar = Builder::new(Vec::new());
    entry(&mut tar, EntryType::Regular, b"file", "", b"new");
    let stream = tar.into_inner().unwrap();
    unpack(&folder_fd(&target), &mut &stream[..], false, Owners::SAME).unwrap();
    assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"old");
    assert!(target.join("file").symlink_metadata().unwrap().is_file());
    let mut tar = Builder::new(Vec::new());
    entry(&mut tar, EntryType::Regular, b"folder/x", "", b"new");
    let stream = tar.into_inner().unwrap();
    assert!(unpack(&folder_fd(&target), &mut &stream[..], false, Owners::SAME).is_err());
    assert!(!outside.join("x").exists());
}

#[test]
fn changes_keep_whiteouts_and_attributes_and_no_others_do() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    std::fs::create_dir_all(from.join("hidden")).unwrap();
    std::fs::create_dir(&to).unwrap();
    std::fs::write(from.join("file"), b"x").unwrap();
    rustix::fs::mknodat(CWD, from.join("gone"), rustix::fs::FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set(&from.join("hidden"), "trusted.overlay.opaque", b"y");
    set(&from.join("hidden"), "trusted.overlay.redirect", b"/etc");
    set(&from.join("file"), "trusted.other", b"1");
    let mut stream = Vec::new();
    write_changes(&path_fd(&from), &mut stream).unwrap();
    let get = |path: &Path, name: &str| {
        let mut value = [0; 64];
        rustix::fs::getxattr(path, name, &mut value[..]).ok().map(|n| value[..n].to_vec())
    };
    unpack(&folder_fd(&to), &mut &stream[..], true, Owners::SAME).unwrap();
    assert_eq!(get(&to.join("hidden"), "trusted.overlay.opaque"), None);
    std::fs::remove_dir_all(&to).unwrap();
    std::fs::create_dir(&to).unwrap();
    unpack_changes(&folder_fd(&to), &mut &stream[..]).unwrap();
    assert_eq!(get(&to.join("hidden"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert_eq!(get(&to.join("hidden"), "trusted.overlay.redirect"), None);
    assert_eq!(get(&to.join("file"), "trusted.other"), None);
    assert_eq!(
        (to.join("gone").symlink_metadata().unwrap().rdev(), std::fs::read(to.join("file")).unwrap()),
        (0, vec![b'x'])
    );
}
