//! Taps: links whose other end is a descriptor, over which frames go to a virtual machine.
//!
//! Owns the making; what the link is joined to is the caller's. *Source*: Documentation/networking/tuntap.rst,
//! linux/if_tun.h.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::process::check;

/// The device of all taps.
pub const DEVICE: &str = "/dev/net/tun";

/// Longest name of a link, bytes. *Source*: linux/if.h, `IFNAMSIZ` without the end.
const NAME_MAX: usize = 15;
/// *Source*: linux/if_tun.h: `_IOW('T', 202, int)`; the same on every architecture that Holm runs on.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// Frames with their Ethernet header, and nothing before it but a virtio-net header. A link of that name is an error.
const FLAGS: u16 = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_TUN_EXCL: u16 = 0x8000;

/// Makes a tap, down and with a random hardware address, in the network namespace of this thread. It goes when the last
/// copy of its descriptor is closed, however its owner ends. Every frame has a virtio-net header (10 bytes) before it.
///
/// No work of segments or checksums is left to the other end until that asks for it (`TUNSETOFFLOAD`, and
/// `TUNSETVNETHDRSZ` for a longer header), which takes the descriptor and no privilege.
///
/// *Privilege*: CAP_NET_ADMIN over the network namespace. *Errors*: `EBUSY` where there is a link of that name; `ENOENT`,
/// `ENODEV` or `ENXIO` where the kernel has no taps; `InvalidInput` for a name that no link can have.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    // The kernel would put a number in the place of `%d`.
    if name.is_empty() || name.len() > NAME_MAX || name.bytes().any(|b| matches!(b, 0 | b'%' | b'/')) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let fd = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = FLAGS.cast_signed();
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives over the call and is not looked at by anybody else.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF as _, &raw mut request) }.into())?;
    Ok(fd)
}
