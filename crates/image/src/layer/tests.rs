//! Unpacking: what must come out, and what must never get out.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use holm_spec::digest::Algorithm;
use tempfile::TempDir;

use super::*;
use crate::fixture::{Fields, Tar, gzip, with_checksum};
use crate::hash;

mod attack;
mod form;
mod reverse;

/// A folder `outside/` with a canary beside the folder that is unpacked into.
struct Scene {
    temp: TempDir,
}

impl Scene {
    fn new() -> Self {
        let temp = TempDir::new().unwrap();
        fs::create_dir(temp.path().join("root")).unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        fs::write(temp.path().join("outside/canary"), "untouched").unwrap();
        fs::set_permissions(temp.path().join("outside"), fs::Permissions::from_mode(0o711)).unwrap();
        Self { temp }
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, LayerError> {
        unpack(&mut &bytes[..], "", Algorithm::Sha256, &self.root())
    }

    /// Nothing outside the root was created, changed or deleted.
    fn assert_contained(&self) {
        let names: Vec<_> = fs::read_dir(self.temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 1);
        let canary = self.outside().join("canary");
        assert_eq!(fs::read(&canary).unwrap(), b"untouched");
        assert_eq!(fs::metadata(&canary).unwrap().nlink(), 1);
        assert_eq!(fs::metadata(self.outside()).unwrap().mode() & 0o7777, 0o711);
    }
}

fn unpacked(tar: Vec<u8>) -> Scene {
    let scene = Scene::new();
    scene.unpack(&tar).unwrap();
    scene
}

/// The whole chain of an error's texts.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 70_000];
    let n = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(n);
    Some(value)
}

fn is_whiteout(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path).unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}
