//! The firewall: one nftables table of Holm's for packets (`inet holm`), and one for frames on its bridges (`bridge holm`).
//!
//! Rules never change: what differs between networks, containers and ports is in sets and maps, so a change is a few elements
//! in one transaction and a packet's way does not grow with them.
//!
//! ```text
//! frame from a container ─▶ bridge prerouting: link, hardware and IP address known to belong together? else dropped
//! packet ─▶ prerouting: nothing for 127/8 from a bridge; published ports: destination translated by a map
//!        ─▶ input:      from a bridge only to its own gateway, or to other addresses of the host where it has a way out
//!        ─▶ forward:    same network by `samenet`; published ports; out; everything else between or into networks dropped
//!        ─▶ postrouting: masquerade what leaves, what comes from 127/8, and hairpins
//! ```
//! Owns tables, rules and what networks and endpoints put into sets; foreign tables are in `neighbour`.

mod entry;
mod neighbour;
mod schema;

use std::collections::BTreeMap;

use holm_spec::network::{Endpoint, NetworkSpec};
use holm_sys::netlink::{Refusal, Socket};
use holm_sys::nftables::{self, Element, Family, Table, Transaction};
use rustix::io::Errno;

use crate::Error;

pub(crate) use entry::{Entry, of_endpoint, of_network, of_port};
pub(crate) use neighbour::{let_through, take_back};

/// The table that packets cross.
pub(crate) const INET: Table<'static> = Table { family: Family::Inet, name: "holm" };
/// The table that frames cross.
pub(crate) const BRIDGE: Table<'static> = Table { family: Family::Bridge, name: "holm" };

/// Opens a socket for the firewall in this process's network namespace.
pub(crate) fn open() -> Result<Socket, Error> {
    nftables::open().map_err(|e| Error::io("open", "netfilter socket", e))
}

fn failed(verb: &'static str) -> impl Fn(Refusal) -> Error {
    move |refusal| Error::kernel(verb, "table inet holm", refusal)
}

fn grouped(entries: &[Entry]) -> BTreeMap<(u8, &'static str), Vec<Element>> {
    let mut groups: BTreeMap<(u8, &'static str), Vec<Element>> = BTreeMap::new();
    for entry in entries {
        let key = (u8::from(entry.table.family == Family::Bridge), entry.set);
        groups.entry(key).or_default().push(entry.element.clone());
    }
    groups
}

fn table_of(number: u8) -> Table<'static> {
    if number == 0 { INET } else { BRIDGE }
}

/// Puts entries into the sets. *Errors*: [`is_missing`] where somebody took the tables away; nothing changed.
pub(crate) fn add(socket: &mut Socket, entries: &[Entry]) -> Result<(), Refusal> {
    let mut transaction = Transaction::new();
    for ((table, set), elements) in grouped(entries) {
        transaction.elements(table_of(table), set, &elements);
    }
    transaction.commit(socket)
}

/// Puts entries in the place of others in one transaction, so that no packet meets the sets without them. Where somebody took
/// some of them away nothing changes: whoever repairs goes by the records.
pub(crate) fn replace(socket: &mut Socket, old: &[Entry], new: &[Entry]) -> Result<(), Error> {
    let mut transaction = Transaction::new();
    for ((table, set), elements) in grouped(old) {
        transaction.delete_elements(table_of(table), set, &elements);
    }
    for ((table, set), elements) in grouped(new) {
        transaction.elements(table_of(table), set, &elements);
    }
    match transaction.commit(socket) {
        Err(refusal) if is_missing(&refusal) => Ok(()),
        other => other.map_err(failed("replace elements of")),
    }
}

/// Whether a refusal means that tables or sets are not there.
pub(crate) fn is_missing(refusal: &Refusal) -> bool {
    refusal.is(Errno::NOENT)
}

