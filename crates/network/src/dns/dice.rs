//! Numbers that nobody can guess, taken from the kernel some at a time.

use rustix::rand::{GetRandomFlags, getrandom};

/// A supply of them.
pub struct Dice {
    bytes: [u8; 64],
    left: usize,
}

impl Dice {
    /// An empty supply.
    pub fn new() -> Self {
        Self { bytes: [0; 64], left: 0 }
    }

    /// The next number; none where the kernel has none to give.
    pub fn roll(&mut self) -> Option<u16> {
        if self.left < 2 {
            let got = getrandom(&mut self.bytes, GetRandomFlags::empty()).ok()?;
            self.left = got;
        }
        let at = self.left.checked_sub(2)?;
        self.left = at;
        let number = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].fill(0);
        Some(number)
    }
}
