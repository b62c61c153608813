//! Images made on the spot, in the forms that the world exchanges: root tar, OCI layout, docker-archive.
//!
//! Owns their documents and blobs; a registry to serve them is [`crate::Registry`] or [`crate::FakeRegistry`].

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::tar::{Entry, Tar};

/// `sha256:` and 64 digits.
pub fn sha256(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// A document or layer as it is stored.
#[derive(Clone)]
pub struct Blob {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Its digest.
    pub fn digest(&self) -> String {
        sha256(&self.bytes)
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len() })
    }
}

/// A layer: what is stored, and the digest of its plain tar.
#[derive(Clone)]
pub struct Layer {
    /// What is stored.
    pub blob: Blob,
    /// Digest of the plain tar.
    pub diff_id: String,
}

impl Layer {
    /// A gzip layer.
    pub fn gzip(tar: &[u8]) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(tar).expect("compress into memory");
        let bytes = encoder.finish().expect("compress into memory");
        Self::stored(tar, "application/vnd.oci.image.layer.v1.tar+gzip", bytes)
    }

    /// A plain layer.
    pub fn plain(tar: &[u8]) -> Self {
        Self::stored(tar, "application/vnd.oci.image.layer.v1.tar", tar.to_vec())
    }

    /// A zstd layer, by the `zstd` program.
    pub fn zstd(tar: &[u8]) -> Self {
        let bytes = run_filter(Command::new("zstd").args(["-q", "-c"]), tar);
        Self::stored(tar, "application/vnd.oci.image.layer.v1.tar+zstd", bytes)
    }

    /// A layer whose stored form is given.
    pub fn stored(tar: &[u8], media_type: &str, bytes: Vec<u8>) -> Self {
        Self { blob: Blob { media_type: media_type.to_owned(), bytes }, diff_id: sha256(tar) }
    }
}

/// Feeds a program and returns what it wrote.
fn run_filter(command: &mut Command, input: &[u8]) -> Vec<u8> {
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start a filter");
    let mut pipe = child.stdin.take().expect("its input");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || pipe.write_all(&input));
    let output = child.wait_with_output().expect("wait for a filter");
    feeder.join().expect("feed a filter").expect("feed a filter");
    assert!(output.status.success(), "a filter failed");
    output.stdout
}

/// An image: layers and the `config` part of its configuration.
#[derive(Clone)]
pub struct Image {
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// `Env`, `Cmd` and so on.
    pub config: Value,
    /// CPU architecture by Go's names.
    pub architecture: String,
}

impl Image {
    /// An image of these layers for this machine.
    pub fn new(layers: impl IntoIterator<Item = Layer>) -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({ "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["sh"] });
        Self { layers: layers.into_iter().collect(), config, architecture: architecture.to_owned() }
    }

    /// The busybox image.
    pub fn busybox() -> Self {
        Self::new([busybox_layer()])
    }

    /// Sets a member of its `config`.
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Its configuration document.
    pub fn config_blob(&self) -> Blob {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let document = json!({
            "created": "2024-01-01T00:00:00Z",
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": self.layers.iter().map(|_| json!({ "created_by": "test" })).collect::<Vec<_>>(),
        });
        Blob {
            media_type: "application/vnd.oci.image.config.v1+json".to_owned(),
            bytes: document.to_string().into_bytes(),
        }
    }

    /// Its manifest.
    pub fn manifest(&self) -> Blob {
        let document = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.config_blob().descriptor(),
            "layers": self.layers.iter().map(|layer| layer.blob.descriptor()).collect::<Vec<_>>(),
        });
        Blob {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            bytes: document.to_string().into_bytes(),
        }
    }

    /// Every blob: manifest, configuration, layers.
    pub fn blobs(&self) -> Vec<Blob> {
        let layers = self.layers.iter().map(|layer| layer.blob.clone());
        [self.manifest(), self.config_blob()].into_iter().chain(layers).collect()
    }

    /// Writes it as an OCI layout folder under this name.
    pub fn write_layout(&self, folder: &Path, tag: &str) {
        fs::create_dir_all(folder.join("blobs/sha256")).expect("make a layout");
        for blob in self.blobs() {
            let digest = blob.digest();
            let digits = digest.strip_prefix("sha256:").expect("a digest");
            fs::write(folder.join("blobs/sha256").join(digits), &blob.bytes).expect("write a blob");
        }
        let mut descriptor = self.manifest().descriptor();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        fs::write(folder.join("index.json"), index.to_string()).expect("write an index");
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("write a layout file");
    }

    /// It as a docker-archive, of which plain layers only make sense.
    pub fn docker_archive(&self, tag: &str) -> Vec<u8> {
        let config = self.config_blob();
        let config_name = format!("{}.json", &config.digest()["sha256:".len()..]);
        let names: Vec<_> = self.layers.iter().enumerate().map(|(at, _)| format!("layer{at}/layer.tar")).collect();
        let manifest = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": names }]);
        let layers = names.iter().zip(&self.layers).map(|(name, layer)| Entry::file(name, &layer.blob.bytes));
        Tar::new()
            .with(Entry::file(&config_name, &config.bytes))
            .with_all(layers)
            .with(Entry::file("manifest.json", manifest.to_string()))
            .finish()
    }
}

/// The busybox root as a plain tar: the program, a link for each applet, users `root` and `app`, a sticky `/tmp`.
pub fn busybox_root_tar() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(build_busybox)
}

/// The busybox root as a gzip layer.
pub fn busybox_layer() -> Layer {
    static LAYER: OnceLock<Layer> = OnceLock::new();
    LAYER.get_or_init(|| Layer::gzip(busybox_root_tar())).clone()
}

fn build_busybox() -> Vec<u8> {
    const FOLDERS: [&str; 12] =
        ["bin", "dev", "etc", "home", "home/app", "proc", "root", "run", "sys", "usr", "usr/bin", "var"];
    let program = fs::read("/bin/busybox").expect("read /bin/busybox (package busybox-static)");
    let list = Command::new("/bin/busybox").arg("--list").output().expect("list busybox's applets");
    let applets = String::from_utf8(list.stdout).expect("names of applets");
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";
    let group = "root:x:0:\naudio:x:29:app\napp:x:1000:\nextra:x:2000:app\n";
    Tar::new()
        .with_all(FOLDERS.into_iter().map(Entry::folder))
        .with(Entry::folder("tmp").mode(0o1777))
        .with(Entry::file("bin/busybox", &program).mode(0o755))
        .with_all(
            applets
                .lines()
                .filter(|applet| *applet != "busybox")
                .map(|applet| Entry::symlink(format!("bin/{applet}"), "busybox")),
        )
        .with(Entry::file("etc/passwd", passwd))
        .with(Entry::file("etc/group", group))
        .with(Entry::file("etc/motd", "from the image\n"))
        .finish()
}
