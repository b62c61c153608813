//! What kind of disk image a user's file is, without trusting it.
//!
//! Reads the header alone, at most 64 KiB. A qcow2 that names another file (a backing file or an external data file) is
//! refused: the hypervisor would open that file on the host. *Source*: docs/interop/qcow2.txt in QEMU's tree.
//!
//! A raw disk is whatever nothing else claims, and its guest may later write a header of another kind to it. So the format
//! found here must be recorded and given to the hypervisor by name, every time; it must never guess.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::error::{DiskError, io_error};

/// A format that machines can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes and nothing else.
    Raw,
    /// QEMU's own, version 2 or 3.
    Qcow2,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskImage {
    /// How it is to be read.
    pub format: Format,
    /// Size of the disk as the guest sees it.
    pub size_bytes: u64,
}

/// Why a file cannot be a machine's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It has no content.
    #[error("it is empty")]
    Empty,
    /// A format that is not supported.
    #[error("it is {0}: convert it to qcow2 or raw")]
    Format(&'static str),
    /// Something is packed.
    #[error("it is packed by {0}: unpack it")]
    Packed(&'static str),
    /// A qcow2 on top of another image.
    #[error("it has a backing file, which would be opened on the host: flatten it")]
    BackingFile,
    /// A qcow2 with its data elsewhere.
    #[error("it keeps its data in another file, which would be opened on the host: flatten it")]
    DataFile,
    /// A qcow2 that needs a secret.
    #[error("it is encrypted")]
    Encrypted,
    /// A qcow2 marked as damaged.
    #[error("it is marked as damaged: repair it")]
    Damaged,
    /// A version of qcow2 that is not known.
    #[error("it is a qcow2 of version {0}: 2 and 3 are known")]
    Version(u32),
    /// Features of qcow2 that are not known, without which it must not be read.
    #[error("it needs unknown features of qcow2 ({0:#x})")]
    Features(u64),
    /// A header that contradicts itself.
    #[error("its qcow2 header is malformed: {0}")]
    Malformed(&'static str),
}

/// Bytes of the start of a file that are looked at. Headers end in their first few hundred.
const HEAD_BYTES: usize = 65536;

/// Finds out what a file or block device is.
///
/// *Errors*: [`DiskError::Image`] for what no machine should be given, and why.
pub fn inspect(file: &mut File) -> Result<DiskImage, DiskError> {
    let object = "the disk image";
    let size_bytes = file.seek(SeekFrom::End(0)).map_err(io_error("measure", object))?;
    let mut head = vec![0; usize::try_from(size_bytes).unwrap_or(HEAD_BYTES).min(HEAD_BYTES)];
    file.read_exact_at(&mut head, 0).map_err(io_error("read", object))?;
    Ok(parse(&head, size_bytes)?)
}

/// Finds out what a file of `size_bytes` is that starts with `head`.
pub fn parse(head: &[u8], size_bytes: u64) -> Result<DiskImage, ImageError> {
    if size_bytes == 0 || head.is_empty() {
        return Err(ImageError::Empty);
    }
    if head.starts_with(b"QFI\xfb") {
        return qcow2(head);
    }
    for (offset, magic, refusal) in OTHERS {
        if head.get(offset..).is_some_and(|rest| rest.starts_with(magic)) {
            return Err(refusal);
        }
    }
    Ok(DiskImage { format: Format::Raw, size_bytes })
}

/// Formats that are told from raw disks only to refuse them: where, what, and as what.
const OTHERS: [(usize, &[u8], ImageError); 11] = [
    (0, b"KDMV", ImageError::Format("a VMDK")),
    (0, b"COWD", ImageError::Format("a VMDK")),
    (0, b"# Disk DescriptorFile", ImageError::Format("a VMDK")),
    (0, b"vhdxfile", ImageError::Format("a VHDX")),
    (0, b"conectix", ImageError::Format("a VHD")),
    (0, b"QED\0", ImageError::Format("a QED")),
    (0x40, &[0x7f, 0x10, 0xda, 0xbe], ImageError::Format("a VDI")),
    (0, &[0x1f, 0x8b, 8], ImageError::Packed("gzip")),
    (0, b"\xfd7zXZ\0", ImageError::Packed("xz")),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], ImageError::Packed("zstd")),
    (0, b"BZh", ImageError::Packed("bzip2")),
];

