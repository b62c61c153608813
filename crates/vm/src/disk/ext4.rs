//! An empty ext4 on a sparse file.
//!
//! ```text
//! group 0              superblock, descriptors, bitmaps and inode tables of groups 0-15, root, lost+found, journal
//! group 1              backup of superblock and descriptors (the only one)
//! group 16, 32, ...    bitmaps and inode tables of 16 groups each
//! ```
//!
//! In every group what is used is one run of blocks at its start, so that a bitmap is a number. Only what is not zero is
//! written: 100 KiB for 10 GiB. Bitmaps of untouched groups are marked as not initialised; inode tables are marked as
//! zeroed, which the holes of the file are, or the kernel would write all of them behind the user's back.

mod geometry;
mod record;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::BLOCK_BYTES;
use super::bytes::{PutAt, high16, low16};
use super::crc32c;
use super::error::{DiskError, io_error};
use super::identity::now_seconds;
use geometry::Geometry;
pub use geometry::{MAX_BYTES, MIN_BYTES};
use record::{DESCRIPTOR_BYTES, INODE_BYTES, Identity};

/// Most bytes of a label. *Source*: linux/fs/ext4/ext4.h, `EXT4_LABEL_MAX`.
const MAX_LABEL_BYTES: usize = 16;

/// What an ext4 is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Its label, of at most 16 bytes.
    pub label: &'a str,
    /// With a journal. Without one writing is quicker, and what a crash of the machine leaves must be checked before use.
    pub journal: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { label: "", journal: true }
    }
}

/// Makes a file an empty ext4 of `bytes`. What it held is gone. Every tail shorter than a useful group stays unused.
///
/// Nothing is synced. *Errors*: [`DiskError::Size`] outside [`MIN_BYTES`] to [`MAX_BYTES`]; the file is then untouched.
/// *Kernel*: readable and writable since 3.18 (`metadata_csum` with `sparse_super2`).
pub fn format(file: &File, bytes: u64, options: Options<'_>) -> Result<(), DiskError> {
    if options.label.len() > MAX_LABEL_BYTES {
        return Err(DiskError::Label { label: options.label.to_owned(), max_bytes: MAX_LABEL_BYTES });
    }
    let geometry = Geometry::of(bytes, options.journal)?;
    let resized = file.set_len(0).and_then(|()| file.set_len(bytes));
    resized.map_err(io_error("set the size of", OBJECT))?;
    Writer { file, geometry: &geometry, identity: Identity::new(now_seconds(), options.label)? }.write()
}

/// What errors call the file: its name is the caller's.
const OBJECT: &str = "the ext4 disk";

struct Writer<'a> {
    file: &'a File,
    geometry: &'a Geometry,
    identity: Identity,
}

