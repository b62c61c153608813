//! Pull and login against a real registry with TLS and users.

use std::time::Duration;

use holm_kit::{Entry, Holm, Image, Layer, Leaks, Registry, RegistryOptions, Scratch, Tar, busybox_layer};

fn push(registry: &Registry, scratch: &Scratch, image: &Image, name: &str) {
    let folder = scratch.path().join(format!("layout-{}", name.replace([':', '/'], "-")));
    image.write_layout(&folder, "test");
    registry.push_layout(&folder, "test", name);
}

fn login(registry: &Registry, scratch: &Scratch) {
    scratch
        .holm(["login", "-u", Registry::USER, "--password-stdin", &registry.host()])
        .input(Registry::PASSWORD)
        .ok()
        .mentions("Login Succeeded");
}

#[test]
fn pull_needs_trust_then_credentials_then_works() {
    let registry = Registry::secure();
    let scratch = Scratch::new();
    push(&registry, &scratch, &Image::busybox(), "team/busybox:1");
    let reference = registry.reference("team/busybox:1");
    let output = scratch.holm(["pull", &reference]).run().calm();
    assert!(output.exit_code() != 0 && output.stderr.contains("certificate"), "{output}");
    registry.trust(&scratch);
    let output = scratch.holm(["pull", &reference]).run().calm();
    assert!(output.exit_code() != 0 && output.stderr.contains("401") | output.stderr.contains("login"), "{output}");
    let wrong = ["login", "-u", Registry::USER, "-p", "wrong", &registry.host()];
    assert_ne!(scratch.holm(wrong).run().calm().exit_code(), 0);
    login(&registry, &scratch);
    scratch.holm(["pull", "-q", &reference]).ok();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", &reference, "echo", "pulled"]).ok().says("pulled");
    leaks.assert_none();
    scratch.holm(["logout", &registry.host()]).ok();
    scratch.holm(["rmi", &reference]).ok();
    assert_ne!(scratch.holm(["pull", &reference]).run().exit_code(), 0);
}

#[test]
fn credentials_of_docker_and_podman_are_found_and_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let registry = Registry::secure();
    let scratch = Scratch::new();
    registry.trust(&scratch);
    push(&registry, &scratch, &Image::busybox(), "b:1");
    // "holm:island" in base64.
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"aG9sbTppc2xhbmQ="}}}}}}"#, registry.host());
    let reference = registry.reference("b:1");
    scratch.make_folder(".docker");
    let docker = scratch.write(".docker/config.json", &auths);
    scratch.holm(["pull", "-q", &reference]).ok();
    std::fs::remove_file(docker).unwrap();
    scratch.holm(["rmi", &reference]).ok();
    let podman = scratch.write("auth.json", &auths);
    scratch.holm(["pull", "-q", &reference]).env("REGISTRY_AUTH_FILE", &podman).ok();
    std::fs::remove_file(scratch.path().join("auth.json")).unwrap();
    login(&registry, &scratch);
    let secret = Holm::program("grep").args(["-rl", "aG9sbTppc2xhbmQ="]).arg(scratch.path()).ok();
    for file in secret.text().lines() {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}: {mode:o}");
    }
}

#[test]
fn run_pulls_what_is_missing_by_its_policy() {
    let registry = Registry::start(RegistryOptions::default());
    let scratch = Scratch::new();
    push(&registry, &scratch, &Image::busybox(), "b:1");
    let reference = registry.reference("b:1");
    scratch.run(["--rm", "--pull", "never", &reference, "true"]).fails(125).complains(&reference);
    scratch.run(["--rm", &reference, "echo", "first"]).ok().says("first");
    scratch.run(["--rm", "--pull", "never", &reference, "true"]).ok();
    let newer = Image::new([busybox_layer(), Layer::gzip(&Tar::new().with(Entry::file("version", "2")).finish())]);
    push(&registry, &scratch, &newer, "b:1");
    scratch.run(["--rm", "--pull", "missing", &reference, "cat", "/version"]).fails(1);
    scratch.run(["--rm", "--pull", "always", &reference, "cat", "/version"]).ok().says("2");
    let digest = format!("{}@{}", registry.reference("b"), newer.manifest().digest());
    scratch.run(["--rm", "-q", &digest, "cat", "/version"]).ok().says("2");
    scratch.run(["--rm", &registry.reference("absent:1"), "true"]).fails(125).complains("absent");
}

