//! Raw system calls and the clock of x86-64.

/// Makes a system call with five arguments; the kernel's own result, negative for an error.
///
/// # Safety
///
/// The number and arguments must be ones with which the call is sound.
#[inline(always)]
pub(crate) unsafe fn syscall5(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the caller's duty for the call itself; the clobbered registers are those that the kernel clobbers.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number.cast_signed() => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// The time-stamp counter.
pub(crate) fn ticks() -> Option<u64> {
    // SAFETY: every x86-64 processor has the instruction, and Linux lets programs use it unless they give it up by prctl.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}
