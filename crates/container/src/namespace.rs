//! Namespaces of a container: which are new, which are joined, which stay the host's; and making a user namespace.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::oci::runtime::{IdMapping, Linux, NamespaceKind, TimeOffset};
use holm_sys::process::{Fork, clone_flag, clone3, exit_now};
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Doing, StartError};

/// How the namespaces of one container come about.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// `CLONE_*` flags of those that are new from the start.
    pub new: u64,
    /// A cgroup namespace of its own, made after the control group was entered.
    pub new_cgroup: bool,
    /// A time namespace with these offsets, made by the container's process itself.
    pub time_offsets: Vec<(String, TimeOffset)>,
    /// The user namespace to join before anything is made in it.
    pub user: Option<OwnedFd>,
    /// The PID namespace to join.
    pub pid: Option<OwnedFd>,
    /// Others to join, with their flags.
    pub joins: Vec<(OwnedFd, u64)>,
}

/// The kernel's flag for a kind of namespace.
pub(crate) fn flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::User => clone_flag::NEWUSER,
        NamespaceKind::Mount => clone_flag::NEWNS,
        NamespaceKind::Pid => clone_flag::NEWPID,
        NamespaceKind::Network => clone_flag::NEWNET,
        NamespaceKind::Ipc => clone_flag::NEWIPC,
        NamespaceKind::Uts => clone_flag::NEWUTS,
        NamespaceKind::Cgroup => clone_flag::NEWCGROUP,
        NamespaceKind::Time => clone_flag::NEWTIME,
    }
}

impl NamespacePlan {
    /// Reads the namespaces of a bundle and opens those that are joined.
    pub(crate) fn new(linux: &Linux) -> Result<Self, StartError> {
        let mut plan = Self::default();
        let mut seen = 0;
        for namespace in &linux.namespaces {
            let bit = flag(namespace.kind);
            if seen & bit != 0 {
                return Err(StartError::refused(format!("use two {:?} namespaces", namespace.kind)));
            }
            seen |= bit;
            match (&namespace.path, namespace.kind) {
                (Some(path), kind) => plan.join(kind, path)?,
                (None, NamespaceKind::Cgroup) => plan.new_cgroup = true,
                (None, NamespaceKind::Time) if !linux.time_offsets.is_empty() => {
                    plan.time_offsets = linux.time_offsets.iter().map(|(k, v)| (k.clone(), *v)).collect();
                }
                (None, NamespaceKind::User) => {
                    let made = user_namespace(&linux.uid_mappings, &linux.gid_mappings);
                    plan.user = Some(made.doing(|| "make a user namespace".into())?);
                }
                (None, _) => plan.new |= bit,
            }
        }
        if seen & clone_flag::NEWNS == 0 {
            return Err(StartError::refused("start a container without a mount namespace of its own"));
        }
        Ok(plan)
    }

    fn join(&mut self, kind: NamespaceKind, path: &Path) -> Result<(), StartError> {
        let what = || format!("join {kind:?} namespace `{}`", path.display());
        let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(what)?;
        match kind {
            NamespaceKind::User => self.user = Some(fd),
            NamespaceKind::Pid => self.pid = Some(fd),
            NamespaceKind::Mount => return Err(StartError::refused(format!("{}: not supported", what()))),
            _ => self.joins.push((fd, flag(kind))),
        }
        Ok(())
    }
}

