//! The records of an ext4, byte for byte: superblock, descriptors, inodes, folder blocks, the journal's superblock.
//!
//! *Source*: Documentation/filesystems/ext4 in the kernel's tree, fs/ext4/ext4.h.

use super::super::BLOCK_BYTES;
use super::super::bytes::{PutAt, high16, high32, low16, low32};
use super::super::crc32c;
use super::super::error::DiskError;
use super::super::identity;
use super::geometry::{BLOCKS_PER_GROUP, GROUPS_PER_FLEX, Geometry, LOST_AND_FOUND_BLOCKS};

pub(super) const DESCRIPTOR_BYTES: usize = 64;
pub(super) const INODE_BYTES: usize = 256;
const SUPERBLOCK_BYTES: usize = 1024;

/// The root folder's inode.
pub(super) const ROOT: u32 = 2;
/// The journal's inode.
pub(super) const JOURNAL: u32 = 8;
/// The first inode that is not reserved, given to `lost+found` by custom.
pub(super) const LOST_AND_FOUND: u32 = 11;
/// Inodes in use at the start: the reserved ones and `lost+found`.
pub(super) const FIRST_INODES: u32 = LOST_AND_FOUND;

/// has_journal.
const COMPAT_JOURNAL: u32 = 0x4;
/// ext_attr, dir_index, sparse_super2.
const COMPAT: u32 = 0x8 | 0x20 | 0x200;
/// filetype, extents, 64bit, flex_bg.
const INCOMPAT: u32 = 0x2 | 0x40 | 0x80 | 0x200;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum.
const RO_COMPAT: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;

/// The inode's blocks are an extent tree.
const FLAG_EXTENTS: u32 = 0x8_0000;
const EXTENT_MAGIC: u16 = 0xf30a;
/// Bytes of an inode beyond the classic 128 that are in use.
const EXTRA_BYTES: u16 = 32;

const GROUP_INODES_UNINITIALISED: u16 = 0x1;
const GROUP_BLOCKS_UNINITIALISED: u16 = 0x2;
const GROUP_TABLE_ZEROED: u16 = 0x4;

/// What tells one ext4 from another, and the seed of its checksums.
pub(super) struct Identity {
    uuid: [u8; 16],
    hash_seed: [u8; 16],
    label: Vec<u8>,
    created_seconds: u64,
    pub seed: u32,
}

impl Identity {
    pub fn new(created_seconds: u64, label: &str) -> Result<Self, DiskError> {
        let (uuid, hash_seed) = (identity::uuid()?, identity::random()?);
        let seed = crc32c::update(crc32c::START, &uuid);
        Ok(Self { uuid, hash_seed, label: label.as_bytes().to_vec(), created_seconds, seed })
    }

    pub fn superblock(&self, geometry: &Geometry, group: u32) -> [u8; SUPERBLOCK_BYTES] {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        let sb = &mut bytes[..];
        self.superblock_counts(geometry, group, sb);
        sb.put16(0x36, 0xffff); // never checked for the number of mounts
        sb.put16(0x38, 0xef53);
        sb.put16(0x3a, 1); // clean
        sb.put16(0x3c, 1); // on errors: go on
        sb.put32(0x4c, 1); // revision with features
        sb.put32(0x54, LOST_AND_FOUND);
        sb.put16(0x58, INODE_BYTES as u16);
        sb.put32(0x5c, if geometry.journal_blocks > 0 { COMPAT | COMPAT_JOURNAL } else { COMPAT });
        sb.put32(0x60, INCOMPAT);
        sb.put32(0x64, RO_COMPAT);
        sb.put(0x68, &self.uuid);
        sb.put(0x78, &self.label);
        sb.put(0xec, &self.hash_seed);
        sb.put(0xfc, &[1]); // half MD4
        sb.put16(0xfe, DESCRIPTOR_BYTES as u16);
        sb.put32(0x100, 0xc); // user xattrs and ACLs
        for (low, high) in [(0x30, 0x274), (0x40, 0x277), (0x108, 0x276)] {
            // Written, checked, made.
            sb.put32(low, low32(self.created_seconds));
            sb.put(high, &[high32(self.created_seconds) as u8]);
        }
        if geometry.journal_blocks > 0 {
            sb.put32(0xe0, JOURNAL);
            sb.put(0xfd, &[1]); // a copy of the journal's blocks follows
            let inode = self.journal_inode(geometry.journal(), geometry.journal_blocks);
            sb.put(0x10c, &inode[0x28..0x64]);
            sb.put(0x10c + 60, &inode[0x6c..0x70]);
            sb.put(0x10c + 64, &inode[0x04..0x08]);
        }
        sb.put16(0x15c, EXTRA_BYTES);
        sb.put16(0x15e, EXTRA_BYTES);
        sb.put32(0x160, 1); // names are hashed as signed characters
        sb.put(0x174, &[GROUPS_PER_FLEX.ilog2() as u8, 1]); // and: checksums are CRC-32C
        sb.put32(0x24c, if geometry.groups > 1 { 1 } else { 0 }); // group of the backup
        let checksum = crc32c::update(crc32c::START, &sb[..0x3fc]);
        sb.put32(0x3fc, checksum);
        bytes
    }

