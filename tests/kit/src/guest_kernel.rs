//! The distribution's cloud kernel, unpacked from its package and kept between runs. Nothing is installed on the host.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::debian::codename;
use crate::{Holm, target_folder};

/// Its dependency is the package with the files.
pub(crate) const PACKAGE: &str = "linux-image-cloud-amd64";

/// A folder with `boot/vmlinuz-RELEASE` and `lib/modules/RELEASE`, as the package holds them: without `modules.dep`.
///
/// # Panics
/// If the package cannot be had.
pub fn guest_kernel() -> PathBuf {
    let kept = target_folder().join("test-images");
    fs::create_dir_all(&kept).expect("make a folder for kept kernels");
    let kept = kept.canonicalize().expect("a path");
    let lock = File::create(kept.join("kernel.lock")).expect("make a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("take a lock");
    let folder = kept.join(format!("kernel-{}", codename()));
    if !folder.exists() {
        let work = tempfile::Builder::new().prefix(".making-").tempdir_in(&kept).expect("make a folder");
        let made = unpack(work.path());
        fs::rename(made, &folder).expect("keep the kernel");
    }
    folder
}

/// The release of the kernel in a folder of [`guest_kernel`].
pub(crate) fn release(kernel: &Path) -> String {
    let entry = fs::read_dir(kernel.join("lib/modules")).expect("list a folder").flatten().next();
    entry.expect("modules of a kernel").file_name().into_string().expect("a name")
}

fn unpack(work: &Path) -> PathBuf {
    let depends = Holm::program("apt-cache").args(["depends", "--important", PACKAGE]).ok();
    let package = depends.stdout.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.unwrap_or_else(|| panic!("no package with a kernel in:\n{depends}"));
    Holm::program("apt-get").args(["download", package]).folder(work).limit(Duration::from_secs(300)).ok();
    let entries = fs::read_dir(work).expect("list a folder").flatten();
    let file = entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let unpacked = work.join("kernel");
    Holm::program("dpkg-deb").arg("-x").arg(file.expect("a package")).arg(&unpacked).ok();
    unpacked
}
