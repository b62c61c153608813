//! From folders to tars and back: what comes out of a container must go into the next one unchanged.

use std::os::fd::AsFd;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;

/// Everything about a tree that a layer keeps, one line per entry.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    list(root, Path::new(""), &mut lines);
    lines.sort();
    lines
}

fn list(root: &Path, below: &Path, lines: &mut Vec<String>) {
    let path = root.join(below);
    let meta = fs::symlink_metadata(&path).unwrap();
    let content = match meta.file_type() {
        kind if kind.is_file() => hash::sha256(&fs::read(&path).unwrap()).to_string(),
        kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
        _ => String::new(),
    };
    let xattrs: Vec<_> =
        ["user.note", "security.capability", "trusted.overlay.opaque"].iter().map(|name| xattr(&path, name)).collect();
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    lines.push(format!(
        "{below:?} {:o} {}:{} {}.{} {:x} {links} {content} {xattrs:?}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.rdev(),
    ));
    if meta.is_dir() {
        for entry in fs::read_dir(&path).unwrap() {
            list(root, &below.join(entry.unwrap().file_name()), lines);
        }
    }
}

/// A tree with every kind of file.
fn build(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), "content").unwrap();
    fs::hard_link(root.join("a/file"), root.join("a/b/hard")).unwrap();
    std::os::unix::fs::symlink("../nowhere", root.join("a/link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(300), root.join("a/longlink")).unwrap();
    fs::write(root.join("a").join("n".repeat(250)), "long").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"odd\xff\nname")), "odd").unwrap();
    fs::write(root.join("suid"), "x").unwrap();
    std::os::unix::fs::chown(root.join("suid"), Some(3_000_000), Some(7)).unwrap();
    fs::set_permissions(root.join("suid"), fs::Permissions::from_mode(0o4711)).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", 3_000_000).unwrap();
    rustix::fs::mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, root.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), null).unwrap();
    rustix::fs::setxattr(root.join("a/file"), "user.note", b"kept\0bytes", XattrFlags::empty()).unwrap();
    fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o1555)).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn exported_tree_unpacks_to_itself() {
    let scene = Scene::new();
    let source = TempDir::new().unwrap();
    build(source.path());
    let mut tar = Vec::new();
    tar_from_dir(fs::File::open(source.path()).unwrap().as_fd(), &mut tar).unwrap();
    scene.unpack(&tar).unwrap();
    assert_eq!(listing(&scene.root()), listing(source.path()));
}

#[test]
fn layer_unpacks_as_gnu_tar_unpacks_it() {
    let source = TempDir::new().unwrap();
    build(source.path());
    for form in ["gnu", "pax"] {
        let run = |args: &[&str], at: &Path| {
            let output = Command::new("tar").args(args).arg("-C").arg(at).arg(".").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let tar = run(&["--sparse", "--numeric-owner", &format!("--format={form}"), "-c"], source.path());
        let theirs = TempDir::new().unwrap();
        let file = theirs.path().join("layer.tar");
        fs::write(&file, &tar).unwrap();
        fs::create_dir(theirs.path().join("root")).unwrap();
        run(&["--numeric-owner", "-xpf", file.to_str().unwrap()], &theirs.path().join("root"));
        let scene = Scene::new();
        scene.unpack(&tar).unwrap();
        assert_eq!(listing(&scene.root()), listing(&theirs.path().join("root")), "{form}");
    }
}

#[test]
fn gnu_tar_reads_what_export_writes() {
    let source = TempDir::new().unwrap();
    build(source.path());
    fs::remove_file(source.path().join("null")).unwrap();
    let mut tar = Vec::new();
    tar_from_dir(fs::File::open(source.path()).unwrap().as_fd(), &mut tar).unwrap();
    let theirs = TempDir::new().unwrap();
    let file = theirs.path().join("x.tar");
    fs::write(&file, &tar).unwrap();
    let root = theirs.path().join("root");
    fs::create_dir(&root).unwrap();
    let args = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"];
    let output = Command::new("tar").args(args).arg(&file).arg("-C").arg(&root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(listing(&root), listing(source.path()));
}

#[test]
fn overlay_upper_comes_back_as_the_same_upper() {
    let upper = TempDir::new().unwrap();
    build(upper.path());
    let whiteout = upper.path().join("a/gone");
    rustix::fs::mknodat(CWD, &whiteout, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    // As a whiteout of a tar has no times or owner of its own, neither may this one.
    fs::create_dir(upper.path().join("opaque")).unwrap();
    rustix::fs::setxattr(upper.path().join("opaque"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(upper.path().join("a"), "trusted.overlay.impure", b"y", XattrFlags::empty()).unwrap();
    let mut tar = Vec::new();
    tar_from_overlay_upper(upper.path(), None, &mut tar).unwrap();
    let scene = Scene::new();
    scene.unpack(&tar).unwrap();
    let without_whiteout = |root: &Path| {
        let mut lines = listing(root);
        lines.retain(|line| !line.starts_with("\"a/gone\""));
        lines
    };
    assert_eq!(without_whiteout(&scene.root()), without_whiteout(upper.path()));
    assert!(is_whiteout(&scene.root().join("a/gone")));
    assert_eq!(xattr(&scene.root().join("a"), "trusted.overlay.impure"), None);
}

#[test]
fn uppers_that_no_layer_can_hold_are_refused() {
    let upper = TempDir::new().unwrap();
    fs::write(upper.path().join(".wh.fake"), "").unwrap();
    let error = tar_from_overlay_upper(upper.path(), None, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, DiffError::WhiteoutName(_)), "{error}");
    // In an export it is a name like any other.
    tar_from_dir(fs::File::open(upper.path()).unwrap().as_fd(), &mut Vec::new()).unwrap();
    let upper = TempDir::new().unwrap();
    fs::create_dir(upper.path().join("moved")).unwrap();
    rustix::fs::setxattr(upper.path().join("moved"), "trusted.overlay.redirect", b"/etc", XattrFlags::empty()).unwrap();
    let error = tar_from_overlay_upper(upper.path(), None, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, DiffError::Redirect(_)), "{error}");
}

#[test]
fn changes_are_those_that_docker_shows() {
    let temp = TempDir::new().unwrap();
    let folder = |name: &str| {
        let path = temp.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let (low, mid, upper) = (folder("low"), folder("mid"), folder("upper"));
    let whiteout = |path: &Path| {
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    };
    for name in ["etc/passwd", "etc/old", "var/one", "var/two", "gone/before", "same"] {
        fs::create_dir_all(low.join(name).parent().unwrap()).unwrap();
        fs::write(low.join(name), "low").unwrap();
    }
    whiteout(&mid.join("gone"));
    for name in ["etc/passwd", "etc/new", "var/three", "gone/again", "new/deep/file"] {
        fs::create_dir_all(upper.join(name).parent().unwrap()).unwrap();
        fs::write(upper.join(name), "upper").unwrap();
    }
    whiteout(&upper.join("etc/old"));
    whiteout(&upper.join("etc/never"));
    rustix::fs::setxattr(upper.join("var"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    let lines: Vec<String> = changes(&upper, &[low, mid])
        .unwrap()
        .into_iter()
        .map(|change| format!("{} {}", change.kind.letter(), change.path.display()))
        .collect();
    let expected = [
        "C /etc",
        "A /etc/new",
        "D /etc/old",
        "C /etc/passwd",
        "A /gone",
        "A /gone/again",
        "A /new",
        "A /new/deep",
        "A /new/deep/file",
        "C /var",
        "D /var/one",
        "A /var/three",
        "D /var/two",
    ];
    assert_eq!(lines, expected);
}
