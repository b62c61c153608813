//! Roots of a test's own: data root, run root and control group, removed with all that is in them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::holm::{Holm, holm_binary};
use crate::image::busybox_root_tar;
use crate::{NetHost, Output, cgroup, guest_kernel, process, target_folder};

/// The name under which [`Scratch::with_busybox`] has its image.
pub const BUSYBOX: &str = "localhost/busybox:test";

/// Roots of a test's own. Dropping them ends what still runs there: a test that leaks fails by [`crate::Leaks`], not here.
pub struct Scratch {
    folder: TempDir,
    cgroup: String,
    /// What puts commands into a host of the test's own.
    prefix: Vec<String>,
    isolation: Isolation,
}

/// What containers are isolated by, where a test does not say it itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Namespaces of this kernel.
    Container,
    /// A virtual machine with the distribution's cloud kernel.
    Vm,
}

impl Scratch {
    /// Empty roots.
    ///
    /// # Panics
    /// If they cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes folders, which no default should")]
    pub fn new() -> Self {
        Self::inside(&std::env::temp_dir())
    }

    /// Empty roots in this folder.
    pub fn inside(folder: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("holm-test-").tempdir_in(folder).expect("make scratch roots");
        let name = folder.path().file_name().expect("its name").to_string_lossy().into_owned();
        Self {
            folder,
            cgroup: format!("/{}", name.replace('.', "-")),
            prefix: Vec::new(),
            isolation: Isolation::Container,
        }
    }

    /// Roots that hold [`BUSYBOX`], whose commands run on this host.
    #[track_caller]
    pub fn on(host: &NetHost) -> Self {
        let mut scratch = Self::new();
        scratch.prefix = host.prefix().into();
        scratch.import_busybox();
        scratch
    }

    /// Roots that hold [`BUSYBOX`] and isolate their containers so.
    #[track_caller]
    pub fn isolated(isolation: Isolation) -> Self {
        let mut scratch = Self::with_busybox();
        scratch.isolate(isolation);
        scratch
    }

    /// Isolates the containers of these roots so. What is made of a kernel is kept
    /// between tests; templates of booted machines are there for those that ask for them.
    #[track_caller]
    pub fn isolate(&mut self, isolation: Isolation) {
        self.isolation = isolation;
        if isolation == Isolation::Vm {
            let kept = target_folder().join("test-images/machines");
            let machines = self.data_root().join("machines");
            fs::create_dir_all(&machines).expect("make a folder");
            let keep = kept.join("kernels");
            fs::create_dir_all(&keep).expect("make a folder");
            let link = std::os::unix::fs::symlink(keep.canonicalize().expect("a path"), machines.join("kernels"));
            link.expect("link what is kept");
            // A file where the folder of templates would be: every machine is booted, and none is made in the background.
            fs::write(machines.join("templates"), "").expect("keep templates away");
        }
    }

    /// Lets machines begin from templates, which are kept between tests.
    pub fn with_templates(self) -> Self {
        let kept = target_folder().join("test-images/machines/templates");
        fs::create_dir_all(&kept).expect("make a folder");
        let here = self.data_root().join("machines/templates");
        fs::remove_file(&here).expect("let templates in");
        std::os::unix::fs::symlink(kept.canonicalize().expect("a path"), here).expect("link what is kept");
        self
    }

    /// Roots that hold [`BUSYBOX`].
    #[track_caller]
    pub fn with_busybox() -> Self {
        let scratch = Self::new();
        scratch.import_busybox();
        scratch
    }

    /// Imports [`BUSYBOX`].
    #[track_caller]
    pub fn import_busybox(&self) {
        self.holm(["import", "--change", "CMD sh", "-", BUSYBOX]).input(busybox_root_tar()).ok();
    }

    /// The folder that all of it is in.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where images and volumes are.
    pub fn data_root(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Where records of running containers are.
    pub fn run_root(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The control group of everything [`Scratch::run`] and [`Scratch::create`] start.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Makes a folder beside the roots.
    pub fn make_folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("make a folder");
        path
    }

    /// Writes a file beside the roots.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("write a file");
        path
    }

    /// A command line of Holm's on these roots.
    pub fn holm<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Holm {
        let network = if self.prefix.is_empty() { "none" } else { "bridge" };
        let line = Holm::program(holm_binary())
            .env("HOLM_DATA_ROOT", self.data_root())
            .env("HOLM_RUN_ROOT", self.run_root())
            // The machine's own network is left alone.
            .env("HOLM_NETWORK", network)
            .env("HOME", self.path())
            .without_env("DOCKER_CONFIG")
            .without_env("REGISTRY_AUTH_FILE")
            .without_env("XDG_CONFIG_HOME")
            .without_env("XDG_RUNTIME_DIR")
            .args(args);
        let line = match self.isolation {
            Isolation::Container => line,
            Isolation::Vm => line.env("HOLM_ISOLATION", "vm").env("HOLM_KERNEL", guest_kernel()),
        };
        if self.prefix.is_empty() { line } else { line.through(&self.prefix) }
    }

    /// `holm run` in the control group of these roots.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Holm {
        self.holm(["run", "--cgroup-parent", &self.cgroup]).args(args)
    }

    /// `holm create` in the control group of these roots.
    pub fn create<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Holm {
        self.holm(["create", "--cgroup-parent", &self.cgroup]).args(args)
    }

    /// `holm run --rm BUSYBOX sh -c SCRIPT`.
    pub fn sh(&self, script: &str) -> Holm {
        self.run(["--rm", BUSYBOX, "sh", "-c", script])
    }

    /// `holm run -d --name NAME OPTIONS BUSYBOX COMMAND`.
    #[track_caller]
    pub fn detached(&self, name: &str, options: &[&str], command: &[&str]) -> Output {
        self.run(["-d", "--name", name]).args(options).arg(BUSYBOX).args(command).ok()
    }

    /// One value out of `holm inspect`.
    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.holm(["inspect", "--format", format, name]).ok().text().to_owned()
    }

    /// Whether a container is in this state.
    #[track_caller]
    pub fn wait_for_status(&self, name: &str, status: &str) {
        let what = format!("container `{name}` becomes {status}");
        crate::wait_until(&what, std::time::Duration::from_secs(20), || {
            self.holm(["inspect", "--format", "{{.State.Status}}", name]).run().text() == status
        });
    }

    /// How long what ends by itself may take.
    pub(crate) fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_secs(if self.isolation == Isolation::Vm { 90 } else { 5 })
    }

    /// Every process that has to do with these roots.
    pub fn processes(&self) -> Vec<i32> {
        let own = i32::try_from(std::process::id()).expect("a PID");
        let path = self.path().to_string_lossy().into_owned();
        let found = process::all().into_iter().filter(|pid| *pid != own);
        found.filter(|pid| process::mentions(*pid, &path) || process::mentions(*pid, &self.cgroup)).collect()
    }

    /// Every mount under these roots, as mountinfo has it.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let path = self.path().to_string_lossy().into_owned();
        let table = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
        table.lines().filter(|line| line.contains(&path)).map(str::to_owned).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for pid in self.processes() {
            process::kill(pid, 9);
        }
        cgroup::clear(&self.cgroup);
        for line in self.mounts().iter().rev() {
            if let Some(point) = line.split(' ').nth(4) {
                let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
}
