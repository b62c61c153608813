//! Frames: the envelope of everything on the channel, and taking them out of a stream of bytes.

/// Bytes before a payload.
pub const HEADER_BYTES: usize = 12;
/// Most bytes of one piece of a stream.
pub const MAX_DATA_BYTES: usize = 64 * 1024;
/// Most bytes of one message.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON document.
    Message,
    /// Bytes of a stream.
    Data,
    /// The end of a stream in this direction.
    End,
    /// Leave to send more on a stream.
    Credit,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// The stream; 0 for messages.
    pub stream: u32,
    /// Its content.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number in a frame that gives credit.
    pub fn credit(&self) -> Option<u32> {
        let bytes: [u8; 4] = self.payload.as_slice().try_into().ok()?;
        (self.kind == Kind::Credit).then_some(u32::from_le_bytes(bytes))
    }
}

/// Why bytes are no frame. The channel is useless after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The kind is none, or its zero bytes are not.
    #[error("a frame of the unknown kind {0:#010x}")]
    Kind(u32),
    /// Too long for its kind.
    #[error("a frame of {length} bytes where {most} are the most")]
    Length {
        /// Bytes it announces.
        length: u32,
        /// Bytes it may have.
        most: u32,
    },
    /// A message on a stream, or a stream without a number.
    #[error("a frame for stream {0}, where its kind has none such")]
    Stream(u32),
}

/// The number of a process's stream: 0 input, 1 output, 2 error output.
pub fn stream(process: u32, number: u8) -> u32 {
    process.wrapping_mul(4).wrapping_add(u32::from(number & 3))
}

/// Appends a frame to `out`.
pub fn encode(kind: Kind, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(length.to_le_bytes());
    out.extend([kind.to_byte(), 0, 0, 0]);
    out.extend(stream.to_le_bytes());
    out.extend(payload);
}

impl Kind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Data => 2,
            Self::End => 3,
            Self::Credit => 4,
        }
    }

    fn from_word(word: u32) -> Result<Self, Violation> {
        match word {
            1 => Ok(Self::Message),
            2 => Ok(Self::Data),
            3 => Ok(Self::End),
            4 => Ok(Self::Credit),
            other => Err(Violation::Kind(other)),
        }
    }

    fn check(self, stream: u32, length: u32) -> Result<(), Violation> {
        let (least, most) = match self {
            Self::Message => (0, MAX_MESSAGE_BYTES),
            Self::Data => (0, MAX_DATA_BYTES),
            Self::End => (0, 0),
            Self::Credit => (4, 4),
        };
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        if length > most || length < least {
            return Err(Violation::Length { length, most });
        }
        if (self == Self::Message) != (stream == 0) { Err(Violation::Stream(stream)) } else { Ok(()) }
    }
}

/// Takes frames out of bytes as they come. It never holds more than one frame of the largest size and what was read with it.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
}

impl Decoder {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one. *Errors*: the bytes are none; nothing after them can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Violation> {
        let rest = &self.bytes[self.at..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            self.shrink();
            return Ok(None);
        };
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (length, stream) = (word(0), word(8));
        let kind = Kind::from_word(word(4))?;
        kind.check(stream, length)?;
        let length = length as usize;
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = Frame { kind, stream, payload: payload.to_vec() };
        self.at += HEADER_BYTES + length;
        Ok(Some(frame))
    }

    /// Gives memory back once a large message has gone through.
    fn shrink(&mut self) {
        if self.at == self.bytes.len() {
            self.at = 0;
            if self.bytes.capacity() > 2 * MAX_DATA_BYTES { self.bytes = Vec::new() } else { self.bytes.clear() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole_however_the_bytes_are_cut() {
        let mut wire = Vec::new();
        encode(Kind::Message, 0, b"{}", &mut wire);
        encode(Kind::Data, stream(1, 2), &[7; 300], &mut wire);
        encode(Kind::End, stream(1, 2), &[], &mut wire);
        encode(Kind::Credit, stream(2, 0), &5u32.to_le_bytes(), &mut wire);
        for size in [1, 2, 11, 12, 13, 1000] {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in wire.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    found.push(frame);
                }
            }
            let kinds: Vec<Kind> = found.iter().map(|f| f.kind).collect();
            assert_eq!(kinds, [Kind::Message, Kind::Data, Kind::End, Kind::Credit], "pieces of {size}");
            assert_eq!(found[1].payload, [7; 300]);
            assert_eq!((found[3].stream, found[3].credit()), (8, Some(5)));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_before_its_payload_is_awaited() {
        let refused = |length: u32, kind: u32, stream: u32| {
            let mut decoder = Decoder::default();
            decoder.push(&[length.to_le_bytes(), kind.to_le_bytes(), stream.to_le_bytes()].concat());
            decoder.next_frame().unwrap_err()
        };
        assert_eq!(refused(0, 0, 0), Violation::Kind(0));
        assert_eq!(refused(0, 0x0100_0001, 0), Violation::Kind(0x0100_0001));
        assert_eq!(refused(u32::MAX, 1, 0), Violation::Length { length: u32::MAX, most: 1024 * 1024 });
        assert_eq!(refused(65_537, 2, 4), Violation::Length { length: 65_537, most: 65_536 });
        assert_eq!(refused(3, 4, 4), Violation::Length { length: 3, most: 4 });
        assert_eq!(refused(1, 1, 4), Violation::Stream(4));
        assert_eq!(refused(1, 2, 0), Violation::Stream(0));
    }
}
