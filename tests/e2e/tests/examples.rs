//! The examples and the shell blocks of the guide, run as they stand, with `alpine` being an image made on the spot.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_kit::{
    BUSYBOX, Entry, Holm, Image, Layer, Leaks, NetHost, Registry, RegistryOptions, Scratch, Tar, busybox_layer,
    holm_binary,
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("find the workspace")
}

/// Roots where `alpine` is an image, and `holm` on the path is the program under test.
fn place() -> Scratch {
    placed(Scratch::with_busybox())
}

fn placed(scratch: Scratch) -> Scratch {
    scratch.holm(["tag", BUSYBOX, "alpine"]).ok();
    let programs = scratch.make_folder("programs");
    std::os::unix::fs::symlink(holm_binary(), programs.join("holm")).expect("name the program");
    scratch
}

fn shell(scratch: &Scratch) -> Holm {
    let path = std::env::var("PATH").unwrap_or_default();
    Holm::program("bash")
        .env("PATH", format!("{}:{path}", scratch.path().join("programs").display()))
        .env("HOLM_DATA_ROOT", scratch.data_root())
        .env("HOLM_RUN_ROOT", scratch.run_root())
        .env("HOLM_CGROUP_PARENT", scratch.cgroup())
        .env("HOLM_NETWORK", "none")
        .env("HOME", scratch.path())
        .without_env("DOCKER_CONFIG")
        .without_env("REGISTRY_AUTH_FILE")
        .without_env("XDG_RUNTIME_DIR")
        .folder(scratch.path())
        .limit(Duration::from_secs(120))
}

fn example(scratch: &Scratch, name: &str) -> Holm {
    shell(scratch).arg(workspace().join("examples").join(name))
}

/// The line under other /etc/subuid and /etc/subgid than the machine's own.
fn with_ids(scratch: &Scratch, line: Holm) -> Holm {
    let ids = scratch.write("subid", "holm:2147483648:1073741824\n");
    let ids = ids.display();
    let cover = format!("mount --bind {ids} /etc/subuid && mount --bind {ids} /etc/subgid && exec \"$@\"");
    line.through(["unshare", "--mount", "sh", "-c", &cover, "sh"])
}

#[test]
fn local_examples_say_what_they_should() {
    let host = NetHost::new();
    let scratch = place();
    let example = |name: &str| host.enter(example(&scratch, name).env("HOLM_NETWORK", "bridge")).folder(scratch.path());
    let leaks = Leaks::before(&scratch);
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port();
    example("web-server.sh").env("PORT", port.to_string()).ok().says("hello from holm\nweb running\nresponse:200");
    example("one-off.sh").ok().says("remember the milk\nended with 7\nFROM A PIPE");
    let limits = "killed with 137\nout of memory: true\n1500000000 67108864 20\nread-only";
    example("limits.sh").ok().says(limits);
    example("health.sh").ok().says("checked is healthy\nended with 0 after 2 restarts");
    example("save-load.sh").ok().mentions("it runs there too\noci-layout");
    let users = "root inside: 0\nnobody outside\nvolume: owner 0\nbind: owner 65534\nmapped bind: owner 0";
    with_ids(&scratch, example("user-namespace.sh")).ok().says(users);
    leaks.assert_none();
}

#[test]
fn examples_with_a_registry_say_what_they_should() {
    let scratch = place();
    let registry = Registry::start(RegistryOptions::default());
    let layout = scratch.path().join("many");
    let top = Layer::gzip(&Tar::new().with(Entry::file("x", "1")).finish());
    Image::new([busybox_layer(), top]).write_layout(&layout, "1");
    // An index with one image for two platforms: the content is the same, the word differs.
    let index_path = layout.join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(&index_path).unwrap()).unwrap();
    let of = |architecture: &str| {
        let mut one = index["manifests"][0].clone();
        one["platform"] = serde_json::json!({ "os": "linux", "architecture": architecture });
        one.as_object_mut().unwrap().remove("annotations");
        one
    };
    let inner = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [of("amd64"), of("arm64")],
    });
    let inner = inner.to_string().into_bytes();
    let digest = holm_kit::sha256(&inner);
    let hex = digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned();
    std::fs::write(layout.join("blobs/sha256").join(&hex), &inner).unwrap();
    index["manifests"] = serde_json::json!([{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": format!("sha256:{hex}"), "size": inner.len(),
        "annotations": { "org.opencontainers.image.ref.name": "1" },
    }]);
    std::fs::write(&index_path, index.to_string()).unwrap();
    let target = format!("docker://{}", registry.reference("many:1"));
    let source = format!("oci:{}:1", layout.display());
    registry.skopeo(["copy", "--all"], "--dest-").args([source, target]).ok();
    example(&scratch, "registry.sh")
        .env("REGISTRY", registry.host())
        .ok()
        .mentions("pulled by digest\n")
        .mentions("another platform: ");

    let registry = Registry::secure();
    registry.trust(&scratch);
    let said = example(&scratch, "private-registry.sh")
        .env("REGISTRY", registry.host())
        .env("REGISTRY_USER", Registry::USER)
        .env("REGISTRY_PASSWORD", Registry::PASSWORD)
        .ok();
    for line in ["refused without login", "pushed", "refused after logout"] {
        assert!(said.text().lines().any(|l| l == line), "{line}: {said}");
    }
}

#[test]
fn every_example_is_run_here() {
    let source = include_str!("examples.rs");
    for entry in std::fs::read_dir(workspace().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(source.contains(&format!("\"{name}\"")), "no test runs examples/{name}");
    }
}

/// The shell blocks (```sh) of a page, one script: what a reader types from top to bottom.
fn blocks(page: &str) -> String {
    let mut script = String::from("set -eu\ncd \"$HOME\"\n");
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```sh") => inside = true,
            (true, "```") => inside = false,
            (true, line) => script.extend([line, "\n"]),
            _ => {}
        }
    }
    script
}

#[test]
fn shell_blocks_of_the_guide_run_as_they_stand() {
    for entry in std::fs::read_dir(workspace().join("docs/guide")).unwrap() {
        let path = entry.unwrap().path();
        let script = blocks(&std::fs::read_to_string(&path).unwrap());
        let host = NetHost::new();
        let scratch = place();
        let leaks = Leaks::before(&scratch);
        println!("{}", path.display());
        let line = shell(&scratch).env("HOLM_NETWORK", "bridge").args(["-c", &script]);
        host.enter(with_ids(&scratch, line)).ok();
        leaks.assert_none();
        host.assert_clean();
    }
}
