//! Where things lie on an ext4: pure arithmetic, no bytes.

use super::super::BLOCK_BYTES;
use super::super::error::DiskError;
use super::record::{DESCRIPTOR_BYTES, INODE_BYTES};

/// The smallest ext4 that is made, in bytes: below it mke2fs makes no journal.
pub const MIN_BYTES: u64 = 8 << 20;
/// The largest ext4 that is made, in bytes: 16 TiB. Beyond it the descriptors would crowd the journal out of the first group.
pub const MAX_BYTES: u64 = 16 << 40;

/// Blocks of a group: what one block of bitmap covers.
pub(super) const BLOCKS_PER_GROUP: u32 = BLOCK_BYTES as u32 * 8;
/// Groups whose bitmaps and inode tables lie together.
pub(super) const GROUPS_PER_FLEX: u32 = 16;
/// Blocks of `lost+found`.
pub(super) const LOST_AND_FOUND_BLOCKS: u32 = 4;

/// Bytes of disk for each inode, as mke2fs reckons.
const BYTES_PER_INODE: u32 = 16384;
/// A last group with less than this beside its own records is not made.
const LEAST_USEFUL_BLOCKS: u32 = 50;
const INODES_PER_BLOCK: u32 = (BLOCK_BYTES / INODE_BYTES) as u32;

/// The layout of one ext4.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Geometry {
    pub blocks: u64,
    pub groups: u32,
    pub inodes_per_group: u32,
    pub descriptor_blocks: u32,
    /// 0 without a journal.
    pub journal_blocks: u32,
}

impl Geometry {
    /// Plans an ext4 of at most `bytes`.
    pub fn of(bytes: u64, journal: bool) -> Result<Self, DiskError> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes) {
            return Err(DiskError::Size { bytes, min_bytes: MIN_BYTES, max_bytes: MAX_BYTES });
        }
        let blocks = bytes / BLOCK_BYTES as u64;
        let mut geometry = Self::with_blocks(blocks, journal);
        let last = geometry.groups - 1;
        if last > 0 && geometry.blocks_in(last) < geometry.used_blocks(last) + LEAST_USEFUL_BLOCKS {
            geometry = Self::with_blocks(u64::from(last) * u64::from(BLOCKS_PER_GROUP), journal);
        }
        Ok(geometry)
    }

    fn with_blocks(blocks: u64, journal: bool) -> Self {
        // At most 16 TiB: 131072 groups.
        let groups = blocks.div_ceil(u64::from(BLOCKS_PER_GROUP)) as u32;
        let blocks_of_group = blocks.min(u64::from(BLOCKS_PER_GROUP)) as u32;
        let inodes = blocks_of_group / (BYTES_PER_INODE / BLOCK_BYTES as u32);
        let descriptor_blocks = (groups as usize * DESCRIPTOR_BYTES).div_ceil(BLOCK_BYTES) as u32;
        Self {
            blocks,
            groups,
            inodes_per_group: inodes.next_multiple_of(INODES_PER_BLOCK),
            descriptor_blocks,
            journal_blocks: if journal { journal_blocks(blocks) } else { 0 },
        }
    }

    /// How many bits a block of bitmap has.
    pub fn bits_of_bitmap(&self) -> u32 {
        BLOCKS_PER_GROUP
    }

    pub fn first_block(&self, group: u32) -> u64 {
        u64::from(group) * u64::from(BLOCKS_PER_GROUP)
    }

    /// Only the last group may be shorter than the others.
    pub fn blocks_in(&self, group: u32) -> u32 {
        (self.blocks - self.first_block(group)).min(u64::from(BLOCKS_PER_GROUP)) as u32
    }

    /// The groups with a superblock and descriptors: the first, and the second as its backup.
    pub fn groups_with_superblock(&self) -> std::ops::Range<u32> {
        0..self.groups.min(2)
    }

    fn table_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    fn superblock_blocks(&self, group: u32) -> u32 {
        if self.groups_with_superblock().contains(&group) { 1 + self.descriptor_blocks } else { 0 }
    }

    /// The first group of the run that a group belongs to, and how many groups the run has.
    fn flex(&self, group: u32) -> (u32, u32) {
        let first = group - group % GROUPS_PER_FLEX;
        (first, (self.groups - first).min(GROUPS_PER_FLEX))
    }

    fn flex_start(&self, group: u32) -> u64 {
        let (first, _) = self.flex(group);
        self.first_block(first) + u64::from(self.superblock_blocks(first))
    }

    pub fn block_bitmap(&self, group: u32) -> u64 {
        self.flex_start(group) + u64::from(group - self.flex(group).0)
    }

    pub fn inode_bitmap(&self, group: u32) -> u64 {
        let (_, count) = self.flex(group);
        self.block_bitmap(group) + u64::from(count)
    }

    pub fn inode_table(&self, group: u32) -> u64 {
        let (first, count) = self.flex(group);
        self.flex_start(group) + u64::from(2 * count + (group - first) * self.table_blocks())
    }

    pub fn root_folder(&self) -> u64 {
        u64::from(self.record_blocks(0))
    }

    pub fn lost_and_found(&self) -> u64 {
        self.root_folder() + 1
    }

    pub fn journal(&self) -> u64 {
        self.lost_and_found() + u64::from(LOST_AND_FOUND_BLOCKS)
    }

    /// Blocks of the file system's own records in a group.
    fn record_blocks(&self, group: u32) -> u32 {
        let (first, count) = self.flex(group);
        let shared = if group == first { count * (2 + self.table_blocks()) } else { 0 };
        self.superblock_blocks(group) + shared
    }

    /// Blocks in use: the first ones of the group.
    pub fn used_blocks(&self, group: u32) -> u32 {
        let content = if group == 0 { 1 + LOST_AND_FOUND_BLOCKS + self.journal_blocks } else { 0 };
        self.record_blocks(group) + content
    }

    /// Whether a group's bitmap is on disk, or is what any reader works out for a group that holds nothing of others.
    pub fn bitmap_is_written(&self, group: u32) -> bool {
        group.is_multiple_of(GROUPS_PER_FLEX) || group == self.groups - 1
    }

    pub fn free_blocks(&self) -> u64 {
        (0..self.groups).map(|group| u64::from(self.blocks_in(group) - self.used_blocks(group))).sum()
    }
}

/// Blocks of the journal: mke2fs' rule, but never more than 64 MiB, which fits the first group.
fn journal_blocks(blocks: u64) -> u32 {
    const GIB: u64 = (1 << 30) / BLOCK_BYTES as u64;
    match blocks {
        0..32768 => 1024,
        _ if blocks < GIB => 4096,
        _ if blocks < 2 * GIB => 8192,
        _ => 16384,
    }
}
