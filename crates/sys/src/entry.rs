//! The program's entry: what `exe::protect` does, before the C library has started.
//!
//! The C library asks the processor what it can do some seventy times at each start, and in a virtual machine each of
//! these questions goes to the hypervisor: 0.25 ms that a process which is about to execute itself again need not spend.
//! So the entry looks at the arguments as the kernel left them, and goes on to the C library's own entry where none of
//! them is the name of a command that enters containers, where the program runs from a read-only mount, and after any
//! failure. It decides nothing: `protect` in `main` does what is left to do, and says what is wrong.
//!
//! Linked in by `tools/rustc.sh`, for `holm` on x86-64 alone. *Order*: nothing here may call the C library or `core`
//! functions that compare or copy memory: what they jump through is not set up yet.

use core::mem::MaybeUninit;
use core::ptr::read_volatile;

use crate::arch::syscall5;
use crate::mount::{MountAttr, attr};

// The kernel enters with the arguments on the stack, which is aligned to 16 bytes, and 0 in `rdx` for a static program.
core::arch::global_asm!(
    ".globl holm_entry",
    ".type holm_entry, @function",
    "holm_entry:",
    "xor ebp, ebp",
    "mov rbx, rdx",
    "mov rdi, rsp",
    "call {early}",
    "mov rdx, rbx",
    "jmp _start",
    ".size holm_entry, . - holm_entry",
    early = sym early,
);

/// Names of commands that enter containers. One too many costs an exec of the same file, one too few nothing: `main` looks
/// again.
const COMMANDS: [&[u8]; 4] = [b"run\0", b"exec\0", b"start\0", b"restart\0"];
const AT_EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
/// `ST_RDONLY` in `f_flags`, which is the eleventh word of `struct statfs`. *Source*: asm/statfs.h, linux/statfs.h.
const FLAGS_WORD: usize = 10;

/// # Safety
///
/// `stack` is the stack as the kernel hands it to a new program: the number of arguments, the arguments, a null, the
/// environment, a null.
unsafe extern "C" fn early(stack: *const usize) {
    // SAFETY: the caller's duty.
    let (count, arguments) = unsafe { (read_volatile(stack), stack.add(1)) };
    // SAFETY: so many arguments and a null lie there.
    if unsafe { names_command(count, arguments) } {
        // SAFETY: as above; behind that null lies the environment.
        unsafe { execute_protected(arguments, arguments.add(count + 1)) };
    }
}

/// # Safety
///
/// `arguments` are `count` pointers to strings.
unsafe fn names_command(count: usize, arguments: *const usize) -> bool {
    let mut at = 1;
    while at < count {
        // SAFETY: within the arguments.
        let text = unsafe { read_volatile(arguments.add(at)) } as *const u8;
        let mut command = 0;
        while command < COMMANDS.len() {
            let name = COMMANDS[command];
            let mut same = 0;
            // SAFETY: no byte behind one that differs is read, and the names end with the NUL that ends the string.
            while same < name.len() && unsafe { read_volatile(text.add(same)) } == name[same] {
                same += 1;
            }
            if same == name.len() {
                return true;
            }
            command += 1;
        }
        at += 1;
    }
    false
}

/// Executes the running file from a detached read-only clone of its mount; comes back if that is not needed or not possible.
///
/// # Safety
///
/// Both are lists as `execve` takes them.
unsafe fn execute_protected(arguments: *const usize, environment: *const usize) {
    let path = c"/proc/self/exe".as_ptr() as usize;
    // SAFETY: a NUL-terminated path; the descriptor is ours, and `close` below gives it back.
    let exe = unsafe { syscall5(libc::SYS_open as usize, path, (libc::O_PATH | libc::O_CLOEXEC) as usize, 0, 0, 0) };
    let Ok(exe) = usize::try_from(exe) else { return };
    // SAFETY: a descriptor of ours and the caller's lists.
    unsafe { execute_clone(exe, arguments, environment) };
    // SAFETY: nobody else has this descriptor.
    unsafe { syscall5(libc::SYS_close as usize, exe, 0, 0, 0, 0) };
}

/// # Safety
///
/// `exe` is an open descriptor; both lists are as `execve` takes them.
unsafe fn execute_clone(exe: usize, arguments: *const usize, environment: *const usize) {
    let mut status = MaybeUninit::<[usize; 15]>::uninit();
    // SAFETY: the record lives over the call and has the kernel's size of 120 bytes.
    let found = unsafe { syscall5(libc::SYS_fstatfs as usize, exe, status.as_mut_ptr() as usize, 0, 0, 0) };
    if found != 0 {
        return;
    }
    // SAFETY: within the record, which the kernel has filled.
    let flags = unsafe { read_volatile(status.as_ptr().cast::<usize>().add(FLAGS_WORD)) };
    if flags & libc::ST_RDONLY as usize != 0 {
        return;
    }
    let empty = c"".as_ptr() as usize;
    let how = libc::OPEN_TREE_CLONE as usize | libc::OPEN_TREE_CLOEXEC as usize | AT_EMPTY_PATH;
    // SAFETY: a descriptor of ours and an empty path.
    let clone = unsafe { syscall5(libc::SYS_open_tree as usize, exe, empty, how, 0, 0) };
    let Ok(clone) = usize::try_from(clone) else { return };
    let change = MountAttr { set: attr::RDONLY, clear: 0, propagation: 0, userns_fd: 0 };
    let (at, size) = (&raw const change as usize, size_of::<MountAttr>());
    // SAFETY: the change lives over the call and its true size is given.
    if unsafe { syscall5(libc::SYS_mount_setattr as usize, clone, empty, AT_EMPTY_PATH, at, size) } == 0 {
        let (arguments, environment) = (arguments as usize, environment as usize);
        // SAFETY: both lists are the kernel's own, NUL-terminated strings behind null-terminated pointers.
        unsafe { syscall5(libc::SYS_execveat as usize, clone, empty, arguments, environment, AT_EMPTY_PATH) };
    }
    // SAFETY: nobody else has this descriptor.
    unsafe { syscall5(libc::SYS_close as usize, clone, 0, 0, 0, 0) };
}