/// The mount namespace of a process; none where it has ended.
pub(crate) fn mounts_of(pid: i32) -> Option<OwnedFd> {
    rustix::fs::open(format!("/proc/{pid}/ns/mnt"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Makes a user namespace with these mappings and returns it. It lives as long as the descriptor.
///
/// *Privilege*: CAP_SETUID and CAP_SETGID over the ids mapped. *Errors*: the kernel's; nothing is left.
pub fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<OwnedFd> {
    let (release, hold) = {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        (write, read)
    };
    let child = match clone3(clone_flag::NEWUSER, None)? {
        Fork::Child => {
            drop(release);
            // Held open by this process alone until the parent has its own descriptor and lets go.
            let _ = File::from(hold).read(&mut [0]);
            exit_now(0);
        }
        Fork::Parent(child) => child,
    };
    let made = write_maps(child.pid, uids, gids);
    drop(release);
    let waited = rustix::process::waitid(
        rustix::process::WaitId::PidFd(child.pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    );
    let namespace = made?;
    waited?;
    Ok(namespace)
}

/// Makes a network namespace with loopback up, owned by the user namespace `users` or else the caller's. It lives as long as
/// the descriptor.
///
/// *Privilege*: CAP_SYS_ADMIN in the owning user namespace. *Errors*: the kernel's; nothing is left.
pub fn network_namespace(users: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (hold, release) = pipe_with(PipeFlags::CLOEXEC)?;
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let child = match clone3(0, None)? {
        Fork::Child => {
            drop((release, told));
            let made = users
                .map_or(Ok(()), |users| holm_sys::process::setns(users, clone_flag::NEWUSER))
                .and_then(|()| holm_sys::process::unshare(clone_flag::NEWNET))
                .and_then(|()| holm_sys::net::loopback_up());
            let code = made.err().map_or(0, |e| e.raw_os_error().unwrap_or(1));
            let _ = File::from(tell).write_all(&code.to_ne_bytes());
            let _ = File::from(hold).read(&mut [0]);
            exit_now(0);
        }
        Fork::Parent(child) => child,
    };
    drop((hold, tell));
    let mut code = [0; 4];
    let made = File::from(told).read_exact(&mut code).and_then(|()| match i32::from_ne_bytes(code) {
        0 => File::open(format!("/proc/{}/ns/net", child.pid)).map(OwnedFd::from),
        code => Err(io::Error::from_raw_os_error(code)),
    });
    drop(release);
    rustix::process::waitid(
        rustix::process::WaitId::PidFd(child.pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    )?;
    made
}

/// Makes a network namespace with loopback up by entering it and going back; for a process that has the time while another
/// one is busy. It lives as long as the descriptor.
///
/// *Privilege*: CAP_SYS_ADMIN. *Order*: the calling thread needs no network meanwhile. *Errors*: the kernel's; the thread is
/// where it was.
pub fn network_namespace_by_visit() -> io::Result<OwnedFd> {
    let here = || File::open("/proc/thread-self/ns/net").map(OwnedFd::from);
    let own = here()?;
    holm_sys::process::unshare(clone_flag::NEWNET)?;
    let made = holm_sys::net::loopback_up().and_then(|()| here());
    holm_sys::process::setns(own.as_fd(), clone_flag::NEWNET)?;
    made
}

fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<OwnedFd> {
    let lines = |maps: &[IdMapping]| {
        maps.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect::<String>()
    };
    let write = |name: &str, text: String| {
        File::options().write(true).open(format!("/proc/{pid}/{name}"))?.write_all(text.as_bytes())
    };
    write("uid_map", lines(uids))?;
    write("gid_map", lines(gids))?;
    Ok(File::open(format!("/proc/{pid}/ns/user"))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_spec::oci::runtime::Namespace;

    fn linux(kinds: &[NamespaceKind]) -> Linux {
        let namespaces = kinds.iter().map(|&kind| Namespace { kind, path: None }).collect();
        Linux { namespaces, ..Linux::default() }
    }

    #[test]
    fn new_namespaces_become_clone_flags_and_cgroup_waits() {
        use NamespaceKind::*;
        let plan = NamespacePlan::new(&linux(&[Mount, Pid, Uts, Cgroup])).unwrap();
        assert_eq!(plan.new, clone_flag::NEWNS | clone_flag::NEWPID | clone_flag::NEWUTS);
        assert!(plan.new_cgroup);
    }

    #[test]
    fn a_namespace_twice_or_no_mount_namespace_is_refused() {
        use NamespaceKind::*;
        assert!(NamespacePlan::new(&linux(&[Mount, Pid, Pid])).is_err());
        assert!(NamespacePlan::new(&linux(&[Pid])).is_err());
    }

    #[test]
    fn a_visit_makes_a_network_namespace_and_ends_where_it_began() {
        let here = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let before = here();
        let made = network_namespace_by_visit().unwrap();
        assert_eq!(here(), before);
        let made =
            std::fs::read_link(format!("/proc/thread-self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&made))).unwrap();
        assert!(made != before && made.to_string_lossy().starts_with("net:["), "{made:?}");
    }

    #[test]
    fn a_user_namespace_has_its_mapping() {
        let map = [IdMapping { container_id: 0, host_id: 100_000, size: 10 }];
        let fd = user_namespace(&map, &map).unwrap();
        let own = std::fs::metadata("/proc/self/ns/user").unwrap();
        let made = rustix::fs::fstat(&fd).unwrap();
        assert_ne!(made.st_ino, std::os::unix::fs::MetadataExt::ino(&own));
    }
}
