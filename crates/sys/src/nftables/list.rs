//! Reading tables, chains, rules and elements, and the trail of traced packets.

use std::io;

use super::{Data, Element, Family, Key, SUBSYSTEM, Table, header, kind};
use crate::netlink::{Attributes, Batch, Reply, Socket, attributes, flag};

/// A chain as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedChain {
    /// Family of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Number of its hook (0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting); none where no packet comes by itself.
    pub hook: Option<u32>,
    /// Its place there.
    pub priority: i32,
    /// Whether it throws away what no rule decides.
    pub drops: bool,
    /// `filter`, `nat`, `route`; empty where it has no hook.
    pub kind: String,
}

/// A rule as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// Its number in its table.
    pub handle: u64,
    /// Its chain.
    pub chain: String,
    /// Its comment, empty where it has none.
    pub comment: String,
    /// Names of its expressions in order.
    pub expressions: Vec<String>,
}

fn dump(socket: &mut Socket, kind: u16, family: u8, fill: impl FnOnce(&mut Batch)) -> io::Result<Vec<Reply>> {
    let mut batch = Batch::new();
    drop(batch.message(SUBSYSTEM << 8 | kind, flag::REQUEST | flag::DUMP, &header(family, 0)));
    fill(&mut batch);
    socket.dump(&mut batch)
}

/// Names of all tables of all families.
pub fn tables(socket: &mut Socket) -> io::Result<Vec<(Family, String)>> {
    let replies = dump(socket, kind::GET_TABLE, 0, |_| {})?;
    let one = |reply: &Reply| Some((family_of(reply)?, reply.attributes(4).text(1)?));
    Ok(replies.iter().filter_map(one).collect())
}

fn family_of(reply: &Reply) -> Option<Family> {
    Family::from_number(*reply.body.first()?)
}

/// All chains of all families.
pub fn chains(socket: &mut Socket) -> io::Result<Vec<ListedChain>> {
    let replies = dump(socket, kind::GET_CHAIN, 0, |_| {})?;
    let one = |reply: &Reply| {
        let all = reply.attributes(4);
        let hook = all.nested(4);
        Some(ListedChain {
            family: family_of(reply)?,
            table: all.text(1)?,
            name: all.text(3)?,
            hook: hook.as_ref().and_then(|h| h.be32(1)),
            priority: hook.as_ref().and_then(|h| h.be32(2)).unwrap_or(0).cast_signed(),
            drops: hook.is_some() && all.be32(5) == Some(0),
            kind: all.text(7).unwrap_or_default(),
        })
    };
    Ok(replies.iter().filter_map(one).collect())
}

/// The rules of one table. *Errors*: `ENOENT` where there is no such table.
pub fn rules(socket: &mut Socket, table: Table<'_>) -> io::Result<Vec<ListedRule>> {
    let mut batch = Batch::new();
    let flags = flag::REQUEST | flag::DUMP;
    batch.message(SUBSYSTEM << 8 | kind::GET_RULE, flags, &header(table.family.number(), 0)).attr_str(1, table.name);
    let replies = socket.dump(&mut batch)?;
    let one = |reply: &Reply| {
        let all = reply.attributes(4);
        let handle = all.get(3)?.try_into().map(u64::from_be_bytes).ok()?;
        let expressions = all.nested(4).into_iter().flatten().filter_map(|(_, e)| attributes(e).text(1)).collect();
        Some(ListedRule {
            handle,
            chain: all.text(2)?,
            comment: all.get(7).map(comment).unwrap_or_default(),
            expressions,
        })
    };
    Ok(replies.iter().filter_map(one).collect())
}

/// The text of a comment among user data: type, length, value, one after the other.
fn comment(mut data: &[u8]) -> String {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length)).unwrap_or(rest);
        if *kind == 0 {
            return String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        }
        data = rest.get(usize::from(*length)..).unwrap_or(&[]);
    }
    String::new()
}

/// The elements of one set: raw key, raw value (empty for sets and verdicts), comment. *Errors*: `ENOENT` where there is none.
pub fn elements(socket: &mut Socket, table: Table<'_>, set: &str) -> io::Result<Vec<(Vec<u8>, Vec<u8>, String)>> {
    let mut batch = Batch::new();
    let flags = flag::REQUEST | flag::DUMP;
    batch
        .message(SUBSYSTEM << 8 | kind::GET_ELEMENT, flags, &header(table.family.number(), 0))
        .attr_str(1, table.name)
        .attr_str(2, set);
    let mut found = Vec::new();
    for reply in socket.dump(&mut batch)? {
        for (_, element) in reply.attributes(4).nested(3).into_iter().flatten() {
            let element = attributes(element);
            let value = |list: Option<Attributes<'_>>| list.and_then(|v| v.get(1).map(<[u8]>::to_vec));
            let Some(key) = value(element.nested(1)) else { continue };
            found.push((
                key,
                value(element.nested(2)).unwrap_or_default(),
                element.get(6).map(comment).unwrap_or_default(),
            ));
        }
    }
    Ok(found)
}

impl Element {
    /// Whether this is what [`elements`] listed.
    pub fn is_listed_as(&self, key: &[u8], data: &[u8]) -> bool {
        let same = |own: &Key, listed: &[u8]| own.bytes().as_ref() == listed;
        same(&self.key, key)
            && match &self.data {
                Some(Data::Value(value)) => same(value, data),
                Some(Data::Verdict(_)) | None => true,
            }
    }
}

/// One step of a traced packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Number of the packet.
    pub id: u32,
    /// Family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule that decided; none where the chain's policy did or a chain was left.
    pub handle: Option<u64>,
    /// What was decided: 0 drop, 1 accept, negative as `enum nft_verdicts`.
    pub verdict: Option<i32>,
    /// The policy that was applied.
    pub policy: Option<u32>,
    /// The packet's network header, where it comes with the step.
    pub network_header: Vec<u8>,
    /// The packet's transport header.
    pub transport_header: Vec<u8>,
}

/// Reads one step; `None` if the message is something else.
pub fn trace(reply: &Reply) -> Option<Trace> {
    if reply.kind != SUBSYSTEM << 8 | kind::TRACE {
        return None;
    }
    let all = reply.attributes(4);
    Some(Trace {
        id: all.be32(6)?,
        family: family_of(reply)?,
        table: all.text(1).unwrap_or_default(),
        chain: all.text(2).unwrap_or_default(),
        handle: all.get(3).and_then(|h| h.try_into().ok()).map(u64::from_be_bytes),
        verdict: all.nested(5).and_then(|v| v.be32(1)).map(u32::cast_signed),
        policy: all.be32(16),
        network_header: all.get(8).unwrap_or_default().to_vec(),
        transport_header: all.get(9).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::comment;

    #[test]
    fn comments_are_found_among_user_data() {
        assert_eq!(comment(&[1, 1, 9, 0, 3, b'h', b'i', 0]), "hi");
        for malformed in [&[][..], &[0], &[0, 9, b'x'], &[5, 200, 1]] {
            assert!(comment(malformed).len() <= 1);
        }
    }
}
