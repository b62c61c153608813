//! nftables by netlink: tables, chains, rules, sets and their elements, written as one transaction and listed.
//!
//! Owns the encoding only; which rules there are is the caller's. What is written here `nft list ruleset` reads back with
//! its own words, comments included. *Source*: linux/netfilter/nf_tables.h. *Kernel*: 5.15. *Privilege*: CAP_NET_ADMIN in
//! the network namespace of the socket.

mod expression;
mod key;
mod list;

use crate::netlink::{self, Message, Protocol, Refusal, Socket, flag};

pub use expression::{Comparison, Expr, Reg, Verdict, meta, reg};
pub use key::{Key, Type};
pub use list::{ListedChain, ListedRule, Trace, chains, elements, rules, tables, trace};

/// Group of [`Socket::subscribe`] that hears of every change of a table. *Source*: linux/netfilter/nfnetlink.h.
pub const GROUP_CHANGES: u32 = 7;
/// Group of [`Socket::subscribe`] that hears of traced packets.
pub const GROUP_TRACE: u32 = 9;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// Kinds of message. *Source*: `enum nf_tables_msg_types`.
mod kind {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const GET_TABLE: u16 = 1;
    pub(super) const DEL_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const GET_CHAIN: u16 = 4;
    pub(super) const DEL_CHAIN: u16 = 5;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const GET_RULE: u16 = 7;
    pub(super) const DEL_RULE: u16 = 8;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const NEW_ELEMENT: u16 = 12;
    pub(super) const GET_ELEMENT: u16 = 13;
    pub(super) const DEL_ELEMENT: u16 = 14;
    pub(super) const TRACE: u16 = 17;
}

/// Families of tables. *Source*: linux/netfilter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Frames that cross bridges.
    Bridge,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Bridge => 7,
            Self::Ip6 => 10,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Bridge, Self::Ip6].into_iter().find(|f| f.number() == number)
    }

    /// Its name as `nft` says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        }
    }
}

/// Where packets pass. *Source*: linux/netfilter.h; bridges use the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// As they come in.
    Prerouting,
    /// For this machine.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// As they go out.
    Postrouting,
}

/// What makes a chain see packets.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    /// `filter`, `nat` or `route`.
    pub kind: &'static str,
    /// Where.
    pub hook: Hook,
    /// Order among the chains there, lowest first.
    pub priority: i32,
}

/// A set or map.
#[derive(Clone, Debug)]
pub struct Set<'a> {
    /// Name in its table.
    pub name: &'a str,
    /// Fields of its keys.
    pub key: &'a [Type],
    /// Fields of what a map gives; empty for a set.
    pub data: &'a [Type],
    /// Keys are ranges.
    pub ranges: bool,
}

/// A transaction: all of it takes effect at once, or nothing.
#[derive(Debug)]
pub struct Transaction {
    batch: netlink::Batch,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

impl Transaction {
    /// An empty one.
    pub fn new() -> Self {
        let mut batch = netlink::Batch::new();
        batch.message(BATCH_BEGIN, flag::REQUEST, &header(0, SUBSYSTEM));
        Self { batch }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.batch.len() <= 1
    }

    fn add(&mut self, kind: u16, family: Family, flags: u16) -> Message<'_> {
        self.batch.message(SUBSYSTEM << 8 | kind, flag::REQUEST | flags, &header(family.number(), 0))
    }

    /// Makes a table where there is none.
    pub fn table(&mut self, table: Table<'_>) -> &mut Self {
        self.add(kind::NEW_TABLE, table.family, flag::CREATE).attr_str(1, table.name).attr_be32(2, 0);
        self
    }

    /// Makes a table that is the socket's own: nobody else changes it, and it goes when the socket is closed, however its
    /// process ends. *Kernel*: 5.12. *Source*: linux/netfilter/nf_tables.h, `NFT_TABLE_F_OWNER`.
    pub fn owned_table(&mut self, table: Table<'_>) -> &mut Self {
        self.add(kind::NEW_TABLE, table.family, flag::CREATE | flag::EXCL).attr_str(1, table.name).attr_be32(2, 2);
        self
    }

