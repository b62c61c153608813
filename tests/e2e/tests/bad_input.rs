//! Bad input: each a clear error, nothing left behind.

use holm_kit::{BUSYBOX, Entry, Holm, Image, Layer, Leaks, Scratch, Tar, busybox_layer, busybox_root_tar};
use serde_json::json;

#[test]
fn malformed_references_are_refused_by_every_command() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let long = "a".repeat(300);
    for reference in [
        "",
        ":",
        "a:",
        "a/B",
        "a//b",
        "a/../b",
        "../a",
        "/a",
        "a@sha256:short",
        "a b",
        "a:b:c",
        "-x:1",
        &long,
        "a:\u{1b}",
    ] {
        for command in ["pull", "run", "push", "rmi", "history"] {
            let output = scratch.holm([command, "--", reference]).run().calm();
            assert_ne!(output.exit_code(), 0, "{command} {reference:?}: {output}");
            assert!(!output.stderr.contains('\u{1b}'), "a raw escape from {command}: {output}");
        }
        let output = scratch.holm(["tag", BUSYBOX, reference]).run().calm();
        assert_ne!(output.exit_code(), 0, "tag {reference:?}: {output}");
    }
    leaks.assert_none();
}

#[test]
fn garbage_is_no_archive() {
    let scratch = Scratch::new();
    scratch.holm(["images"]).ok();
    let good = Image::new([Layer::plain(busybox_root_tar())]).docker_archive("localhost/x:1");
    let leaks = Leaks::before(&scratch);
    let mut flipped = good.clone();
    let at = flipped.windows(4).position(|bytes| bytes == b"root").unwrap() + 100_000;
    flipped[at] ^= 0xff;
    let manifest = |text: &str| Tar::new().with(Entry::file("manifest.json", text)).finish();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("text", b"this is no tar".to_vec()),
        ("zeros", vec![0; 4096]),
        ("noise", (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ("half", good[..good.len() / 2].to_vec()),
        ("a changed byte", flipped),
        ("gzip of nothing", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]),
        ("no manifest", Tar::new().with(Entry::file("other", "x")).finish()),
        ("manifest of garbage", manifest("{{{")),
        ("manifest of the wrong shape", manifest(r#"{"a":1}"#)),
        ("manifest of nothing", manifest("[]")),
        ("manifest of what is absent", manifest(r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]"#)),
        (
            "manifest with paths",
            manifest(r#"[{"Config":"../../etc/passwd","RepoTags":["a:1"],"Layers":["/etc/passwd"]}]"#),
        ),
        ("deep json", manifest(&"[".repeat(100_000))),
        ("manifest as a link", Tar::new().with(Entry::symlink("manifest.json", "/etc/passwd")).finish()),
    ];
    for (what, bytes) in cases {
        let output = scratch.holm(["load"]).input(bytes).run().calm();
        assert_ne!(output.exit_code(), 0, "{what}: {output}");
        assert!(output.stderr.contains("error"), "{what}: {output}");
    }
    scratch.holm(["images", "-q"]).ok().says("");
    leaks.assert_none();
}

#[test]
fn documents_that_contradict_their_blobs_are_refused() {
    let scratch = Scratch::new();
    scratch.holm(["images"]).ok();
    let leaks = Leaks::before(&scratch);
    let image = Image::busybox();
    let spoil = |what: &str, change: &dyn Fn(&std::path::Path)| {
        let folder = tempfile::tempdir().unwrap();
        image.write_layout(folder.path(), "localhost/x:1");
        change(folder.path());
        let output = scratch.holm(["load", "-i"]).arg(folder.path()).run().calm();
        assert_ne!(output.exit_code(), 0, "{what}: {output}");
        scratch.holm(["images", "-q"]).ok().says("");
    };
    let blob = |folder: &std::path::Path, digest: &str| folder.join("blobs/sha256").join(&digest[7..]);
    let layer = image.layers[0].blob.digest();
    spoil("a layer cut short", &|folder| {
        let bytes = &image.layers[0].blob.bytes;
        std::fs::write(blob(folder, &layer), &bytes[..bytes.len() - 10]).unwrap();
    });
    spoil("a layer that is missing", &|folder| std::fs::remove_file(blob(folder, &layer)).unwrap());
    spoil("a configuration that is another", &|folder| {
        std::fs::write(blob(folder, &image.config_blob().digest()), "{}").unwrap();
    });
    spoil("an index that is no JSON", &|folder| std::fs::write(folder.join("index.json"), "][").unwrap());
    spoil("a layout of another version", &|folder| {
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"9.0.0"}"#).unwrap();
    });
    spoil("a digest that is a path", &|folder| {
        let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "sha256:../../../../etc/passwd", "size": 10 }] });
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    });
    let mut lying = Image::busybox();
    lying.layers[0].diff_id = format!("sha256:{}", "0".repeat(64));
    let folder = tempfile::tempdir().unwrap();
    lying.write_layout(folder.path(), "localhost/x:1");
    let output = scratch.holm(["load", "-i"]).arg(folder.path()).run().calm();
    assert_ne!(output.exit_code(), 0, "a diff id of another layer: {output}");
    leaks.assert_none();
}

