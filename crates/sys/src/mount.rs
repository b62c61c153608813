//! Mount calls that `rustix` lacks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::process::check;

/// Attributes of a mount, the kernel's `MOUNT_ATTR_*` values. *Source*: linux/mount.h.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id and file capabilities do not count.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be run.
    pub const NOEXEC: u64 = 0x8;
    /// Mask of the access-time field.
    pub const ATIME_MASK: u64 = 0x70;
    /// Access times are updated sparingly.
    pub const RELATIME: u64 = 0;
    /// Access times are not updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of folders are not updated.
    pub const NODIRATIME: u64 = 0x80;
    /// Ids are mapped by a user namespace.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// A change of mount attributes. *Source*: mount_setattr(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set, of [`attr`].
    pub set: u64,
    /// Attributes to clear, of [`attr`].
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` or 0.
    pub propagation: u64,
    /// User namespace descriptor for `IDMAP`.
    pub userns_fd: u64,
}

/// Changes the mount that `fd` is the root of, with everything below it if `recursive`. *Kernel*: 5.12.
/// *Privilege*: CAP_SYS_ADMIN in the owner of the mount namespace.
pub fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, change: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the empty path is NUL-terminated; `change` lives over the call and its true size is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(change),
            size_of::<MountAttr>(),
        )
    })
}