    /// Deletes a table with all that is in it. *Errors*: `ENOENT` where there is none.
    pub fn delete_table(&mut self, table: Table<'_>) -> &mut Self {
        self.add(kind::DEL_TABLE, table.family, 0).attr_str(1, table.name);
        self
    }

    /// Makes a chain; with a base, one that sees packets and accepts what no rule decides.
    pub fn chain(&mut self, table: Table<'_>, name: &str, base: Option<Base>) -> &mut Self {
        let mut message = self.add(kind::NEW_CHAIN, table.family, flag::CREATE);
        message.attr_str(1, table.name).attr_str(3, name);
        if let Some(base) = base {
            message.nest(4, |m| {
                m.attr_be32(1, base.hook as u32).attr_be32(2, base.priority.cast_unsigned());
            });
            // NF_ACCEPT
            message.attr_be32(5, 1).attr_str(7, base.kind);
        }
        drop(message);
        self
    }

    /// Deletes an empty chain that nothing jumps to.
    pub fn delete_chain(&mut self, table: Table<'_>, name: &str) -> &mut Self {
        self.add(kind::DEL_CHAIN, table.family, 0).attr_str(1, table.name).attr_str(3, name);
        self
    }

    /// Makes a set or map where there is none.
    pub fn set(&mut self, table: Table<'_>, set: &Set<'_>) -> &mut Self {
        let number = u32::try_from(self.batch.len()).unwrap_or(0);
        let map = !set.data.is_empty();
        let concat = set.ranges && set.key.len() > 1;
        let flags = u32::from(set.ranges) * 4 + u32::from(map) * 8 + u32::from(concat) * 0x80;
        let mut message = self.add(kind::NEW_SET, table.family, flag::CREATE);
        message.attr_str(1, table.name).attr_str(2, set.name).attr_be32(3, flags);
        message.attr_be32(4, key::type_number(set.key)).attr_be32(5, key::length(set.key));
        if map {
            let verdict = set.data == [Type::Verdict];
            let data_type = if verdict { 0xffff_ff00 } else { key::type_number(set.data) };
            message.attr_be32(6, data_type).attr_be32(7, if verdict { 0 } else { key::length(set.data) });
        }
        if concat {
            message.nest(9, |m| {
                m.nest(2, |m| {
                    for field in set.key {
                        m.nest(1, |m| {
                            m.attr_be32(1, key::length(std::slice::from_ref(field)));
                        });
                    }
                });
            });
        }
        message.attr_be32(10, number).attr(13, &key::byte_orders(set.key, set.data));
        drop(message);
        self
    }

