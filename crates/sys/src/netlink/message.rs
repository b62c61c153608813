//! Messages of netlink: writing a batch of them with nested attributes, and reading what came without trusting its lengths.

/// Bytes of a message's header. *Source*: linux/netlink.h, `struct nlmsghdr`.
const HEADER: usize = 16;
/// Message types of netlink itself. *Source*: linux/netlink.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Marks an attribute that holds others.
const NESTED: u16 = 0x8000;
/// Which bits of an attribute's type are the type.
const TYPE_MASK: u16 = 0x3fff;
/// Flags of an error message: the request was cut off, attributes follow.
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
/// Attribute of an error message: the kernel's words.
const ERROR_TEXT: u16 = 1;

/// Messages that go out together.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Begins a message with this fixed part; it ends when the value is dropped.
    pub fn message(&mut self, kind: u16, flags: u16, fixed: &[u8]) -> Message<'_> {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        Message { bytes: &mut self.bytes, start }
    }

    /// Takes over all messages of another batch.
    pub fn append(&mut self, other: Self) {
        let offset = self.bytes.len();
        self.starts.extend(other.starts.iter().map(|start| start + offset));
        self.bytes.extend(other.bytes);
    }

    /// Numbers the messages from `first` on; their count.
    pub(super) fn number(&mut self, first: u32) -> u32 {
        let mut sequence = first;
        for start in &self.starts {
            self.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
            sequence += 1;
        }
        sequence - first
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message being written.
#[derive(Debug)]
pub struct Message<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Message<'_> {
    /// Adds an attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
        self
    }

    /// Adds a byte.
    pub fn attr_u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.attr(kind, &[value])
    }

    /// Adds a number in the machine's order.
    pub fn attr_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds a number in the network's order, as netfilter wants them.
    pub fn attr_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Adds a text and its end.
    pub fn attr_str(&mut self, kind: u16, value: &str) -> &mut Self {
        let length = u16::try_from(value.len() + 5).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        pad(self.bytes);
        self
    }

    /// Adds an attribute that holds what `inside` writes.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Message<'_>)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        inside(&mut Message { bytes: self.bytes, start: usize::MAX });
        let length = u16::try_from(self.bytes.len() - at).unwrap_or(u16::MAX);
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Adds plain bytes (the fixed part of a message inside an attribute).
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        pad(self.bytes);
        self
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // One inside an attribute is not a message of its own.
        if self.start != usize::MAX {
            let length = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
            self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its type.
    pub kind: u16,
    /// What follows its header.
    pub body: Vec<u8>,
}

impl Reply {
    /// Its attributes behind a fixed part of this many bytes.
    pub fn attributes(&self, fixed: usize) -> Attributes<'_> {
        attributes(self.body.get(fixed.next_multiple_of(4)..).unwrap_or(&[]))
    }
}

/// A message in a buffer.
pub(super) struct Part<'a> {
    kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    body: &'a [u8],
}

impl Part<'_> {
    pub(super) fn is_done(&self) -> bool {
        self.kind == DONE
    }

    /// The error number at the end of a listing.
    pub(super) fn done_error(&self) -> i32 {
        self.body.get(..4).map_or(0, |b| -i32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Error number (0 for "done") and the kernel's words, where this is such a report.
    pub(super) fn error(&self) -> Option<(i32, Option<String>)> {
        if self.kind != ERROR {
            return None;
        }
        let errno = self.done_error();
        let mut text = None;
        if self.flags & ACK_TLVS != 0 {
            let request = self.body.get(4..8).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as usize);
            let skip = 4 + if self.flags & CAPPED != 0 { HEADER } else { request.next_multiple_of(4) };
            let found = attributes(self.body.get(skip..).unwrap_or(&[])).find(|(kind, _)| *kind == ERROR_TEXT);
            text = found.map(|(_, words)| String::from_utf8_lossy(words).trim_end_matches('\0').to_owned());
        }
        Some((errno, text))
    }

    pub(super) fn to_reply(&self) -> Reply {
        Reply { kind: self.kind, body: self.body.to_vec() }
    }
}

/// The messages in a buffer; ends at the first that is malformed.
pub(super) fn split(mut bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let u16_at = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let u32_at = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = u32_at(0) as usize;
        let body = bytes.get(HEADER..length)?;
        let part = Part { kind: u16_at(4), flags: u16_at(6), sequence: u32_at(8), body };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(part)
    })
}

/// Attributes: type and value, one after the other.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

/// Reads attributes; ends at the first that is malformed.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

impl<'a> Attributes<'a> {
    /// The value of the first attribute of this type.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// A number in the machine's order.
    pub fn u32(&self, kind: u16) -> Option<u32> {
        self.get(kind).and_then(|v| v.get(..4)).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A number in the network's order.
    pub fn be32(&self, kind: u16) -> Option<u32> {
        self.get(kind).and_then(|v| v.get(..4)).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A text without its end.
    pub fn text(&self, kind: u16) -> Option<String> {
        self.get(kind).map(|v| String::from_utf8_lossy(v).trim_end_matches('\0').to_owned())
    }

    /// The attributes inside the first one of this type.
    pub fn nested(&self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(attributes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.rest.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_numbered_and_its_attributes_are_read_back() {
        let mut batch = Batch::new();
        batch.message(16, 5, &[1, 2, 3]).attr_str(3, "eth0").nest(18, |m| {
            m.attr_u32(1, 7).attr(2, &[9]);
        });
        batch.message(17, 5, &[]).attr_be32(1, 0x0102_0304);
        assert_eq!((batch.len(), batch.number(41)), (2, 2));
        let parts: Vec<_> = split(batch.bytes()).collect();
        assert_eq!(parts.iter().map(|p| (p.kind, p.sequence)).collect::<Vec<_>>(), [(16, 41), (17, 42)]);
        let reply = parts[0].to_reply();
        assert_eq!(reply.attributes(3).text(3).as_deref(), Some("eth0"));
        let inner = reply.attributes(3).nested(18).unwrap();
        assert_eq!((inner.u32(1), inner.get(2)), (Some(7), Some([9].as_slice())));
        assert_eq!(parts[1].to_reply().attributes(0).be32(1), Some(0x0102_0304));
    }

    #[test]
    fn malformed_lengths_end_the_reading() {
        for bytes in [&[][..], &[3, 0, 1, 0], &[200, 0, 1, 0, 1, 2, 3, 4], &[0, 0, 0, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        let mut long = vec![0xff; 16];
        assert_eq!(split(&long).count(), 0);
        long[..4].copy_from_slice(&4u32.to_ne_bytes());
        assert_eq!(split(&long).count(), 0);
    }

    #[test]
    fn an_error_report_has_its_number_and_the_kernels_words() {
        let mut body = (-17i32).to_ne_bytes().to_vec();
        body.extend([0; 16]);
        body.extend([9, 0, 1, 0]);
        body.extend(b"busy\0");
        let part = Part { kind: ERROR, flags: CAPPED | ACK_TLVS, sequence: 1, body: &body };
        assert_eq!(part.error(), Some((17, Some("busy".to_owned()))));
    }
}
