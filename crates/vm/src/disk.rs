//! The disks of a virtual machine: made, kept and recognised without any other program.
//!
//! Owns the bytes of disk images: an empty ext4, an EROFS of a folder tree, a seed disk for cloud-init, and the header of an
//! image that a user brings. Mounts nothing, starts no machine, and knows no store of images.

mod bytes;
pub mod cache;
pub mod copy;
mod crc32c;
pub mod erofs;
mod error;
pub mod ext4;
mod identity;
pub mod image;
pub mod seed;

pub use error::DiskError;

/// Size of a block of both file systems that are written here, in bytes.
const BLOCK_BYTES: usize = 4096;
