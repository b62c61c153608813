//! Little-endian numbers at offsets that may lie outside: `None` then.

use std::ops::Range;

/// The stretch of `length` bytes from `offset` on.
pub(super) fn stretch(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(Range { start, end })
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}

/// Where `needle` first is, followed by what `fits` wants.
pub(super) fn find(bytes: &[u8], needle: &[u8], fits: impl Fn(&[u8]) -> bool) -> Option<usize> {
    use std::io::BufRead;
    let (first, mut rest) = (*needle.first()?, bytes);
    loop {
        // The standard library's fast search for one byte; reading a slice cannot fail.
        let skipped = rest.skip_until(first).ok()?;
        let at = bytes.len() - rest.len() - 1;
        if skipped == 0 || bytes.get(at) != Some(&first) {
            return None;
        }
        if bytes[at..].starts_with(needle) && fits(&bytes[at + needle.len()..]) {
            return Some(at);
        }
    }
}
