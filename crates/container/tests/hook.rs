//! Hooks: when and where each runs, what it is told, and what its failure means.

mod support;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use holm_container::rootfs::Rootfs;
use holm_container::{Create, StartError, Stdio};
use holm_spec::oci::runtime::{Hook, Hooks, Spec};
use support::{busybox, null, pipe, spec, wait};

/// A bundle whose hooks leave what they saw in `seen`.
struct Bundle {
    folder: tempfile::TempDir,
}

impl Bundle {
    fn new(root: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("seen")).unwrap();
        fs::create_dir(folder.path().join("rootfs")).unwrap();
        assert!(root.join("bin/busybox").exists());
        Self { folder }
    }

    fn seen(&self) -> PathBuf {
        self.folder.path().join("seen")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.seen().join(name)).unwrap_or_else(|e| panic!("hook left no `{name}`: {e}"))
    }

    /// A hook of the host's that runs a script with `$SEEN` alone in its environment.
    fn hook(&self, script: &str) -> Hook {
        Hook {
            path: "/bin/busybox".into(),
            args: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![format!("SEEN={}", self.seen().display())],
            timeout: None,
        }
    }

    fn run(&self, root: &Path, spec: &Spec, start_now: bool) -> Result<(i32, String), StartError> {
        let (mut output, write) = pipe();
        let rootfs = Rootfs::directory(root).unwrap();
        let mut made = holm_container::create(
            Create {
                id: "hooked",
                spec,
                bundle: Some(self.folder.path()),
                rootfs: &rootfs,
                stdio: Stdio::Fds { stdin: null(), stdout: write, stderr: null() },
                cgroup: None,
                seccomp: None,
                start_now,
                init: false,
                hold_mounts: false,
                files: Vec::new(),
            },
            None,
        )?;
        if !start_now {
            assert!(!self.seen().join("startContainer").exists(), "before the start");
            made.start()?;
        }
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        Ok((wait(&made.pidfd), text))
    }
}

