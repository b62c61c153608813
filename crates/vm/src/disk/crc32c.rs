//! CRC-32C (Castagnoli) as file systems use it: the running value, never inverted at the end.

/// The value to start with where a format says nothing else.
pub(super) const START: u32 = !0;

/// The polynomial, bits reversed. *Source*: RFC 3720, appendix B.4.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 0 { value >> 1 } else { (value >> 1) ^ POLYNOMIAL };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// Continues a checksum over more bytes.
pub(super) fn update(value: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(value, |value, byte| TABLE[((value ^ u32::from(*byte)) & 0xff) as usize] ^ (value >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn update_of_the_standards_samples_gives_their_checksums() {
        // RFC 3720, appendix B.4; there the result is inverted.
        assert_eq!(!update(START, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!update(START, &[0xff; 32]), 0x62a8_ab43);
        assert_eq!(!update(START, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn update_in_pieces_equals_update_at_once() {
        assert_eq!(update(update(START, b"1234"), b"56789"), update(START, b"123456789"));
    }
}
