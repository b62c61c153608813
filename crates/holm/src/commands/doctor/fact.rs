//! The facts about this host that checks are made of. Owns the looking; judges nothing.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::PidfdFlags;
use rustix::thread::CapabilitySet;

use super::network;

/// What came of trying something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It works.
    Works,
    /// It does not, and why.
    Failed(String),
    /// This user may not try.
    NotAllowed,
}

/// What is known of this host.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Release of the kernel.
    pub release: String,
    /// The user is root.
    pub root: bool,
    /// The user has CAP_SYS_ADMIN.
    pub administrates: bool,
    /// System calls, and whether they are answered.
    pub calls: Vec<(&'static str, bool)>,
    /// The table of mounts.
    pub mountinfo: String,
    /// Controllers of the tree of version 2.
    pub unified_controllers: String,
    /// Most user namespaces; absent where the kernel has none.
    pub user_namespaces: Option<u64>,
    /// The table of file systems.
    pub filesystems: String,
    /// Overlayfs is a module that can be loaded.
    pub overlay_module: bool,
    /// What filters of system calls can do.
    pub seccomp_actions: String,
    /// A table of nftables with a chain that translates addresses.
    pub nftables: Tried,
    /// A bridge.
    pub bridge: Tried,
    /// A pair of links, one of them a port of that bridge.
    pub veth: Tried,
    /// A link for a virtual machine.
    pub tap: Tried,
    /// Memory that can be had, bytes.
    pub memory_free_bytes: u64,
}

impl Facts {
    /// Looks at this host.
    ///
    /// *Order*: puts this process into a network namespace of its own, which ends with it.
    pub fn gather() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let capabilities = rustix::thread::capabilities(None).ok();
        let unified = ["/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"];
        let links = network::try_all();
        Self {
            root: rustix::process::geteuid().is_root(),
            administrates: capabilities.is_some_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN)),
            calls: calls(),
            mountinfo: read("/proc/self/mountinfo"),
            unified_controllers: unified.map(read).concat(),
            user_namespaces: read("/proc/sys/user/max_user_namespaces").trim().parse().ok(),
            filesystems: read("/proc/filesystems"),
            overlay_module: has_module(&release, "overlay"),
            seccomp_actions: read("/proc/sys/kernel/seccomp/actions_avail"),
            nftables: links.nftables,
            bridge: links.bridge,
            veth: links.veth,
            tap: links.tap,
            memory_free_bytes: available(&read("/proc/meminfo")),
            release,
        }
    }
}

/// Calls that Holm needs and that older kernels and outer filters refuse. Each is made so that it changes nothing.
fn calls() -> Vec<(&'static str, bool)> {
    let there = |errno: Option<Errno>| errno != Some(Errno::NOSYS);
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    let root =
        rustix::fs::openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    // An ordinary user gets EPERM, which is an answer.
    let mount = rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC);
    vec![("pidfd_open", there(own.err())), ("openat2", there(root.err())), ("fsopen", there(mount.err()))]
}

fn has_module(release: &str, name: &str) -> bool {
    let folder = Path::new("/lib/modules").join(release);
    ["modules.dep", "modules.builtin"].iter().any(|list| {
        let text = fs::read_to_string(folder.join(list)).unwrap_or_default();
        text.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains(&format!("/{name}.ko"))))
    })
}

/// *Source*: proc(5): MemAvailable, in KiB.
fn available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn free_memory_is_read() {
        assert_eq!(super::available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), 2048 * 1024);
        assert_eq!(super::available(""), 0);
    }
}
