//! `network path`: reads who and what is meant; the walk is in `holm-network`, the printing in `format::path`.

use std::net::IpAddr;
use std::time::Duration;

use holm_network::path::{Kind, Life, Member, Origin, Question, Target};
use holm_network::{Networks, Roots};
use holm_pod::{Container, Engine};
use holm_spec::container::NetworkMode;
use holm_spec::state::Status;

use super::Outcome;
use super::context::Context;
use crate::args::network_path::NetworkPath;
use crate::error::{CODE_USAGE, Failure};
use crate::format::{self, path};
use crate::{output, terminal};

/// Longest time to wait, seconds.
const TIMEOUT_MAX: f64 = 600.0;

/// `holm network path`
pub fn path(context: &Context, flags: &NetworkPath) -> Outcome {
    let engine = context.engine()?;
    let question = question(&engine, flags)?;
    let roots = engine.roots();
    let networks = Networks::new(Roots { data: roots.data.clone(), run: roots.run.clone() });
    let report =
        networks.path(&question, &engine).map_err(|e| Failure { hint: e.hint(), ..Failure::from_error(&e) })?;
    let json = |e: serde_json::Error| Failure::because("cannot write JSON", &e);
    match flags.output.as_deref() {
        Some("json") => output::line(&serde_json::to_string_pretty(&report).map_err(json)?)?,
        Some(_) => output::print(&format::yaml(&report)?)?,
        None => output::print(&path::render(&report, path::Look::of_terminal(terminal::width())))?,
    }
    Ok(u8::from(!report.reachable))
}

fn usage(what: &str, value: &str, why: &str) -> Failure {
    Failure::flag(what, value, why).with_code(CODE_USAGE)
}

fn question(engine: &Engine, flags: &NetworkPath) -> Result<Question, Failure> {
    if !(flags.timeout > 0.0 && flags.timeout <= TIMEOUT_MAX) {
        return Err(usage("--timeout", &flags.timeout.to_string(), "it must be more than 0 and at most 600 seconds"));
    }
    let containers = engine.list().map_err(Failure::from)?;
    let members: Vec<Member> = containers.iter().map(|one| member(&containers, one)).collect();
    let (host, port) = split(&flags.to).map_err(|why| usage("TO", &flags.to, why))?;
    let v4 = match (flags.ipv4, flags.ipv6) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let at = |name: &str| -> Result<Option<usize>, Failure> {
        match engine.find(name) {
            Ok(id) => Ok(containers.iter().position(|c| c.spec.id == id)),
            Err(holm_pod::Error::NoSuchContainer(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    let from = match flags.from.split_once(':') {
        _ if flags.from == "host" => Origin::Host,
        None if flags.from == "outside" => Origin::Outside { link: None, source: flags.source },
        Some(("outside", link)) if !link.is_empty() => {
            Origin::Outside { link: Some(link.to_owned()), source: flags.source }
        }
        _ => match at(&flags.from)? {
            Some(at) => Origin::Container(at),
            None => {
                let failure = Failure::new(format!("cannot find container `{}`", flags.from)).with_code(CODE_USAGE);
                return Err(failure.with_hint("FROM is a container, host or outside; `holm ps -a` lists containers"));
            }
        },
    };
    if flags.source.is_some() && !matches!(from, Origin::Outside { .. }) {
        return Err(usage("--source", &flags.from, "only a packet from outside has a sender that is not known"));
    }
    let to = match host.parse::<IpAddr>() {
        Ok(address) => Target::Address(address),
        Err(_) if host == "host" => Target::Host,
        Err(_) => at(&host)?.map_or_else(|| Target::Name(host.clone()), Target::Container),
    };
    let v4 = match to {
        Target::Address(address) => Some(address.is_ipv4()),
        _ => v4.or(flags.source.map(|source| source.is_ipv4())),
    };
    Ok(Question {
        from,
        to,
        from_text: flags.from.clone(),
        to_text: flags.to.clone(),
        kind: port,
        v4,
        timeout: Duration::from_secs_f64(flags.timeout),
        members,
    })
}

/// Reads `db`, `db:80`, `db:53/udp`, `10.0.0.1:80`, `::1` and `[::1]:80`.
fn split(text: &str) -> Result<(String, Kind), &'static str> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text.to_owned(), Kind::Echo));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("there is no ] after the address")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "in [ and ] stands an IPv6 address")?;
            let port = match port.strip_prefix(':') {
                None if !port.is_empty() => return Err("after ] stands a colon and a port"),
                port => port,
            };
            (host, port)
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains('/') {
        return Err("it must be NAME or ADDRESS, with :PORT or :PORT/udp");
    }
    let Some(port) = port else { return Ok((host.to_owned(), Kind::Echo)) };
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let number = number.parse::<u16>().ok().filter(|n| *n > 0).ok_or("the port must be a number from 1 to 65535")?;
    let kind = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Kind::Tcp(number),
        "udp" => Kind::Udp(number),
        _ => return Err("the protocol must be tcp or udp"),
    };
    Ok((host.to_owned(), kind))
}

/// What the walk needs to know of a container.
fn member(all: &[Container], one: &Container) -> Member {
    // The namespace may be another container's, and that in turn another's.
    let mut owner = one;
    for _ in 0..all.len() {
        let NetworkMode::Container(of) = &owner.spec.sandbox.network else { break };
        let Some(next) = all.iter().find(|c| c.spec.id == *of) else { break };
        owner = next;
    }
    let networks = match &owner.spec.sandbox.network {
        NetworkMode::Networks(list) => list.iter().map(|a| a.network.to_string()).collect(),
        _ => Vec::new(),
    };
    let pid = Some(one.state.pid).filter(|pid| *pid > 0 && one.state.status.is_live());
    let life = match one.state.status {
        Status::Running => Life::Running,
        Status::Paused => Life::Paused,
        other => Life::Stopped(other.word()),
    };
    Member {
        owner: owner.spec.id.clone(),
        name: one.spec.name.to_string(),
        pid,
        machine: one.spec.sandbox.isolation.machine().is_some(),
        life,
        on_host: owner.spec.sandbox.network == NetworkMode::Host,
        networks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_with_their_ports() {
        let check = |text: &str, host: &str, kind: Kind| assert_eq!(split(text), Ok((host.to_owned(), kind)), "{text}");
        check("db", "db", Kind::Echo);
        check("db:80", "db", Kind::Tcp(80));
        check("db:53/udp", "db", Kind::Udp(53));
        check("10.0.0.1:443/TCP", "10.0.0.1", Kind::Tcp(443));
        check("::1", "::1", Kind::Echo);
        check("[::1]", "::1", Kind::Echo);
        check("[fd00::2]:80", "fd00::2", Kind::Tcp(80));
        for bad in ["", ":80", "db:", "db:0", "db:65536", "db:80/sctp", "db/udp", "[::1", "[::1]80", "[db]:80", "a:b:c"]
        {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
