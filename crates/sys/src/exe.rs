//! Keeps the host's own program file out of reach of what runs in containers.
//!
//! A process that enters a container is seen there through `/proc/PID/exe`, and an image can name `/proc/self/exe` as its
//! interpreter; whoever opens that link for writing would change the program that the host runs next as root
//! (CVE-2019-5736). So the process that enters is executed from a detached, read-only clone of the mount: it has no
//! path, is in no mount namespace, cannot be remounted, and costs one more exec of the same file and no copy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::mount::{MountAttr, attr, mount_setattr};
use crate::process::{CStringList, execve_fd};

/// Makes sure that this process runs from a read-only mount, by executing itself again if need be.
///
/// *Kernel*: 5.12. *Privilege*: CAP_SYS_ADMIN. *Order*: first thing in `main`, before any thread or state.
/// *Errors*: what kept it from being protected; the caller must not enter a container then.
pub fn protect() -> io::Result<()> {
    let exe = rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if is_read_only(exe.as_fd())? {
        return rename_self();
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = rustix::mount::open_tree(&exe, c"", flags)?;
    mount_setattr(clone.as_fd(), false, &MountAttr { set: attr::RDONLY, ..MountAttr::default() })?;
    let args = CStringList::new(std::env::args_os().map(std::os::unix::ffi::OsStringExt::into_vec))?;
    let env = CStringList::new(std::env::vars_os().map(|(key, value)| {
        let mut pair = std::os::unix::ffi::OsStringExt::into_vec(key);
        pair.push(b'=');
        pair.extend_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(value.as_os_str()));
        pair
    }))?;
    Err(execve_fd(clone.as_fd(), &args, &env))
}

/// Whether the file that runs can be written through the link to it.
pub fn is_protected() -> io::Result<bool> {
    let exe = rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    is_read_only(exe.as_fd())
}

fn is_read_only(exe: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatvfs(exe)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// A program executed by descriptor is named after the descriptor's number; gives it its name back.
fn rename_self() -> io::Result<()> {
    rustix::thread::set_name(c"holm")?;
    Ok(())
}
