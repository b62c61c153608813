//! The last that a machine's kernel and hypervisor said.
//!
//! Owns a ring of bytes, and the making of readable lines of it. The text is the guest's: nothing in it is believed.

use std::collections::VecDeque;

/// Bytes that are kept.
const KEPT_BYTES: usize = 16 * 1024;
/// Most bytes that are shown.
const SHOWN_BYTES: usize = 4 * 1024;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Console {
    kept: VecDeque<u8>,
}

impl Console {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT_BYTES)..];
        let over = (self.kept.len() + bytes.len()).saturating_sub(KEPT_BYTES);
        self.kept.drain(..over);
        self.kept.extend(bytes);
    }

    /// The last lines, without anything that moves a cursor.
    pub(super) fn last_lines(&self) -> String {
        let all: Vec<u8> = self.kept.iter().copied().filter(|b| *b != b'\r').collect();
        let from = all.len().saturating_sub(SHOWN_BYTES);
        let line = match all[from..].iter().position(|b| *b == b'\n') {
            Some(end) if from > 0 => from + end + 1,
            _ => from,
        };
        let text = String::from_utf8_lossy(&all[line..]);
        text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_lines_are_kept_and_made_harmless() {
        let mut console = Console::default();
        console.take(b"a\x1b[2Jb\r\nlast");
        assert_eq!(console.last_lines(), "a\u{fffd}[2Jb\nlast");
        for n in 0..10_000 {
            console.take(format!("line {n:05}\n").as_bytes());
        }
        let lines = console.last_lines();
        assert!(lines.starts_with("line ") && lines.ends_with("line 09999\n") && lines.len() <= SHOWN_BYTES);
        assert!(console.kept.len() <= KEPT_BYTES);
        console.take(&[b'x'; 3 * KEPT_BYTES]);
        assert_eq!((console.kept.len(), console.last_lines().len()), (KEPT_BYTES, SHOWN_BYTES));
    }
}