    fn superblock_counts(&self, geometry: &Geometry, group: u32, sb: &mut [u8]) {
        let inodes = geometry.inodes_per_group * geometry.groups;
        let free = geometry.free_blocks();
        sb.put32(0x00, inodes);
        sb.put32(0x04, low32(geometry.blocks));
        sb.put32(0x150, high32(geometry.blocks));
        sb.put32(0x0c, low32(free));
        sb.put32(0x158, high32(free));
        sb.put32(0x10, inodes - FIRST_INODES);
        sb.put32(0x18, 2); // blocks of 1024 << 2
        sb.put32(0x1c, 2);
        sb.put32(0x20, BLOCKS_PER_GROUP);
        sb.put32(0x24, BLOCKS_PER_GROUP);
        sb.put32(0x28, geometry.inodes_per_group);
        sb.put16(0x5a, low16(group));
    }

    /// Puts the checksum on a descriptor.
    pub fn seal_descriptor(&self, group: u32, slot: &mut [u8]) {
        slot.put16(0x1e, 0);
        let checksum = crc32c::update(crc32c::update(self.seed, &group.to_le_bytes()), slot);
        slot.put16(0x1e, low16(checksum));
    }

    /// The seed of an inode and of what belongs to it. Generations are 0.
    fn inode_seed(&self, number: u32) -> u32 {
        crc32c::update(crc32c::update(self.seed, &number.to_le_bytes()), &[0; 4])
    }

    fn inode(&self, number: u32, mode: u16, links: u16, first: u64, blocks: u16) -> [u8; INODE_BYTES] {
        let mut bytes = [0; INODE_BYTES];
        let inode = &mut bytes[..];
        inode.put16(0x00, mode);
        inode.put32(0x04, u32::from(blocks) * BLOCK_BYTES as u32);
        inode.put16(0x1a, links);
        inode.put32(0x1c, u32::from(blocks) * (BLOCK_BYTES as u32 / 512));
        inode.put32(0x20, FLAG_EXTENTS);
        inode.put16(0x28, EXTENT_MAGIC);
        inode.put16(0x2a, 1);
        inode.put16(0x2c, 4);
        inode.put16(0x38, blocks);
        inode.put16(0x3a, low16(high32(first)));
        inode.put32(0x3c, low32(first));
        inode.put16(0x80, EXTRA_BYTES);
        for (low, high) in [(0x08, 0x8c), (0x0c, 0x84), (0x10, 0x88), (0x90, 0x94)] {
            // Accessed, changed, modified, made: seconds, then their bits 32 and 33 below the nanoseconds.
            inode.put32(low, low32(self.created_seconds));
            inode.put32(high, self.epoch());
        }
        let checksum = crc32c::update(self.inode_seed(number), inode);
        inode.put16(0x7c, low16(checksum));
        inode.put16(0x82, high16(checksum));
        bytes
    }

    /// How often the seconds went around their 32 bits, which count as signed.
    fn epoch(&self) -> u32 {
        (self.created_seconds.wrapping_add(1 << 31) >> 32) as u32 & 3
    }

