//! What differs between processor architectures: raw system calls, for the one place where even the C library's wrappers
//! would cost memory, and the processor's clock. One file an architecture, all with the same functions.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{syscall5, ticks};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{syscall5, ticks};
