//! The terminal of a process: made in the container's own devpts, its master side handed out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::device;
use crate::error::{Doing, StartError};
use crate::rootfs::open_in_root;

/// Both sides of a new terminal.
pub(crate) struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// Makes a terminal in the container. The slave side comes from the master by the kernel, never by a path that could
/// have been swapped (CVE-2025-52565).
pub(crate) fn open(root: BorrowedFd<'_>, size: Option<(u16, u16)>) -> Result<Terminal, StartError> {
    let what = || "make a terminal in the container's /dev/pts".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let master = open_in_root(root, Path::new("dev/pts/ptmx"), flags).doing(what)?;
    let stat = rustix::fs::fstatfs(&master).doing(what)?;
    // *Source*: linux/magic.h, DEVPTS_SUPER_MAGIC.
    if stat.f_type != 0x1cd1 {
        return Err(StartError::refused(what() + ": that is no devpts"));
    }
    rustix::pty::unlockpt(&master).doing(what)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .doing(what)?;
    if let Some((rows, columns)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, size).doing(what)?;
    }
    Ok(Terminal { master, slave })
}

/// Shows the terminal as `/dev/console`.
pub(crate) fn attach_console(dev: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> Result<(), StartError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(slave, "", flags).doing(|| "clone the terminal".into())?;
    device::attach_file(dev, "console", tree.as_fd())
}

/// Starts a session of its own and makes the terminal its controlling one, and the standard descriptors.
pub(crate) fn take(slave: BorrowedFd<'_>, uid: u32) -> Result<(), StartError> {
    rustix::process::ioctl_tiocsctty(slave).doing(|| "take the terminal".into())?;
    match rustix::fs::fchown(slave, Some(rustix::fs::Uid::from_raw(uid)), None) {
        Ok(()) | Err(Errno::ROFS | Errno::INVAL | Errno::PERM) => {}
        Err(e) => return Err(StartError::setup("make over the terminal", e)),
    }
    crate::process::set_stdio(slave, slave, slave).doing(|| "use the terminal".into())
}
