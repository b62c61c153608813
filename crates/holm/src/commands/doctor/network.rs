//! What of networks works, tried in a network namespace of this process's own: kernels load modules when they are asked for
//! something, so that a list of what is loaded says little.

use std::io;

use holm_sys::netlink::{Batch, Protocol, Socket};
use holm_sys::nftables::{Base, Family, Hook, Table, Transaction};
use holm_sys::{nftables, process, route, tap};

use super::fact::Tried;

/// *Source*: linux/sched.h.
const CLONE_NEWNET: u64 = 0x4000_0000;
const BRIDGE: &str = "doctor0";

/// What was tried.
pub struct Links {
    /// A table with a chain for translated addresses.
    pub nftables: Tried,
    /// A bridge.
    pub bridge: Tried,
    /// A pair of links at that bridge.
    pub veth: Tried,
    /// A tap.
    pub tap: Tried,
}

/// Tries all of it. *Order*: this process stays in the new network namespace.
pub fn try_all() -> Links {
    if let Err(error) = process::unshare(CLONE_NEWNET) {
        let tried = match error.kind() {
            io::ErrorKind::PermissionDenied => Tried::NotAllowed,
            _ => Tried::Failed(format!("no network namespace can be made: {error}")),
        };
        return Links { nftables: tried.clone(), bridge: tried.clone(), veth: tried.clone(), tap: tried };
    }
    Links {
        nftables: tried(rules()),
        bridge: tried(bridge()),
        veth: tried(pair()),
        tap: tried(tap::open("doctor3").map(drop)),
    }
}

fn tried(outcome: io::Result<()>) -> Tried {
    match outcome {
        Ok(()) => Tried::Works,
        Err(error) => Tried::Failed(error.to_string()),
    }
}

fn rules() -> io::Result<()> {
    let table = Table { family: Family::Inet, name: "doctor" };
    let base = Base { kind: "nat", hook: Hook::Postrouting, priority: 100 };
    let mut transaction = Transaction::new();
    transaction.table(table).chain(table, "post", Some(base));
    transaction.commit(&mut nftables::open()?).map_err(io::Error::other)
}

fn end(name: &str) -> route::End<'_> {
    route::End { name, mac: None, mtu: None, netns: None }
}

fn bridge() -> io::Result<()> {
    let mut batch = Batch::new();
    route::add_bridge(&mut batch, &end(BRIDGE));
    Socket::open(Protocol::Route)?.send(&mut batch).map_err(io::Error::other)
}

fn pair() -> io::Result<()> {
    let mut socket = Socket::open(Protocol::Route)?;
    let bridge = route::link_index(&mut socket, BRIDGE)?.unwrap_or(0);
    let mut batch = Batch::new();
    route::add_veth(&mut batch, &end("doctor1"), bridge, &end("doctor2"));
    socket.send(&mut batch).map_err(io::Error::other)
}
