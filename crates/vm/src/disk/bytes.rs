//! Numbers at fixed places in a block, little-endian, as both file systems keep them.

/// Writes numbers at offsets; going beyond the end is a mistake of the program.
pub(super) trait PutAt {
    /// Copies bytes to an offset.
    fn put(&mut self, offset: usize, bytes: &[u8]);

    /// A number of 16 bits.
    fn put16(&mut self, offset: usize, value: u16) {
        self.put(offset, &value.to_le_bytes());
    }

    /// A number of 32 bits.
    fn put32(&mut self, offset: usize, value: u32) {
        self.put(offset, &value.to_le_bytes());
    }

    /// A number of 64 bits.
    fn put64(&mut self, offset: usize, value: u64) {
        self.put(offset, &value.to_le_bytes());
    }
}

impl PutAt for [u8] {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

/// The low 16 bits.
pub(super) fn low16(value: u32) -> u16 {
    (value & 0xffff) as u16
}

/// The high 16 bits.
pub(super) fn high16(value: u32) -> u16 {
    (value >> 16) as u16
}

/// The low 32 bits.
pub(super) fn low32(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// The high 32 bits.
pub(super) fn high32(value: u64) -> u32 {
    (value >> 32) as u32
}