    /// Adds a rule at the end of a chain. The comment is what a person reads in a listing.
    pub fn rule(&mut self, table: Table<'_>, chain: &str, expressions: &[Expr<'_>], comment: &str) -> &mut Self {
        self.place_rule(table, chain, expressions, comment, flag::APPEND)
    }

    /// Adds a rule at the head of a chain.
    pub fn rule_first(&mut self, table: Table<'_>, chain: &str, expressions: &[Expr<'_>], comment: &str) -> &mut Self {
        self.place_rule(table, chain, expressions, comment, 0)
    }

    fn place_rule(
        &mut self,
        table: Table<'_>,
        chain: &str,
        expressions: &[Expr<'_>],
        comment: &str,
        place: u16,
    ) -> &mut Self {
        let mut message = self.add(kind::NEW_RULE, table.family, flag::CREATE | place);
        message.attr_str(1, table.name).attr_str(2, chain);
        message.nest(4, |m| {
            for expression in expressions {
                m.nest(1, |m| expression.write(m));
            }
        });
        if !comment.is_empty() {
            message.attr(7, &key::comment(comment));
        }
        drop(message);
        self
    }

    /// Deletes one rule by its handle.
    pub fn delete_rule(&mut self, table: Table<'_>, chain: &str, handle: u64) -> &mut Self {
        let mut message = self.add(kind::DEL_RULE, table.family, 0);
        message.attr_str(1, table.name).attr_str(2, chain).attr(3, &handle.to_be_bytes());
        drop(message);
        self
    }

    /// Deletes every rule of a chain.
    pub fn flush_chain(&mut self, table: Table<'_>, chain: &str) -> &mut Self {
        self.add(kind::DEL_RULE, table.family, 0).attr_str(1, table.name).attr_str(2, chain);
        self
    }

    /// Adds elements; one that is there already stays. *Errors*: `EEXIST` where it is there and gives something else.
    pub fn elements(&mut self, table: Table<'_>, set: &str, elements: &[Element]) -> &mut Self {
        self.change_elements(kind::NEW_ELEMENT, flag::CREATE, table, set, elements)
    }

    /// Takes elements away. *Errors*: `ENOENT` where one is not there.
    pub fn delete_elements(&mut self, table: Table<'_>, set: &str, elements: &[Element]) -> &mut Self {
        self.change_elements(kind::DEL_ELEMENT, 0, table, set, elements)
    }

    fn change_elements(
        &mut self,
        kind: u16,
        flags: u16,
        table: Table<'_>,
        set: &str,
        elements: &[Element],
    ) -> &mut Self {
        // An attribute holds 64 KiB at most.
        for some in elements.chunks(256) {
            let mut message = self.add(kind, table.family, flags);
            message.attr_str(1, table.name).attr_str(2, set);
            message.nest(3, |m| some.iter().for_each(|element| element.write(m)));
        }
        self
    }

    /// Commits. *Errors*: the kernel's first; nothing of it took effect.
    pub fn commit(mut self, socket: &mut Socket) -> Result<(), Refusal> {
        if self.is_empty() {
            return Ok(());
        }
        self.batch.message(BATCH_END, flag::REQUEST, &header(0, SUBSYSTEM));
        socket.send(&mut self.batch)
    }
}

/// A table by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: &'a str,
}

/// One element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its key.
    pub key: Key,
    /// Last key of a range of several fields.
    pub key_end: Option<Key>,
    /// The key is the first one behind a range of one field.
    pub end: bool,
    /// What a map gives.
    pub data: Option<Data>,
    /// What a person reads in a listing.
    pub comment: String,
}

/// What a map gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Values.
    Value(Key),
    /// A verdict.
    Verdict(Verdict<'static>),
}

impl Element {
    /// An element of a set.
    pub fn new(key: Key) -> Self {
        Self { key, key_end: None, end: false, data: None, comment: String::new() }
    }

    /// The same, giving this.
    pub fn with(self, data: Data) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The same, reaching to this key.
    pub fn to(self, last: Key) -> Self {
        Self { key_end: Some(last), ..self }
    }

    /// The same with a comment.
    pub fn noted(self, comment: impl Into<String>) -> Self {
        Self { comment: comment.into(), ..self }
    }

    /// Both ends of a range of one field: the first address of it and the first behind it (none where it reaches to the
    /// last there is).
    pub fn range(first: Key, behind: Option<Key>) -> Vec<Self> {
        let mut ends = vec![Self::new(first)];
        ends.extend(behind.map(|key| Self { end: true, ..Self::new(key) }));
        ends
    }

    fn write(&self, message: &mut Message<'_>) {
        message.nest(1, |m| {
            m.nest(1, |m| {
                m.attr(1, &self.key.bytes());
            });
            if self.end {
                m.attr_be32(3, 1);
            }
            match &self.data {
                Some(Data::Value(key)) => {
                    m.nest(2, |m| {
                        m.attr(1, &key.bytes());
                    });
                }
                Some(Data::Verdict(verdict)) => {
                    m.nest(2, |m| verdict.write(m));
                }
                None => {}
            }
            if !self.comment.is_empty() {
                m.attr(6, &key::comment(&self.comment));
            }
            if let Some(last) = &self.key_end {
                m.nest(10, |m| {
                    m.attr(1, &last.bytes());
                });
            }
        });
    }
}

/// Opens a socket for transactions in this thread's network namespace.
pub fn open() -> std::io::Result<Socket> {
    Socket::open(Protocol::Netfilter)
}

/// `struct nfgenmsg`
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [a, b] = resource.to_be_bytes();
    [family, 0, a, b]
}