/// Bits of `incompatible_features`.
mod feature {
    pub const DIRTY: u64 = 1;
    pub const CORRUPT: u64 = 1 << 1;
    pub const DATA_FILE: u64 = 1 << 2;
    pub const COMPRESSION_TYPE: u64 = 1 << 3;
    pub const EXTENDED_L2: u64 = 1 << 4;
    pub const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2;
}

fn qcow2(head: &[u8]) -> Result<DiskImage, ImageError> {
    let version = number32(head, 4)?;
    if !matches!(version, 2 | 3) {
        return Err(ImageError::Version(version));
    }
    if number64(head, 8)? != 0 || number32(head, 16)? != 0 {
        return Err(ImageError::BackingFile);
    }
    let cluster_bits = number32(head, 20)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err(ImageError::Malformed("clusters of an impossible size"));
    }
    let size_bytes = number64(head, 24)?;
    if size_bytes == 0 || i64::try_from(size_bytes).is_err() {
        return Err(ImageError::Malformed("a disk of an impossible size"));
    }
    if number32(head, 32)? != 0 {
        return Err(ImageError::Encrypted);
    }
    let mut header_bytes = 72;
    if version == 3 {
        let features = number64(head, 72)?;
        if features & feature::DATA_FILE != 0 {
            return Err(ImageError::DataFile);
        }
        if features & feature::CORRUPT != 0 {
            return Err(ImageError::Damaged);
        }
        if features & !feature::KNOWN != 0 {
            return Err(ImageError::Features(features & !feature::KNOWN));
        }
        header_bytes = number32(head, 100)?;
        if header_bytes < 104 || header_bytes % 8 != 0 || header_bytes > 1 << cluster_bits {
            return Err(ImageError::Malformed("a header of an impossible length"));
        }
    }
    let end = head.len().min(1 << cluster_bits);
    check_extensions(&head[..end], header_bytes as usize)?;
    Ok(DiskImage { format: Format::Qcow2, size_bytes })
}

/// Extensions follow the header: kind, length, data filled up to 8 bytes, until one of kind 0.
fn check_extensions(head: &[u8], mut offset: usize) -> Result<(), ImageError> {
    const BACKING_FORMAT: u32 = 0xe279_2aca;
    const DATA_FILE_NAME: u32 = 0x4441_5441;
    const CRYPTO_HEADER: u32 = 0x0537_be77;
    loop {
        let (kind, length) = (number32(head, offset)?, number32(head, offset + 4)?);
        match kind {
            0 => return Ok(()),
            BACKING_FORMAT => return Err(ImageError::BackingFile),
            DATA_FILE_NAME => return Err(ImageError::DataFile),
            CRYPTO_HEADER => return Err(ImageError::Encrypted),
            _ => {}
        }
        let next = (length as usize).checked_next_multiple_of(8).and_then(|bytes| offset.checked_add(8 + bytes));
        offset = next.ok_or(ImageError::Malformed("an extension of an impossible length"))?;
    }
}

fn number32(bytes: &[u8], offset: usize) -> Result<u32, ImageError> {
    let four = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    four.map(|four| u32::from_be_bytes(*four)).ok_or(ImageError::Malformed("it ends early"))
}

fn number64(bytes: &[u8], offset: usize) -> Result<u64, ImageError> {
    let eight = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    eight.map(|eight| u64::from_be_bytes(*eight)).ok_or(ImageError::Malformed("it ends early"))
}
