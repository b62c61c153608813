//! Running a hypervisor, and what serves its folders: containers of their own, with nothing of the host but what the plan names.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_container::cgroup::Cgroup;
use holm_container::rootfs::Rootfs;
use holm_container::seccomp::Program;
use holm_container::{Create, Init, Stdio};
use holm_spec::container::Profile;
use holm_spec::oci::runtime::Spec;
use holm_sys::process::Child;
use holm_vm::machine::{Ends, HostUser, RootTree, VmmPlan};
use holm_vm::virtiofs::ServerPlan;
use rustix::fs::{Mode, OFlags};

use crate::error::chain;
use crate::filter;

/// A hypervisor that runs, as a child of this process.
#[derive(Debug)]
pub(crate) struct Vmm {
    /// Our ends of what leads to the machine.
    pub ends: Ends,
    /// Its process.
    pub process: Child,
    /// Who it is on the host, and who attends it becomes.
    pub user: HostUser,
}

/// Starts it. The error is a text. *Order*: the caller has one thread.
pub(crate) fn start(id: &str, plan: VmmPlan, group: Option<&Cgroup>) -> Result<Vmm, String> {
    let VmmPlan { spec, root, files, output, ends } = plan;
    let user = user_of(&spec);
    let seccomp = filter::program(&Profile::Default, &spec)?;
    let init = run(id, (&spec, &root, user), (files, output), group, &seccomp)?;
    Ok(Vmm { ends, process: Child { pid: init.pid, pidfd: init.pidfd }, user })
}

/// Starts what serves a folder; it lives as long as the caller and its connection. Its words go to `output`. The error is a text.
/// *Order*: the caller has one thread.
pub(crate) fn serve(id: &str, server: ServerPlan, output: &OwnedFd, group: Option<&Cgroup>) -> Result<(), String> {
    let ServerPlan { spec, root, files } = server;
    let seccomp = filter::server_program(&spec)?;
    let output = output.try_clone().map_err(|e| e.to_string())?;
    run(id, (&spec, &root, user_of(&spec)), (files, output), group, &seccomp).map(drop)
}

fn run(
    id: &str,
    (spec, root, user): (&Spec, &RootTree, HostUser),
    (files, output): (Vec<OwnedFd>, OwnedFd),
    group: Option<&Cgroup>,
    seccomp: &Program,
) -> Result<Init, String> {
    let rootfs = root_of(root, user)?;
    let entry = group.map(Cgroup::entry).transpose().map_err(|e| chain(&e))?;
    let stdin = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let stderr = output.try_clone().map_err(|e| e.to_string())?;
    let request = Create {
        id,
        spec,
        bundle: None,
        rootfs: &rootfs,
        stdio: Stdio::Fds { stdin: stdin.map_err(|e| e.to_string())?, stdout: output, stderr },
        cgroup: entry,
        seccomp: Some(seccomp),
        start_now: true,
        init: false,
        hold_mounts: false,
        files,
    };
    holm_container::create(request, None).map_err(|e| chain(&e))
}

fn root_of(tree: &RootTree, user: HostUser) -> Result<Rootfs, String> {
    let rootfs = Rootfs::empty(user.uid).map_err(|e| chain(&e))?;
    let at = rootfs.open_in_root(Path::new("/"), OFlags::PATH).map_err(|e| e.to_string())?;
    tree.make(&PathBuf::from(format!("/proc/self/fd/{}", at.as_raw_fd()))).map_err(|e| chain(&e))?;
    Ok(rootfs)
}

/// Who the hypervisor is on the host, less the group of `/dev/kvm`, which is the hypervisor's alone.
fn user_of(spec: &Spec) -> HostUser {
    let linux = spec.linux.as_ref();
    let uid = linux.and_then(|l| l.uid_mappings.first()).map_or(0, |map| map.host_id);
    HostUser { uid, gid: uid }
}
