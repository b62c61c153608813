//! The peers, each in private folders: podman, docker (a daemon of our own, ended by its PID), runc, crun; and Holm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holm_kit::{Holm, Image, Layer, Scratch, busybox_root_tar, has_command, holm_binary, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::elsewhere::Elsewhere;
use crate::runner::Contender;

/// The name of the image that all have.
pub const IMAGE: &str = "localhost/busybox:bench";

/// Executes this program again in a mount namespace of its own, unless it is in one.
pub fn enter_own_mounts() {
    use std::os::unix::process::CommandExt;
    const INSIDE: &str = "HOLM_BENCH_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let own = std::env::current_exe().expect("find holm-bench");
    let mut line = Command::new("unshare");
    line.args(["--mount", "--propagation", "private"]).arg(own).args(std::env::args_os().skip(1)).env(INSIDE, "yes");
    panic!("cannot run unshare: {}", line.exec());
}

/// What lives until the next boot is in memory on the machines of users, where `/run` is a tmpfs; here for everybody alike.
fn in_memory(path: &Path) {
    fs::create_dir_all(path).expect("make a folder");
    Holm::program("mount").args(["-t", "tmpfs", "-o", "mode=0700", "tmpfs"]).arg(path).ok();
}

/// Everything that is compared.
pub struct Peers {
    folder: TempDir,
    /// Holm's roots.
    pub scratch: Scratch,
    docker: Option<Docker>,
    podman: bool,
}

struct Docker {
    daemon: Child,
    socket: PathBuf,
}

impl Peers {
    /// Sets all up with [`IMAGE`].
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("holm-bench-").tempdir().expect("make a folder");
        let archive = folder.path().join("image.tar");
        let image = Image::new([Layer::plain(busybox_root_tar())]);
        fs::write(&archive, image.docker_archive(IMAGE)).expect("write an image");
        let rootfs = folder.path().join("rootfs");
        fs::create_dir(&rootfs).expect("make a root");
        fs::write(folder.path().join("root.tar"), busybox_root_tar()).expect("write a root");
        Holm::program("tar").arg("-xf").arg(folder.path().join("root.tar")).arg("-C").arg(&rootfs).ok();
        let scratch = Scratch::new();
        let runs = ["podman-run", "docker-run", "crun", "runc"].map(|name| folder.path().join(name));
        runs.iter().chain([&scratch.run_root()]).for_each(|path| in_memory(path));
        let docker = start_docker(folder.path());
        let peers = Self { folder, scratch, docker, podman: has_command("podman") };
        peers.scratch.holm(["load", "-i"]).arg(&archive).ok();
        for mut command in [peers.docker(), peers.podman()].into_iter().flatten() {
            command.arg("load").arg("-i").arg(&archive);
            crate::runner::time(&mut command);
        }
        peers
    }

    /// A folder for what benchmarks make.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The root that the bare runtimes run on.
    pub fn rootfs(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }

    /// Holm.
    pub fn holm(&self) -> Command {
        let mut command = Command::new(holm_binary());
        command.env("HOLM_DATA_ROOT", self.scratch.data_root()).env("HOLM_RUN_ROOT", self.scratch.run_root());
        command.env("HOME", self.scratch.path());
        command
    }

    /// podman on a store of its own, where it is installed.
    pub fn podman(&self) -> Option<Command> {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.folder().join("podman")).arg("--runroot").arg(self.folder().join("podman-run"));
        command.args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        command.args(["--runtime", "runc"]);
        self.podman.then_some(command)
    }

    /// What `podman run` needs on machines where limits cannot be raised.
    pub fn podman_run(&self) -> Option<Command> {
        let mut command = self.podman()?;
        command.args(["run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--network", "none"]);
        Some(command)
    }

    /// docker on a daemon of our own, where it is installed.
    pub fn docker(&self) -> Option<Command> {
        let docker = self.docker.as_ref()?;
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", docker.socket.display()));
        Some(command)
    }

    /// A bare runtime with its state in a folder of its own, where it is installed.
    pub fn runtime(&self, name: &str) -> Option<Command> {
        let mut command = Command::new(name);
        command.arg("--root").arg(self.folder().join(name));
        if name == "crun" {
            command.arg("--cgroup-manager=disabled");
        }
        has_command(name).then_some(command)
    }

    /// What runs a command line of a bare runtime once, in surroundings that the runtime takes.
    pub fn contender(&self, name: &str, args: &[&str]) -> Option<Contender<'static>> {
        let mut command = self.runtime(name)?;
        command.args(args);
        let title = format!("{name} {}", args[0]);
        if name == "crun" {
            let mut elsewhere = Elsewhere::start(&command);
            return Some(Contender::new(&title, move || elsewhere.once()));
        }
        Some(Contender::new(&title, move || crate::runner::time(&mut command)))
    }

    /// A bundle on the common root that runs these arguments.
    pub fn bundle(&self, name: &str, args: &[&str]) -> PathBuf {
        let bundle = self.folder().join(format!("bundle-{name}"));
        fs::create_dir_all(&bundle).expect("make a bundle");
        let _ = fs::remove_file(bundle.join("config.json"));
        Holm::program("runc").arg("spec").folder(&bundle).ok();
        let text = fs::read_to_string(bundle.join("config.json")).expect("read a config");
        let mut config: Value = serde_json::from_str(&text).expect("a config");
        config["process"]["args"] = json!(args);
        config["process"]["terminal"] = json!(false);
        config["process"]["rlimits"] = json!([]);
        config["root"] = json!({ "path": self.rootfs(), "readonly": true });
        fs::write(bundle.join("config.json"), config.to_string()).expect("write a config");
        bundle
    }
}

