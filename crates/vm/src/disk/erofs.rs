//! A read-only EROFS of a folder tree, uncompressed, readable since Linux 5.15.
//!
//! The tree is read once and the image is written once, front to back:
//!
//! ```text
//! block 0      superblock
//! block 1      first cluster of inodes (the root's first), then data, the next cluster, data, ...
//! ```
//!
//! Inodes may lie anywhere at a multiple of 32 bytes, so their clusters lie among the data: no size must be known in
//! advance. A folder's inode and blocks get their place when it is entered, for its size depends on names alone, and their
//! content when it is left, for only then it is known where its entries are. What a file has beyond its last full block is
//! kept behind its inode where both fit one block. Memory holds one buffer, one cluster, and the names of the folders that
//! are being walked.
//!
//! Holes stay holes of the image's own file. Xattrs named `trusted.overlay.*` are left out: nothing in a tree may direct the
//! overlay that is put on the image. *Source*: Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h.

mod folder;
mod image;
mod inode;
#[cfg(test)]
mod tests;
mod tree;
mod xattr;

use std::fs::File;
use std::os::fd::BorrowedFd;

use super::bytes::{PutAt, low32};
use super::error::DiskError;
use super::identity::{now_seconds, uuid};
use super::{BLOCK_BYTES, crc32c};

/// Most bytes of a label. *Source*: fs/erofs/erofs_fs.h, `volume_name`, with its terminator.
const MAX_LABEL_BYTES: usize = 15;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Inodes: folders, files, links, devices; names of one inode count once.
    pub inodes: u64,
    /// Size of the image in bytes, holes included.
    pub image_bytes: u64,
}

/// Writes the tree below `root` to `out`, which must be empty, as an EROFS labelled `label`.
///
/// Names, owners, modes, modification times, xattrs, ACLs, devices and hard links are kept; links are never followed and
/// nothing outside `root` is opened. *Errors*: what cannot be read or does not fit; then `out` holds no file system. Nothing
/// is synced. *Order*: nothing may write to the tree meanwhile. *Privilege*: what reading all of the tree takes.
pub fn write(root: BorrowedFd<'_>, out: &File, label: &str) -> Result<Summary, DiskError> {
    if label.len() > MAX_LABEL_BYTES {
        return Err(DiskError::Label { label: label.to_owned(), max_bytes: MAX_LABEL_BYTES });
    }
    let mut image = image::Image::new(out);
    let walked = tree::write(root, &mut image)?;
    let blocks = image.finish()?;
    let summary = Summary { inodes: walked.inodes, image_bytes: u64::from(blocks) * BLOCK_BYTES as u64 };
    // Last of all: without it there is no file system.
    image::write_at(out, 0, &superblock(label, &walked, blocks)?)?;
    Ok(summary)
}

/// What the superblock says about the tree.
#[derive(Clone, Copy, Debug)]
struct Walked {
    inodes: u64,
    root: u64,
}

fn superblock(label: &str, walked: &Walked, blocks: u32) -> Result<[u8; BLOCK_BYTES], DiskError> {
    const OFFSET: usize = 1024;
    let mut block = [0; BLOCK_BYTES];
    let sb = &mut block[OFFSET..];
    sb.put32(0, 0xe0f5_e1e2);
    sb.put32(8, 0x1 | 0x2); // this block has a checksum; inodes have modification times
    sb.put(12, &[BLOCK_BYTES.ilog2() as u8]);
    // The root's inode is the first: its number is small.
    sb.put16(14, low32(walked.root) as u16);
    sb.put64(16, walked.inodes);
    sb.put64(24, now_seconds());
    sb.put32(36, blocks);
    sb.put(48, &uuid()?);
    sb.put(64, label.as_bytes());
    let checksum = crc32c::update(crc32c::START, sb);
    sb.put32(4, checksum);
    Ok(block)
}