#[test]
fn bad_tars_are_refused_and_leave_nothing() {
    let scratch = Scratch::new();
    scratch.holm(["images"]).ok();
    let leaks = Leaks::before(&scratch);
    let whole = busybox_root_tar();
    let mut checksum = whole.to_vec();
    checksum[150] ^= 7;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("cut in a header", whole[..700].to_vec()),
        ("cut in a file", whole[..whole.len() / 2].to_vec()),
        ("a wrong checksum", checksum),
        (
            "a record without an end",
            Tar::new().with(Entry::other("p", b'x', "999999 path=x\n")).with(Entry::file("a", "")).finish(),
        ),
        (
            "a name of a megabyte",
            Tar::new().with(Entry::other("p", b'L', vec![b'a'; 2 << 20])).with(Entry::file("a", "")).finish(),
        ),
        ("a size beyond all", Tar::new().with(Entry::file("a", "x").pax("size", "99999999999999999999")).finish()),
        ("a negative size", Tar::new().with(Entry::file("a", "x").pax("size", "-1")).finish()),
        ("a name with a zero byte", Tar::new().with(Entry::file("a", "x").pax("path", "a\0b")).finish()),
    ];
    for (what, tar) in cases {
        let folder = tempfile::tempdir().unwrap();
        Image::new([Layer::gzip(&tar)]).write_layout(folder.path(), "localhost/x:1");
        let output = scratch.holm(["load", "-i"]).arg(folder.path()).run().calm();
        assert_ne!(output.exit_code(), 0, "{what}: {output}");
        let output = scratch.holm(["import", "-", "localhost/y:1"]).input(tar).run().calm();
        assert_ne!(output.exit_code(), 0, "{what} by import: {output}");
    }
    scratch.holm(["images", "-q"]).ok().says("");
    leaks.assert_none();
}

#[test]
fn seccomp_profiles_are_read_strictly() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let cases = [
        ("empty", ""),
        ("no JSON", "{{"),
        ("no default", "{}"),
        ("unknown action", r#"{"defaultAction":"SCMP_ACT_NONSENSE"}"#),
        ("unknown call", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":5,"action":"SCMP_ACT_ERRNO"}]}"#),
        (
            "unknown operator",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":0,"op":"SCMP_CMP_ZZ"}]}]}"#,
        ),
    ];
    for (what, text) in cases {
        let file = scratch.write("profile.json", text);
        let option = format!("seccomp={}", file.display());
        let output = scratch.run(["--rm", "--security-opt", &option, BUSYBOX, "true"]).run().calm();
        assert_eq!(output.exit_code(), 125, "{what}: {output}");
        output.complains("profile.json");
    }
    scratch
        .run(["--rm", "--security-opt", "seccomp=/no/such/file", BUSYBOX, "true"])
        .fails(125)
        .complains("/no/such/file");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#;
    let file = scratch.write("profile.json", text);
    let option = format!("seccomp={}", file.display());
    let output = scratch.run(["--rm", "--security-opt", &option, BUSYBOX, "mkdir", "/x"]).fails(1);
    assert!(output.stderr.contains("not supported"), "{output}");
    for option in ["nonsense", "seccomp=", "nonsense=1", "no-new-privileges=maybe"] {
        let output = scratch.run(["--rm", "--security-opt", option, BUSYBOX, "true"]).run().calm();
        assert!(matches!(output.exit_code(), 2 | 125), "{option}: {output}");
    }
    std::fs::remove_file(file).unwrap();
    leaks.assert_none();
}

#[test]
fn full_disk_is_an_error_and_room_comes_back() {
    let scratch = Scratch::new();
    let small = scratch.make_folder("data");
    Holm::program("mount").args(["-t", "tmpfs", "-o", "size=12m,mode=700", "none"]).arg(&small).ok();
    let noise: Vec<u8> = (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let big = Layer::gzip(&Tar::new().with(Entry::file("big", [&noise[..], &noise[..]].concat())).finish());
    let folder = tempfile::tempdir().unwrap();
    Image::new([busybox_layer(), big]).write_layout(folder.path(), "localhost/big:1");
    let output = scratch.holm(["load", "-i"]).arg(folder.path()).run().calm();
    assert!(output.exit_code() != 0 && output.stderr.to_lowercase().contains("no space"), "{output}");
    scratch.holm(["images", "-q"]).ok().says("");
    scratch.holm(["system", "prune", "-f"]).ok();
    scratch.import_busybox();
    let fill =
        scratch.run(["--rm", BUSYBOX, "sh", "-c", "dd if=/dev/zero of=/fill bs=1M 2>/dev/null; echo tried"]).run();
    assert!(fill.stdout.contains("tried"), "{fill}");
    scratch.run(["--rm", BUSYBOX, "echo", "room"]).ok().says("room");
    Holm::program("umount").arg(&small).ok();
}

#[test]
fn settings_file_of_garbage_is_named() {
    let scratch = Scratch::new();
    scratch.make_folder(".config/holm");
    let file = scratch.write("bad.toml", "this is = = not toml");
    let output = scratch.holm(["info"]).env("HOLM_CONFIG", &file).run().calm();
    assert!(output.exit_code() != 0 && output.stderr.contains("bad.toml"), "{output}");
    let output = scratch.holm(["--data-root", "/proc/no/such", "images"]).run().calm();
    assert_ne!(output.exit_code(), 0, "{output}");
}
