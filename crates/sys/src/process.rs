//! Making and replacing processes: `clone3`, `fork`, `execve`, and what must be done around them.
//!
//! Everything here assumes what Holm promises of every process that forks: it has a single thread.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one.
    Parent(Child),
}

/// A process that was just made.
#[derive(Debug)]
pub struct Child {
    /// Its PID in the caller's PID namespace.
    pub pid: i32,
    /// Descriptor of the process.
    pub pidfd: OwnedFd,
}

/// Namespace and behaviour flags of [`clone3`], the kernel's `CLONE_*` values.
pub mod clone_flag {
    /// Same parent as the caller.
    pub const PARENT: u64 = libc::CLONE_PARENT as u64;
    /// Time namespace. *Source*: linux/sched.h.
    pub const NEWTIME: u64 = 0x80;
    /// Mount namespace.
    pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
    /// Cgroup namespace.
    pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// UTS namespace.
    pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
    /// IPC namespace.
    pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
    /// User namespace.
    pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
    /// PID namespace.
    pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
    /// Network namespace.
    pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks with the namespaces in `flags`, into the v2 control group `cgroup` where one is given.
///
/// *Kernel*: 5.7. *Privilege*: CAP_SYS_ADMIN for most namespaces. *Order*: the caller has a single thread.
/// *Errors*: the kernel's; no process was made.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut pidfd: libc::c_int = -1;
    let with_parent = flags & clone_flag::PARENT != 0;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        // With CLONE_PARENT the kernel takes the caller's own exit signal and refuses any other.
        exit_signal: if with_parent { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` and `pidfd` live over the call; without CLONE_VM the child has a copy of this memory and its own
    // stack, as after fork; with a single thread no lock can be held by a thread that the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => {
            let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidData)?;
            // SAFETY: the kernel stored a descriptor of ours there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent(Child { pid, pidfd }))
        }
    }
}

/// Forks without new namespaces. *Order*: the caller has a single thread.
pub fn fork() -> io::Result<Fork> {
    clone3(0, None)
}

/// Forks by the oldest call there is, for a process under a filter that refuses `clone3`: its PID in the parent, `None` in
/// the child. *Order*: the caller has a single thread.
pub fn fork_under_filter() -> io::Result<Option<i32>> {
    // SAFETY: with a single thread no lock can be held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Ends this process at once: no destructors, no buffers written, no exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any value and does not return.
    unsafe { libc::_exit(code) }
}

/// A list of strings in the form `execve` takes, made before the fork that needs it.
pub struct CStringList {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl CStringList {
    /// Takes the strings. *Errors*: one of them holds a NUL byte.
    pub fn new<S: AsRef<[u8]>>(items: impl IntoIterator<Item = S>) -> Result<Self, std::ffi::NulError> {
        let mut strings = Vec::new();
        for item in items {
            strings.push(CString::new(item.as_ref())?);
        }
        let mut list = Self { strings, pointers: Vec::new() };
        list.point();
        Ok(list)
    }

    /// Adds one string. *Errors*: it holds a NUL byte.
    pub fn push(&mut self, item: &[u8]) -> Result<(), std::ffi::NulError> {
        self.strings.push(CString::new(item)?);
        self.point();
        Ok(())
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    fn point(&mut self) {
        // A CString's bytes stay where they are when the vector of CStrings moves.
        self.pointers = self.strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr()
    }
}

/// Replaces the program. Returns only with the error.
pub fn execve(path: &CStr, args: &CStringList, env: &CStringList) -> io::Error {
    // SAFETY: path and both lists are NUL-terminated and live over the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the program by the one that `fd` refers to. Returns only with the error.
pub fn execve_fd(fd: BorrowedFd<'_>, args: &CStringList, env: &CStringList) -> io::Error {
    // SAFETY: the empty path and both lists are NUL-terminated and live over the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Marks every descriptor from `first` on as closed at exec. *Kernel*: 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: plain numbers; marking descriptors does not invalidate any.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })
}

/// Makes `number` mean what `file` means, in this process and in the program that it executes. What was open there is closed.
///
/// *Order*: nobody in this process owns `number`. *Errors*: the kernel's, EBADF for a negative number.
pub fn dup_to(file: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: two integers, no memory; `number` is nobody's by the contract above.
    if unsafe { libc::dup2(file.as_raw_fd(), number) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor from `first` on.
///
/// *Order*: nobody may still own one of them. Only for a forked child that goes on with descriptors below `first`.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the caller's duty, stated above: no owner of a closed descriptor uses or drops it afterwards; a child that
    // breaks it gets EBADF on its own descriptors and harms no other process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Closes every descriptor but the standard streams and these.
///
/// *Order*: nobody may still own one of those that are closed. Only for a forked child that goes on with `kept` alone.
/// *Kernel*: 5.9.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers.into_iter().filter(|number| *number >= 3) {
        if number > first {
            // SAFETY: the caller's duty, stated above; no descriptor of `kept` lies between `first` and `number`.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) })?;
        }
        first = number + 1;
    }
    close_from(first)
}

/// Gives this process new namespaces. *Privilege*: CAP_SYS_ADMIN for all but user namespaces.
pub fn unshare(flags: u64) -> io::Result<()> {
    // SAFETY: with one thread, and without CLONE_FILES and CLONE_FS, no other code's view of memory or files changes.
    check(unsafe { libc::unshare(flags as libc::c_int) }.into())
}

/// Enters the namespaces in `flags` of the process or namespace that `fd` refers to. *Kernel*: 5.8 for a pidfd.
pub fn setns(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    // SAFETY: a valid descriptor and plain flags.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags as libc::c_int) }.into())
}

/// Makes a new, empty session keyring, so that the caller's keys cannot be reached.
pub fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) })
}

/// Sets I/O class and priority of this process as the kernel packs them. *Source*: ioprio_set(2).
pub fn set_io_priority(packed: i32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, packed) })
}

/// Lets this process run on every CPU that its control group allows.
pub fn reset_cpu_affinity() -> io::Result<()> {
    // 8192 CPUs is the largest NR_CPUS that distributions build with; the kernel ignores bits beyond its own.
    let mask = [u64::MAX; 128];
    // SAFETY: the mask lives over the call and its true size is given.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr()) })
}

/// Sets the supplementary groups of this thread.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and count describe one live slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

/// Sets real, effective and saved group and then user id of this thread.
pub fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// Puts every signal back to its default action and unblocks all, as a new program expects.
///
/// Rust ignores SIGPIPE from the start, and an ignored signal stays ignored over exec.
pub fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP | 32 | 33) {
            continue;
        }
        // SAFETY: SIG_DFL is a valid action; 32 and 33 belong to the C library and are left alone.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    unblock_signals()
}

/// Unblocks all signals.
pub fn unblock_signals() -> io::Result<()> {
    // SAFETY: an all-zero sigset_t is the empty set.
    let empty: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives over the call; a null old set is allowed.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) }.into())
}

/// Blocks all signals, so that they can be waited for with [`wait_signal`].
pub fn block_signals() -> io::Result<()> {
    // SAFETY: an all-zero sigset_t is valid; sigfillset writes it whole.
    let mut full: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives over both calls.
    unsafe { libc::sigfillset(&raw mut full) };
    // SAFETY: as above.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const full, std::ptr::null_mut()) }.into())
}

/// Waits for any blocked signal and takes it.
pub fn wait_signal() -> io::Result<i32> {
    // SAFETY: an all-zero sigset_t is valid; sigfillset writes it whole.
    let mut full: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives over both calls; a null info is allowed.
    unsafe { libc::sigfillset(&raw mut full) };
    // SAFETY: as above.
    match unsafe { libc::sigwaitinfo(&raw const full, std::ptr::null_mut()) } {
        -1 => Err(io::Error::last_os_error()),
        signal => Ok(signal),
    }
}

/// Sends a signal to a process, or a group by a negative number, or, with -1, to all that can be reached.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::kill(pid, signal) }.into())
}

/// Turns a call's -1 into the error it left.
pub(crate) fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
