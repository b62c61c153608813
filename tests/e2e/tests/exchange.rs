//! Images between Holm, skopeo and podman: push, save, load, both ways.

use std::time::Duration;

use holm_kit::{BUSYBOX, Entry, Holm, Image, Layer, Registry, Scratch, Tar, busybox_layer, busybox_root_tar};

/// podman with a store of its own.
fn podman(scratch: &Scratch) -> Holm {
    Holm::program("podman")
        .arg("--root")
        .arg(scratch.path().join("podman"))
        .arg("--runroot")
        .arg(scratch.path().join("podman-run"))
        .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"])
        .limit(Duration::from_secs(120))
}

#[test]
fn what_holm_pushes_skopeo_and_podman_read() {
    let registry = Registry::secure();
    let scratch = Scratch::with_busybox();
    registry.trust(&scratch);
    let reference = registry.reference("pushed/busybox:1");
    scratch.holm(["tag", BUSYBOX, &reference]).ok();
    let output = scratch.holm(["push", &reference]).run().calm();
    assert_ne!(output.exit_code(), 0, "{output}");
    let login = ["login", "-u", Registry::USER, "-p", Registry::PASSWORD, &registry.host()];
    scratch.holm(login).ok();
    scratch.holm(["push", &reference]).ok();
    scratch.holm(["push", &reference]).ok();
    let found = registry.skopeo(["inspect"], "--").arg(format!("docker://{reference}")).ok().json();
    assert_eq!(found["Os"], "linux");
    // The layer of an imported tar is sent compressed, and the image that comes back has the same content.
    let manifest = registry.skopeo(["inspect", "--raw"], "--").arg(format!("docker://{reference}")).ok().json();
    let kind = manifest["layers"][0]["mediaType"].as_str().unwrap();
    assert!(kind.ends_with("gzip") && manifest["layers"][0]["size"].as_u64().unwrap() < 1_500_000, "{manifest}");
    podman(&scratch)
        .args(["pull", "--creds", &Registry::credentials(), "--cert-dir"])
        .arg(registry.certificate_folder())
        .arg(&reference)
        .ok();
    podman(&scratch).args(["image", "inspect", "--format", "{{.Os}}", &reference]).ok().says("linux");
    scratch.holm(["rmi", &reference, BUSYBOX]).ok();
    scratch.run(["--rm", &reference, "echo", "came back"]).ok().says("came back");
}

#[test]
fn push_mounts_what_the_registry_has_under_another_name() {
    let registry = Registry::start(holm_kit::RegistryOptions::default());
    let scratch = Scratch::with_busybox();
    for name in ["first:1", "second:1"] {
        let reference = registry.reference(name);
        scratch.holm(["tag", BUSYBOX, &reference]).ok();
        scratch.holm(["push", &reference]).ok();
        registry.skopeo(["inspect"], "--").arg(format!("docker://{reference}")).ok();
    }
}

#[test]
fn what_holm_saves_skopeo_and_podman_read() {
    let scratch = Scratch::with_busybox();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    for (format, transport) in
        [("docker-archive", "docker-archive"), ("oci-archive", "oci-archive"), ("oci-dir", "oci")]
    {
        let target = path(format);
        scratch.holm(["save", "--format", format, "-o", &target, BUSYBOX]).ok();
        Holm::program("skopeo").args(["inspect", &format!("{transport}:{target}")]).ok().mentions("linux");
    }
    scratch.holm(["save", "-o", &path("default.tar"), BUSYBOX]).ok();
    podman(&scratch).args(["load", "-i", &path("default.tar")]).ok().mentions("busybox");
    podman(&scratch).args(["load", "-i", &path("oci-archive")]).ok();
    scratch.holm(["save", "-o", &path("x.tar"), "localhost/absent:1"]).fails(1).complains("absent");
    assert!(!scratch.path().join("x.tar").exists());
}

#[test]
fn what_skopeo_and_podman_save_holm_loads() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    Image::busybox().write_layout(&scratch.path().join("layout"), "localhost/given:1");
    let source = format!("oci:{}:localhost/given:1", path("layout"));
    let copy = |target: String| {
        Holm::program("skopeo").args(["--insecure-policy", "copy", &source, &target]).ok();
    };
    copy(format!("docker-archive:{}:localhost/from-docker:1", path("docker.tar")));
    copy(format!("oci-archive:{}:localhost/from-oci:1", path("oci.tar")));
    scratch.holm(["load", "-i", &path("docker.tar")]).ok().mentions("localhost/from-docker:1");
    scratch.holm(["load", "-i", &path("oci.tar")]).ok();
    scratch.holm(["load", "-i", &path("layout")]).ok().mentions("localhost/given:1");
    for name in ["localhost/from-docker:1", "localhost/from-oci:1", "localhost/given:1"] {
        scratch.run(["--rm", "--pull", "never", name, "echo", name]).ok().says(name);
    }
    podman(&scratch).args(["load", "-i", &path("docker.tar")]).ok();
    podman(&scratch).args(["save", "-o", &path("podman.tar"), "localhost/from-docker:1"]).ok();
    podman(&scratch)
        .args(["save", "--format", "oci-archive", "-o", &path("podman-oci.tar"), "localhost/from-docker:1"])
        .ok();
    scratch.holm(["rmi", "localhost/from-docker:1"]).ok();
    scratch.holm(["load"]).input(std::fs::read(path("podman.tar")).unwrap()).ok().mentions("from-docker");
    scratch.holm(["load", "-i", &path("podman-oci.tar")]).ok();
    Holm::program("gzip").args(["-k", &path("docker.tar")]).ok();
    scratch.holm(["load", "-i", &path("docker.tar.gz")]).ok();
}

#[test]
fn docker_archive_made_by_hand_loads_and_its_layers_apply_in_order() {
    let scratch = Scratch::new();
    let top = Tar::new()
        .with(Entry::file("etc/.wh.group", ""))
        .with(Entry::folder("home"))
        .with(Entry::file("home/.wh..wh..opq", ""))
        .with(Entry::file("home/fresh", "x"))
        .with(Entry::file("etc/motd", "upper"))
        .finish();
    let image = Image::new([Layer::plain(busybox_root_tar()), Layer::plain(&top)]);
    scratch.holm(["load"]).input(image.docker_archive("localhost/two:1")).ok();
    let script = "cat /etc/motd; echo; test -e /etc/group || echo gone; ls -A /home";
    scratch.run(["--rm", "localhost/two:1", "sh", "-c", script]).ok().says("upper\ngone\nfresh");
    let again = Image::new([busybox_layer(), Layer::gzip(&top), busybox_layer()]);
    again.write_layout(&scratch.path().join("twice"), "localhost/twice:1");
    scratch.holm(["load", "-i", scratch.path().join("twice").to_str().unwrap()]).ok();
    scratch.run(["--rm", "localhost/twice:1", "cat", "/etc/motd"]).ok().says("from the image");
}
