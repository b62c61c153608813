//! Raw system calls of arm64; nothing here needs its clock.

/// Makes a system call with five arguments; the kernel's own result, negative for an error.
///
/// # Safety
///
/// The number and arguments must be ones with which the call is sound.
#[inline(always)]
pub(crate) unsafe fn syscall5(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the caller's duty for the call itself; the kernel keeps all registers but x0.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a.cast_signed() => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            options(nostack),
        );
    }
    result
}

/// There is a counter, but nothing asks for it here.
pub(crate) fn ticks() -> Option<u64> {
    None
}
