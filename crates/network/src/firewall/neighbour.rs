//! Living beside other firewalls: docker, ufw and firewalld drop what they do not know, and a drop in any table is final.
//!
//! Where a foreign chain drops by default, a rule at its head lets packets of Holm's bridges through; Holm's own table has
//! decided about them by then or will. The rules are written as `iptables` writes its own, so that it can still read its
//! tables, carry a comment, and go with the network.

use holm_spec::network::NetworkSpec;
use holm_sys::netlink::Socket;
use holm_sys::nftables::{self, Comparison, Expr, Family, ListedChain, Table, Transaction, Verdict, meta, reg};

use crate::Error;

/// Hooks by number, as listed.
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
/// What the comments begin with.
const MARK: &str = "holm: ";

fn note(link: &str) -> String {
    format!("{MARK}{link}")
}

/// Foreign chains that may drop what is for or from a bridge of Holm's.
fn dropping(socket: &mut Socket) -> Result<Vec<ListedChain>, Error> {
    let all = nftables::chains(socket).map_err(|e| Error::io("list", "nftables chains", e))?;
    let hostile = |chain: &ListedChain| {
        let here = matches!(chain.hook, Some(INPUT | FORWARD)) && chain.kind == "filter";
        // firewalld accepts by policy and rejects by its last rule.
        let drops = chain.drops || (chain.table == "firewalld" && chain.name.starts_with("filter_"));
        here && drops && chain.family != Family::Bridge && chain.table != super::INET.name
    };
    Ok(all.into_iter().filter(hostile).collect())
}

fn link_is(key: u32, link: &str) -> [Expr<'static>; 2] {
    let mut name = [0; 16];
    for (to, from) in name[..15].iter_mut().zip(link.bytes()) {
        *to = from;
    }
    [Expr::Meta(key, reg(0)), Expr::Compare(reg(0), Comparison::Is, name.to_vec())]
}

fn accept<const N: usize>(steps: [Expr<'static>; N]) -> Vec<Expr<'static>> {
    steps.into_iter().chain([Expr::Count, Expr::Decide(Verdict::Accept)]).collect()
}

/// The rules that one network needs in a chain.
fn wanted(chain: &ListedChain, network: &NetworkSpec) -> Vec<Vec<Expr<'static>>> {
    let link = network.link.as_str();
    if chain.hook == Some(FORWARD) {
        return vec![accept(link_is(meta::IN_NAME, link)), accept(link_is(meta::OUT_NAME, link))];
    }
    // To the host itself: the name server, and nothing more than its administrator allowed.
    let names = |protocol: u8| {
        let [name, is] = link_is(meta::IN_NAME, link);
        let port = 53u16.to_be_bytes().to_vec();
        accept([
            name,
            is,
            Expr::Meta(meta::L4_PROTOCOL, reg(0)),
            Expr::Compare(reg(0), Comparison::Is, vec![protocol]),
            Expr::TransportHeader(2, 2, reg(0)),
            Expr::Compare(reg(0), Comparison::Is, port),
        ])
    };
    if network.names { vec![names(17), names(6)] } else { Vec::new() }
}

/// Lets packets of these networks through foreign chains that drop; what is there already stays. Gives the tables that
/// were changed.
pub(crate) fn let_through(socket: &mut Socket, networks: &[NetworkSpec]) -> Result<Vec<String>, Error> {
    let mut changed = Vec::new();
    for chain in dropping(socket)? {
        let table = Table { family: chain.family, name: &chain.table };
        let there = nftables::rules(socket, table).unwrap_or_default();
        let mut transaction = Transaction::new();
        for network in networks {
            let comment = note(&network.link);
            let wanted = wanted(&chain, network);
            let have = there.iter().filter(|rule| rule.chain == chain.name && rule.comment == comment);
            if have.clone().count() == wanted.len() {
                continue;
            }
            for rule in have {
                transaction.delete_rule(table, &chain.name, rule.handle);
            }
            for steps in &wanted {
                transaction.rule_first(table, &chain.name, steps, &comment);
            }
        }
        if transaction.is_empty() {
            continue;
        }
        let named = format!("{} {}", chain.family.word(), chain.table);
        transaction.commit(socket).map_err(|e| Error::kernel("add a rule to", format!("table {named}"), e))?;
        changed.push(named);
    }
    Ok(changed)
}

/// Takes out of foreign chains what was added for the network with this bridge.
pub(crate) fn take_back(socket: &mut Socket, link: &str) -> Result<(), Error> {
    let comment = note(link);
    let mut first = Ok(());
    for chain in dropping(socket)? {
        let table = Table { family: chain.family, name: &chain.table };
        for rule in nftables::rules(socket, table).unwrap_or_default() {
            if rule.chain == chain.name && rule.comment == comment {
                let mut transaction = Transaction::new();
                transaction.delete_rule(table, &chain.name, rule.handle);
                let done = transaction.commit(socket);
                // Its owner may have flushed it meanwhile.
                let done = done.or_else(|e| if super::is_missing(&e) { Ok(()) } else { Err(e) });
                first = first.and(done.map_err(|e| Error::kernel("take a rule out of", chain.table.clone(), e)));
            }
        }
    }
    first
}
