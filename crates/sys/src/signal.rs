//! Signals as bytes to read: a process that waits on several things at once learns of its signals in the same place.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::process::check;

/// Signals that are blocked and arrive by descriptor instead.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks these signals in the calling thread and gives them by descriptor. They stay blocked when it is dropped.
    ///
    /// *Order*: in a process with one thread; others would still be interrupted.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: an all-zero sigset_t is a valid value, and sigemptyset makes it the empty set.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a sigset_t of this function.
        unsafe { libc::sigemptyset(&raw mut set) };
        for signal in signals {
            // SAFETY: as above; a number that is no signal is refused.
            if unsafe { libc::sigaddset(&raw mut set, *signal) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: both sets are valid for the call; the old one is not asked for.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: -1 asks for a new descriptor; `set` is valid for the call.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made `fd` and nothing else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next signal that came; `None` where there is none.
    pub fn take(&self) -> Option<i32> {
        // SAFETY: an all-zero signalfd_siginfo is a valid value.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` is `size` bytes long and outlives the call.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        (usize::try_from(read) == Ok(size)).then(|| i32::try_from(info.ssi_signo).unwrap_or(0))
    }
}

/// Has the kernel send SIGIO to this process when something changes on a device that tells so (`O_ASYNC`), or no more.
///
/// *Order*: SIGIO must be blocked, as by [`SignalFd::new`]: it ends a process that does not expect it.
pub fn tell_changes(device: BorrowedFd<'_>, tell: bool) -> io::Result<()> {
    let fd = device.as_raw_fd();
    // SAFETY: plain numbers on a valid descriptor.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    check(flags.into())?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETOWN, libc::getpid()) }.into())?;
    let flags = if tell { flags | libc::O_ASYNC } else { flags & !libc::O_ASYNC };
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }.into())
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
