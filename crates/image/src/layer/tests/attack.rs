//! Hostile layers: none may touch anything outside its folder, none may hang or take memory without bound.

use super::*;

/// Unpacks a hostile tar, which must fail with `text` in its error, and touch nothing outside.
fn refuse(tar: Vec<u8>, text: &str) {
    let scene = Scene::new();
    let error = chain(&scene.unpack(&tar).unwrap_err());
    assert!(error.contains(text), "{error}");
    scene.assert_contained();
}

#[test]
fn parent_components_are_refused() {
    for name in ["../outside/new", "a/../../outside/new", "a/../b", ".."] {
        refuse(Tar::new().file(name, b"x").end(), "`..` component");
        refuse(Tar::new().folder(name, 0o777).end(), "`..` component");
    }
    refuse(Tar::new().hard_link("link", "../outside/canary").end(), "`..` component");
}

#[test]
fn absolute_names_are_below_the_root() {
    let scene = Scene::new();
    let outside = scene.outside().join("canary").to_str().unwrap().to_owned();
    scene.unpack(&Tar::new().file("/etc/x", b"1").file(&outside, b"2").end()).unwrap();
    assert_eq!(fs::read(scene.root().join("etc/x")).unwrap(), b"1");
    assert_eq!(fs::read(scene.root().join(outside.trim_start_matches('/'))).unwrap(), b"2");
    scene.assert_contained();
}

#[test]
fn symlinked_parents_resolve_inside() {
    for target in ["../outside", "../../../../outside", "/outside", "a/../../outside"] {
        let scene = Scene::new();
        let tar = Tar::new().folder("a", 0o755).symlink("door", target).file("door/new", b"x").end();
        // Whether it fails (nothing there) or lands inside, it stays inside.
        let _ = scene.unpack(&tar);
        scene.assert_contained();
    }
    // As docker does: a symlink of the same layer leads to where it would inside the container.
    let tar = Tar::new().folder("usr/lib", 0o755).symlink("lib", "/usr/lib").file("lib/libc.so", b"x").end();
    let scene = unpacked(tar);
    assert_eq!(fs::read(scene.root().join("usr/lib/libc.so")).unwrap(), b"x");
}

#[test]
fn absolute_symlink_to_the_host_is_never_followed() {
    let scene = Scene::new();
    let outside = scene.outside().to_str().unwrap().to_owned();
    let canary = format!("{outside}/canary");
    for tar in [
        Tar::new().symlink("door", &outside).file("door/new", b"x"),
        Tar::new().symlink("door", &outside).folder("door/", 0o777),
        Tar::new().symlink("door", &canary).file("door", b"overwritten"),
        Tar::new().symlink("door", &canary).hard_link("copy", "door").file("copy", b"overwritten"),
        Tar::new().symlink("door", &outside).hard_link("copy", "door/canary"),
        Tar::new().symlink("door", &outside).file("door/.wh.canary", b""),
        Tar::new().symlink("door", &outside).file("door/.wh..wh..opq", b""),
    ] {
        let scene = Scene { temp: TempDir::new().unwrap() };
        fs::create_dir(scene.root()).unwrap();
        let _ = scene.unpack(&tar.end());
        assert_eq!(fs::read_dir(scene.temp.path()).unwrap().count(), 1);
    }
    scene.assert_contained();
    assert_eq!(xattr(&scene.outside(), "trusted.overlay.opaque"), None);
}

#[test]
fn symlink_over_folder_does_not_get_the_folders_mode() {
    let scene = Scene::new();
    let outside = scene.outside().to_str().unwrap().to_owned();
    let tar = Tar::new().folder("dir", 0o777).folder("dir/sub", 0o777).symlink("dir", &outside).end();
    scene.unpack(&tar).unwrap();
    assert!(fs::symlink_metadata(scene.root().join("dir")).unwrap().is_symlink());
    scene.assert_contained();
    // And the other way round: the folder replaces the symlink.
    let scene = Scene::new();
    let outside = scene.outside().to_str().unwrap().to_owned();
    scene.unpack(&Tar::new().symlink("dir", &outside).folder("dir", 0o777).file("dir/x", b"").end()).unwrap();
    assert!(fs::symlink_metadata(scene.root().join("dir")).unwrap().is_dir());
    scene.assert_contained();
}

#[test]
fn hard_links_reach_this_layer_only() {
    let scene = Scene::new();
    let canary = scene.outside().join("canary").to_str().unwrap().to_owned();
    let error = chain(&scene.unpack(&Tar::new().hard_link("x", &canary).end()).unwrap_err());
    assert!(error.contains("cannot"), "{error}");
    scene.assert_contained();
    refuse(Tar::new().hard_link("x", "").end(), "without a target");
    refuse(Tar::new().folder("d", 0o755).hard_link("x", "d").end(), "cannot create `x`");
}

#[test]
fn magic_links_of_proc_lead_nowhere() {
    let tar = Tar::new().symlink("door", "/proc/self/cwd").file("door/new", b"x").end();
    let scene = Scene::new();
    let _ = scene.unpack(&tar);
    scene.assert_contained();
    assert!(!Path::new("/proc/self/cwd/new").exists());
}

#[test]
fn whiteouts_of_dots_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", "a/.wh.."] {
        refuse(Tar::new().folder("a", 0o755).file(name, b"").end(), "whiteout");
    }
}

