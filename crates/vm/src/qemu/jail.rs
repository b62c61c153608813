//! How QEMU is shut in: its OCI document and its root file system.
//!
//! A guest that takes QEMU over finds the host's programs and libraries, which are public, its own kernel and initramfs, and
//! the descriptors that it was given: no network, no process but itself, no user of the host's, no capability.

use std::path::{Path, PathBuf};

use holm_spec::oci::runtime::{
    Capabilities, IdMapping, Linux, Mount, Namespace, NamespaceKind, Process, Rlimit, Root, Spec, VERSION,
};

use crate::jail::{bind, programs};
use crate::machine::{Error, HostUser, RootTree};

/// Where the kernel is in the jail.
pub(super) const KERNEL: &str = "/machine/kernel";
/// Where the initramfs is in the jail.
pub(super) const INITRAMFS: &str = "/machine/initramfs";
/// Descriptors: those that it is given and those of its threads and devices.
const MAX_FILES: u64 = 1024;

/// What decides on a jail.
pub(super) struct Jail<'a> {
    pub(super) program: &'a Path,
    /// Files that it boots, and where it finds them.
    pub(super) boot: Vec<(PathBuf, &'static str)>,
    pub(super) user: HostUser,
    pub(super) kvm: bool,
    /// It opens a descriptor of its own once more, which needs a `/proc`.
    pub(super) proc: bool,
}

impl Jail<'_> {
    /// The document, and the tree that its root is.
    pub(super) fn spec(&self, args: Vec<String>) -> Result<(Spec, RootTree), Error> {
        use NamespaceKind::{Cgroup, Ipc, Network, Pid, User, Uts};
        let (mut root, mut mounts) = programs(self.program)?;
        root.folders.push("dev".into());
        for (source, target) in &self.boot {
            root.files.push(target.trim_start_matches('/').into());
            mounts.push(bind(source, *target, &["bind", "ro", "nosuid", "nodev", "noexec"]));
        }
        mounts.push(Mount {
            destination: "/dev".into(),
            kind: Some("tmpfs".into()),
            options: ["nosuid", "noexec", "mode=755", "size=64k"].map(str::to_owned).to_vec(),
            ..Mount::default()
        });
        if self.kvm {
            mounts.push(bind("/dev/kvm", "/dev/kvm", &["bind", "nosuid", "noexec"]));
        }
        if self.proc {
            root.folders.push("proc".into());
            let options = ["nosuid", "nodev", "noexec", "hidepid=2", "subset=pid"].map(str::to_owned).to_vec();
            let kind = Some("proc".into());
            mounts.push(Mount { destination: "/proc".into(), kind, options, ..Mount::default() });
        }
        let namespaces = [NamespaceKind::Mount, Pid, Network, Ipc, Uts, User, Cgroup];
        let map = |host_id| vec![IdMapping { container_id: 0, host_id, size: 1 }];
        let spec = Spec {
            oci_version: VERSION.to_owned(),
            process: Some(process(args)),
            root: Some(Root { path: "rootfs".into(), readonly: true }),
            hostname: Some("vmm".to_owned()),
            mounts,
            linux: Some(Linux {
                namespaces: namespaces.map(|kind| Namespace { kind, path: None }).to_vec(),
                uid_mappings: map(self.user.uid),
                gid_mappings: map(self.user.gid),
                ..Linux::default()
            }),
            ..Spec::default()
        };
        Ok((spec, root))
    }
}

fn process(args: Vec<String>) -> Process {
    let limit = |kind: &str, n| Rlimit { kind: kind.to_owned(), soft: n, hard: n };
    Process {
        args,
        cwd: "/".into(),
        capabilities: Some(Capabilities::default()),
        no_new_privileges: true,
        rlimits: vec![limit("RLIMIT_CORE", 0), limit("RLIMIT_NOFILE", MAX_FILES)],
        oom_score_adj: Some(0),
        ..Process::default()
    }
}
