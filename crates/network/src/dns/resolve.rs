//! What to do with a query: answer from the catalogue, refuse, or ask elsewhere. Sends nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use holm_spec::Name;

use super::answer::{Answer, write_bare_code, write_code};
use super::catalog::{Catalog, Entry, Found, View};
use super::query::{Query, Unanswerable};
use super::wire::{code, flag, kind, labels};

/// What to do with a query.
pub enum Verdict {
    /// Send these first bytes of the buffer.
    Answer(usize),
    /// Ask these servers, or the host's where there are none.
    Elsewhere(Rc<[IpAddr]>),
}

/// What becomes of a message that arrives alone, without anybody to ask: the entry point for fuzzing and comparing.
pub fn answer_alone(
    catalog: &Catalog,
    network: &Name,
    client: IpAddr,
    message: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    match Query::parse(message) {
        Err(Unanswerable::Silence) => None,
        Err(Unanswerable::Code(code)) => Some(write_bare_code(message, code, out)),
        Ok(query) => match resolve(catalog, catalog.network(network), client, &query, out) {
            Verdict::Answer(length) => Some(length),
            Verdict::Elsewhere(_) => Some(write_code(&query, code::SERVFAIL, out)),
        },
    }
}

/// Decides. The buffer has room for a whole answer of the size that the client takes.
pub fn resolve(
    catalog: &Catalog,
    network: Option<usize>,
    client: IpAddr,
    query: &Query<'_>,
    out: &mut [u8],
) -> Verdict {
    let Some(view) = network.and_then(|network| catalog.view(network, client)) else {
        return Verdict::Answer(write_code(query, code::REFUSED, out));
    };
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return Verdict::Answer(write_code(query, code::BADVERS, out));
    }
    // A signed query gets an unsigned answer, which its sender drops: as if unsigned (RFC 8945, section 5.2).
    if !query.is_internet() || matches!(query.kind, kind::TSIG..=kind::AXFR) {
        return Verdict::Answer(write_code(query, code::REFUSED, out));
    }
    let name = query.name.as_bytes();
    match view.find(name) {
        Found::Entry(entry) => return Verdict::Answer(write_entry(entry, query, out)),
        Found::Nothing { domain_at } => {
            let code = if domain_at == 0 { code::NOERROR } else { code::NXDOMAIN };
            return Verdict::Answer(write_negative(query, code, domain_at, out));
        }
        Found::Unknown => {}
    }
    if let Some(address) = reverse_address(name) {
        if let Some(parts) = view.name_of(address) {
            return Verdict::Answer(write_pointer(parts, query, out));
        }
        if catalog.is_ours(address) {
            return Verdict::Answer(write_negative(query, code::NXDOMAIN, parent_at(name), out));
        }
    }
    outside(&view, query, out)
}

/// A name that is not ours.
fn outside(view: &View<'_>, query: &Query<'_>, out: &mut [u8]) -> Verdict {
    let name = query.name.as_bytes();
    let single_label = labels(name).nth(1).is_none() && !name.is_empty();
    let of_host = matches!(query.kind, kind::A | kind::AAAA | kind::HTTPS | kind::ANY);
    // Who names servers of a container's own knows what these know.
    let stays = single_label && of_host && view.servers().is_empty();
    if stays || !view.may_ask_outside() {
        return Verdict::Answer(write_negative(query, code::NXDOMAIN, parent_at(name), out));
    }
    if query.kind == kind::ANY {
        let mut answer = Answer::to(query, code::NOERROR, out);
        answer.nothing_for_any();
        return Verdict::Answer(answer.finish());
    }
    if query.flags & flag::RD == 0 {
        return Verdict::Answer(write_code(query, code::REFUSED, out));
    }
    Verdict::Elsewhere(view.servers().clone())
}

fn write_entry(entry: &Entry, query: &Query<'_>, out: &mut [u8]) -> usize {
    let ipv4 = match query.kind {
        kind::A => true,
        kind::AAAA => false,
        kind::ANY => entry.has(true),
        _ => return write_negative(query, code::NOERROR, 0, out),
    };
    if !entry.has(ipv4) {
        return write_negative(query, code::NOERROR, 0, out);
    }
    let mut answer = Answer::to(query, code::NOERROR, out).authoritative();
    for address in entry.addresses(ipv4) {
        if !answer.address(address) {
            break;
        }
    }
    answer.finish()
}

fn write_pointer(parts: [&[u8]; 2], query: &Query<'_>, out: &mut [u8]) -> usize {
    if !matches!(query.kind, kind::PTR | kind::ANY) {
        return write_negative(query, code::NOERROR, 0, out);
    }
    let mut answer = Answer::to(query, code::NOERROR, out).authoritative();
    answer.pointer(parts);
    answer.finish()
}

/// There is no such name, or none of that type, in our zone that begins so many bytes into the name.
fn write_negative(query: &Query<'_>, code: u16, zone_at: usize, out: &mut [u8]) -> usize {
    let mut answer = Answer::to(query, code, out).authoritative();
    answer.authority(zone_at);
    answer.finish()
}

/// Where the name's parent begins.
fn parent_at(name: &[u8]) -> usize {
    name.first().map_or(0, |length| 1 + usize::from(*length))
}

/// The address whose reverse name this is. *Source*: RFC 1035, section 3.5; RFC 3596, section 2.5.
fn reverse_address(name: &[u8]) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(b"\x07in-addr\x04arpa") {
        let mut octets = [0; 4];
        let mut parts = labels(digits);
        for octet in octets.iter_mut().rev() {
            let label = std::str::from_utf8(parts.next()?).ok()?;
            let plain = label.bytes().all(|byte| byte.is_ascii_digit()) && (label == "0" || !label.starts_with('0'));
            *octet = label.parse().ok().filter(|_| plain)?;
        }
        return parts.next().is_none().then_some(Ipv4Addr::from(octets).into());
    }
    let digits = name.strip_suffix(b"\x03ip6\x04arpa")?;
    let mut value: u128 = 0;
    let mut count = 0;
    for label in labels(digits) {
        let [digit] = label else { return None };
        let digit = char::from(*digit).to_digit(16)?;
        if count == 32 {
            return None;
        }
        value |= u128::from(digit) << (4 * count);
        count += 1;
    }
    (count == 32).then_some(Ipv6Addr::from(value).into())
}

#[cfg(test)]
mod tests;