impl Writer<'_> {
    fn write(&self) -> Result<(), DiskError> {
        let bitmaps = self.bitmaps()?;
        self.inodes_and_folders()?;
        self.journal()?;
        self.superblocks(&bitmaps)
    }

    fn at(&self, block: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, block * BLOCK_BYTES as u64).map_err(io_error("write", OBJECT))
    }

    /// Writes the block bitmaps that are initialised and the one inode bitmap. Gives the checksums of the block bitmaps.
    fn bitmaps(&self) -> Result<Vec<u32>, DiskError> {
        let mut checksums = Vec::with_capacity(self.geometry.groups as usize);
        for group in 0..self.geometry.groups {
            if !self.geometry.bitmap_is_written(group) {
                checksums.push(0);
                continue;
            }
            let mut bitmap = [0; BLOCK_BYTES];
            set_bits(&mut bitmap, 0, self.geometry.used_blocks(group));
            set_bits(&mut bitmap, self.geometry.blocks_in(group), self.geometry.bits_of_bitmap());
            self.at(self.geometry.block_bitmap(group), &bitmap)?;
            checksums.push(crc32c::update(self.identity.seed, &bitmap));
        }
        self.at(self.geometry.inode_bitmap(0), &self.inode_bitmap())?;
        Ok(checksums)
    }

    fn inode_bitmap(&self) -> [u8; BLOCK_BYTES] {
        let mut bitmap = [0; BLOCK_BYTES];
        set_bits(&mut bitmap, 0, record::FIRST_INODES);
        set_bits(&mut bitmap, self.geometry.inodes_per_group, self.geometry.bits_of_bitmap());
        bitmap
    }

    /// The first block of inodes holds all that are in use.
    fn inodes_and_folders(&self) -> Result<(), DiskError> {
        let geometry = self.geometry;
        let mut block = [0; BLOCK_BYTES];
        let mut put = |number: u32, inode: [u8; INODE_BYTES]| {
            block.put((number as usize - 1) * INODE_BYTES, &inode);
        };
        let found = geometry.lost_and_found();
        put(record::ROOT, self.identity.folder_inode(record::ROOT, 0o755, 3, geometry.root_folder(), 1));
        put(
            record::LOST_AND_FOUND,
            self.identity.folder_inode(record::LOST_AND_FOUND, 0o700, 2, found, found_blocks()),
        );
        if geometry.journal_blocks > 0 {
            put(record::JOURNAL, self.identity.journal_inode(geometry.journal(), geometry.journal_blocks));
        }
        self.at(geometry.inode_table(0), &block)?;

        let folders = [
            self.identity.folder_block(record::ROOT, Some((record::ROOT, Some(record::LOST_AND_FOUND)))),
            self.identity.folder_block(record::LOST_AND_FOUND, Some((record::ROOT, None))),
        ];
        let empty = self.identity.folder_block(record::LOST_AND_FOUND, None);
        let mut bytes = folders.concat();
        for _ in 1..found_blocks() {
            bytes.extend_from_slice(&empty);
        }
        self.at(geometry.root_folder(), &bytes)
    }

    fn journal(&self) -> Result<(), DiskError> {
        if self.geometry.journal_blocks == 0 {
            return Ok(());
        }
        self.at(self.geometry.journal(), &record::journal_superblock(self.geometry.journal_blocks))
    }

    /// Superblock and descriptors, and their backup.
    fn superblocks(&self, bitmaps: &[u32]) -> Result<(), DiskError> {
        let descriptors = self.descriptors(bitmaps);
        for group in self.geometry.groups_with_superblock() {
            let mut bytes = vec![0; BLOCK_BYTES];
            // The first block of the disk leaves room for a boot sector.
            let offset = if group == 0 { 1024 } else { 0 };
            bytes.put(offset, &self.identity.superblock(self.geometry, group));
            bytes.extend_from_slice(&descriptors);
            self.at(self.geometry.first_block(group), &bytes)?;
        }
        Ok(())
    }

    fn descriptors(&self, bitmaps: &[u32]) -> Vec<u8> {
        let inode_bitmap = self.inode_bitmap();
        let inode_bits = &inode_bitmap[..self.geometry.inodes_per_group as usize / 8];
        let first_inodes = crc32c::update(self.identity.seed, inode_bits);
        let mut bytes = vec![0; self.geometry.groups as usize * DESCRIPTOR_BYTES];
        for (group, slot) in (0..).zip(bytes.chunks_exact_mut(DESCRIPTOR_BYTES)) {
            let inodes = if group == 0 { first_inodes } else { 0 };
            record::describe(self.geometry, group, slot);
            let blocks = bitmaps[group as usize];
            slot.put16(0x18, low16(blocks));
            slot.put16(0x38, high16(blocks));
            slot.put16(0x1a, low16(inodes));
            slot.put16(0x3a, high16(inodes));
            self.identity.seal_descriptor(group, slot);
        }
        bytes
    }
}

/// `lost+found` is made large enough to be of use on a full disk, as mke2fs does.
fn found_blocks() -> u16 {
    geometry::LOST_AND_FOUND_BLOCKS as u16
}

/// Sets the bits `from..to`.
fn set_bits(bitmap: &mut [u8], from: u32, to: u32) {
    for (index, byte) in (0_u32..).zip(bitmap.iter_mut()) {
        let (start, end) = (from.max(index * 8), to.min(index * 8 + 8));
        for bit in start..end {
            *byte |= 1 << (bit % 8);
        }
    }
}
