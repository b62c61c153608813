//! The store: what appears, what stays after failures, who waits for whom, and what may be deleted.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use holm_spec::Digest;
use holm_spec::oci::image::media_type;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::fixture::{Tar, gzip};
use crate::hash;

mod blob;
mod image;
mod removal;

struct Scene {
    temp: TempDir,
    store: Store,
}

/// A layer as a registry would serve it.
struct Layer {
    blob: Vec<u8>,
    diff_id: Digest,
}

fn layer(tar: Tar) -> Layer {
    let tar = tar.end();
    Layer { diff_id: hash::sha256(&tar), blob: gzip(&tar) }
}

impl Scene {
    fn new() -> Self {
        let temp = TempDir::new().unwrap();
        let store = Store::open(&temp.path().join("data")).unwrap();
        Self { temp, store }
    }

    fn data(&self) -> std::path::PathBuf {
        self.temp.path().join("data")
    }

    /// Stores blobs and layers and gives the manifest.
    fn manifest(&self, layers: &[Layer], label: &str) -> Vec<u8> {
        let mut descriptors = Vec::new();
        for layer in layers {
            let digest = self.store.put_blob(&layer.blob).unwrap();
            self.store.unpack_layer(&layer.diff_id, media_type::OCI_LAYER_GZIP, &mut &layer.blob[..]).unwrap();
            let kind = media_type::OCI_LAYER_GZIP;
            descriptors.push(json!({"mediaType": kind, "digest": digest, "size": layer.blob.len()}));
        }
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2020-01-02T03:04:05Z",
            "config": {"Labels": {"label": label}, "Cmd": ["sh"], "Env": null},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string();
        let digest = self.store.put_blob(config.as_bytes()).unwrap();
        let descriptor = json!({"mediaType": media_type::OCI_CONFIG, "digest": digest, "size": config.len()});
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": descriptor,
            "layers": descriptors});
        manifest.to_string().into_bytes()
    }

    fn image(&self, label: &str, name: Option<&str>) -> Image {
        let manifest = self.manifest(&[layer(Tar::new().file("label", label.as_bytes()))], label);
        self.store.add_image(&manifest, media_type::OCI_MANIFEST, name).unwrap()
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.data().join(folder)).unwrap().count()
    }
}

fn unused(_: &Digest) -> bool {
    false
}

const NAME: &str = "docker.io/library/one:latest";
