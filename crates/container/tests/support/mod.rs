//! What these tests share: a root to run in, a bundle for it, and running it.

#![allow(dead_code, reason = "each test uses a part")]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use holm_container::rootfs::Rootfs;
use holm_container::{Create, StartError, Stdio, capability};
use holm_spec::oci::runtime::{Linux, Mount, Namespace, NamespaceKind, Process, Root, Spec};
use rustix::process::{WaitId, WaitIdOptions};

/// A root file system with a static busybox; `None`, with the reason printed, where there is none.
pub fn busybox() -> Option<tempfile::TempDir> {
    let Ok(bytes) = std::fs::read("/bin/busybox") else {
        println!("skipped: /bin/busybox is not installed (busybox-static)");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let program = dir.path().join("bin/busybox");
    std::fs::write(&program, bytes).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for applet in ["sh", "cat", "echo", "ls", "id", "sleep", "true", "mount", "readlink", "kill", "stty", "touch", "ps"]
    {
        std::os::unix::fs::symlink("busybox", dir.path().join("bin").join(applet)).unwrap();
    }
    Some(dir)
}

pub fn mount(kind: &str, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: Some(kind.into()),
        source: None,
        options: options.iter().map(|s| (*s).to_owned()).collect(),
        ..Mount::default()
    }
}

pub fn spec(args: &[&str]) -> Spec {
    use NamespaceKind::*;
    let namespaces = [Mount, Pid, Network, Ipc, Uts, Cgroup].map(|kind| Namespace { kind, path: None });
    Spec {
        process: Some(Process {
            args: args.iter().map(|s| (*s).to_owned()).collect(),
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            capabilities: Some(capability::sets(capability::resolve(&[], &[], false).unwrap())),
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        hostname: Some("box".into()),
        mounts: vec![
            mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
            mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        linux: Some(Linux {
            namespaces: namespaces.to_vec(),
            masked_paths: vec!["/proc/interrupts".into(), "/proc/acpi".into(), "/sys/firmware".into()],
            readonly_paths: vec!["/proc/sys".into(), "/proc/sysrq-trigger".into()],
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

pub fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").unwrap().into()
}

pub fn pipe() -> (File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (File::from(read), write)
}

pub fn wait(pidfd: impl AsFd) -> i32 {
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap())
}

/// Runs a container in a root and returns its exit code and output.
pub fn run(root: &Path, spec: &Spec, init: bool) -> Result<(i32, String), StartError> {
    run_in(&Rootfs::directory(root).unwrap(), spec, init)
}

pub fn run_in(rootfs: &Rootfs, spec: &Spec, init: bool) -> Result<(i32, String), StartError> {
    let (mut output, write) = pipe();
    let stdio = Stdio::Fds { stdin: null(), stdout: write.try_clone().unwrap(), stderr: write };
    let made = holm_container::create(
        Create {
            id: "test",
            spec,
            bundle: None,
            rootfs,
            stdio,
            cgroup: None,
            seccomp: None,
            start_now: true,
            init,
            hold_mounts: false,
            files: Vec::new(),
        },
        None,
    )?;
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    Ok((wait(&made.pidfd), text))
}
