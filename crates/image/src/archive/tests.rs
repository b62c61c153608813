//! Archives: every form in and out, broken ones refused, and the real skopeo, podman and docker formats both ways.

use std::fs;
use std::path::Path;
use std::process::Command;

use holm_spec::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::fixture::{Tar, gzip};
use crate::hash;
use crate::progress::Silent;
use crate::store::{Image, Store};

mod form;
mod interop;

struct Scene {
    temp: TempDir,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let temp = TempDir::new().unwrap();
        let store = Store::open(&temp.path().join("data")).unwrap();
        Self { temp, store }
    }

    fn load(&self, archive: &[u8]) -> Result<Vec<Image>, ArchiveError> {
        load(&self.store, Source::Stream(&mut &archive[..]), &Silent)
    }

    fn load_folder(&self, folder: &Path) -> Result<Vec<Image>, ArchiveError> {
        load(&self.store, Source::Folder(folder), &Silent)
    }

    fn save(&self, references: &[&str], format: Format) -> Vec<u8> {
        let references: Vec<String> = references.iter().map(|text| (*text).to_owned()).collect();
        let mut out = Vec::new();
        save(&self.store, &references, format, &mut out, &Silent).unwrap();
        out
    }

    fn import(&self, name: &str, tar: Tar) -> Image {
        let changes = vec!["CMD [\"/bin/x\"]".to_owned(), "ENV A=b".to_owned()];
        let options = ImportOptions { name: Some(name.to_owned()), changes, ..ImportOptions::default() };
        import(&self.store, &mut &tar.end()[..], &options, &Silent).unwrap()
    }

    /// Nothing but what images need is in the store.
    fn assert_clean(&self) {
        for folder in ["images/partial", "layers/partial", "images/trash", "layers/trash"] {
            let path = self.temp.path().join("data").join(folder);
            assert_eq!(fs::read_dir(path).unwrap().count(), 0, "{folder}");
        }
    }
}

const NAME: &str = "docker.io/library/one:latest";

fn config(tars: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = tars.iter().map(|tar| hash::sha256(tar)).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "one"}, {"created_by": "none", "empty_layer": true}, {"created_by": "two"}]});
    config.to_string().into_bytes()
}

fn add_json(tar: Tar, path: &str, value: &Value) -> Tar {
    tar.file(path, value.to_string().as_bytes())
}
