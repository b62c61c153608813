//! Whether somebody listens at the end of the way.

use std::net::{IpAddr, SocketAddr};

use holm_sys::listener::{self, Listener};

use super::Member;
use super::machine::Machines;
use super::probe::Kind;
use super::report::{Hop, Place};

/// Looks whether somebody listens with a member, or with the host where there is none.
pub(super) fn look(machines: &dyn Machines, member: Option<&Member>, kind: Kind, to: IpAddr, from: &str) -> Hop {
    let name = member.map(|m| m.name.as_str());
    let all = match member {
        // An echo request needs no socket, so nobody need be asked.
        Some(machine) if machine.machine && kind != Kind::Echo => match machines.sockets(machine) {
            Ok(sockets) => sockets.into_iter().map(|s| Listener { tcp: s.tcp, at: s.at }).collect(),
            Err(why) => {
                let looked_at = format!("sockets of the machine `{}`", machine.name);
                return Hop::note(Place::Socket, looked_at, format!("not looked at: {why}"));
            }
        },
        Some(member) if member.machine => Vec::new(),
        other => listener::list(other.and_then(|m| m.pid)),
    };
    judge(&all, kind, to, name, from)
}

/// Whether a socket takes what comes to this address. One on `[::]` takes IPv4 too, unless it asked not to.
fn takes(listener: &Listener, to: IpAddr) -> bool {
    let own = listener.at.ip();
    own == to || (own.is_unspecified() && (own.is_ipv4() == to.is_ipv4() || own.is_ipv6()))
}

/// Judges whether somebody listens. `holm` is how the target's container is named in commands; none for the host.
fn judge(all: &[Listener], kind: Kind, to: IpAddr, container: Option<&str>, from: &str) -> Hop {
    let who = container.map_or_else(|| "the host".to_owned(), |name| format!("`{name}`"));
    let looked_at = format!("sockets of {who}");
    let Some(port) = kind.port() else {
        return Hop::ok(Place::Socket, looked_at, "none is needed: the kernel answers echo requests");
    };
    let tcp = matches!(kind, Kind::Tcp(_));
    if let Some(found) = all.iter().find(|l| l.tcp == tcp && l.at.port() == port && takes(l, to)) {
        return Hop::ok(Place::Socket, looked_at, format!("listens on {}/{}", found.at, kind.word()));
    }
    let own: Vec<&Listener> = all.iter().filter(|l| l.tcp == tcp).collect();
    let there: Vec<&&Listener> = own.iter().filter(|l| l.at.port() == port).collect();
    if let Some(first) = there.first() {
        let only = there.iter().map(|l| l.at.to_string()).collect::<Vec<_>>().join(", ");
        let reason =
            format!("nothing listens on {}/{}: {who} listens on {only} only", SocketAddr::new(to, port), kind.word());
        let hop = Hop::stop(Place::Socket, looked_at, reason);
        // The address that a program listens on is its own setting: show what it says of it.
        return match container {
            Some(name) if first.at.ip().is_loopback() => hop.hint(format!("holm logs {name}")),
            Some(name) => hop.hint(format!("holm inspect {name}")),
            None => hop.hint(format!("ss -lnp 'sport = :{port}'")),
        };
    }
    let mut ends: Vec<String> = own.iter().map(|l| l.at.to_string()).collect();
    if ends.len() > 6 {
        let more = ends.len() - 6;
        ends.truncate(6);
        ends.push(format!("{more} more"));
    }
    let rest = match ends.as_slice() {
        [] => format!("it listens on no {} port at all", kind.word()),
        ends => format!("it listens on {} only", ends.join(", ")),
    };
    let place = if container.is_some() { "in" } else { "on" };
    let reason = format!("nothing listens on {port}/{} {place} {who}; {rest}", kind.word());
    let hop = Hop::stop(Place::Socket, looked_at, reason);
    let other = own.iter().find(|l| takes(l, to));
    match (container, other) {
        (Some(name), Some(other)) => {
            let suffix = if tcp { "" } else { "/udp" };
            hop.hint(format!("holm network path {from} {name}:{}{suffix}", other.at.port()))
        }
        (Some(name), None) => hop.hint(format!("holm logs {name}")),
        (None, _) => hop.hint("ss -lnp"),
    }
}

#[cfg(test)]
mod tests {
    use holm_sys::listener::parse;

    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
        0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
        1: 0200000A:0050 0300000A:1234 01 00000000:00000000 00:00000000 00000000     0\n   \
        2: nonsense\n";
    const TCP6: &str = "head\n 0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0 0\n \
        1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 0A 0 0\n";

    #[test]
    fn the_reason_says_what_is_listened_on() {
        let mut all = parse(TCP, true);
        let check = |all: &[Listener], kind, found: &str, hint: Option<&str>| {
            let hop = judge(all, kind, "10.0.0.2".parse().unwrap(), Some("db"), "web");
            assert_eq!((hop.found.as_str(), hop.hint.as_deref()), (found, hint));
        };
        check(
            &all,
            Kind::Tcp(6379),
            "nothing listens on 10.0.0.2:6379/tcp: `db` listens on 127.0.0.1:6379 only",
            Some("holm logs db"),
        );
        check(
            &all,
            Kind::Udp(6379),
            "nothing listens on 6379/udp in `db`; it listens on no udp port at all",
            Some("holm logs db"),
        );
        all.extend(parse(TCP6, true));
        check(&all, Kind::Tcp(8080), "listens on [::]:8080/tcp", None);
        check(
            &all,
            Kind::Tcp(80),
            "nothing listens on 80/tcp in `db`; it listens on 127.0.0.1:6379, [::]:8080, [::1]:53 only",
            Some("holm network path web db:8080"),
        );
    }
}