#[test]
fn pax_size_wins_over_the_header() {
    // A reader that believed the header's size would see the entry `smuggled`.
    let inner = Tar::new().file("smuggled", b"").cut();
    let fields = Fields { name: b"carrier", size: 0, ..Fields::default() };
    let tar = Tar::new()
        .pax(&[("size", inner.len().to_string().as_bytes())])
        .header(fields)
        .content(&inner)
        .file("after", b"x")
        .end();
    let scene = unpacked(tar);
    assert_eq!(fs::read(scene.root().join("carrier")).unwrap(), inner);
    assert!(!scene.root().join("smuggled").exists());
    assert!(scene.root().join("after").exists());
}

#[test]
fn sizes_of_links_and_folders_carry_no_content() {
    let fields = Fields { name: b"link", kind: b'2', link: b"x", size: 512, ..Fields::default() };
    let scene = unpacked(Tar::new().header(fields).file("next", b"x").end());
    assert!(scene.root().join("next").exists());
}

#[test]
fn malformed_numbers_are_refused() {
    for (key, value) in [("size", "-1"), ("size", "1e3"), ("size", "99999999999999999999"), ("uid", "x"), ("gid", "-2")]
    {
        let tar = Tar::new().pax(&[(key, value.as_bytes())]).file("x", b"").end();
        refuse(tar, &format!("PAX value `{key}`"));
    }
    refuse(Tar::new().pax(&[("uid", b"4294967295")]).file("x", b"").end(), "owner");
    // A binary size beyond 64 bits, which a careless reader cuts.
    let mut block: [u8; 512] = Tar::new().file("x", b"").cut().try_into().unwrap();
    block[124..136].copy_from_slice(&[0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    refuse(with_checksum(block).to_vec(), "");
}

#[test]
fn huge_metadata_is_refused() {
    let big = vec![b'v'; 2 * 1024 * 1024];
    refuse(Tar::new().pax(&[("SCHILY.xattr.user.big", &big)]).file("x", b"").end(), "cannot parse the tar header");
    let large = vec![b'v'; 100_000];
    refuse(Tar::new().pax(&[("SCHILY.xattr.user.big", &large)]).file("x", b"").end(), "limit is 65536");
    let long = "d/".repeat(600) + "x";
    refuse(Tar::new().pax(&[("path", long.as_bytes())]).file("x", b"").end(), "components");
    let longest = "d".repeat(5000);
    refuse(Tar::new().pax(&[("path", longest.as_bytes())]).file("x", b"").end(), "");
}

#[test]
fn endless_list_of_regions_is_refused_quickly() {
    let records: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    let content = vec![b'1'; 6 * 1024 * 1024];
    let fields = Fields { name: b"x", size: content.len() as u64, ..Fields::default() };
    refuse(Tar::new().pax(records).header(fields).content(&content).end(), "");
}

#[test]
fn regions_outside_the_file_are_refused() {
    for map in ["0,10,5,10", "100,512", "18446744073709551615,2"] {
        let records: &[(&str, &[u8])] = &[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", b"20")];
        refuse(Tar::new().pax(records).file("x", &[1; 20]).end(), "data regions");
    }
}

#[test]
fn attributes_that_steer_overlayfs_are_dropped() {
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"system_u"),
        ("SCHILY.xattr.system.posix_acl_access", b"garbage"),
        ("SCHILY.xattr.user.kept", b"value"),
    ];
    let scene = unpacked(Tar::new().pax(records).folder("d", 0o755).pax(records).file("f", b"").end());
    for name in ["d", "f"] {
        let path = scene.root().join(name);
        for dropped in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"]
        {
            assert_eq!(xattr(&path, dropped), None, "{name} {dropped}");
        }
        assert_eq!(xattr(&path, "user.kept").as_deref(), Some(&b"value"[..]));
    }
}

#[test]
fn nul_bytes_are_refused() {
    refuse(Tar::new().pax(&[("path", b"a\0b")]).file("x", b"").end(), "NUL");
    refuse(Tar::new().pax(&[("linkpath", b"a\0b")]).symlink("x", "y").end(), "NUL");
}

#[test]
fn names_with_newlines_are_data() {
    let scene = unpacked(Tar::new().file("a\nb\x1b[31m", b"x").end());
    assert_eq!(fs::read(scene.root().join("a\nb\x1b[31m")).unwrap(), b"x");
    // In an error they are escaped.
    let error = chain(&Scene::new().unpack(&Tar::new().file("a\n\x1b/../x", b"").end()).unwrap_err());
    assert!(error.contains(r"a\n\x1b") && !error.contains('\x1b'), "{error}");
}

#[test]
fn broken_streams_are_refused() {
    let whole = Tar::new().file("x", &[7; 3000]).end();
    refuse(whole[..1000].to_vec(), "cannot read the tar stream");
    refuse(whole[..100].to_vec(), "cannot read the tar stream");
    refuse(vec![b'#'; 4096], "cannot parse the tar header at byte 0");
    let mut packed = gzip(&whole);
    let end = packed.len();
    packed[end / 2] ^= 0xff;
    refuse(packed.clone(), "cannot");
    refuse(gzip(&whole)[..end - 9].to_vec(), "cannot read the layer's content");
    refuse([gzip(&whole), b"trailing".to_vec()].concat(), "cannot read the layer's content");
    refuse(Tar::new().header(Fields { name: b"x", kind: b'V', ..Fields::default() }).end(), "type `V`");
}

#[test]
fn deep_layer_is_unpacked_and_replaced() {
    let deep = "d/".repeat(500);
    let tar = Tar::new().pax(&[("path", format!("{deep}f").as_bytes())]).file("x", b"1").file("d", b"2").end();
    let scene = unpacked(tar);
    assert_eq!(fs::read(scene.root().join("d")).unwrap(), b"2");
}
