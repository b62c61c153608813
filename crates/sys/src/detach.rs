//! A process that stays behind: made without copying the caller's page tables twice, and nobody's child to wait for.
//!
//! Owns the two-step fork. What the process does is the caller's.

use std::io;

use crate::process::check;

/// Stack of the new process; only touched pages cost memory.
const STACK_BYTES: usize = 1 << 20;

struct Job<'a> {
    run: &'a mut dyn FnMut() -> i32,
    pid: libc::pid_t,
    errno: i32,
}

/// Runs between caller and new process, in the caller's memory, while the caller is suspended.
extern "C" fn step(job: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn_detached` passes a `Job` that lives until this process has ended, and is suspended meanwhile.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    // SAFETY: the C library's fork keeps its own locks usable in the child, whatever other threads held.
    match unsafe { libc::fork() } {
        -1 => job.errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN),
        0 => {
            // SAFETY: no arguments; fails only for a group leader, which a new process is not.
            unsafe { libc::setsid() };
            let code = (job.run)();
            // SAFETY: ends the process; it must never return into the caller's frames.
            unsafe { libc::_exit(code) };
        }
        pid => job.pid = pid,
    }
    0
}

/// Runs `run` in a new process with a session of its own, which is no child of the caller: whoever adopts orphans reaps
/// it. All signals are blocked in it. Returns its PID.
///
/// *Order*: memory is copied as by `fork`: threads of the caller are not in it. *Errors*: the kernel's; no process was made.
pub fn spawn_detached(run: &mut dyn FnMut() -> i32) -> io::Result<i32> {
    let stack = map_stack()?;
    let mut job = Job { run, pid: -1, errno: 0 };
    let old = block_all()?;
    // SAFETY: the stack is ours and large enough, its top is aligned to a page; with CLONE_VFORK this thread is suspended
    // until the intermediate process has ended, so `job` and the stack are used by one of them at a time; CLONE_VM
    // without CLONE_SETTLS is safe because signals are blocked and the process only forks.
    let step_pid = unsafe {
        let top = stack.cast::<u8>().add(STACK_BYTES).cast();
        libc::clone(step, top, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, (&raw mut job).cast())
    };
    let cloned = if step_pid == -1 { Err(io::Error::last_os_error()) } else { Ok(()) };
    if cloned.is_ok() {
        // SAFETY: a null status is allowed. The intermediate process has ended; this only takes it off the list.
        while unsafe { libc::waitpid(step_pid, std::ptr::null_mut(), libc::__WALL) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
    // SAFETY: `old` is the mask that was in force; the stack is no longer used in this process.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut());
        libc::munmap(stack, STACK_BYTES);
    }
    cloned?;
    match job.errno {
        0 => Ok(job.pid),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn map_stack() -> io::Result<*mut libc::c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping at no given address.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), STACK_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
}

fn block_all() -> io::Result<libc::sigset_t> {
    // SAFETY: all-zero sets are valid, sigfillset writes one whole, and both live over the call.
    unsafe {
        let (mut full, mut old): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut full);
        match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const full, &raw mut old) {
            0 => Ok(old),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// A descriptor that is readable while a child has ended and was not waited for. SIGCHLD must be blocked.
pub fn child_signal_fd() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: an all-zero set is valid and lives over the calls; -1 asks for a new descriptor.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    check(fd.into())?;
    // SAFETY: a descriptor that the kernel just made for us.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// Takes one signal off a signal descriptor; `None` when there is none.
pub fn take_signal(fd: std::os::fd::BorrowedFd<'_>) -> Option<i32> {
    use std::os::fd::AsRawFd;
    // SAFETY: an all-zero record is valid.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the record lives over the call and its true size is given.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size) };
    (usize::try_from(read) == Ok(size)).then_some(info.ssi_signo.cast_signed())
}

/// Waits for any child, of any kind, without blocking: PID and raw status.
pub fn reap_any() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the status lives over the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    (pid > 0).then_some((pid, status))
}

/// The exit code of a raw wait status as shells give it: 128 + n for a signal.
pub fn exit_code(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Gives freed heap pages back to the kernel. Returns whether there were any.
pub fn trim_heap() -> bool {
    // SAFETY: plain number; the C library locks its own state.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Keeps the standard descriptors and `fds`, closes every other one, and gives `fds` back as they are numbered now. The
/// standard descriptors become `/dev/null`.
///
/// *Order*: for a process that was just forked and goes on with these descriptors only: values of the old process that
/// own others must not be dropped or used any more.
pub fn keep_only(fds: Vec<std::os::fd::OwnedFd>) -> io::Result<Vec<std::os::fd::OwnedFd>> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    let count = libc::c_int::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut high = Vec::with_capacity(fds.len());
    for fd in &fds {
        // Above all final numbers, so that no step overwrites one that is still needed.
        // SAFETY: a plain duplication to a number that is free.
        let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 16 + count) };
        check(copy.into())?;
        high.push(copy);
    }
    fds.into_iter().for_each(std::mem::forget);
    // SAFETY: the path is NUL-terminated; the numbers 0 to 2 are replaced, never closed.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        check(null.into())?;
        for standard in 0..3 {
            check(libc::dup2(null, standard).into())?;
        }
    }
    let mut kept = Vec::with_capacity(high.len());
    for (target, from) in (3..).zip(&high) {
        // SAFETY: whatever had the number belongs to the old process's values, which are not used any more, as the
        // caller promises; the new descriptor has one owner.
        unsafe {
            check(libc::dup3(*from, target, libc::O_CLOEXEC).into())?;
            kept.push(OwnedFd::from_raw_fd(target));
        }
    }
    crate::process::close_from(u32::try_from(3 + count).map_err(|_| io::ErrorKind::InvalidInput)?)?;
    Ok(kept)
}
