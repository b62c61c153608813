//! Answers of our own, written into a buffer that the caller has. Decides nothing.

use std::net::IpAddr;

use super::query::Query;
use super::wire::{HEADER, OPT_LENGTH, UDP_MAX, flag, kind, put_u16, u16_at};

/// Seconds that our answers hold, negative ones too: docker says 600 and serves stale addresses, 0 costs a query a connection.
/// Five is what Kubernetes' name server says for the same kind of names.
pub const TTL: u32 = 5;

/// A pointer to the question's name.
const QUESTION_NAME: u16 = 0xc000 | HEADER as u16;

/// An answer in the making.
pub struct Answer<'a> {
    out: &'a mut [u8],
    at: usize,
    limit: usize,
    flags: u16,
    code: u16,
    answers: u16,
    authorities: u16,
    edns: Option<bool>,
}

impl<'a> Answer<'a> {
    /// Begins an answer to a query with its question; `out` has room for a question and more, and is all the room there is.
    pub fn to(query: &Query<'_>, code: u16, out: &'a mut [u8]) -> Self {
        put_u16(out, 0, query.id);
        let end = HEADER + query.question.len();
        out[HEADER..end].copy_from_slice(query.question);
        let edns = query.edns.map(|edns| edns.dnssec);
        let limit = out.len() - if edns.is_some() { OPT_LENGTH } else { 0 };
        let flags = flag::QR | flag::RA | query.flags & (flag::RD | flag::CD);
        Self { out, at: end, limit, flags, code, answers: 0, authorities: 0, edns }
    }

    /// Says that we are the authority for it.
    pub fn authoritative(mut self) -> Self {
        self.flags |= flag::AA;
        self
    }

    fn record(&mut self, owner: &[u8], kind: u16, parts: &[&[u8]]) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.at + owner.len() + 10 + length > self.limit {
            self.flags |= flag::TC;
            return false;
        }
        let head = [kind.to_be_bytes(), 1_u16.to_be_bytes()];
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let fixed = [owner, head.as_flattened(), &TTL.to_be_bytes(), &length];
        for part in fixed.iter().chain(parts) {
            self.out[self.at..self.at + part.len()].copy_from_slice(part);
            self.at += part.len();
        }
        true
    }

    /// Adds an address of the name; false and a mark where there is no more room.
    pub fn address(&mut self, address: IpAddr) -> bool {
        let owner = QUESTION_NAME.to_be_bytes();
        let fits = match address {
            IpAddr::V4(address) => self.record(&owner, kind::A, &[&address.octets()]),
            IpAddr::V6(address) => self.record(&owner, kind::AAAA, &[&address.octets()]),
        };
        self.answers += u16::from(fits);
        fits
    }

    /// Adds the name that an address has.
    pub fn pointer(&mut self, parts: [&[u8]; 2]) {
        let fits = self.record(&QUESTION_NAME.to_be_bytes(), kind::PTR, &[parts[0], parts[1], &[0]]);
        self.answers += u16::from(fits);
    }

    /// Adds the record that stands for all. *Source*: RFC 8482, section 4.2.
    pub fn nothing_for_any(&mut self) {
        let fits = self.record(&QUESTION_NAME.to_be_bytes(), kind::HINFO, &[b"\x07RFC8482\x00"]);
        self.answers += u16::from(fits);
    }

    /// Adds the authority of a negative answer, so that it may be kept for [`TTL`] seconds: a zone that begins so many bytes
    /// into the question's name.
    pub fn authority(&mut self, into_name: usize) {
        let at = HEADER + into_name;
        let owner = (0xc000 | u16::try_from(at).unwrap_or(0)).to_be_bytes();
        let owner = if self.out[at] == 0 { &[0][..] } else { &owner[..] };
        // Server and mailbox are the root: there are none. Serial, refresh, retry, expire, minimum.
        let numbers = [1, 3600, 600, 86400, TTL].map(u32::to_be_bytes);
        let fits = self.record(owner, kind::SOA, &[&[0, 0], numbers.as_flattened()]);
        self.authorities += u16::from(fits);
    }

    /// Ends it; how long it is.
    pub fn finish(self) -> usize {
        let Self { out, mut at, .. } = self;
        put_u16(out, 2, self.flags | self.code & flag::RCODE);
        for (at, count) in [(4, 1), (6, self.answers), (8, self.authorities), (10, u16::from(self.edns.is_some()))] {
            put_u16(out, at, count);
        }
        if let Some(dnssec) = self.edns {
            at += write_opt(&mut out[at..], self.code, dnssec);
        }
        at
    }
}

/// Writes an OPT record into room for it; its length. *Source*: RFC 6891, section 6.1.2.
pub fn write_opt(out: &mut [u8], code: u16, dnssec: bool) -> usize {
    let high = u8::try_from(code >> 4).unwrap_or(0);
    let [size_high, size_low] = (UDP_MAX as u16).to_be_bytes();
    let bytes = [0, 0, kind::OPT as u8, size_high, size_low, high, 0, u8::from(dnssec) << 7, 0, 0, 0];
    out[..OPT_LENGTH].copy_from_slice(&bytes);
    OPT_LENGTH
}

/// A whole answer that says nothing but a code.
pub fn write_code(query: &Query<'_>, code: u16, out: &mut [u8]) -> usize {
    Answer::to(query, code, out).finish()
}

/// The answer to what could not be read: its header with a code. The message has a header.
pub fn write_bare_code(message: &[u8], code: u16, out: &mut [u8]) -> usize {
    out[..HEADER].fill(0);
    put_u16(out, 0, u16_at(message, 0).unwrap_or(0));
    let asked = u16_at(message, 2).unwrap_or(0);
    put_u16(out, 2, flag::QR | asked & (flag::OPCODE | flag::RD) | code & flag::RCODE);
    HEADER
}
