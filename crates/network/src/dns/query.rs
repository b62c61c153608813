//! Queries of clients: reads one, or says how it is to be refused. Answers nothing.
//!
//! One question without compression and at most one OPT record is all that resolvers send, so this reads without
//! allocating and refuses the rest. `tests/dns_differential.rs` compares it with `hickory-proto`.

use super::wire::{CLASS_IN, HEADER, Record, UDP_MAX, UDP_PLAIN, WireName, code, flag, kind, u16_at};

/// Most records in the additional section that are looked at.
const ADDITIONAL_MAX: u16 = 8;

/// A query that can be answered.
pub struct Query<'a> {
    /// The client's number for it.
    pub id: u16,
    /// The second word of its header.
    pub flags: u16,
    /// The question as sent: name, type, class.
    pub question: &'a [u8],
    /// The name asked for.
    pub name: WireName,
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
    /// What its OPT record says.
    pub edns: Option<Edns>,
}

/// What an OPT record says. *Source*: RFC 6891, section 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Most bytes of a UDP message that the client takes.
    pub size: u16,
    /// Version.
    pub version: u8,
    /// It wants DNSSEC records.
    pub dnssec: bool,
}

/// Why a message gets no real answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// It must not be answered at all: no header, or itself an answer.
    Silence,
    /// It gets a header with this response code.
    Code(u16),
}

impl<'a> Query<'a> {
    /// Reads a message.
    pub fn parse(message: &'a [u8]) -> Result<Self, Unanswerable> {
        let word = |at| u16_at(message, at).ok_or(Unanswerable::Silence);
        let (id, flags, questions, additional) = (word(0)?, word(2)?, word(4)?, word(10)?);
        if flags & flag::QR != 0 {
            return Err(Unanswerable::Silence);
        }
        if flags & flag::OPCODE != 0 {
            return Err(Unanswerable::Code(code::NOTIMP));
        }
        let malformed = Unanswerable::Code(code::FORMERR);
        if questions != 1 || word(6)? != 0 || word(8)? != 0 || additional > ADDITIONAL_MAX {
            return Err(malformed);
        }
        let (name, end) = WireName::read(message, HEADER).ok_or(malformed)?;
        let question = message.get(HEADER..end + 4).ok_or(malformed)?;
        let (kind, class) = (u16_at(message, end).ok_or(malformed)?, u16_at(message, end + 2).ok_or(malformed)?);
        let edns = read_edns(message, end + 4, additional).ok_or(malformed)?;
        if matches!(kind, 0 | kind::OPT) {
            return Err(malformed);
        }
        Ok(Self { id, flags, question, name, kind, class, edns })
    }

    /// Most bytes of a UDP message that the client takes and that we send.
    pub fn udp_limit(&self) -> usize {
        self.edns.map_or(UDP_PLAIN, |edns| usize::from(edns.size).clamp(UDP_PLAIN, UDP_MAX))
    }

    /// It wants DNSSEC records.
    pub fn dnssec(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec)
    }

    /// It asks in the class of the internet.
    pub fn is_internet(&self) -> bool {
        self.class == CLASS_IN
    }
}

/// What the OPT record says, if there is one; none where the section is malformed.
fn read_edns(message: &[u8], mut at: usize, records: u16) -> Option<Option<Edns>> {
    let mut edns = None;
    for _ in 0..records {
        let record = Record::read(message, at)?;
        if record.kind == kind::OPT {
            if edns.is_some() || !record.of_root {
                return None;
            }
            let [_, version, high, _] = record.ttl.to_be_bytes();
            edns = Some(Edns { size: record.class, version, dnssec: high & 0x80 != 0 });
        }
        at = record.data.end;
    }
    Some(edns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
        let mut out = vec![0x12, 0x34];
        for word in [flags, counts[0], counts[1], counts[2], counts[3]] {
            out.extend(word.to_be_bytes());
        }
        out.extend(rest);
        out
    }

    #[test]
    fn question_with_options_is_read() {
        let rest = b"\x03wEb\x00\x00\x1c\x00\x01\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x04abcd";
        let bytes = message(0x0110, [1, 0, 0, 1], rest);
        let query = Query::parse(&bytes).ok().unwrap();
        assert_eq!(query.name.as_bytes(), b"\x03web");
        assert_eq!((query.id, query.kind, query.class, query.question), (0x1234, 28, 1, &rest[..9]));
        assert_eq!(query.edns, Some(Edns { size: 4096, version: 0, dnssec: true }));
        assert_eq!(query.udp_limit(), UDP_MAX);
    }

    #[test]
    fn what_is_no_query_is_refused_as_the_standard_says() {
        let question = b"\x01a\x00\x00\x01\x00\x01";
        let opt = b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";
        let twice = [&question[..], opt, opt].concat();
        let formerr = Unanswerable::Code(code::FORMERR);
        let check = |bytes: &[u8], expected| assert_eq!(Query::parse(bytes).err(), Some(expected), "{bytes:?}");
        check(&message(0, [1, 0, 0, 0], question)[..11], Unanswerable::Silence);
        check(&message(0x8000, [1, 0, 0, 0], question), Unanswerable::Silence);
        check(&message(0x2800, [1, 0, 0, 0], question), Unanswerable::Code(code::NOTIMP));
        check(&message(0, [0, 0, 0, 0], b""), formerr);
        check(&message(0, [2, 0, 0, 0], &[&question[..], question].concat()), formerr);
        check(&message(0, [1, 1, 0, 0], question), formerr);
        check(&message(0, [1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01"), formerr);
        check(&message(0, [1, 0, 0, 0], &question[..6]), formerr);
        check(&message(0, [1, 0, 0, 1], question), formerr);
        check(&message(0, [1, 0, 0, 2], &twice), formerr);
        check(&message(0, [1, 0, 0, 0], b"\x01a\x00\x00\x29\x00\x01"), formerr);
    }
}
