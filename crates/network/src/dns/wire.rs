//! The wire form of DNS messages: numbers, names and records by position. Never follows a compression pointer.
//!
//! *Source*: RFC 1035, section 4.

use std::ops::Range;

/// Bytes of a header.
pub const HEADER: usize = 12;
/// Most bytes of a name. *Source*: RFC 1035, section 3.1.
pub const NAME_MAX: usize = 255;
/// Most bytes of a UDP message that we send or ask for: no fragments on any common path. *Source*: DNS flag day 2020.
pub const UDP_MAX: usize = 1232;
/// Most bytes of a UDP message to somebody without EDNS. *Source*: RFC 1035, section 4.2.1.
pub const UDP_PLAIN: usize = 512;
/// Class of the internet.
pub const CLASS_IN: u16 = 1;
/// Bytes of an OPT record without options.
pub const OPT_LENGTH: usize = 11;

/// Types of records. *Source*: IANA, DNS parameters.
pub mod kind {
    #![expect(missing_docs, reason = "names of the registry")]
    pub const A: u16 = 1;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const HINFO: u16 = 13;
    pub const AAAA: u16 = 28;
    pub const OPT: u16 = 41;
    pub const HTTPS: u16 = 65;
    pub const TSIG: u16 = 250;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
}

/// Response codes. *Source*: IANA, DNS parameters.
pub mod code {
    #![expect(missing_docs, reason = "names of the registry")]
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const BADVERS: u16 = 16;
}

/// Bits of the second word of the header.
pub mod flag {
    #![expect(missing_docs, reason = "names of the RFCs")]
    pub const QR: u16 = 0x8000;
    pub const OPCODE: u16 = 0x7800;
    pub const AA: u16 = 0x0400;
    pub const TC: u16 = 0x0200;
    pub const RD: u16 = 0x0100;
    pub const RA: u16 = 0x0080;
    pub const AD: u16 = 0x0020;
    pub const CD: u16 = 0x0010;
    pub const RCODE: u16 = 0x000f;
}

/// A name in lower case and wire form, without the root's zero at its end; empty for the root.
#[derive(Clone, Copy)]
pub struct WireName {
    bytes: [u8; NAME_MAX],
    length: u8,
}

impl WireName {
    /// The bytes: each label after its length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Reads an uncompressed name at a position; also the position after it.
    pub fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut name = Self { bytes: [0; NAME_MAX], length: 0 };
        let mut from = at;
        loop {
            let length = usize::from(*message.get(from)?);
            if length == 0 {
                name.length = u8::try_from(from - at).ok()?;
                return Some((name, from + 1));
            }
            let end = from + 1 + length;
            // The root's zero counts into the 255 bytes.
            if length > 63 || end - at >= NAME_MAX {
                return None;
            }
            let label = message.get(from..end)?;
            let to = &mut name.bytes[from - at..end - at];
            to.copy_from_slice(label);
            to[1..].make_ascii_lowercase();
            from = end;
        }
    }
}

/// The wire form of a dotted name, lower case, without the root's zero; none where it is not a name.
pub fn from_text(text: &str) -> Option<Box<[u8]>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() + 1);
    for label in text.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    (out.len() < NAME_MAX).then(|| out.into_boxed_slice())
}

/// The labels of a name in wire form.
pub fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        let label = rest.get(1..=length)?;
        rest = &rest[1 + length..];
        Some(label)
    })
}

/// What stands before a suffix, where the name ends with it at a label's border.
pub fn strip_suffix<'a>(name: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let before = name.strip_suffix(suffix)?;
    let mut at = 0;
    while at < before.len() {
        at += 1 + usize::from(before[at]);
    }
    (at == before.len()).then_some(before)
}

/// A 16-bit number at a position.
pub fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// A 32-bit number at a position.
pub fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?))
}

/// Writes a 16-bit number at a position that exists.
pub fn put_u16(message: &mut [u8], at: usize, value: u16) {
    message[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The position after a name; a pointer ends it and must point before it.
pub fn skip_name(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => {
                let target = usize::from(u16_at(message, at)? & 0x3fff);
                return (target >= HEADER && target < start).then_some(at + 2);
            }
            _ => return None,
        }
        if at - start >= NAME_MAX {
            return None;
        }
    }
}

/// A record by position.
pub struct Record {
    /// Type.
    pub kind: u16,
    /// Class, of OPT the UDP size.
    pub class: u16,
    /// Where its time to live is.
    pub ttl_at: usize,
    /// Time to live as it stands there, of OPT more flags.
    pub ttl: u32,
    /// Where its data are; the end is that of the record.
    pub data: Range<usize>,
    /// Its owner is the root, uncompressed.
    pub of_root: bool,
}

impl Record {
    /// Reads the record that begins at a position.
    pub fn read(message: &[u8], start: usize) -> Option<Self> {
        let at = skip_name(message, start)?;
        let data = at + 10..at + 10 + usize::from(u16_at(message, at + 8)?);
        message.get(data.clone())?;
        Some(Self {
            kind: u16_at(message, at)?,
            class: u16_at(message, at + 2)?,
            ttl_at: at + 4,
            ttl: u32_at(message, at + 4)?,
            data,
            of_root: at == start + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_up_to_their_limits() {
        let long = [&[63; 64][..], &[63; 64], &[63; 64]].concat();
        let fits = [&long[..], &[61; 62], &[0]].concat();
        let over = [&long[..], &[62; 63], &[0]].concat();
        assert_eq!(WireName::read(&fits, 0).map(|(name, end)| (name.as_bytes().len(), end)), Some((254, 255)));
        assert!(WireName::read(&over, 0).is_none());
        assert_eq!(skip_name(&fits, 0), Some(255));
        for bad in [&b""[..], b"\x03ab", b"\x40a", b"\xc0\x00", b"\x01a", b"\xc0"] {
            assert!(WireName::read(bad, 0).is_none(), "{bad:?}");
            assert!(skip_name(bad, 0).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn texts_become_names() {
        assert_eq!(from_text("Web.Net.").as_deref(), Some(&b"\x03web\x03net"[..]));
        for bad in ["", ".", "a..b", ".a", &"a".repeat(64), &"a.".repeat(128)] {
            assert_eq!(from_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn suffixes_end_at_borders_of_labels() {
        assert_eq!(strip_suffix(b"\x03web\x03net", b"\x03net"), Some(&b"\x03web"[..]));
        assert_eq!(strip_suffix(b"\x03net", b"\x03net"), Some(&b""[..]));
        // A label that ends in bytes that look like one.
        assert_eq!(strip_suffix(b"\x07abc\x03net", b"\x03net"), None);
    }

    #[test]
    fn pointers_lead_backwards() {
        let mut message = [0; 20];
        message[16..18].copy_from_slice(&[0xc0, 12]);
        assert_eq!(skip_name(&message, 16), Some(18));
        message[17] = 16;
        assert_eq!(skip_name(&message, 16), None, "to itself");
        message[17] = 3;
        assert_eq!(skip_name(&message, 16), None, "into the header");
    }
}
