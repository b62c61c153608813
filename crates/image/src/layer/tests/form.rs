//! Honest layers in every form that tars and compressions come in.

use super::*;

#[test]
fn every_kind_of_entry_comes_out_as_it_went_in() {
    let tar = Tar::new()
        .folder("./", 0o750)
        .header(Fields { name: b"dir/", kind: b'5', mode: 0o1777, owner: (5, 6), mtime: 111, ..Fields::default() })
        .header(Fields {
            name: b"dir/file",
            mode: 0o4755,
            owner: (1000, 1001),
            mtime: 222,
            size: 3,
            ..Fields::default()
        })
        .content(b"abc")
        .header(Fields { name: b"link", kind: b'2', link: b"dir/file", owner: (7, 8), mtime: 333, ..Fields::default() })
        .hard_link("dir/hard", "dir/file")
        .header(Fields { name: b"null", kind: b'3', mode: 0o666, device: (1, 3), ..Fields::default() })
        .header(Fields { name: b"disk", kind: b'4', mode: 0o660, device: (259, 70_000), ..Fields::default() })
        .header(Fields { name: b"pipe", kind: b'6', mode: 0o622, ..Fields::default() })
        .end();
    let scene = Scene::new();
    let unpacked = scene.unpack(&tar).unwrap();
    assert_eq!((unpacked.size_bytes, unpacked.entries), (3, 8));
    assert_eq!(unpacked.diff_id, hash::sha256(&tar));

    let meta = |name: &str| fs::symlink_metadata(scene.root().join(name)).unwrap();
    let facts = |name: &str| (meta(name).mode() & 0o7777, meta(name).uid(), meta(name).gid(), meta(name).mtime());
    assert_eq!(facts(""), (0o750, 0, 0, 1_000_000_000));
    assert_eq!(facts("dir"), (0o1777, 5, 6, 111));
    assert_eq!(facts("dir/file"), (0o4755, 1000, 1001, 222));
    assert_eq!((meta("link").uid(), meta("link").gid(), meta("link").mtime()), (7, 8, 333));
    assert_eq!(meta("dir/hard").ino(), meta("dir/file").ino());
    assert_eq!(meta("null").rdev(), rustix::fs::makedev(1, 3));
    assert!(meta("disk").file_type().is_block_device());
    assert_eq!(meta("disk").rdev(), rustix::fs::makedev(259, 70_000));
    assert!(meta("pipe").file_type().is_fifo());
    assert_eq!(meta("pipe").mode() & 0o7777, 0o622);
}

