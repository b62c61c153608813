//! Spoiling bytes by fixed seeds: what a fuzzer does, the same every time.

/// xorshift64*: the same numbers every time.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number below `below`.
    pub fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % below.max(1)
    }
}

/// A copy with a few bits, bytes and stretches changed, doubled or taken out.
pub fn mutate(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=numbers.next(6) {
        let at = numbers.next(out.len());
        match numbers.next(6) {
            0 => out[at] ^= 1 << numbers.next(8),
            1 => out[at] = [0, 0xff, b'"', b'0', b'9', b'-', b'/', 0x80][numbers.next(8)],
            2 => out.truncate(at.max(1)),
            3 => {
                let end = (at + numbers.next(64)).min(out.len());
                let part = out[at..end].to_vec();
                out.splice(at..at, part);
            }
            4 => {
                let end = (at + numbers.next(64)).min(out.len());
                out.drain(at..end);
            }
            _ => out.insert(at, b'9'),
        }
        if out.is_empty() {
            out.push(0);
        }
    }
    out
}
