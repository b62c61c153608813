//! `seccomp(2)`: loading a filter into the calling thread. Filters come ready; compiling them is `container`'s.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One classic BPF instruction, laid out as the kernel reads it (`struct sock_filter`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Instructions to skip where a condition holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

/// Apply to every thread of the process.
pub const FLAG_TSYNC: u32 = 1;
/// Log everything but allowed calls, as far as the host's settings let it.
pub const FLAG_LOG: u32 = 2;
/// No speculative store bypass mitigation because of this filter.
pub const FLAG_SPEC_ALLOW: u32 = 4;
/// Return a listener descriptor for user notification.
pub const FLAG_NEW_LISTENER: u32 = 8;
/// With `TSYNC`, fail with `ESRCH` instead of a thread id, so that it can go with `NEW_LISTENER`.
pub const FLAG_TSYNC_ESRCH: u32 = 16;
/// A notified call waits killably only. *Kernel*: 5.19.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 32;

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;

#[repr(C)]
struct SockFprog {
    len: u16,
    filter: *const SockFilter,
}

/// Loads a filter. Returns the listener where `flags` has [`FLAG_NEW_LISTENER`] (close-on-exec).
///
/// *Privilege*: CAP_SYS_ADMIN in the user namespace, or `no_new_privs` set before. *Order*: last before exec;
/// afterwards the caller is itself under the filter. Makes one system call and allocates nothing.
pub fn load(filter: &[SockFilter], flags: u32) -> io::Result<Option<OwnedFd>> {
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let flags = if flags & (FLAG_TSYNC | FLAG_NEW_LISTENER) == FLAG_TSYNC | FLAG_NEW_LISTENER {
        flags | FLAG_TSYNC_ESRCH
    } else {
        flags
    };
    let program = SockFprog { len, filter: filter.as_ptr() };
    // SAFETY: `program` and the `len` instructions that it points to live over the call; the kernel copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & FLAG_NEW_LISTENER != 0 {
        // SAFETY: with this flag the result is a new descriptor that nobody else holds.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(result as i32) }));
    }
    if result > 0 {
        // With TSYNC alone, a positive result is the id of a thread that could not be synchronised.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(None)
}
