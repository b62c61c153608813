//! Answers of servers: which are to our question, how long they hold, and how they are passed on.
//!
//! Records are never re-encoded: types that nobody here knows arrive as they were sent. What concerns only the way between
//! us and the server, which is the number and the OPT record, is taken off; times to live are counted down in place.

use super::answer::write_opt;
use super::query::Query;
use super::wire::{
    CLASS_IN, HEADER, OPT_LENGTH, Record, WireName, code, flag, kind, put_u16, skip_name, u16_at, u32_at,
};

/// Most seconds that an answer is kept.
pub const TTL_MAX: u32 = 86_400;
/// Most seconds that a negative answer is kept. RFC 2308 allows hours; who just made a name wants it sooner.
pub const NEGATIVE_TTL_MAX: u32 = 300;
/// Seconds that a failure is kept. *Source*: RFC 9520, section 3.2: at least one.
pub const FAILURE_TTL: u32 = 2;

/// A server's answer.
#[derive(Debug)]
pub struct Reply {
    /// Up to its OPT record.
    message: Box<[u8]>,
    /// Where the times to live are.
    ttls_at: Box<[u16]>,
    /// Seconds that it may be kept.
    pub lifetime: u32,
    /// Response code, extended.
    pub code: u16,
}

/// What a message from a server is.
#[derive(Debug)]
pub enum Received {
    /// An answer to the question.
    Reply(Reply),
    /// An answer to the question that did not fit.
    Truncated,
    /// Nothing that says anything: of another number or question, or malformed.
    Nothing,
}

/// Who gets a reply.
pub struct Recipient<'a> {
    /// The number of its query.
    pub id: u16,
    /// The flags of its query.
    pub flags: u16,
    /// Its question.
    pub question: &'a [u8],
    /// It speaks EDNS, and wants DNSSEC records.
    pub edns: Option<bool>,
    /// Most bytes that it takes.
    pub limit: usize,
}

impl<'a> Recipient<'a> {
    /// The sender of a query, who takes so many bytes.
    pub fn of(query: &Query<'a>, limit: usize) -> Self {
        let edns = query.edns.map(|edns| edns.dnssec);
        Self { id: query.id, flags: query.flags, question: query.question, edns, limit }
    }
}

impl Reply {
    /// Reads a message that came from a server that was asked this question (name, type, class) under this number.
    pub fn parse(message: &[u8], id: u16, question: &[u8]) -> Received {
        Self::read(message, id, question).unwrap_or(Received::Nothing)
    }

    fn read(message: &[u8], id: u16, question: &[u8]) -> Option<Received> {
        let flags = u16_at(message, 2)?;
        let ours = u16_at(message, 0)? == id && flags & (flag::QR | flag::OPCODE) == flag::QR;
        if !ours || u16::try_from(message.len()).is_err() {
            return None;
        }
        let low = flags & flag::RCODE;
        // A server that cannot read the question need not repeat it.
        if u16_at(message, 4)? == 0 && matches!(low, code::FORMERR | code::NOTIMP | code::REFUSED) {
            return Some(Received::Reply(Self::failure(question, low)));
        }
        let (name, end) = WireName::read(message, HEADER)?;
        let (asked, asked_end) = WireName::read(question, 0)?;
        let same = name.as_bytes() == asked.as_bytes() && message.get(end..end + 4)? == question.get(asked_end..)?;
        if u16_at(message, 4)? != 1 || !same {
            return None;
        }
        if flags & flag::TC != 0 {
            return Some(Received::Truncated);
        }
        Self::read_records(message, end + 4).map(Received::Reply)
    }

