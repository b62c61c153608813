//! Connections that the kernel tracks: forgetting those of an address, so that no packet follows a translation that is gone.
//!
//! *Source*: linux/netfilter/nfnetlink_conntrack.h. *Privilege*: CAP_NET_ADMIN.

use std::io;
use std::net::IpAddr;

use crate::netlink::{Attributes, Batch, Protocol, Socket, flag};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
/// The two directions of a connection, and addresses in them.
const ORIGINAL: u16 = 1;
const ANSWER: u16 = 2;
const NESTED: u16 = 0x8000;

fn addresses(tuple: Option<Attributes<'_>>) -> Vec<IpAddr> {
    let Some(ip) = tuple.and_then(|t| t.nested(1)) else { return Vec::new() };
    let address = |value: &[u8]| match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    };
    ip.filter_map(|(_, value)| address(value)).collect()
}

/// Forgets every connection that one of these addresses takes part in, in either direction. Gives their number.
pub fn forget(of: &[IpAddr]) -> io::Result<usize> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let mut count = 0;
    for family in [2u8, 10] {
        if !of.iter().any(|a| a.is_ipv4() == (family == 2)) {
            continue;
        }
        let header = [family, 0, 0, 0];
        let mut batch = Batch::new();
        drop(batch.message(GET, flag::REQUEST | flag::DUMP, &header));
        for reply in socket.dump(&mut batch)? {
            let all = reply.attributes(4);
            let sides = [addresses(all.nested(ORIGINAL)), addresses(all.nested(ANSWER))];
            if !sides.iter().flatten().any(|a| of.contains(a)) {
                continue;
            }
            let Some(tuple) = all.get(ORIGINAL) else { continue };
            let mut batch = Batch::new();
            batch.message(DELETE, flag::REQUEST | flag::ACK, &header).attr(ORIGINAL | NESTED, tuple);
            match socket.send(&mut batch) {
                Ok(()) => count += 1,
                // It ended by itself.
                Err(refusal) if refusal.is(rustix::io::Errno::NOENT) => {}
                Err(refusal) => return Err(refusal.source),
            }
        }
    }
    Ok(count)
}
