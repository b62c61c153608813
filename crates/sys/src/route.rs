//! Links, addresses, routes and neighbours by netlink: what is asked of the kernel and what it lists.
//!
//! Owns the encoding; names and addresses are the caller's. Several messages go out in one [`Batch`].
//! *Source*: rtnetlink(7), linux/if_link.h, linux/rtnetlink.h. *Privilege*: CAP_NET_ADMIN for changes.

mod list;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::netlink::{Batch, Message, Socket, flag};

pub use list::{Address, Link, Neighbour, Route, addresses, links, neighbours, route_to, routes};

/// Kinds of message. *Source*: linux/rtnetlink.h.
mod kind {
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const DEL_LINK: u16 = 17;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const GET_ADDRESS: u16 = 22;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const GET_ROUTE: u16 = 26;
    pub(super) const GET_NEIGHBOUR: u16 = 30;
}

/// Attributes of a link. *Source*: linux/if_link.h.
mod link {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LOWER: u16 = 5;
    pub(super) const MASTER: u16 = 10;
    pub(super) const INFO: u16 = 18;
    pub(super) const FAMILY_SPEC: u16 = 26;
    pub(super) const NETNS_FD: u16 = 28;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const INFO_PORT_KIND: u16 = 4;
    pub(super) const INFO_PORT_DATA: u16 = 5;
}

const IFF_UP: u32 = 1;

/// Whether a link gives itself an IPv6 address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLocal {
    /// None at all.
    None,
    /// One made from the hardware address.
    FromHardware,
}

/// One end of a link that is being made.
#[derive(Clone, Debug)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Hardware address; a random one where absent.
    pub mac: Option<[u8; 6]>,
    /// Bytes of its largest packet.
    pub mtu: Option<u32>,
    /// The network namespace it goes to; the socket's where absent.
    pub netns: Option<BorrowedFd<'a>>,
}

fn ifinfo(index: u32, up: bool) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    let flags = if up { IFF_UP } else { 0 };
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn write_end(m: &mut Message<'_>, end: &End<'_>) {
    m.attr_str(link::NAME, end.name);
    if let Some(mac) = end.mac {
        m.attr(link::ADDRESS, &mac);
    }
    if let Some(mtu) = end.mtu {
        m.attr_u32(link::MTU, mtu);
    }
    if let Some(netns) = end.netns {
        m.attr_u32(link::NETNS_FD, netns.as_raw_fd().cast_unsigned());
    }
}

const NEW: u16 = flag::REQUEST | flag::ACK | flag::CREATE | flag::EXCL;
const CHANGE: u16 = flag::REQUEST | flag::ACK;

/// Makes a bridge, without spanning tree, down.
pub fn add_bridge(batch: &mut Batch, end: &End<'_>) {
    let mut m = batch.message(kind::NEW_LINK, NEW, &ifinfo(0, false));
    write_end(&mut m, end);
    m.nest(link::INFO, |m| {
        m.attr_str(link::INFO_KIND, "bridge");
        m.nest(link::INFO_DATA, |m| {
            // No spanning tree, and no snooping: neighbour discovery must pass though nobody asks who listens.
            m.attr_u32(5, 0).attr_u8(23, 0);
        });
    });
}

/// Makes a pair of links: `outer` here, up and a port of the bridge with the number `master`; `inner` in its own
/// namespace, down.
pub fn add_veth(batch: &mut Batch, outer: &End<'_>, master: u32, inner: &End<'_>) {
    let mut m = batch.message(kind::NEW_LINK, NEW, &ifinfo(0, true));
    write_end(&mut m, outer);
    m.attr_u32(link::MASTER, master);
    m.nest(link::INFO, |m| {
        m.attr_str(link::INFO_KIND, "veth");
        m.nest(link::INFO_DATA, |m| {
            m.nest(1, |m| {
                m.raw(&ifinfo(0, false));
                write_end(m, inner);
            });
        });
    });
}

/// Modes of macvlan. *Source*: linux/if_link.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    /// They never reach each other.
    Private,
    /// They reach each other through the switch outside.
    Vepa,
    /// They reach each other directly.
    Bridge,
    /// One alone has the link below.
    Passthru,
}

impl MacvlanMode {
    fn number(self) -> u32 {
        match self {
            Self::Private => 1,
            Self::Vepa => 2,
            Self::Bridge => 4,
            Self::Passthru => 8,
        }
    }
}

/// Makes a link with an address of its own on the link with the number `lower`.
pub fn add_macvlan(batch: &mut Batch, end: &End<'_>, lower: u32, mode: MacvlanMode) {
    let mut m = batch.message(kind::NEW_LINK, NEW, &ifinfo(0, false));
    write_end(&mut m, end);
    m.attr_u32(link::LOWER, lower);
    m.nest(link::INFO, |m| {
        m.attr_str(link::INFO_KIND, "macvlan");
        m.nest(link::INFO_DATA, |m| {
            m.attr_u32(1, mode.number());
        });
    });
}

/// Gives the link with this number, which must be down, another name, hardware address and size of its largest packet; what
/// is absent stays.
pub fn rename(batch: &mut Batch, index: u32, name: &str, mac: Option<[u8; 6]>, mtu: Option<u32>) {
    let mut m = batch.message(kind::NEW_LINK, CHANGE, &ifinfo(index, false));
    write_end(&mut m, &End { name, mac, mtu, netns: None });
}