fn in_box(script: &str) -> Hook {
    let args = ["sh", "-c", script].map(str::to_owned).to_vec();
    Hook { path: "/bin/busybox".into(), args, env: Vec::new(), timeout: None }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

/// The last line of what a hook left: the mount namespace that it was in.
fn namespace(text: &str) -> &str {
    text.lines().last().unwrap()
}

fn each_runs_at_its_point_and_is_told_the_state(root: &Path, start_now: bool) {
    let bundle = Bundle::new(root);
    let look = |name: &str| {
        let inner = format!("{}/rootfs", bundle.folder.path().display());
        bundle.hook(&format!(
            "exec >$SEEN/{name}; busybox cat; echo; env | busybox sort; ls {inner}/proc/mounts {inner}/bin/busybox; \
             echo {name} >>$SEEN/order; readlink /proc/self/ns/mnt"
        ))
    };
    let mut spec = spec(&["cat", "/tmp/state"]);
    spec.oci_version = "1.2.0".into();
    spec.annotations.insert("a".into(), "b".into());
    spec.hooks = Some(Hooks {
        prestart: vec![look("prestart")],
        create_runtime: vec![look("createRuntime")],
        create_container: vec![look("createContainer")],
        start_container: vec![in_box(
            "busybox cat >/tmp/state; echo >>/tmp/state; ls /proc/self/fd | busybox wc -l >>/tmp/state",
        )],
        poststart: vec![look("poststart")],
        poststop: vec![look("poststop")],
    });
    let (code, text) = bundle.run(root, &spec, start_now).unwrap();
    assert_eq!(code, 0);
    assert!(holm_container::run_poststop_hooks("hooked", &spec, Some(bundle.folder.path())).is_empty());
    assert_eq!(bundle.read("order"), "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
    let own = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    for (name, status, outside) in [
        ("prestart", "creating", true),
        ("createRuntime", "creating", true),
        ("createContainer", "creating", false),
        ("poststart", "running", true),
        ("poststop", "stopped", true),
    ] {
        let seen = bundle.read(name);
        let state = json(&seen);
        assert_eq!(state["status"], status, "{name}: {seen}");
        assert_eq!((&state["id"], &state["ociVersion"]), (&"hooked".into(), &"1.2.0".into()), "{seen}");
        assert_eq!(state["bundle"], bundle.folder.path().display().to_string(), "{seen}");
        assert_eq!(state["annotations"]["a"], "b", "{seen}");
        assert_eq!(namespace(&seen) == own, outside, "{name}: {seen}");
        let pid = state.get("pid").and_then(serde_json::Value::as_i64);
        match name {
            "poststop" => assert_eq!(pid, None),
            "createContainer" => assert_eq!(pid, Some(1)),
            _ => assert!(pid.unwrap() > 1),
        }
        // The first is the entry's, the rest are the shell's own.
        let own_words = ["SEEN", "PATH", "PWD", "SHLVL", "OLDPWD", "_"];
        let lines = seen.lines().filter_map(|l| l.split_once('=')).map(|(k, _)| k);
        for key in lines {
            assert!(own_words.contains(&key), "{key} is not of the hook's entry: {seen}");
        }
        let sees_mounts = seen.contains("/rootfs/proc/mounts") && seen.contains("/rootfs/bin/busybox");
        assert_eq!(sees_mounts, name == "createContainer", "{name}: {seen}");
    }
    let state = json(&text);
    assert_eq!((&state["status"], &state["pid"]), (&"created".into(), &1.into()), "{text}");
    // Its three streams, and the folder that `ls` reads.
    assert_eq!(text.lines().last().unwrap(), "4", "{text}");
}

fn a_failure_before_the_program_keeps_it_from_running(root: &Path) {
    type Put = fn(&mut Hooks, Hook);
    let points: [(&str, Put); 5] = [
        ("prestart", |h, x| h.prestart.push(x)),
        ("createRuntime", |h, x| h.create_runtime.push(x)),
        ("createContainer", |h, x| h.create_container.push(x)),
        ("startContainer", |h, x| h.start_container.push(x)),
        ("poststart", |h, x| h.poststart.push(x)),
    ];
    for (name, put) in points {
        for start_now in [true, false] {
            let bundle = Bundle::new(root);
            let mut hooks = Hooks { poststop: vec![bundle.hook("echo x >$SEEN/poststop")], ..Hooks::default() };
            put(&mut hooks, in_box("echo so it is >&2; exit 3"));
            put(&mut hooks, bundle.hook("echo x >$SEEN/second"));
            let spec = Spec { hooks: Some(hooks), ..spec(&["sleep", "1000"]) };
            let error = bundle.run(root, &spec, start_now).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("so it is") && error.exit_code() == 125, "{name}: {text}");
            assert!(!bundle.seen().join("second").exists(), "{name}");
            assert_eq!(bundle.read("poststop"), "x\n", "{name}");
        }
    }
}

fn poststop_goes_on_after_a_failure(root: &Path) {
    let bundle = Bundle::new(root);
    let poststop = vec![bundle.hook("exit 1"), bundle.hook("echo x >$SEEN/second")];
    let spec = Spec { hooks: Some(Hooks { poststop, ..Hooks::default() }), ..spec(&["true"]) };
    let failures = holm_container::run_poststop_hooks("hooked", &spec, Some(bundle.folder.path()));
    assert_eq!(failures.len(), 1);
    assert_eq!(bundle.read("second"), "x\n");
}

fn nobody_is_held_up_by_a_hook(root: &Path) {
    let bundle = Bundle::new(root);
    let run = |hook: Hook, annotation: usize| {
        let mut spec = spec(&["true"]);
        spec.annotations.insert("long".into(), "x".repeat(annotation));
        spec.hooks = Some(Hooks { create_runtime: vec![hook], ..Hooks::default() });
        bundle.run(root, &spec, true)
    };
    // A second, for whole seconds are what a bundle can say; the wait is for the end of the hook.
    let slow = Hook { timeout: Some(1), ..bundle.hook("exec busybox sleep 1000") };
    let error = run(slow, 1 << 20).unwrap_err().to_string();
    assert!(error.contains("more than 1 s"), "{error}");
    let chatty = bundle.hook("busybox seq 100000 >&2; exit 1");
    let error = run(chatty, 0).unwrap_err().to_string();
    assert!(error.contains("1\\n2\\n") && error.len() < 4000, "{error}");
    let lingering = bundle.hook("busybox sleep 1000 & echo $! >$SEEN/pid");
    assert_eq!(run(lingering, 0).unwrap().0, 0);
    let pid: i32 = bundle.read("pid").trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    let relative = Hook { path: "busybox".into(), ..bundle.hook("true") };
    assert!(run(relative, 0).unwrap_err().to_string().contains("absolute"));
}

/// One test, because each step forks and a fork wants a process with one thread of its own making.
#[test]
fn hooks_run_as_the_specification_says() {
    let Some(dir) = busybox() else { return };
    let root = dir.path();
    for start_now in [true, false] {
        each_runs_at_its_point_and_is_told_the_state(root, start_now);
        fs::remove_file(root.join("tmp/state")).unwrap();
    }
    a_failure_before_the_program_keeps_it_from_running(root);
    poststop_goes_on_after_a_failure(root);
    nobody_is_held_up_by_a_hook(root);
}
