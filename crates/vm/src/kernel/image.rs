//! A kernel's file: what it is, its release, and the form in which a hypervisor boots it soonest.

use super::elf::Elf;
use super::{Fault, aarch64, bytes, x86_64};

pub use super::x86_64::BzImage;

/// No kernel is larger unpacked; distributions' have some 50 MiB.
pub const MAX_KERNEL_BYTES: usize = 512 << 20;
const BANNER: &[u8] = b"Linux version ";

/// A recognised file.
#[derive(Clone, Copy, Debug)]
pub enum Image<'a> {
    /// The packed form that distributions install as `vmlinuz`.
    BzImage(BzImage<'a>),
    /// `vmlinux`, with an entry for hypervisors.
    Elf(&'a [u8]),
}

/// What a hypervisor is given.
#[derive(Debug, PartialEq, Eq)]
pub struct Bootable {
    /// The ELF file, or `None` where the file boots only as it is.
    pub vmlinux: Option<Vec<u8>>,
    /// The release, where the kernel says it.
    pub release: Option<String>,
}

impl<'a> Image<'a> {
    /// Recognises a file by its content.
    pub fn recognise(bytes: &'a [u8]) -> Result<Self, Fault> {
        if Elf::is_elf(bytes) {
            check_elf(bytes)?;
            return Ok(Self::Elf(bytes));
        }
        match BzImage::recognise(bytes) {
            Some(image) => Ok(Self::BzImage(image)),
            None if aarch64::is_image(bytes) => Err(Fault::Architecture("aarch64")),
            None => Err(Fault::NotAKernel),
        }
    }

    /// The release that the kernel says it is.
    pub fn release(&self) -> Option<String> {
        match self {
            Self::BzImage(image) => image.release(),
            Self::Elf(bytes) => banner_release(bytes),
        }
    }

    /// Unpacks a bzImage, which costs the host once what it would cost every guest. One that cannot be unpacked here or
    /// entered directly boots as it is.
    pub fn bootable(&self) -> Result<Bootable, Fault> {
        let release = self.release();
        let Self::BzImage(image) = self else { return Ok(Bootable { vmlinux: None, release }) };
        let vmlinux = match image.unpack(MAX_KERNEL_BYTES) {
            Err(Fault::Packing(_)) => return Ok(Bootable { vmlinux: None, release }),
            other => other?,
        };
        match check_elf(&vmlinux) {
            Ok(()) => Ok(Bootable { vmlinux: Some(vmlinux), release }),
            Err(Fault::NoPvh) => Ok(Bootable { vmlinux: None, release }),
            Err(fault) => Err(fault),
        }
    }
}

fn check_elf(file: &[u8]) -> Result<(), Fault> {
    let elf = Elf::parse(file)?;
    match elf.machine() {
        x86_64::ELF_MACHINE if x86_64::has_pvh_entry(&elf) => Ok(()),
        x86_64::ELF_MACHINE => Err(Fault::NoPvh),
        aarch64::ELF_MACHINE => Err(Fault::Architecture("aarch64")),
        _ => Err(Fault::Architecture("another processor")),
    }
}

fn banner_release(file: &[u8]) -> Option<String> {
    let at = bytes::find(file, BANNER, |rest| x86_64::release_at(rest).is_some())?;
    x86_64::release_at(&file[at + BANNER.len()..])
}

#[cfg(test)]
pub(crate) mod tests;