    pub fn folder_inode(&self, number: u32, mode: u16, links: u16, first: u64, blocks: u16) -> [u8; INODE_BYTES] {
        self.inode(number, 0o040_000 | mode, links, first, blocks)
    }

    pub fn journal_inode(&self, first: u64, blocks: u32) -> [u8; INODE_BYTES] {
        self.inode(JOURNAL, 0o100_600, 1, first, blocks as u16)
    }

    /// A block of a folder: its first one with `.`, `..` (the parent) and perhaps `lost+found`, or an empty one.
    pub fn folder_block(&self, number: u32, first: Option<(u32, Option<u32>)>) -> [u8; BLOCK_BYTES] {
        const TAIL: usize = 12;
        let mut block = [0; BLOCK_BYTES];
        let mut entries: Vec<(u32, &[u8])> = Vec::new();
        if let Some((parent, child)) = first {
            entries.extend([(number, &b"."[..]), (parent, b"..")]);
            entries.extend(child.map(|child| (child, &b"lost+found"[..])));
        } else {
            entries.push((0, b""));
        }
        let mut offset = 0;
        for (index, (inode, name)) in entries.iter().enumerate() {
            let last = index + 1 == entries.len();
            let length = if last { BLOCK_BYTES - TAIL - offset } else { (8 + name.len()).next_multiple_of(4) };
            block.put32(offset, *inode);
            block.put16(offset + 4, length as u16);
            block.put(offset + 6, &[name.len() as u8, if *inode == 0 { 0 } else { 2 }]);
            block.put(offset + 8, name);
            offset += length;
        }
        let checksum = crc32c::update(self.inode_seed(number), &block[..BLOCK_BYTES - TAIL]);
        block.put16(BLOCK_BYTES - TAIL + 4, TAIL as u16);
        block.put(BLOCK_BYTES - TAIL + 7, &[0xde]);
        block.put32(BLOCK_BYTES - 4, checksum);
        block
    }
}

/// Fills a group's descriptor, without its checksums.
pub(super) fn describe(geometry: &Geometry, group: u32, slot: &mut [u8]) {
    let first = group == 0;
    let used_inodes = if first { FIRST_INODES } else { 0 };
    let mut flags = GROUP_TABLE_ZEROED;
    if !first {
        flags |= GROUP_INODES_UNINITIALISED;
    }
    if !geometry.bitmap_is_written(group) {
        flags |= GROUP_BLOCKS_UNINITIALISED;
    }
    let places = [geometry.block_bitmap(group), geometry.inode_bitmap(group), geometry.inode_table(group)];
    for (index, place) in places.into_iter().enumerate() {
        slot.put32(index * 4, low32(place));
        slot.put32(0x20 + index * 4, high32(place));
    }
    let free_inodes = geometry.inodes_per_group - used_inodes;
    slot.put16(0x0c, low16(geometry.blocks_in(group) - geometry.used_blocks(group)));
    slot.put16(0x0e, low16(free_inodes));
    slot.put16(0x10, if first { 2 } else { 0 }); // folders
    slot.put16(0x12, flags);
    slot.put16(0x1c, low16(free_inodes)); // all behind the used ones were never used
}

/// The superblock of an empty journal. Its numbers are big-endian. *Source*: linux/jbd2.h, `journal_superblock_t`.
pub(super) fn journal_superblock(blocks: u32) -> [u8; BLOCK_BYTES] {
    let mut bytes = [0; BLOCK_BYTES];
    // Magic, kind (superblock, version 2), sequence; then block size, blocks, first block of the log, first sequence.
    let words = [0xc03b_3998, 4, 0, BLOCK_BYTES as u32, blocks, 1, 1];
    for (index, word) in words.into_iter().enumerate() {
        bytes.put(index * 4, &u32::to_be_bytes(word));
    }
    bytes.put(0x40, &1_u32.to_be_bytes()); // users
    bytes
}

const _: () = assert!(LOST_AND_FOUND_BLOCKS > 0 && FIRST_INODES as usize * INODE_BYTES <= BLOCK_BYTES);
