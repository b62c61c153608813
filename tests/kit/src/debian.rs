//! Real systems as images: roots that debootstrap makes of this machine's own release, kept between runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Holm, target_folder};

/// A system to make: the packages beside the smallest base, and how the image runs.
pub struct Debian {
    /// Name of the kept file.
    pub name: &'static str,
    /// Packages.
    pub packages: &'static str,
    /// `ENTRYPOINT`, as arguments.
    pub entrypoint: &'static [&'static str],
}

/// An OCI layout folder that holds the system under the tag `test`, made by debootstrap and umoci, or kept from before.
///
/// # Panics
/// If it cannot be made.
pub fn debian_image(system: &Debian) -> PathBuf {
    let kept = target_folder().join("test-images");
    fs::create_dir_all(&kept).expect("make a folder for kept images");
    let lock = File::create(kept.join(format!("{}.lock", system.name))).expect("make a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("take a lock");
    let codename = codename();
    let layout = kept.join(format!("{}-{codename}", system.name));
    if !layout.join("index.json").exists() {
        let work = tempfile::Builder::new().prefix(".making-").tempdir_in(&kept).expect("make a folder");
        make_root(system, &codename, &work.path().join("bundle/rootfs"), &kept.join("packages"));
        let made = make_layout(system, work.path());
        fs::rename(made, &layout).expect("keep an image");
    }
    layout
}

/// The code name of this machine's release.
pub(crate) fn codename() -> String {
    let text = fs::read_to_string("/etc/os-release").expect("read /etc/os-release");
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("a code name in /etc/os-release").trim_matches('"').to_owned()
}

/// The mirror that this machine installs its own packages from.
fn mirror(codename: &str) -> Option<String> {
    let output =
        Holm::program("apt-get").args(["indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"]).ok();
    let wanted = format!("{codename} ");
    output.stdout.lines().find_map(|line| line.strip_prefix(&wanted).map(str::to_owned))
}

/// Makes a root folder with the packages, keeping what it downloads in `packages`.
pub(crate) fn make_root(system: &Debian, codename: &str, root: &Path, packages: &Path) {
    fs::create_dir_all(packages).expect("make a folder");
    fs::create_dir_all(root.parent().expect("a parent")).expect("make a folder");
    let components = if codename_is_ubuntu() { "--components=main,universe" } else { "--components=main" };
    let mut line = Holm::program("debootstrap")
        .args(["--variant=minbase", components])
        .arg(format!("--include={}", system.packages))
        .arg(format!("--cache-dir={}", packages.canonicalize().expect("a path").display()))
        .arg(codename)
        .arg(root)
        .limit(Duration::from_secs(600));
    if let Some(mirror) = mirror(codename) {
        line = line.arg(mirror);
    }
    line.ok();
    for waste in ["var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"] {
        let _ = fs::remove_dir_all(root.join(waste));
    }
}

fn codename_is_ubuntu() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu"))
}

fn make_layout(system: &Debian, work: &Path) -> PathBuf {
    let umoci = |args: &[&str]| {
        Holm::program("umoci").args(args).folder(work).limit(Duration::from_secs(300)).ok();
    };
    umoci(&["init", "--layout", "layout"]);
    umoci(&["new", "--image", "layout:test"]);
    umoci(&["insert", "--image", "layout:test", "bundle/rootfs", "/"]);
    let mut config = vec!["config", "--image", "layout:test"];
    config.extend(system.entrypoint.iter().flat_map(|word| ["--config.entrypoint", word]));
    config.extend(["--config.env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    umoci(&config);
    work.join("layout")
}