#[test]
fn root_without_entry_is_0755() {
    let scene = unpacked(Tar::new().file("x", b"").end());
    assert_eq!(fs::metadata(scene.root()).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn compressions_are_found_by_magic() {
    let tar = Tar::new().file("x", &vec![b'x'; 1_000_000]).end();
    let half = tar.len() / 2;
    let zstd = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
    let skippable = |n: u32| [&0x184d_2a50_u32.to_le_bytes()[..], &n.to_le_bytes(), &vec![1; n as usize]].concat();
    let streams = [
        tar.clone(),
        gzip(&tar),
        // Several members, as pigz and bgzip make them.
        [gzip(&tar[..half]), gzip(&tar[half..])].concat(),
        zstd(&tar),
        // zstd:chunked: several frames and a table of contents in a skippable one, also in front.
        [zstd(&tar[..half]), zstd(&tar[half..]), skippable(1000)].concat(),
        [skippable(10), zstd(&tar), skippable(0)].concat(),
    ];
    for stream in streams {
        let scene = Scene::new();
        assert_eq!(scene.unpack(&stream).unwrap().diff_id, hash::sha256(&tar));
        assert_eq!(fs::metadata(scene.root().join("x")).unwrap().len(), 1_000_000);
    }
}

#[test]
fn bytes_behind_the_end_mark_are_hashed() {
    let mut tar = Tar::new().file("x", b"").end();
    tar.extend_from_slice(&[9; 700_000]);
    let scene = Scene::new();
    assert_eq!(scene.unpack(&tar).unwrap().diff_id, hash::sha256(&tar));
}

#[test]
fn missing_end_mark_is_accepted() {
    let tar = Tar::new().file("x", b"abc").cut();
    unpacked(tar.clone());
    unpacked([tar.clone(), vec![0; 512]].concat());
    unpacked([tar, vec![0; 100]].concat());
    unpacked(Vec::new());
}

#[test]
fn whiteouts_take_overlay_form() {
    let tar = Tar::new()
        .folder("dir", 0o755)
        .file("dir/kept", b"")
        .file("dir/.wh.gone", b"")
        .file("dir/late", b"")
        .file("dir/.wh..wh..opq", b"")
        .folder(".wh..wh.plnk", 0o755)
        .file(".wh..wh.plnk/1.2", b"")
        .file(".wh..wh.aufs", b"")
        .end();
    let scene = unpacked(tar);
    assert!(is_whiteout(&scene.root().join("dir/gone")));
    assert_eq!(xattr(&scene.root().join("dir"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert!(scene.root().join("dir/late").exists());
    assert_eq!(fs::read_dir(scene.root()).unwrap().count(), 1);
}

#[test]
fn whiteout_and_new_folder_of_one_name_do_not_merge() {
    for tar in [
        Tar::new().file(".wh.dir", b"").folder("dir", 0o755).file("dir/x", b""),
        Tar::new().folder("dir", 0o755).file("dir/x", b"").file(".wh.dir", b""),
    ] {
        let scene = unpacked(tar.end());
        assert!(scene.root().join("dir/x").exists());
        assert_eq!(xattr(&scene.root().join("dir"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    }
    for tar in [Tar::new().file(".wh.f", b"").file("f", b"new"), Tar::new().file("f", b"new").file(".wh.f", b"")] {
        assert_eq!(fs::read(unpacked(tar.end()).root().join("f")).unwrap(), b"new");
    }
}

#[test]
fn later_entries_replace_earlier_ones_of_any_kind() {
    let make = |tar: Tar, kind: usize| match kind {
        0 => tar.file("x", b"file"),
        1 => tar.folder("x", 0o755),
        2 => tar.symlink("x", "target"),
        3 => tar.hard_link("x", "other"),
        _ => tar.header(Fields { name: b"x", kind: b'6', ..Fields::default() }),
    };
    for first in 0..5 {
        for second in 0..5 {
            let scene = unpacked(make(make(Tar::new().file("other", b"other"), first), second).end());
            let kind = fs::symlink_metadata(scene.root().join("x")).unwrap().file_type();
            let found = [
                kind.is_file() && fs::read(scene.root().join("x")).unwrap() == b"file",
                kind.is_dir(),
                kind.is_symlink(),
                kind.is_file() && fs::read(scene.root().join("x")).unwrap() == b"other",
                kind.is_fifo(),
            ];
            assert!(found[second], "{first} then {second}");
            assert_eq!(fs::read(scene.root().join("other")).unwrap(), b"other");
        }
    }
}

#[test]
fn replaced_file_does_not_change_its_hard_link() {
    let scene = unpacked(Tar::new().file("a", b"old").hard_link("b", "a").file("a", b"new").end());
    assert_eq!(fs::read(scene.root().join("b")).unwrap(), b"old");
}

#[test]
fn long_and_odd_names_survive() {
    let long = format!("{}/{}", "p".repeat(200), "n".repeat(200));
    let odd: &[u8] = b"caf\xe9\xff";
    let tar = Tar::new()
        .header(Fields { name: b"././@LongLink", kind: b'L', size: long.len() as u64 + 1, ..Fields::default() })
        .content(format!("{long}\0").as_bytes())
        .file("cut", b"gnu")
        .pax(&[("path", format!("{long}.pax").as_bytes()), ("mtime", b"1234567890.123456789")])
        .file("cut", b"pax")
        .pax(&[("mtime", b"-1.25")])
        .header(Fields { name: odd, ..Fields::default() })
        .end();
    let scene = unpacked(tar);
    assert_eq!(fs::read(scene.root().join(&long)).unwrap(), b"gnu");
    let pax = fs::metadata(scene.root().join(format!("{long}.pax"))).unwrap();
    assert_eq!((pax.mtime(), pax.mtime_nsec()), (1_234_567_890, 123_456_789));
    let odd = fs::metadata(scene.root().join(std::ffi::OsStr::from_bytes(odd))).unwrap();
    assert_eq!((odd.mtime(), odd.mtime_nsec()), (-2, 750_000_000));
}

#[test]
fn sparse_files_have_holes() {
    let map: &[(&str, &[u8])] = &[("GNU.sparse.map", b"1048576,3,2097152,0"), ("GNU.sparse.size", b"2097152")];
    let scene = unpacked(Tar::new().pax(map).file("x", b"abc").file("y", b"").end());
    let content = fs::read(scene.root().join("x")).unwrap();
    assert_eq!(content.len(), 2_097_152);
    assert_eq!(&content[1_048_576..1_048_579], b"abc");
    assert_eq!(content.iter().filter(|b| **b != 0).count(), 3);
    assert!(fs::metadata(scene.root().join("x")).unwrap().blocks() < 100);
    assert!(scene.root().join("y").exists());
}

#[test]
fn file_capabilities_survive() {
    // Version 2, effective, CAP_NET_RAW permitted.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .header(Fields { name: b"ping", mode: 0o755, owner: (3, 3), size: 1, ..Fields::default() })
        .content(b"x")
        .end();
    let scene = unpacked(tar);
    assert_eq!(xattr(&scene.root().join("ping"), "security.capability").as_deref(), Some(&capability[..]));
}