#[test]
fn two_pulls_at_once_both_succeed_and_share_the_work() {
    let registry = Registry::start(RegistryOptions::default());
    let scratch = Scratch::new();
    let filler = b"0123456789abcdef".repeat(1 << 18);
    let layers = (0..4_u8).map(|at| {
        let mut content = filler.clone();
        content[0] = at;
        Layer::gzip(&Tar::new().with(Entry::file(format!("file{at}"), content)).finish())
    });
    push(&registry, &scratch, &Image::new([busybox_layer()].into_iter().chain(layers)), "big:1");
    let reference = registry.reference("big:1");
    let pulls: Vec<_> = (0..6).map(|_| scratch.holm(["pull", &reference]).start()).collect();
    for pull in pulls {
        pull.finish().ok();
    }
    scratch.run(["--rm", &reference, "sh", "-c", "ls /file*"]).ok().says("/file0\n/file1\n/file2\n/file3");
    scratch.holm(["images", "-q"]).ok();
    assert_eq!(scratch.holm(["images", "-q"]).ok().text().lines().count(), 1);
}

#[test]
fn platform_is_chosen_from_an_index() {
    let registry = Registry::start(RegistryOptions::default());
    let scratch = Scratch::new();
    let mut native = Image::busybox().set("Labels", serde_json::json!({ "which": "native" }));
    let mut foreign = Image::busybox().set("Labels", serde_json::json!({ "which": "foreign" }));
    foreign.architecture = "s390x".to_owned();
    native = native.set("Env", serde_json::json!(["PATH=/bin"]));
    push(&registry, &scratch, &native, "multi:native");
    push(&registry, &scratch, &foreign, "multi:foreign");
    let platform = |image: &Image| {
        let mut descriptor = image.manifest().descriptor();
        descriptor["platform"] = serde_json::json!({ "architecture": image.architecture, "os": "linux" });
        descriptor
    };
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [platform(&foreign), platform(&native)],
    });
    let file = scratch.write("index.json", index.to_string());
    let url = format!("http://{}/v2/multi/manifests/all", registry.host());
    Holm::program("curl")
        .args(["-sf", "-X", "PUT", "-H", "Content-Type: application/vnd.oci.image.index.v1+json", "--data-binary"])
        .args([&format!("@{}", file.display()), &url])
        .ok();
    let which = |options: &[&str]| {
        let reference = registry.reference("multi:all");
        scratch.holm(["pull", "-q"]).args(options).arg(&reference).ok();
        let label = ["image", "inspect", "--format", "{{.Config.Labels.which}}", &reference];
        scratch.holm(label).ok().text().to_owned()
    };
    assert_eq!(which(&[]), "native");
    assert_eq!(which(&["--platform", "linux/s390x"]), "foreign");
    let output = scratch.holm(["pull", "--platform", "linux/riscv64", &registry.reference("multi:all")]).run().calm();
    assert!(output.exit_code() != 0 && output.stderr.contains("riscv64"), "{output}");
}

#[test]
fn many_layers_of_every_compression_stack_up() {
    let scratch = Scratch::new();
    let registry = Registry::start(RegistryOptions::default());
    let layer = |at: usize| {
        let tar = Tar::new().with(Entry::file(format!("l/{at}"), at.to_string())).finish();
        match at % 3 {
            0 => Layer::gzip(&tar),
            1 => Layer::zstd(&tar),
            _ => Layer::plain(&tar),
        }
    };
    let image = Image::new([busybox_layer()].into_iter().chain((0..127).map(layer)));
    push(&registry, &scratch, &image, "deep:1");
    let reference = registry.reference("deep:1");
    scratch.holm(["pull", "-q", &reference]).limit(Duration::from_secs(120)).ok();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", &reference, "sh", "-c", "ls /l | wc -l; cat /l/126"]).ok().says("127\n126");
    leaks.assert_none();
}
