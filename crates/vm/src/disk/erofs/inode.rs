//! An inode in its extended form, which holds every owner, size and time.

use rustix::fs::{FileType, Stat};

use super::super::bytes::{PutAt, low32};
use super::image::Place;
use super::xattr;

/// Bytes of an inode without xattrs and content.
pub(super) const INODE_BYTES: usize = 64;

/// Where the count of names lies in an inode.
pub(super) const LINKS_OFFSET: u64 = 44;

/// An extended inode, in bit 0 of the format.
const EXTENDED: u16 = 1;
/// Content in blocks alone, and content that ends behind the inode: bits 1 to 3.
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2 << 1;
/// The value where no block is meant.
const NO_BLOCK: u32 = !0;

/// What an inode says beside where its content is.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub stat: Stat,
    /// The xattrs as they stand behind the inode.
    pub xattrs: Vec<u8>,
}

/// What folders say about the kind of an entry. *Source*: fs/erofs/erofs_fs.h, `EROFS_FT_*` (those of linux/fs_types.h).
pub(super) fn kind_number(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => 1,
        FileType::Directory => 2,
        FileType::CharacterDevice => 3,
        FileType::BlockDevice => 4,
        FileType::Fifo => 5,
        FileType::Socket => 6,
        FileType::Symlink => 7,
        FileType::Unknown => 0,
    }
}

/// The bytes of an inode and its xattrs; inlined content follows them.
pub(super) fn encode(of: &Attributes, links: u32, size_bytes: u64, place: &Place, serial: u32) -> Vec<u8> {
    let stat = &of.stat;
    let mut bytes = vec![0; INODE_BYTES];
    let inode = &mut bytes[..];
    inode.put16(0, EXTENDED | if place.inlined > 0 { FLAT_INLINE } else { FLAT_PLAIN });
    inode.put16(2, xattr::count_field(&of.xattrs));
    inode.put16(4, (stat.st_mode & 0xffff) as u16);
    inode.put64(8, size_bytes);
    let union = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => device_number(stat.st_rdev),
        FileType::Fifo | FileType::Socket => 0,
        _ => place.first_block.unwrap_or(NO_BLOCK),
    };
    inode.put32(16, union);
    inode.put32(20, serial);
    inode.put32(24, stat.st_uid);
    inode.put32(28, stat.st_gid);
    inode.put(32, &stat.st_mtime.to_le_bytes());
    inode.put32(40, low32(stat.st_mtime_nsec));
    inode.put32(LINKS_OFFSET as usize, links);
    bytes.extend_from_slice(&of.xattrs);
    bytes
}

/// *Source*: linux/kdev_t.h, `new_encode_dev`.
fn device_number(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
