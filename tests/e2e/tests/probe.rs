//! Programs of the folder `probe`, built on the spot.

use std::path::PathBuf;
use std::process::Command;

use holm_kit::target_folder;

/// A program of the folder, built as a static one.
pub fn built(name: &str) -> PathBuf {
    let source = format!("{}/tests/probe/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let folder = target_folder().join("test-probe");
    std::fs::create_dir_all(&folder).expect("make a folder");
    let draft = folder.join(format!("{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
    let path = folder.join(name);
    let built = Command::new("gcc").args(["-O1", "-static", "-o"]).arg(&draft).arg(source).status();
    assert!(built.expect("run gcc").success(), "cannot build {name}");
    std::fs::rename(draft, &path).expect("place what was built");
    path.canonicalize().expect("find what was built")
}
