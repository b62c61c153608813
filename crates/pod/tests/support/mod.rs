//! An engine with roots of its own and a busybox image made on the spot; what it leaves behind is looked for at the end.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holm_pod::{Engine, ImageRoot, Roots};
use holm_spec::ContainerId;
use holm_spec::container::ContainerSpec;

/// A scratch world.
pub struct World {
    pub engine: Engine,
    pub layer: PathBuf,
    pub image: ImageRoot,
    pub folder: tempfile::TempDir,
    names: std::cell::Cell<u32>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("holm-pod-").tempdir().unwrap();
        let layer = folder.path().join("layer");
        for sub in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
            std::fs::create_dir_all(layer.join(sub)).unwrap();
        }
        std::fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
        for applet in
            ["sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "env", "kill", "head", "mkdir", "test"]
        {
            std::os::unix::fs::symlink("busybox", layer.join("bin").join(applet)).unwrap();
        }
        std::fs::write(
            layer.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(layer.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
        std::fs::set_permissions(&layer, PermissionsExt::from_mode(0o755)).unwrap();
        let parent = format!("holm-test-{}", folder.path().file_name().unwrap().to_str().unwrap());
        let roots = Roots {
            data: folder.path().join("data"),
            run: folder.path().join("run"),
            cgroup_parent: parent,
            cgroup_driver: Default::default(),
            cni: Default::default(),
        };
        let mut image = ImageRoot { layers: vec![layer.clone()], ..ImageRoot::default() };
        image.config.env = Some(vec!["PATH=/bin".into(), "FROM_IMAGE=yes".into(), "NOT_SET".into()]);
        Self { engine: Engine::open(roots).unwrap(), layer, image, folder, names: std::cell::Cell::new(0) }
    }

    /// A container that runs a shell command.
    pub fn spec(&self, command: &[&str]) -> ContainerSpec {
        self.names.set(self.names.get() + 1);
        let mut spec: ContainerSpec = serde_json::from_value(serde_json::json!({
            "version": 1,
            "id": holm_pod::new_id().unwrap(),
            "name": format!("test-{}", self.names.get()),
            "created_at_ns": self.names.get(),
            "image": "busybox",
            "image_id": format!("sha256:{}", "00".repeat(32)),
        }))
        .unwrap();
        spec.command = Some(command.iter().map(|w| (*w).to_owned()).collect());
        spec
    }

    pub fn log(&self, id: &ContainerId) -> String {
        let query = holm_pod::LogQuery { stdout: true, stderr: true, ..Default::default() };
        let mut text = String::new();
        self.engine
            .logs(id, &query, &mut |line| {
                text.push_str(&line.log);
                true
            })
            .unwrap();
        text
    }

    pub fn events(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.engine
            .events(holm_pod::EventQuery::default(), &mut |e| {
                all.push(e.action);
                true
            })
            .unwrap();
        all
    }

    /// Waits until `condition` holds.
    pub fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let give_up = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < give_up, "{what} did not come about; left are {:?}", self.processes());
            std::thread::yield_now();
        }
    }

    /// What is still there that should not be.
    pub fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["data/containers", "data/names", "data/trash", "data/volumes", "run/containers"] {
            for entry in std::fs::read_dir(self.folder.path().join(folder)).into_iter().flatten().flatten() {
                found.push(format!("file {}", entry.path().display()));
            }
        }
        let parent = &self.engine.roots().cgroup_parent;
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            for entry in std::fs::read_dir(hierarchy.path().join(parent)).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    found.push(format!("group {}", entry.path().display()));
                }
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.folder.path().to_str().unwrap();
        found.extend(mounts.lines().filter(|l| l.contains(here)).map(|l| format!("mount {l}")));
        found.extend(self.processes().into_iter().map(|(pid, name)| format!("process {pid} {name}")));
        found
    }

    /// Supervisors and containers of this world, by what they have open.
    pub fn processes(&self) -> BTreeMap<i32, String> {
        let here = self.folder.path().to_str().unwrap();
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
            if pid == std::process::id() as i32 {
                continue;
            }
            for fd in std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
                if std::fs::read_link(fd.path()).is_ok_and(|t| t.starts_with(here)) {
                    let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                    let what = std::fs::read_to_string(entry.path().join("wchan")).unwrap_or_default();
                    found.insert(pid, format!("{} in {what} holds {}", name.trim(), fd.path().display()));
                }
            }
        }
        found
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for container in self.engine.list().unwrap_or_default() {
            let options = holm_pod::RemoveOptions { force: true, volumes: true };
            let _ = self.engine.remove(&container.spec.id, options);
        }
        let give_up = Instant::now() + Duration::from_secs(5);
        while !self.leaks().is_empty() && Instant::now() < give_up {
            std::thread::yield_now();
        }
        let leaks = self.leaks();
        let root = Path::new("/sys/fs/cgroup");
        let parent = &self.engine.roots().cgroup_parent;
        if let Ok(hierarchy) = holm_container::cgroup::Hierarchy::discover(root) {
            let _ = hierarchy.remove_if_empty(parent);
        }
        if !std::thread::panicking() {
            assert!(leaks.is_empty(), "left behind: {leaks:#?}");
        }
    }
}
