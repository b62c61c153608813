//! The content of a folder: names sorted by their bytes, `.` and `..` among them, in blocks that stand alone.
//!
//! ```text
//! { inode u64, name's offset u16, kind u8, 0 }*  names without terminators  zeros to the end of the block
//! ```

use super::super::BLOCK_BYTES;
use super::super::bytes::PutAt;

const ENTRY_BYTES: usize = 12;

/// An entry of a folder.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: Vec<u8>,
    /// The kind's number.
    pub kind: u8,
    /// The inode's number.
    pub inode: u64,
}

/// Which entries stand in one block: index of the first and of the one behind the last. *Order*: they are sorted.
fn blocks(entries: &[Entry]) -> impl Iterator<Item = (&[Entry], usize)> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let length = ENTRY_BYTES + entry.name.len();
            let fits = bytes + length <= BLOCK_BYTES;
            bytes += if fits { length } else { 0 };
            fits
        };
        let count = rest.iter().take_while(fits).count();
        let (block, behind) = rest.split_at(count);
        rest = behind;
        (count > 0).then_some((block, bytes))
    })
}

/// Sorts the entries. The order decides what lies where, so nothing may be added later.
pub(super) fn sort(entries: &mut [Entry]) {
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
}

/// The size of the folder's content in bytes.
pub(super) fn size_bytes(entries: &[Entry]) -> u64 {
    let mut size = 0_u64;
    for (_, bytes) in blocks(entries) {
        size = size.next_multiple_of(BLOCK_BYTES as u64) + bytes as u64;
    }
    size
}

/// The folder's content, of [`size_bytes`].
pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut content: Vec<u8> = Vec::new();
    for (block, bytes) in blocks(entries) {
        let start = content.len().next_multiple_of(BLOCK_BYTES);
        content.resize(start + bytes, 0);
        let target = &mut content[start..];
        let mut name_offset = block.len() * ENTRY_BYTES;
        for (index, entry) in block.iter().enumerate() {
            let offset = index * ENTRY_BYTES;
            target.put64(offset, entry.inode);
            target.put16(offset + 8, name_offset as u16);
            target.put(offset + 10, &[entry.kind]);
            target.put(name_offset, &entry.name);
            name_offset += entry.name.len();
        }
    }
    content
}