    fn read_records(message: &[u8], mut at: usize) -> Option<Self> {
        let counts = [u16_at(message, 6)?, u16_at(message, 8)?, u16_at(message, 10)?];
        let mut out = message.to_vec();
        let mut ttls_at = Vec::new();
        let mut code = u16_at(message, 2)? & flag::RCODE;
        let (mut positive, mut negative) = (TTL_MAX, None);
        'sections: for (section, count) in counts.into_iter().enumerate() {
            for number in 0..count {
                let record = Record::read(message, at)?;
                if section == 2 && record.kind == kind::OPT {
                    code |= u16::from(record.ttl.to_be_bytes()[0]) << 4;
                    put_u16(&mut out, 10, number);
                    break 'sections;
                }
                // The topmost bit says zero. Source: RFC 2181, section 8.
                let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl.min(TTL_MAX) };
                out[record.ttl_at..record.ttl_at + 4].copy_from_slice(&ttl.to_be_bytes());
                ttls_at.push(u16::try_from(record.ttl_at).ok()?);
                match (section, record.kind, record.class) {
                    (0, _, _) => positive = positive.min(ttl),
                    (1, kind::SOA, CLASS_IN) => {
                        negative = Some(soa_minimum(message, &record)?.min(ttl).min(NEGATIVE_TTL_MAX));
                    }
                    _ => {}
                }
                at = record.data.end;
            }
        }
        out.truncate(at);
        let lifetime = match code {
            code::NOERROR if counts[0] > 0 && negative.is_none() => positive,
            code::NOERROR | code::NXDOMAIN => negative.map_or(0, |negative| negative.min(positive)),
            _ => FAILURE_TTL,
        };
        Some(Self { message: out.into(), ttls_at: ttls_at.into(), lifetime, code })
    }

    /// An answer that says nothing but a code.
    pub fn failure(question: &[u8], code: u16) -> Self {
        let mut message = vec![0; HEADER];
        put_u16(&mut message, 2, flag::QR | flag::RA);
        put_u16(&mut message, 4, 1);
        message.extend_from_slice(question);
        Self { message: message.into(), ttls_at: Box::new([]), lifetime: FAILURE_TTL, code }
    }

    /// The next server may know better.
    pub fn is_failure(&self) -> bool {
        matches!(self.code, code::FORMERR | code::SERVFAIL | code::NOTIMP | code::REFUSED) || self.code > flag::RCODE
    }

    /// Bytes that it takes in memory, about.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.message.len() + 2 * self.ttls_at.len()
    }

    /// Most bytes that it takes on the wire.
    pub fn wire_bytes(&self) -> usize {
        self.message.len() + OPT_LENGTH
    }

    /// Writes it for somebody, so many seconds after it came; how long it is. `out` has room for what the recipient takes,
    /// and for a question at least.
    pub fn write(&self, age: u32, to: &Recipient<'_>, out: &mut [u8]) -> usize {
        let room = to.limit.min(out.len()) - if to.edns.is_some() { OPT_LENGTH } else { 0 };
        let whole = self.message.len() <= room;
        let asked_end = HEADER + to.question.len();
        let mut at = if whole { self.message.len() } else { asked_end };
        out[..at].copy_from_slice(&self.message[..at]);
        // As it was written by whom asked now: some compare letter by letter.
        out[HEADER..asked_end].copy_from_slice(to.question);
        if whole {
            for ttl_at in self.ttls_at.iter().map(|at| usize::from(*at)) {
                let ttl = u32_at(out, ttl_at).unwrap_or(0).saturating_sub(age);
                out[ttl_at..ttl_at + 4].copy_from_slice(&ttl.to_be_bytes());
            }
        } else {
            out[6..HEADER].fill(0);
        }
        let speaks = |flag| to.edns == Some(true) || to.flags & flag != 0;
        let theirs = u16_at(&self.message, 2).unwrap_or(0);
        let mut flags = flag::QR | theirs & flag::RA | to.flags & (flag::RD | flag::CD);
        flags |= if speaks(flag::AD) { theirs & flag::AD } else { 0 };
        flags |= if whole { 0 } else { flag::TC };
        let code = if to.edns.is_none() && self.code > flag::RCODE { code::SERVFAIL } else { self.code };
        put_u16(out, 0, to.id);
        put_u16(out, 2, flags | code & flag::RCODE);
        if let Some(dnssec) = to.edns {
            let additional = u16_at(out, 10).unwrap_or(0).saturating_add(1);
            put_u16(out, 10, additional);
            at += write_opt(&mut out[at..], code, dnssec);
        }
        at
    }
}

/// The last number of an SOA record. *Source*: RFC 1035, section 3.3.13; RFC 2308, section 4.
fn soa_minimum(message: &[u8], record: &Record) -> Option<u32> {
    let numbers = skip_name(message, skip_name(message, record.data.start)?)?;
    (numbers + 20 == record.data.end).then(|| u32_at(message, numbers + 16))?
}

/// Writes the query for a question; the server is asked to recurse and to say what it verified.
pub fn write_query(id: u16, question: &[u8], unchecked: bool, edns: Option<bool>, out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER, 0);
    put_u16(out, 0, id);
    put_u16(out, 2, flag::RD | flag::AD | if unchecked { flag::CD } else { 0 });
    put_u16(out, 4, 1);
    out.extend_from_slice(question);
    if let Some(dnssec) = edns {
        put_u16(out, 10, 1);
        let at = out.len();
        out.resize(at + OPT_LENGTH, 0);
        write_opt(&mut out[at..], 0, dnssec);
    }
}

#[cfg(test)]
mod tests;
