//! Attacks by the image's configuration: everything in it is data, and nothing in it is obeyed.

use holm_kit::{BUSYBOX, Entry, Image, Layer, Leaks, Scratch, Tar, busybox_layer};
use serde_json::json;

const EVIL: &str = "localhost/evil:1";

fn load(scratch: &Scratch, image: &Image) -> holm_kit::Output {
    let folder = tempfile::tempdir().unwrap();
    image.write_layout(folder.path(), EVIL);
    scratch.holm(["load", "-i"]).arg(folder.path()).run().calm()
}

#[test]
fn image_environment_never_imports_the_hosts() {
    let scratch = Scratch::new();
    let env = json!(["*", "HOLM_TEST_SECRET", "PATH=/bin", "=odd", "GOOD=1", "BASH_ENV", "LD_PRELOAD"]);
    load(&scratch, &Image::busybox().set("Env", env)).ok();
    let leaks = Leaks::before(&scratch);
    let line = scratch.run(["--rm", EVIL, "env"]).env("HOLM_TEST_SECRET", "secret").env("LD_PRELOAD", "");
    line.ok().mentions("GOOD=1").omits("secret").omits("HOLM_").omits("LD_PRELOAD");
    leaks.assert_none();
}

#[test]
fn image_user_is_parsed_strictly() {
    for user in ["4294967296", "4294967295", "0x0", "-1", "1e3", "+0", " 0", "0 ", "99999999999", "root:4294967296"] {
        let scratch = Scratch::new();
        load(&scratch, &Image::busybox().set("User", json!(user))).ok();
        let leaks = Leaks::before(&scratch);
        let output = scratch.run(["--rm", EVIL, "id", "-u"]).run().calm();
        assert!(output.exit_code() >= 125 && output.text().is_empty(), "user {user:?}: {output}");
        leaks.assert_none();
    }
}

#[test]
fn image_labels_change_nothing() {
    let scratch = Scratch::new();
    let labels = json!({
        "privileged": "true", "io.podman.annotations.privileged": "TRUE", "run.oci.hooks.stderr": "/x",
        "holm.privileged": "true", "io.kubernetes.cri-o.Devices": "/dev/sda", "escape": "\u{1b}]0;owned\u{7}",
        "org.opencontainers.runtime": "/bin/sh", "run": "holm run --privileged IMAGE",
    });
    load(&scratch, &Image::busybox().set("Labels", labels)).ok();
    scratch.import_busybox();
    let leaks = Leaks::before(&scratch);
    let caps = "grep ^CapEff /proc/self/status";
    let evil = scratch.run(["--rm", EVIL, "sh", "-c", caps]).ok();
    let plain = scratch.run(["--rm", BUSYBOX, "sh", "-c", caps]).ok();
    assert_eq!(evil.text(), plain.text());
    let shown = scratch.holm(["image", "inspect", EVIL]).ok();
    assert!(!shown.stdout.contains('\u{1b}'), "a raw escape in {shown}");
    leaks.assert_none();
}

#[test]
fn image_working_folder_and_volumes_stay_inside() {
    let canary = tempfile::tempdir().unwrap();
    std::fs::write(canary.path().join("secret"), "of the host").unwrap();
    let up = format!("{}{}", "../".repeat(12), &canary.path().to_str().unwrap()[1..]);
    let folders = [up.clone(), format!("/{up}"), "/proc/self/cwd/..".into(), "/proc/1/root".into(), "link/x".into()];
    let top = Layer::gzip(&Tar::new().with(Entry::symlink("link", canary.path().to_str().unwrap())).finish());
    for folder in folders {
        let scratch = Scratch::new();
        let image = Image::new([busybox_layer(), top.clone()])
            .set("WorkingDir", json!(folder))
            .set("Volumes", json!({ &up: {}, "/link": {}, "relative": {}, "/..": {} }));
        let loaded = load(&scratch, &image);
        if !loaded.status.success() {
            continue;
        }
        let leaks = Leaks::before(&scratch);
        let script = "cat secret 2>/dev/null; find / -xdev -name secret; touch made-inside; true";
        let output = scratch.run(["--rm", EVIL, "sh", "-c", script]).run().calm();
        assert!(!output.stdout.contains("of the host") && !output.stdout.contains("/secret"), "{folder}: {output}");
        assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 1, "{folder}: something was made on the host");
        leaks.assert_none();
    }
}

