//! What the firewall did with the probe: the rules of every program's tables, in the order in which the packet met them.

use std::io;

use holm_sys::netlink::Socket;
use holm_sys::nftables::{self, Family, ListedChain, ListedRule, Table};

use super::report::{Hop, Place};
use super::trace::{Decision, Step};

/// Chains and rules as listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub chains: Vec<ListedChain>,
    pub rules: Vec<(Family, String, ListedRule)>,
}

/// Lists all of them. Tables that go meanwhile are none.
pub(super) fn gather(socket: &mut Socket) -> io::Result<Listing> {
    let chains = nftables::chains(socket)?;
    let mut rules = Vec::new();
    for (family, name) in nftables::tables(socket)? {
        for rule in nftables::rules(socket, Table { family, name: &name }).unwrap_or_default() {
            rules.push((family, name.clone(), rule));
        }
    }
    Ok(Listing { chains, rules })
}

impl Listing {
    fn rule(&self, step: &Step) -> Option<&ListedRule> {
        let handle = step.handle?;
        let found = self.rules.iter().find(|(f, t, r)| *f == step.family && *t == step.table && r.handle == handle);
        found.map(|(_, _, rule)| rule)
    }

    /// A rule in words: its comment, else what it looks at.
    fn words(&self, step: &Step) -> String {
        match (step.handle, self.rule(step)) {
            (None, _) => "the chain's policy".to_owned(),
            (Some(_), Some(rule)) if !rule.comment.is_empty() => rule.comment.clone(),
            (Some(handle), Some(rule)) => format!("rule {handle} ({})", expressions(&rule.expressions)),
            (Some(handle), None) => format!("rule {handle}"),
        }
    }

    /// Base chains at these hooks, in the order in which a packet crosses them.
    fn crossed(&self, hooks: &[u32]) -> Vec<&ListedChain> {
        let mut found = Vec::new();
        for hook in hooks {
            let mut here: Vec<_> =
                self.chains.iter().filter(|c| c.hook == Some(*hook) && c.family != Family::Bridge).collect();
            here.sort_by_key(|chain| chain.priority);
            found.extend(here);
        }
        found
    }
}

/// What a rule looks at and does, by the names of its expressions. *Source*: `nft describe`, linux/netfilter/nf_tables.h.
fn expressions(names: &[String]) -> String {
    let word = |name: &str| match name {
        "meta" => "link or protocol",
        "payload" => "header",
        "cmp" | "range" => "compares",
        "lookup" => "set",
        "ct" => "connection",
        "fib" => "kind of address",
        "immediate" => "verdict",
        "counter" | "bitwise" | "byteorder" => "",
        "match" | "target" => "iptables",
        "nat" => "translation",
        "masq" => "masquerade",
        _ => "?",
    };
    let mut words: Vec<&str> = Vec::new();
    for name in names {
        let word = match word(name) {
            "?" => name.as_str(),
            word => word,
        };
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}

/// Who talks to whom, for words and hints.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    pub from: String,
    /// The network that it leaves by.
    pub from_network: Option<String>,
    pub to: String,
    /// The network that the address is on.
    pub to_network: Option<String>,
    /// The target is a container.
    pub to_container: bool,
    /// The port asked for, `8080/tcp`.
    pub port: String,
    /// Whom a guarded port is open to, in words.
    pub open_to: Option<String>,
}

fn chain_name(step: &Step) -> String {
    format!("{} {}/{}", step.family.word(), step.table, step.chain)
}

