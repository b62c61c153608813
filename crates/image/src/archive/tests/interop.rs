//! The same image through the real skopeo and podman, both ways. Skips, saying why, where they are not installed.

use super::*;

/// True if `program` can be run; says so if not.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: `{program}` is not installed");
    }
    found
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn skopeo(args: &[&str]) -> Vec<u8> {
    run(Command::new("skopeo").arg("--insecure-policy").args(args))
}

fn image(scene: &Scene) -> Image {
    scene.import(NAME, Tar::new().folder("bin", 0o755).file("bin/x", &vec![b'x'; 100_000]).symlink("y", "bin/x"))
}

/// The diff ids in what `skopeo inspect --config` prints.
fn diff_ids(config: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(config).unwrap();
    value["rootfs"]["diff_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[test]
fn skopeo_reads_what_is_saved() {
    if !installed("skopeo") {
        return;
    }
    let scene = Scene::new();
    let image = image(&scene);
    for (format, transport) in [(Format::DockerArchive, "docker-archive"), (Format::OciArchive, "oci-archive")] {
        let path = scene.temp.path().join("saved.tar");
        fs::write(&path, scene.save(&[NAME], format)).unwrap();
        let source = format!("{transport}:{}", path.display());
        let config = skopeo(&["inspect", "--config", &source]);
        assert_eq!(diff_ids(&config), [image.config.rootfs.diff_ids[0].to_string()]);
        let target = TempDir::new().unwrap();
        skopeo(&["copy", &source, &format!("dir:{}", target.path().display())]);
        fs::remove_file(path).unwrap();
    }
    // And the store itself, in place.
    let layout = format!("oci:{}:{NAME}", scene.store.layout_folder().display());
    assert_eq!(diff_ids(&skopeo(&["inspect", "--config", &layout])).len(), 1);
}

#[test]
fn what_skopeo_writes_is_loaded() {
    if !installed("skopeo") {
        return;
    }
    let scene = Scene::new();
    let image = image(&scene);
    let saved = scene.temp.path().join("saved.tar");
    fs::write(&saved, scene.save(&[NAME], Format::OciArchive)).unwrap();
    let source = format!("oci-archive:{}", saved.display());
    let out = TempDir::new().unwrap();
    let path = |name: &str| out.path().join(name);
    for (transport, name) in [("docker-archive", "d.tar"), ("oci-archive", "o.tar")] {
        let target = path(name);
        skopeo(&["copy", &source, &format!("{transport}:{}:localhost/thing:1", target.display())]);
        let loaded = Scene::new().load(&fs::read(&target).unwrap()).unwrap();
        assert_eq!(loaded[0].names, ["localhost/thing:1"], "{transport}");
        assert_eq!(loaded[0].config.rootfs, image.config.rootfs);
    }
    for kind in ["gzip", "zstd"] {
        let target = path(kind);
        let destination = format!("oci:{}:localhost/thing:1", target.display());
        skopeo(&["copy", "--dest-compress-format", kind, "--dest-compress", &source, &destination]);
        let loaded = Scene::new().load_folder(&target).unwrap();
        assert_eq!((&loaded[0].id, loaded[0].names[0].as_str()), (&image.id, "localhost/thing:1"), "{kind}");
    }
}

#[test]
fn podman_and_holm_read_each_others_archives() {
    if !installed("podman") {
        return;
    }
    let scene = Scene::new();
    let image = image(&scene);
    let path = scene.temp.path().join("saved.tar");
    let state = TempDir::new().unwrap();
    let podman = |args: &[&str]| {
        let (root, run_root) = (state.path().join("root"), state.path().join("run"));
        run(Command::new("podman").arg("--root").arg(root).arg("--runroot").arg(run_root).args(args))
    };
    for (format, theirs) in [(Format::DockerArchive, "docker-archive"), (Format::OciArchive, "oci-archive")] {
        fs::write(&path, scene.save(&[NAME], format)).unwrap();
        let said = String::from_utf8(podman(&["load", "-i", path.to_str().unwrap()])).unwrap();
        assert!(said.contains("docker.io/library/one:latest"), "{said}");
        let out = scene.temp.path().join("theirs.tar");
        podman(&["save", "--format", theirs, "-o", out.to_str().unwrap(), NAME]);
        let loaded = Scene::new().load(&fs::read(&out).unwrap()).unwrap();
        assert_eq!(loaded[0].names, [NAME]);
        assert_eq!(loaded[0].config.rootfs, image.config.rootfs);
        fs::remove_file(out).unwrap();
    }
    podman(&["rmi", "-a", "-f"]);
    // Its storage may have become a mount point of its own.
    let _ = Command::new("umount").arg(state.path().join("root/overlay")).output();
}
