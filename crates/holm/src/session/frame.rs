//! Takes docker's frames apart as they come in, in whatever pieces.

use holm_spec::protocol::Frame;

use crate::error::{CODE_HOLM, Failure};

/// The state between two pieces.
#[derive(Debug, Default)]
pub struct Frames {
    header: Vec<u8>,
    current: Option<Frame>,
}

impl Frames {
    /// Hands on the content of the frames in `bytes` with the number of their stream.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut write: impl FnMut(u8, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let frame = match &mut self.current {
                Some(frame) => frame,
                None => {
                    let missing = Frame::HEADER_BYTES - self.header.len();
                    let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                    self.header.extend_from_slice(head);
                    bytes = rest;
                    let Ok(header) = <[u8; Frame::HEADER_BYTES]>::try_from(self.header.as_slice()) else { continue };
                    self.header.clear();
                    let garbage =
                        || Failure::new("cannot follow the output: it is not made of frames").with_code(CODE_HOLM);
                    self.current.insert(Frame::from_bytes(header).ok_or_else(garbage)?)
                }
            };
            let length = bytes.len().min(usize::try_from(frame.length).unwrap_or(usize::MAX));
            let (content, rest) = bytes.split_at(length);
            if !content.is_empty() {
                write(frame.stream, content)?;
            }
            bytes = rest;
            frame.length -= u32::try_from(length).unwrap_or(frame.length);
            if frame.length == 0 {
                self.current = None;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_in_pieces_of_any_size() {
        let mut wire = Vec::new();
        for (stream, text) in [(1, "out"), (2, ""), (2, "error"), (1, "more")] {
            wire.extend(Frame { stream, length: text.len() as u32 }.to_bytes());
            wire.extend(text.as_bytes());
        }
        for size in 1..=wire.len() {
            let mut frames = Frames::default();
            let (mut out, mut error) = (Vec::new(), Vec::new());
            for piece in wire.chunks(size) {
                let write = |stream, bytes: &[u8]| {
                    if stream == 1 {
                        out.extend(bytes)
                    } else {
                        error.extend(bytes)
                    };
                    Ok(())
                };
                frames.feed(piece, write).expect("frames");
            }
            assert_eq!((out.as_slice(), error.as_slice()), (&b"outmore"[..], &b"error"[..]), "{size}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        assert!(Frames::default().feed(&[9; 8], |_, _| Ok(())).is_err());
    }
}