/// Judges a packet that was watched.
pub(super) fn judge(steps: &[Step], listing: &Listing, ends: &Ends) -> Hop {
    let mut details = Vec::new();
    let (mut decided, mut to) = (0, None);
    for step in steps.iter().filter(|s| !s.reply) {
        let now = step.ends.map(|(_, to)| to);
        if let (Some(before), Some(after)) = (to, now)
            && before != after
        {
            details.push(format!("its destination {before} is {after} now"));
        }
        to = now.or(to);
        if step.verdict == Decision::Continue {
            continue;
        }
        // A policy that accepts says nothing but that no rule of the chain had an opinion.
        if step.handle.is_some() || step.verdict == Decision::Drop {
            details.push(format!("{}: {} - {}", chain_name(step), listing.words(step), step.verdict.word()));
            decided += 1;
        }
    }
    let chains = {
        let mut seen: Vec<String> = Vec::new();
        for step in steps.iter().filter(|s| !s.reply) {
            let name = format!("{} {}", step.family.word(), step.table);
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        seen.join(", ")
    };
    let looked_at = match chains.as_str() {
        "" => "the probe's way through the firewall".to_owned(),
        chains => format!("the probe's way through {chains}"),
    };
    if let Some(step) = steps.iter().find(|s| s.verdict == Decision::Drop) {
        return stopped(step, listing, ends, looked_at).details(details);
    }
    if steps.iter().all(|s| s.reply) {
        return Hop::note(Place::Firewall, looked_at, "no rule saw the probe");
    }
    let answered = if steps.iter().any(|s| s.reply) { ", and the answer too" } else { "" };
    let found = match decided {
        0 => format!("let through, no rule decided about it{answered}"),
        count => format!("let through, by {}{answered}", rules(count)),
    };
    Hop::ok(Place::Firewall, looked_at, found).details(details)
}

fn rules(count: usize) -> String {
    if count == 1 { "1 rule".to_owned() } else { format!("{count} rules") }
}

fn stopped(step: &Step, listing: &Listing, ends: &Ends, looked_at: String) -> Hop {
    let what = if step.reply { "the answer" } else { "the packet" };
    let own = step.table == "holm";
    let comment = listing.rule(step).map_or("", |rule| rule.comment.as_str());
    let (reason, hint) = if own { own_rule(comment, ends) } else { (None, None) };
    let place = format!("table `{} {}`, chain `{}`", step.family.word(), step.table, step.chain);
    let reason = match reason {
        Some(reason) => format!("{reason} ({place})"),
        None if step.handle.is_none() => format!("{place} drops {what}: by its policy, no rule there lets it through"),
        None => format!("{place} drops {what}: {}", listing.words(step)),
    };
    let list = format!("nft -a list chain {} {} {}", step.family.word(), step.table, step.chain);
    Hop::stop(Place::Firewall, looked_at, reason).hint(hint.unwrap_or(list))
}

/// What a rule of Holm's own means for these two. The texts are the rules' comments.
fn own_rule(comment: &str, ends: &Ends) -> (Option<String>, Option<String>) {
    let Ends { from, to, .. } = ends;
    let named = |network: &Option<String>| network.as_ref().map_or_else(|| "none".to_owned(), |n| format!("`{n}`"));
    let join =
        |who: &str, network: &Option<String>| network.as_ref().map(|n| format!("holm network connect {n} {who}"));
    match comment {
        "networks do not reach each other" => {
            let reason = format!(
                "networks do not reach each other: `{from}` is on {}, `{to}` on {}",
                named(&ends.from_network),
                named(&ends.to_network)
            );
            (Some(reason), join(from, &ends.to_network))
        }
        "an internal network has no way out" => {
            let reason = format!("network {} is internal: it has no way out", named(&ends.from_network));
            (Some(reason), Some(format!("holm network connect bridge {from}")))
        }
        "an internal network has no way in" => {
            let reason = format!("network {} is internal: it has no way in", named(&ends.to_network));
            (Some(reason), Some(format!("holm network connect bridge {to}")))
        }
        "the port is not open to the sender" => {
            let to = ends.open_to.clone().unwrap_or_else(|| "others".to_owned());
            (Some(format!("port {} is open to {to} only", ends.port)), Some("holm network ports".to_owned()))
        }
        "containers are reached by published ports only" => {
            let port = ends.port.split('/').next().unwrap_or("80");
            let reason = format!("from outside, `{to}` is reached by its published ports only");
            (Some(reason), ends.to_container.then(|| format!("holm run -p {port}:{port} …")))
        }
        "within one network, as it is isolated" => {
            (Some(format!("containers of network {} do not reach each other", named(&ends.from_network))), None)
        }
        "" => (None, None),
        other => (Some(other.to_owned()), None),
    }
}

/// Judges by the listing alone, where nothing could be watched: names what would be crossed, and says so.
pub(super) fn judge_listed(listing: &Listing, hooks: &[u32], why: &str) -> Hop {
    let crossed = listing.crossed(hooks);
    let details = crossed.iter().map(|chain| {
        let count = listing
            .rules
            .iter()
            .filter(|(f, t, r)| *f == chain.family && *t == chain.table && r.chain == chain.name)
            .count();
        let policy = if chain.drops { "drops what they do not decide" } else { "accepts" };
        format!("{} {}/{}: {}, then {policy}", chain.family.word(), chain.table, chain.name, rules(count))
    });
    let details = details.collect();
    let found = format!("{} chains would be crossed; {why}", crossed.len());
    Hop::note(Place::Firewall, "the rules as listed", found).details(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(table: &str, chain: &str, handle: Option<u64>, verdict: Decision, reply: bool) -> Step {
        let (table, chain) = (table.to_owned(), chain.to_owned());
        Step { reply, family: Family::Inet, table, chain, handle, verdict, ends: None }
    }

    fn listing() -> Listing {
        let rule = |handle, chain: &str, comment: &str, names: &[&str]| ListedRule {
            handle,
            chain: chain.into(),
            comment: comment.into(),
            expressions: names.iter().map(|n| (*n).to_owned()).collect(),
        };
        Listing {
            chains: Vec::new(),
            rules: vec![
                (Family::Inet, "holm".into(), rule(4, "from-network", "networks do not reach each other", &[])),
                (Family::Inet, "mine".into(), rule(4, "fw", "", &["payload", "cmp", "counter", "reject"])),
            ],
        }
    }

    fn check(steps: &[Step], reason: &str, hint: Option<&str>) {
        let ends = Ends {
            from: "web".into(),
            from_network: Some("blue".into()),
            to: "db".into(),
            to_network: Some("red".into()),
            ..Ends::default()
        };
        let hop = judge(steps, &listing(), &ends);
        assert_eq!((hop.found.as_str(), hop.hint.as_deref()), (reason, hint));
    }

    #[test]
    fn a_drop_is_told_by_whose_it_is() {
        check(
            &[
                step("holm", "forward", Some(1), Decision::Jump, false),
                step("holm", "from-network", Some(4), Decision::Drop, false),
            ],
            "networks do not reach each other: `web` is on `blue`, `db` on `red` (table `inet holm`, chain `from-network`)",
            Some("holm network connect red web"),
        );
        check(
            &[step("mine", "fw", Some(4), Decision::Drop, false)],
            "table `inet mine`, chain `fw` drops the packet: rule 4 (header, compares, reject)",
            Some("nft -a list chain inet mine fw"),
        );
        check(
            &[step("mine", "fw", None, Decision::Drop, true)],
            "table `inet mine`, chain `fw` drops the answer: by its policy, no rule there lets it through",
            Some("nft -a list chain inet mine fw"),
        );
        check(&[step("mine", "fw", Some(4), Decision::Accept, false)], "let through, by 1 rule", None);
        check(&[], "no rule saw the probe", None);
    }
}
