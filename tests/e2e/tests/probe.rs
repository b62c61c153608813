//! Programs of the folder `probe`, built on the spot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use holm_kit::target_folder;

/// A program of the folder, built once as a static one: a file that is just being mounted must not be replaced.
pub fn built(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut all = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    let source = format!("{}/tests/probe/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let folder = target_folder().join("test-probe");
    std::fs::create_dir_all(&folder).expect("make a folder");
    let draft = folder.join(format!("{name}.{}", std::process::id()));
    let path = folder.join(name);
    let built = Command::new("gcc").args(["-O1", "-static", "-o"]).arg(&draft).arg(source).status();
    assert!(built.expect("run gcc").success(), "cannot build {name}");
    std::fs::rename(draft, &path).expect("place what was built");
    path.canonicalize().expect("find what was built")
}
