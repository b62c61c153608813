//! Where things go in the image, and the writing of them: clusters of inodes and a stream of data blocks.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom as Find;

use super::super::BLOCK_BYTES;
use super::super::error::{DiskError, io_error};
use super::inode::INODE_BYTES;

/// Blocks of a cluster of inodes: large enough that the inodes of a folder lie together.
const CLUSTER_BLOCKS: u64 = 64;
/// Bytes of data that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Inodes begin at multiples of this; their number is the multiple. *Source*: fs/erofs/erofs_fs.h, `EROFS_ISLOTBITS`.
const SLOT_BYTES: usize = 32;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// What errors call the image: its name is the caller's.
const OBJECT: &str = "the EROFS image";

/// Where an inode and what belongs to it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Byte of the image at which the inode begins.
    pub offset: u64,
    /// Bytes of content that are kept right behind the inode and its xattrs.
    pub inlined: usize,
    /// The first block of the other content, if there is any.
    pub first_block: Option<u32>,
}

impl Place {
    /// The inode's number, by which folders name it.
    pub fn number(&self) -> u64 {
        self.offset / SLOT_BYTES as u64
    }
}

/// An image that is being written.
pub(super) struct Image<'a> {
    out: &'a File,
    /// The next free block.
    next: u64,
    cluster_start: u64,
    cluster: Vec<u8>,
    cluster_used: usize,
    /// Data that lies right before `next`.
    data: Vec<u8>,
    data_used: usize,
}

pub(super) fn write_at(out: &File, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
    out.write_all_at(bytes, offset).map_err(io_error("write", OBJECT))
}

impl<'a> Image<'a> {
    /// An image that holds nothing yet; the first block is the superblock's.
    pub fn new(out: &'a File) -> Self {
        let (cluster, data) = (Vec::new(), vec![0; BUFFER_BYTES]);
        Self { out, next: 1, cluster_start: 0, cluster, cluster_used: 0, data, data_used: 0 }
    }

    /// Finds the place of an inode with `xattr_bytes` of xattrs. Blocks for the content are not taken yet.
    pub fn place(&mut self, xattr_bytes: usize, size_bytes: u64) -> Result<Place, DiskError> {
        let tail = (size_bytes % BLOCK) as usize;
        let with_tail = INODE_BYTES + xattr_bytes + tail;
        let inlined = if with_tail <= BLOCK_BYTES { tail } else { 0 };
        let bytes = INODE_BYTES + xattr_bytes + inlined;
        // An inode never crosses a block where it need not: older kernels want a link's target beside its inode.
        let mut start = self.cluster_used.next_multiple_of(SLOT_BYTES);
        if start % BLOCK_BYTES + bytes > BLOCK_BYTES {
            start = start.next_multiple_of(BLOCK_BYTES);
        }
        if start + bytes > self.cluster.len() {
            self.begin_cluster(bytes)?;
            start = 0;
        }
        self.cluster_used = start + bytes;
        Ok(Place { offset: self.cluster_start + start as u64, inlined, first_block: None })
    }

    fn begin_cluster(&mut self, needed: usize) -> Result<(), DiskError> {
        self.flush_cluster()?;
        let blocks = CLUSTER_BLOCKS.max(needed.div_ceil(BLOCK_BYTES) as u64);
        self.cluster_start = u64::from(self.take_blocks(blocks)?) * BLOCK;
        self.cluster.clear();
        self.cluster.resize(blocks as usize * BLOCK_BYTES, 0);
        self.cluster_used = 0;
        Ok(())
    }

    fn flush_cluster(&self) -> Result<(), DiskError> {
        write_at(self.out, self.cluster_start, &self.cluster[..self.cluster_used])
    }

    /// Takes blocks that are filled later, or never.
    pub fn take_blocks(&mut self, count: u64) -> Result<u32, DiskError> {
        self.flush_data()?;
        let first = self.next_block()?;
        self.next += count;
        Ok(first)
    }

    /// The block at which the next data begins.
    pub fn next_block(&self) -> Result<u32, DiskError> {
        let reason = "it needs more than 2^32 blocks of 4 KiB";
        u32::try_from(self.next).map_err(|_| DiskError::Unfit { object: ".".to_owned(), reason })
    }

    /// Writes into a place that was taken before: an inode with what follows it, or blocks.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        match offset.checked_sub(self.cluster_start).map(|start| start as usize) {
            Some(start) if start < self.cluster_used => {
                self.cluster[start..start + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            _ => write_at(self.out, offset, bytes),
        }
    }

    fn flush_data(&mut self) -> Result<(), DiskError> {
        let offset = self.next * BLOCK - self.data_used as u64;
        write_at(self.out, offset, &self.data[..self.data_used])?;
        self.data_used = 0;
        Ok(())
    }

    /// Appends bytes as blocks, the last one filled up with zeros.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.copy(&mut &bytes[..], bytes.len() as u64, OBJECT)
    }

    /// Appends exactly `length` bytes of a source as blocks, the last one filled up with zeros.
    pub fn copy(&mut self, source: &mut dyn Read, length: u64, name: &str) -> Result<(), DiskError> {
        let mut left = length;
        while left > 0 {
            if self.data_used == self.data.len() {
                self.flush_data()?;
            }
            let room = self.data.len() - self.data_used;
            let part = usize::try_from(left).unwrap_or(room).min(room);
            let target = &mut self.data[self.data_used..self.data_used + part];
            read_exact(source, target, name)?;
            let padded = part.next_multiple_of(BLOCK_BYTES);
            self.data[self.data_used + part..self.data_used + padded].fill(0);
            self.data_used += padded;
            self.next += (padded / BLOCK_BYTES) as u64;
            left -= part as u64;
        }
        Ok(())
    }

    /// Appends `length` bytes of a file as blocks, leaving out what is a hole there.
    pub fn copy_sparse(&mut self, source: &mut File, length: u64, name: &str) -> Result<(), DiskError> {
        let mut done = 0;
        while done < length {
            let data = match rustix::fs::seek(&*source, Find::Data(done)) {
                Ok(found) => (found - found % BLOCK).clamp(done, length),
                Err(rustix::io::Errno::NXIO) => length,
                Err(e) => return Err(io_error("find the holes of", name)(e)),
            };
            // `done` is the start of a block, so whole blocks are left out, and at the end a part of one.
            self.take_blocks((data - done).div_ceil(BLOCK))?;
            if data == length {
                break;
            }
            let hole = rustix::fs::seek(&*source, Find::Hole(data)).map_err(io_error("find the holes of", name))?;
            let end = hole.max(data + 1).next_multiple_of(BLOCK).min(length);
            source.seek(SeekFrom::Start(data)).map_err(io_error("read", name))?;
            self.copy(source, end - data, name)?;
            done = end;
        }
        source.seek(SeekFrom::Start(length)).map_err(io_error("read", name))?;
        Ok(())
    }

    /// Writes what is left and sets the image's size. Gives its blocks.
    pub fn finish(&mut self) -> Result<u32, DiskError> {
        self.flush_cluster()?;
        self.flush_data()?;
        let blocks = self.next_block()?;
        self.out.set_len(self.next * BLOCK).map_err(io_error("set the size of", OBJECT))?;
        Ok(blocks)
    }
}

/// Reads exactly what is asked for; a file that is shorter than it was is an error.
pub(super) fn read_exact(source: &mut dyn Read, target: &mut [u8], name: &str) -> Result<(), DiskError> {
    source.read_exact(target).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => DiskError::Changing(name.to_owned()),
        _ => io_error("read", name)(e),
    })
}
