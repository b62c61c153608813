//! What the kernel lists of links, addresses, routes and neighbours.

use std::io;
use std::net::IpAddr;

use super::{attr_address, kind, link};
use crate::netlink::{Attributes, Batch, Reply, Socket, flag};

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What makes it (`veth`, `bridge`, …); empty for hardware and loopback.
    pub kind: String,
    /// Whether it is to be up.
    pub up: bool,
    /// Whether it has a carrier.
    pub running: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// Number of the bridge it is a port of.
    pub master: Option<u32>,
    /// Number of its other end or of the link below it, in whatever namespace that is.
    pub peer: Option<u32>,
    /// Bytes of its largest packet.
    pub mtu: u32,
    /// Hardware address.
    pub mac: Option<[u8; 6]>,
    /// Whether it is an isolated port.
    pub isolated: bool,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits of its subnet.
    pub prefix: u8,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to, and how many bits of it count.
    pub to: Option<(IpAddr, u8)>,
    /// Through whom.
    pub gateway: Option<IpAddr>,
    /// Over the link with this number.
    pub link: Option<u32>,
    /// Address that packets are sent from.
    pub source: Option<IpAddr>,
    /// 254 is the main table, 255 the local one.
    pub table: u32,
    /// 1 unicast, 2 local, 6 blackhole, 7 unreachable, 8 prohibit. *Source*: linux/rtnetlink.h.
    pub kind: u8,
}

/// A neighbour: who has an address on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's number.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Its hardware address, where known.
    pub mac: Option<[u8; 6]>,
    /// State bits: 2 reachable, 4 stale, 0x20 failed, 0x80 permanent. *Source*: linux/neighbour.h.
    pub state: u16,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
}

/// The number of a link in a message about it.
pub(super) fn index(reply: &Reply) -> Option<u32> {
    u32_at(&reply.body, 4)
}

fn address(value: Option<&[u8]>) -> Option<IpAddr> {
    let value = value?;
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

fn dump(socket: &mut Socket, kind: u16, fixed: &[u8]) -> io::Result<Vec<Reply>> {
    let mut batch = Batch::new();
    drop(batch.message(kind, flag::REQUEST | flag::DUMP, fixed));
    socket.dump(&mut batch)
}

/// All links of the socket's namespace.
pub fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    Ok(dump(socket, kind::GET_LINK, &[0; 16])?.iter().filter_map(link_of).collect())
}

fn link_of(reply: &Reply) -> Option<Link> {
    let flags = u32_at(&reply.body, 8)?;
    let all = reply.attributes(16);
    let info = all.nested(link::INFO);
    let port = info.as_ref().and_then(|i| i.nested(link::INFO_PORT_DATA));
    Some(Link {
        index: index(reply)?,
        name: all.text(link::NAME)?,
        kind: info.as_ref().and_then(|i| i.text(link::INFO_KIND)).unwrap_or_default(),
        up: flags & 1 != 0,
        running: flags & 0x40 != 0,
        loopback: flags & 8 != 0,
        master: all.u32(link::MASTER),
        peer: all.u32(link::LOWER),
        mtu: all.u32(link::MTU).unwrap_or(0),
        mac: all.get(link::ADDRESS).and_then(|a| a.try_into().ok()),
        isolated: port.and_then(|p: Attributes<'_>| p.get(33).map(|v| v == [1])).unwrap_or(false),
    })
}

/// All addresses of the socket's namespace.
pub fn addresses(socket: &mut Socket) -> io::Result<Vec<Address>> {
    let one = |reply: &Reply| {
        let all = reply.attributes(8);
        // On a point-to-point link 1 is the other side's; 2 is always one's own, and absent for IPv6.
        let address = address(all.get(2)).or_else(|| address(all.get(1)))?;
        Some(Address { index: index(reply)?, address, prefix: *reply.body.get(1)? })
    };
    Ok(dump(socket, kind::GET_ADDRESS, &[0; 8])?.iter().filter_map(one).collect())
}

fn route_of(reply: &Reply) -> Option<Route> {
    let all = reply.attributes(12);
    let prefix = *reply.body.get(1)?;
    Some(Route {
        to: address(all.get(1)).map(|to| (to, prefix)),
        gateway: address(all.get(5)),
        link: all.u32(4),
        source: address(all.get(7)),
        table: all.u32(15).unwrap_or_else(|| reply.body.get(4).copied().unwrap_or(0).into()),
        kind: *reply.body.get(7)?,
    })
}

/// All routes of both families in all tables.
pub fn routes(socket: &mut Socket) -> io::Result<Vec<Route>> {
    let mut found = Vec::new();
    for family in [2, 10] {
        let mut fixed = [0; 12];
        fixed[0] = family;
        found.extend(dump(socket, kind::GET_ROUTE, &fixed)?.iter().filter_map(route_of));
    }
    Ok(found)
}

/// The route that a packet to `to` takes, from `from` and coming in on the link `incoming` where given. *Errors*: the
/// kernel's word for "no way": `ENETUNREACH`, `EHOSTUNREACH`, `EACCES`, `EINVAL` for the packet of a stranger.
pub fn route_to(socket: &mut Socket, to: IpAddr, from: Option<IpAddr>, incoming: Option<u32>) -> io::Result<Route> {
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let mut fixed = [0; 12];
    fixed[0] = if to.is_ipv4() { 2 } else { 10 };
    fixed[1] = bits(to);
    fixed[2] = from.map_or(0, bits);
    let mut batch = Batch::new();
    let mut m = batch.message(kind::GET_ROUTE, flag::REQUEST, &fixed);
    attr_address(&mut m, 1, to);
    if let Some(from) = from {
        attr_address(&mut m, 2, from);
    }
    if let Some(incoming) = incoming {
        m.attr_u32(3, incoming);
    }
    drop(m);
    let replies = socket.ask(&mut batch).map_err(|refusal| refusal.source)?;
    replies.first().and_then(route_of).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// All neighbours of both families.
pub fn neighbours(socket: &mut Socket) -> io::Result<Vec<Neighbour>> {
    let one = |reply: &Reply| {
        let all = reply.attributes(12);
        let state = reply.body.get(8..10).map(|b| u16::from_ne_bytes([b[0], b[1]]))?;
        let mac = all.get(2).and_then(|a| a.try_into().ok());
        Some(Neighbour { index: index(reply)?, address: address(all.get(1))?, mac, state })
    };
    Ok(dump(socket, kind::GET_NEIGHBOUR, &[0; 12])?.iter().filter_map(one).collect())
}