/// Takes entries out of the sets; those that are not there are as good as taken out.
pub(crate) fn remove(socket: &mut Socket, entries: &[Entry]) -> Result<(), Error> {
    let mut transaction = Transaction::new();
    for ((table, set), elements) in grouped(entries) {
        transaction.delete_elements(table_of(table), set, &elements);
    }
    match transaction.commit(socket) {
        Err(refusal) if is_missing(&refusal) => remove_one_by_one(socket, entries),
        other => other.map_err(failed("take elements out of")),
    }
}

fn remove_one_by_one(socket: &mut Socket, entries: &[Entry]) -> Result<(), Error> {
    let mut first = Ok(());
    for entry in entries {
        let mut transaction = Transaction::new();
        transaction.delete_elements(entry.table, entry.set, std::slice::from_ref(&entry.element));
        match transaction.commit(socket) {
            Err(refusal) if !is_missing(&refusal) => {
                first = first.and(Err(failed("take elements out of")(refusal)));
            }
            _ => {}
        }
    }
    first
}

/// Makes both tables anew with everything that belongs in them, in one transaction: whatever was there is replaced, and no
/// packet meets half of it.
/// `owner` is written into it: see [`owner`].
pub(crate) fn rebuild(socket: &mut Socket, live: &[(NetworkSpec, Vec<Endpoint>)], owner: &str) -> Result<(), Error> {
    let mut transaction = Transaction::new();
    for table in [INET, BRIDGE] {
        // Made first, so that it can be deleted.
        transaction.table(table).delete_table(table).table(table);
    }
    schema::write(&mut transaction, owner);
    let mut entries = Vec::new();
    for (network, endpoints) in live {
        entries.extend(of_network(network));
        entries.extend(endpoints.iter().flat_map(|endpoint| of_endpoint(network, endpoint)));
    }
    for ((table, set), elements) in grouped(&entries) {
        transaction.elements(table_of(table), set, &elements);
    }
    transaction.commit(socket).map_err(failed("make"))
}

/// Whose the table is that is there: the run root that was given when it was made.
pub(crate) fn owner(socket: &mut Socket) -> Option<String> {
    let rules = nftables::rules(socket, INET).ok()?;
    rules.into_iter().find(|rule| rule.chain == schema::OWNER).map(|rule| rule.comment)
}

/// Deletes both tables.
pub(crate) fn delete(socket: &mut Socket) -> Result<(), Error> {
    let mut transaction = Transaction::new();
    for table in [INET, BRIDGE] {
        transaction.table(table).delete_table(table);
    }
    transaction.commit(socket).map_err(failed("delete"))
}

/// Elements of one set as the kernel lists them.
type Elements = Vec<(Vec<u8>, Vec<u8>, String)>;

/// Sets as the kernel has them, each read once.
pub(crate) struct Listed {
    socket: Socket,
    sets: BTreeMap<&'static str, Elements>,
}

impl Listed {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, sets: BTreeMap::new() }
    }

    /// Whether a set or map of packets, not one of ranges, has an entry.
    pub(crate) fn has(&mut self, entry: &Entry) -> Result<bool, Error> {
        if !self.sets.contains_key(entry.set) {
            let found = match nftables::elements(&mut self.socket, entry.table, entry.set) {
                Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Vec::new(),
                other => other.map_err(|e| Error::io("list", format!("set {} of table inet holm", entry.set), e))?,
            };
            self.sets.insert(entry.set, found);
        }
        let listed = self.sets.get(entry.set).into_iter().flatten();
        Ok(listed.into_iter().any(|(key, data, _)| entry.element.is_listed_as(key, data)))
    }
}

/// Whether every rule of both tables is there. Elements are not looked at: who empties a set means it.
pub(crate) fn is_whole(socket: &mut Socket) -> bool {
    let counted = |socket: &mut Socket, table| nftables::rules(socket, table).map(|rules| rules.len());
    let expected = schema::rule_counts();
    [INET, BRIDGE]
        .into_iter()
        .zip(expected)
        .all(|(table, expected)| counted(socket, table).is_ok_and(|n| n == expected))
}

#[cfg(test)]
mod tests;
