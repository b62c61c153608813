//! Expressions of rules: loading into registers, comparing, looking up, and what then happens.
//!
//! *Source*: linux/netfilter/nf_tables.h.

use crate::netlink::Message;

/// A register: one of sixteen words. Longer values take several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(u32);

/// The register with this number, 0 to 15.
pub const fn reg(number: u32) -> Reg {
    Reg(8 + number)
}

/// What is known of a packet beside its bytes. *Source*: `enum nft_meta_keys`.
pub mod meta {
    /// Ethernet type, network order, two bytes.
    pub const PROTOCOL: u32 = 1;
    /// Name of the link it came in by, sixteen bytes.
    pub const IN_NAME: u32 = 6;
    /// Name of the link it goes out by.
    pub const OUT_NAME: u32 = 7;
    /// 2 for IPv4, 10 for IPv6, one byte.
    pub const FAMILY: u32 = 15;
    /// Number of the protocol, one byte.
    pub const L4_PROTOCOL: u32 = 16;
    /// Whether it is traced, one byte.
    pub const TRACE: u32 = 12;
}

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Is,
    /// Not equal.
    IsNot,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Throw it away.
    Drop,
    /// Let it pass this hook.
    Accept,
    /// Go on in this chain, then come back.
    Jump(&'a str),
    /// Go on in this chain.
    Goto(&'a str),
    /// Go back.
    Return,
}

impl Verdict<'_> {
    pub(super) fn write(&self, message: &mut Message<'_>) {
        let (code, chain): (i32, Option<&str>) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
            Self::Return => (-5, None),
        };
        message.nest(2, |m| {
            m.attr_be32(1, code.cast_unsigned());
            if let Some(chain) = chain {
                m.attr_str(2, chain);
            }
        });
    }
}

/// One step of a rule. A step that compares ends the rule where it does not fit.
#[derive(Clone, Debug)]
pub enum Expr<'a> {
    /// Load what is known of the packet ([`meta`]).
    Meta(u32, Reg),
    /// Load a byte.
    Byte(u8, Reg),
    /// Turn tracing on for the packet where the register's first byte is 1.
    SetTrace(Reg),
    /// Load bytes of the link layer's header: offset and length.
    LinkHeader(u32, u32, Reg),
    /// Load bytes of the network header.
    NetworkHeader(u32, u32, Reg),
    /// Load bytes of the transport header.
    TransportHeader(u32, u32, Reg),
    /// Load the state of the connection as bits (1 invalid, 2 established, 4 related, 8 new).
    ConnectionState(Reg),
    /// Load the status of the connection as bits (0x10 source, 0x20 destination translated).
    ConnectionStatus(Reg),
    /// Load the kind of the destination address (2 is "this machine's").
    DestinationKind(Reg),
    /// Keep these bits of a word.
    Mask(Reg, [u8; 4]),
    /// Compare.
    Compare(Reg, Comparison, Vec<u8>),
    /// Fits where the set has the value.
    In(Reg, &'a str),
    /// Fits where the set does not have the value.
    NotIn(Reg, &'a str),
    /// Load what the map gives.
    Map(Reg, &'a str, Reg),
    /// Do what the map gives.
    VerdictMap(Reg, &'a str),
    /// Decide.
    Decide(Verdict<'a>),
    /// Count packets and bytes.
    Count,
    /// Translate the destination: family (2 or 10), registers of address and port.
    TranslateDestination(u32, Reg, Reg),
    /// Translate the source to an address of the link that it goes out by.
    Masquerade,
}

impl Expr<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Meta(..) | Self::SetTrace(_) => "meta",
            Self::LinkHeader(..) | Self::NetworkHeader(..) | Self::TransportHeader(..) => "payload",
            Self::ConnectionState(_) | Self::ConnectionStatus(_) => "ct",
            Self::DestinationKind(_) => "fib",
            Self::Mask(..) => "bitwise",
            Self::Compare(..) => "cmp",
            Self::In(..) | Self::NotIn(..) | Self::Map(..) | Self::VerdictMap(..) => "lookup",
            Self::Decide(_) | Self::Byte(..) => "immediate",
            Self::Count => "counter",
            Self::TranslateDestination(..) => "nat",
            Self::Masquerade => "masq",
        }
    }

    pub(super) fn write(&self, message: &mut Message<'_>) {
        message.attr_str(1, self.name());
        message.nest(2, |m| self.write_data(m));
    }

    fn write_data(&self, m: &mut Message<'_>) {
        match self {
            Self::Meta(key, to) => {
                m.attr_be32(2, *key).attr_be32(1, to.0);
            }
            Self::SetTrace(from) => {
                m.attr_be32(2, meta::TRACE).attr_be32(3, from.0);
            }
            Self::Byte(value, to) => {
                m.attr_be32(1, to.0);
                m.nest(2, |m| {
                    m.attr(1, &[*value]);
                });
            }
            Self::LinkHeader(offset, length, to) => payload(m, 0, *offset, *length, *to),
            Self::NetworkHeader(offset, length, to) => payload(m, 1, *offset, *length, *to),
            Self::TransportHeader(offset, length, to) => payload(m, 2, *offset, *length, *to),
            Self::ConnectionState(to) => {
                m.attr_be32(2, 0).attr_be32(1, to.0);
            }
            Self::ConnectionStatus(to) => {
                m.attr_be32(2, 2).attr_be32(1, to.0);
            }
            Self::DestinationKind(to) => {
                // Kind of address (3) of the destination (flag 2).
                m.attr_be32(1, to.0).attr_be32(3, 2).attr_be32(2, 3);
            }
            Self::Mask(at, mask) => {
                m.attr_be32(1, at.0).attr_be32(2, at.0).attr_be32(3, 4);
                m.nest(4, |m| {
                    m.attr(1, mask);
                });
                m.nest(5, |m| {
                    m.attr(1, &[0; 4]);
                });
            }
            Self::Compare(at, how, value) => {
                m.attr_be32(1, at.0).attr_be32(2, u32::from(*how == Comparison::IsNot));
                m.nest(3, |m| {
                    m.attr(1, value);
                });
            }
            Self::In(at, set) => {
                m.attr_str(1, set).attr_be32(2, at.0);
            }
            Self::NotIn(at, set) => {
                m.attr_str(1, set).attr_be32(2, at.0).attr_be32(5, 1);
            }
            Self::Map(at, map, to) => {
                m.attr_str(1, map).attr_be32(2, at.0).attr_be32(3, to.0);
            }
            Self::VerdictMap(at, map) => {
                m.attr_str(1, map).attr_be32(2, at.0).attr_be32(3, 0);
            }
            Self::Decide(verdict) => {
                m.attr_be32(1, 0);
                m.nest(2, |m| verdict.write(m));
            }
            Self::Count | Self::Masquerade => {}
            Self::TranslateDestination(family, address, port) => {
                m.attr_be32(1, 1).attr_be32(2, *family).attr_be32(3, address.0).attr_be32(5, port.0);
            }
        }
    }
}

fn payload(m: &mut Message<'_>, base: u32, offset: u32, length: u32, to: Reg) {
    m.attr_be32(1, to.0).attr_be32(2, base).attr_be32(3, offset).attr_be32(4, length);
}
