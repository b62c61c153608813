//! The terminal that a command runs in: raw mode and back, its size, the keys that detach.

use std::os::fd::{AsFd, BorrowedFd};

use holm_spec::oci::runtime::ConsoleSize;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::Failure;

/// A terminal in raw mode; it gets its old mode back when this is dropped.
pub struct RawMode {
    old: Termios,
}

impl RawMode {
    /// Puts standard input into raw mode.
    pub fn enter() -> Result<Self, Failure> {
        let failed =
            |e: rustix::io::Errno| Failure::because("cannot change the mode of the terminal", &std::io::Error::from(e));
        let old = tcgetattr(stdin()).map_err(failed)?;
        let mut raw = old.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self { old })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // There is no better mode to fall back to.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.old);
    }
}

/// Standard input.
pub fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    isatty(fd)
}

/// The size of the terminal on standard output, else on standard input.
pub fn size() -> Option<ConsoleSize> {
    let of = |fd: BorrowedFd<'_>| tcgetwinsize(fd).ok().filter(|size| size.ws_col > 0);
    let size = of(rustix::stdio::stdout()).or_else(|| of(stdin()))?;
    Some(ConsoleSize { height: size.ws_row, width: size.ws_col })
}

/// The width of the terminal on standard output, where it is one.
pub fn width() -> Option<usize> {
    tcgetwinsize(rustix::stdio::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 20)
}

/// The sequence of keys that detaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    seen: usize,
}

/// What became of bytes from the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// What goes to the container.
    pub bytes: Vec<u8>,
    /// Whether the sequence was complete.
    pub detach: bool,
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` or `ctrl-@,x`; empty text is no sequence.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = || {
            Failure::flag("--detach-keys", text, "keys are single characters or ctrl- with a to z, @, [, \\, ], ^ or _")
                .with_hint("--detach-keys ctrl-p,ctrl-q")
        };
        let key = |part: &str| match (part.strip_prefix("ctrl-"), part.as_bytes()) {
            (Some(name), _) => match name.as_bytes() {
                [c @ b'a'..=b'z'] => Some(c - b'a' + 1),
                [c @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(c - b'@'),
                _ => None,
            },
            (None, [c]) if c.is_ascii_graphic() => Some(*c),
            _ => None,
        };
        let parts = text.split(',').filter(|_| !text.is_empty());
        let keys = parts.map(|part| key(part).ok_or_else(bad)).collect::<Result<Vec<u8>, Failure>>()?;
        Ok(Self { keys, seen: 0 })
    }

    /// Passes typed bytes on, the keys of an unfinished sequence held back until it is clear that they are none.
    pub fn feed(&mut self, typed: &[u8]) -> Typed {
        let mut bytes = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    self.seen = 0;
                    return Typed { bytes, detach: true };
                }
                continue;
            }
            bytes.extend_from_slice(&self.keys[..self.seen]);
            self.seen = 0;
            if self.keys.first() == Some(byte) {
                self.seen = 1;
            } else {
                bytes.push(*byte);
            }
        }
        Typed { bytes, detach: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(keys: &str, typed: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::parse(keys).expect("keys");
        let mut all = Vec::new();
        for bytes in typed {
            let Typed { bytes, detach } = keys.feed(bytes);
            all.extend(bytes);
            if detach {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn the_sequence_detaches_also_in_pieces_and_everything_else_passes() {
        assert_eq!(feed("ctrl-p,ctrl-q", &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(feed("ctrl-p,ctrl-q", &[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(feed("ctrl-p,ctrl-q", &[b"\x10x\x10", b"\x10\x11"]), (b"\x10x\x10".to_vec(), true));
        assert_eq!(feed("ctrl-p,ctrl-q", &[b"\x11\x10"]), (b"\x11".to_vec(), false));
        assert_eq!(feed("", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
        assert_eq!(feed("ctrl-@,x", &[b"\0x"]), (Vec::new(), true));
    }

    #[test]
    fn bad_keys_are_refused() {
        for bad in ["ctrl-", "ctrl-1", "ab", "ctrl-p,", ",", "ä"] {
            assert_eq!(DetachKeys::parse(bad).map_err(|f| f.code), Err(125), "{bad}");
        }
    }
}