#[test]
fn odd_configurations_are_refused_or_harmless() {
    let cases = [
        ("StopSignal", json!("NONSENSE")),
        ("StopSignal", json!("999999")),
        ("Entrypoint", json!([""])),
        ("Entrypoint", json!(["a\u{0}b"])),
        ("Env", json!(["A=\u{0}b"])),
        ("Env", json!("not a list")),
        ("Cmd", json!([1, 2])),
        ("Healthcheck", json!({ "Test": ["NONSENSE"], "Interval": 1 })),
        ("Healthcheck", json!({ "Test": ["CMD-SHELL"], "Interval": -5 })),
        ("ExposedPorts", json!({ "99999999/xyz": {} })),
        ("Labels", json!({ "": "\u{0}" })),
    ];
    for (key, value) in cases {
        let scratch = Scratch::new();
        let loaded = load(&scratch, &Image::busybox().set(key, value.clone()));
        let leaks = Leaks::before(&scratch);
        if loaded.status.success() {
            scratch.run(["--rm", EVIL, "true"]).run().calm();
        } else {
            assert!(loaded.stderr.contains("error"), "{key} {value}: {loaded}");
        }
        leaks.assert_none();
    }
}

#[test]
fn symlinked_system_folders_of_an_image_are_not_followed_out() {
    let canary = tempfile::tempdir().unwrap();
    let host = canary.path().to_str().unwrap().to_owned();
    let up = format!("{}{}", "../".repeat(12), &host[1..]);
    for target in [host.clone(), up] {
        for name in ["proc", "sys", "dev", "etc", "dev/null", "dev/console", "dev/pts", "dev/shm", "etc/hosts", "tmp"] {
            let scratch = Scratch::new();
            let parent = name.rsplit_once('/').map(|(parent, _)| Entry::folder(parent));
            let wipe = Tar::new().with(Entry::file(wiped(name), "")).finish();
            let link = Tar::new().with_all(parent).with(Entry::symlink(name, &target)).finish();
            let image = Image::new([busybox_layer(), Layer::gzip(&wipe), Layer::gzip(&link)]);
            load(&scratch, &image).ok();
            let leaks = Leaks::before(&scratch);
            let volume = format!("{}:/tmp/x", scratch.make_folder("v").display());
            let line =
                ["--rm", "-t", "-v", &volume, "--tmpfs", "/etc/t", EVIL, "/bin/busybox", "sh", "-c", "touch /tmp/y"];
            scratch.run(line).run().calm();
            let found: Vec<_> = std::fs::read_dir(canary.path()).unwrap().flatten().map(|entry| entry.path()).collect();
            assert!(found.is_empty(), "{name} -> {target}: made on the host: {found:?}");
            leaks.assert_none();
        }
    }
}

fn wiped(name: &str) -> String {
    match name.rsplit_once('/') {
        Some((parent, last)) => format!("{parent}/.wh.{last}"),
        None => format!(".wh.{name}"),
    }
}

#[test]
fn image_that_names_foreign_layers_fetches_nothing() {
    let scratch = Scratch::new();
    let image = Image::busybox();
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest().bytes).unwrap();
    manifest["layers"][0]["urls"] = json!(["http://127.0.0.1:1/steal"]);
    manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    let manifest = holm_kit::Blob { bytes: manifest.to_string().into_bytes(), ..image.manifest() };
    let blobs = image.blobs();
    let registry = holm_kit::FakeRegistry::serve(manifest, blobs, |_, _| holm_kit::Answer::Honest);
    let output = scratch.holm(["pull", &registry.reference("foreign:1")]).run().calm();
    assert!(!output.stderr.contains("127.0.0.1:1/"), "{output}");
}
