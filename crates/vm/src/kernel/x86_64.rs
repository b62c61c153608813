//! Kernels for x86-64: the setup header of a bzImage, and the PVH entry of its ELF file.
//!
//! *Source*: kernel documentation, arch/x86/boot.rst; xen/interface/elfnote.h.

use super::bytes::{stretch, u16_at, u32_at};
use super::elf::Elf;
use super::{Fault, compression};

/// `e_machine` of ELF files for it.
pub(super) const ELF_MACHINE: u16 = 62;

const SETUP_SECTS: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const KERNEL_VERSION: usize = 0x20e;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR_BYTES: u64 = 512;
/// The first protocol whose header says where the packed kernel is.
const PROTOCOL_WITH_PAYLOAD: u16 = 0x208;
/// `XEN_ELFNOTE_PHYS32_ENTRY`: where a hypervisor enters the kernel without a boot loader.
const PVH_NOTE: u32 = 18;
/// No release is longer; the kernel's own limit is 64.
const MAX_RELEASE_BYTES: usize = 128;

/// A bzImage's setup header.
#[derive(Clone, Copy, Debug)]
pub struct BzImage<'a> {
    bytes: &'a [u8],
}

impl<'a> BzImage<'a> {
    /// Reads the header, where the file has one.
    pub(super) fn recognise(bytes: &'a [u8]) -> Option<Self> {
        let is_one = u16_at(bytes, BOOT_FLAG) == Some(0xaa55) && stretch(bytes, MAGIC as u64, 4) == Some(b"HdrS");
        is_one.then_some(Self { bytes })
    }

    /// The release that the header names.
    pub fn release(&self) -> Option<String> {
        let pointer = usize::from(u16_at(self.bytes, KERNEL_VERSION)?);
        let text = self.bytes.get(pointer.checked_add(0x200)?..)?;
        release_at(text)
    }

    /// The packed kernel: in older headers nowhere, then the file boots only as it is.
    pub fn payload(&self) -> Result<&'a [u8], Fault> {
        let header = |offset| u32_at(self.bytes, offset).ok_or(Fault::Damaged("the file ends in its setup header"));
        if u16_at(self.bytes, PROTOCOL).is_none_or(|version| version < PROTOCOL_WITH_PAYLOAD) {
            return Err(Fault::Packing("an unknown method, by a boot protocol before 2.08"));
        }
        let sectors = match self.bytes[SETUP_SECTS] {
            0 => 4,
            sectors => u64::from(sectors),
        };
        let start = (sectors + 1) * SECTOR_BYTES + u64::from(header(PAYLOAD_OFFSET)?);
        stretch(self.bytes, start, header(PAYLOAD_LENGTH)?.into()).ok_or(Fault::Damaged("the file ends in its payload"))
    }

    /// The kernel as an ELF file, unpacked. *Errors*: [`Fault::Packing`] where the file still boots as it is.
    pub fn unpack(&self, limit_bytes: usize) -> Result<Vec<u8>, Fault> {
        let payload = self.payload()?;
        let packing = compression::Packing::recognise(payload).ok_or(Fault::Packing("an unknown method"))?;
        packing.unpack(payload, limit_bytes)
    }
}

/// Whether a hypervisor can enter the kernel of this ELF file.
pub(super) fn has_pvh_entry(elf: &Elf<'_>) -> bool {
    elf.notes().any(|note| note.name == b"Xen" && note.kind == PVH_NOTE)
}

/// The first word, if it reads like a release.
pub(super) fn release_at(text: &[u8]) -> Option<String> {
    let end = text.iter().take(MAX_RELEASE_BYTES).position(|b| matches!(b, b' ' | 0))?;
    let word = std::str::from_utf8(&text[..end]).ok()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-+~".contains(c);
    (word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(fits)).then(|| word.to_owned())
}