/// Makes the link with this number up, with or without an IPv6 address of its own.
pub fn set_up(batch: &mut Batch, index: u32, link_local: LinkLocal) {
    // Before it is up: what it has given itself by then stays. *Source*: linux/if_link.h, `IFLA_INET6_ADDR_GEN_MODE` 8,
    // `IN6_ADDR_GEN_MODE_NONE` 1.
    batch.message(kind::NEW_LINK, CHANGE, &ifinfo(index, false)).nest(link::FAMILY_SPEC, |m| {
        m.nest(10, |m| {
            m.attr_u8(8, u8::from(link_local == LinkLocal::None));
        });
    });
    drop(batch.message(kind::NEW_LINK, CHANGE, &ifinfo(index, true)));
}

/// Makes a link a port of a bridge.
pub fn set_master(batch: &mut Batch, index: u32, bridge: u32) {
    batch.message(kind::NEW_LINK, CHANGE, &ifinfo(index, false)).attr_u32(link::MASTER, bridge);
}

/// Sets the bytes of a link's largest packet. *Errors*: `EINVAL` where the link cannot take so many.
pub fn set_mtu(batch: &mut Batch, index: u32, mtu: u32) {
    batch.message(kind::NEW_LINK, CHANGE, &ifinfo(index, false)).attr_u32(link::MTU, mtu);
}

/// How a port of a bridge passes frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortMode {
    /// Between it and the bridge itself only.
    pub isolated: bool,
    /// Also back to where they came from.
    pub hairpin: bool,
}

/// Sets how a port of a bridge passes frames.
pub fn set_port(batch: &mut Batch, name: &str, mode: PortMode) {
    let mut m = batch.message(kind::NEW_LINK, CHANGE, &ifinfo(0, false));
    m.attr_str(link::NAME, name);
    m.nest(link::INFO, |m| {
        m.attr_str(link::INFO_PORT_KIND, "bridge");
        // *Source*: linux/if_link.h, `IFLA_BRPORT_MODE`, `IFLA_BRPORT_ISOLATED`.
        m.nest(link::INFO_PORT_DATA, |m| {
            m.attr_u8(4, u8::from(mode.hairpin)).attr_u8(33, u8::from(mode.isolated));
        });
    });
}

/// Deletes a link by name. *Errors*: `ENODEV` where there is none.
pub fn delete_link(batch: &mut Batch, name: &str) {
    batch.message(kind::DEL_LINK, CHANGE, &ifinfo(0, false)).attr_str(link::NAME, name);
}

/// Gives a link an address, usable at once.
pub fn add_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    /// *Source*: linux/if_addr.h, `IFA_F_NODAD`: the address was given out by one who knows that nobody else has it.
    const NODAD: u32 = 2;
    let family: u8 = if address.is_ipv4() { 2 } else { 10 };
    let mut fixed = [family, prefix, 0, 0, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    let mut m = batch.message(kind::NEW_ADDRESS, NEW, &fixed);
    match address {
        IpAddr::V4(v4) => {
            m.attr(2, &v4.octets()).attr(1, &v4.octets());
            if prefix < 31 {
                let broadcast = u32::from(v4) | u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                m.attr(4, &Ipv4Addr::from(broadcast).octets());
            }
        }
        IpAddr::V6(v6) => {
            m.attr(2, &v6.octets()).attr(1, &v6.octets()).attr_u32(8, NODAD);
        }
    }
}

/// Adds a route over the link with the number `index`: to everything where `to` is absent, through `gateway` where there is
/// one. A gateway outside the link's own subnets is taken to be on the link.
pub fn add_route(batch: &mut Batch, index: u32, to: Option<(IpAddr, u8)>, gateway: Option<IpAddr>, v6: bool) {
    /// *Source*: linux/rtnetlink.h, `RTNH_F_ONLINK`.
    const ONLINK: u32 = 4;
    let family: u8 = if v6 { 10 } else { 2 };
    // Main table 254, "static" 4, reach: universe 0 or link 253, unicast 1.
    let scope = if gateway.is_none() && !v6 { 253 } else { 0 };
    let mut fixed = [family, to.map_or(0, |(_, prefix)| prefix), 0, 0, 254, 4, scope, 1, 0, 0, 0, 0];
    let flags = if gateway.is_some() { ONLINK } else { 0 };
    fixed[8..].copy_from_slice(&flags.to_ne_bytes());
    let mut m = batch.message(kind::NEW_ROUTE, NEW, &fixed);
    if let Some((to, _)) = to {
        attr_address(&mut m, 1, to);
    }
    m.attr_u32(4, index);
    if let Some(gateway) = gateway {
        attr_address(&mut m, 5, gateway);
    }
}

fn attr_address(m: &mut Message<'_>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => m.attr(kind, &v4.octets()),
        IpAddr::V6(v6) => m.attr(kind, &v6.octets()),
    };
}

/// The number of the link with this name in the socket's namespace; `None` where there is none.
pub fn link_index(socket: &mut Socket, name: &str) -> io::Result<Option<u32>> {
    let mut batch = Batch::new();
    batch.message(kind::GET_LINK, flag::REQUEST, &ifinfo(0, false)).attr_str(link::NAME, name);
    match socket.ask(&mut batch) {
        Ok(replies) => Ok(replies.first().and_then(list::index)),
        Err(refusal) if refusal.is(rustix::io::Errno::NODEV) => Ok(None),
        Err(refusal) => Err(refusal.source),
    }
}