/// `rm -f`, without the ten seconds that podman waits before it kills.
pub fn force_remove<'a>(engine: &'a mut Command, name: &str) -> &'a mut Command {
    let is_podman = engine.get_program() == "podman";
    engine.args(["rm", "-f"]);
    if is_podman {
        engine.args(["-t", "0"]);
    }
    engine.arg(name)
}

fn start_docker(folder: &Path) -> Option<Docker> {
    if !has_command("dockerd") {
        return None;
    }
    let socket = folder.join("docker.sock");
    let log = fs::File::create(folder.join("dockerd.log")).expect("make a log");
    let mut command = Command::new("dockerd");
    command.arg("--host").arg(format!("unix://{}", socket.display()));
    command.arg("--data-root").arg(folder.join("docker")).arg("--exec-root").arg(folder.join("docker-run"));
    command.arg("--pidfile").arg(folder.join("docker.pid"));
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false"]);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("copy a descriptor")).stderr(log);
    let daemon = command.spawn().expect("start dockerd");
    let mut docker = Docker { daemon, socket };
    let host = format!("unix://{}", docker.socket.display());
    let answers = || Holm::program("docker").args(["--host", &host, "version"]).run().status.success();
    let start = std::time::Instant::now();
    while !answers() {
        if start.elapsed() > Duration::from_secs(30) || docker.daemon.try_wait().expect("wait").is_some() {
            eprintln!("dockerd does not start here: {}", last_line(&folder.join("dockerd.log")));
            return None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Some(docker)
}

fn last_line(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().last().unwrap_or_default().to_owned()
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = i32::try_from(self.daemon.id()).expect("a PID");
        holm_kit::kill(pid, 15);
        wait_until("dockerd ends", Duration::from_secs(30), || {
            self.daemon.try_wait().is_ok_and(|status| status.is_some())
        });
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        if let Some(mut podman) = self.podman() {
            let _ = podman.args(["rm", "-fa", "-t", "0"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        self.docker = None;
        for name in ["podman-run", "docker-run", "crun", "runc"] {
            let _ = Command::new("umount").arg("-l").arg(self.folder().join(name)).stderr(Stdio::null()).status();
        }
        let _ = Command::new("umount").arg(self.folder().join("podman/overlay")).stderr(Stdio::null()).status();
    }
}
