//! The kernel's random pool: giving it bytes that others chose well. *Source*: random(4), linux/random.h.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::process::check;

/// Most bytes that are given at once.
const MAX_BYTES: usize = 512;
/// `RNDADDENTROPY`, `RNDRESEEDCRNG`.
const ADD_ENTROPY: u64 = 0x4008_5203;
const RESEED: u64 = 0x5207;

#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    size_bytes: libc::c_int,
    bytes: [u8; MAX_BYTES],
}

/// Mixes bytes into the pool of `urandom` (`/dev/urandom`), counts every bit of them as random, and has the generator take
/// them up at once.
///
/// *Privilege*: CAP_SYS_ADMIN. *Kernel*: 4.14. *Errors*: `InvalidInput` for more than 512 bytes.
pub fn seed(urandom: BorrowedFd<'_>, entropy: &[u8]) -> io::Result<()> {
    let mut info = PoolInfo { entropy_bits: 0, size_bytes: 0, bytes: [0; MAX_BYTES] };
    info.bytes.get_mut(..entropy.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(entropy);
    info.size_bytes = libc::c_int::try_from(entropy.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    info.entropy_bits = info.size_bytes * 8;
    // SAFETY: the kernel reads two ints and `size_bytes` bytes behind them, all within `info`, which lives over the call.
    check(unsafe { libc::ioctl(urandom.as_raw_fd(), ADD_ENTROPY as _, &raw const info) }.into())?;
    // SAFETY: this one takes no argument.
    check(unsafe { libc::ioctl(urandom.as_raw_fd(), RESEED as _, 0) }.into())
}
