//! Looking a name up as a container would: its own `/etc/hosts` and `/etc/resolv.conf`, its own network namespace.
//!
//! Files are read below the container's root, links in them included, so that nothing outside of it is opened.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::namespace;
use super::report::{Hop, Place};
use crate::dns::reply::{Received, Reply, write_query};
use crate::dns::resolv_conf::ResolvConf;
use crate::dns::wire::{CLASS_IN, HEADER, Record, UDP_MAX, code, from_text, kind, skip_name, u16_at};

/// Most bytes of a file that are read.
const FILE_MAX: u64 = 1 << 20;
/// Most names that are tried.
const NAMES_MAX: usize = 8;

/// What came of one question to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Addresses, and seconds that they hold.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name.
    NoSuchName,
    /// The name has no address of this family.
    NoAddress,
    /// The server failed with this code.
    Code(u16),
    /// No answer.
    Silence,
    /// Nobody listens there.
    Refused,
    /// The question could not be sent.
    NoWay(Errno),
}

/// One question to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Try {
    pub name: String,
    pub server: SocketAddr,
    pub outcome: Outcome,
}

/// Everything that was found about a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lookup {
    pub name: String,
    /// Who asks, as told to a person.
    pub asker: String,
    /// Addresses in `/etc/hosts`.
    pub hosts: Vec<IpAddr>,
    pub servers: Vec<SocketAddr>,
    pub tries: Vec<Try>,
    pub waited: Duration,
}

impl Lookup {
    /// The addresses that the asker would use.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        if !self.hosts.is_empty() {
            return self.hosts.clone();
        }
        let mut found = Vec::new();
        for one in &self.tries {
            if let Outcome::Addresses(addresses, _) = &one.outcome {
                found.extend(addresses.iter().copied().filter(|a| !found.contains(a)).collect::<Vec<_>>());
            }
        }
        found
    }
}

/// Who asks: a process whose root has the files, and its network namespace. Both absent for the host itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub name: &'a str,
    pub pid: Option<i32>,
    pub netns: Option<BorrowedFd<'a>>,
    /// It is a virtual machine: what its networks' records do not know is asked as their keeper would, from the host.
    pub machine: bool,
}

/// Asks for a name. Families in the order wanted.
pub(super) fn gather(asker: Asker<'_>, name: &str, families: &[bool], timeout: Duration) -> Lookup {
    let read = |path: &str| match asker.pid {
        Some(pid) => read_below(pid, path).unwrap_or_default(),
        None if asker.machine && path == "etc/hosts" => String::new(),
        None => std::fs::read_to_string(format!("/{path}")).unwrap_or_default(),
    };
    let mut lookup =
        Lookup { name: name.to_owned(), asker: asker.name.to_owned(), waited: timeout, ..Lookup::default() };
    lookup.hosts = in_hosts(&read("etc/hosts"), name, families);
    let conf = ResolvConf::parse(&read("etc/resolv.conf"), 53, |_| None);
    lookup.servers.clone_from(&conf.servers);
    if !lookup.hosts.is_empty() {
        return lookup;
    }
    for name in names(name, &conf) {
        for v4 in families {
            for server in &conf.servers {
                let outcome = ask(asker.netns, *server, &name, *v4, timeout);
                let done = matches!(outcome, Outcome::Addresses(..));
                let next =
                    matches!(outcome, Outcome::Silence | Outcome::Refused | Outcome::NoWay(_) | Outcome::Code(_));
                lookup.tries.push(Try { name: name.clone(), server: *server, outcome });
                if done {
                    return lookup;
                }
                if !next {
                    break;
                }
            }
            // Servers that say nothing say nothing about another family or name either.
            if lookup.tries.iter().all(|t| matches!(t.outcome, Outcome::Silence | Outcome::Refused | Outcome::NoWay(_)))
            {
                return lookup;
            }
        }
    }
    lookup
}

/// The names that the C library tries, in its order. *Source*: resolv.conf(5), `search` and `ndots`.
fn names(name: &str, conf: &ResolvConf) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let dots = name.matches('.').count();
    let mut all: Vec<String> =
        conf.search.iter().map(|domain| format!("{name}.{}", domain.trim_matches('.'))).collect();
    let at = if dots >= usize::from(conf.ndots.unwrap_or(1)) { 0 } else { all.len() };
    all.insert(at, name.to_owned());
    all.truncate(NAMES_MAX);
    all
}

fn in_hosts(text: &str, name: &str, families: &[bool]) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if families.contains(&address.is_ipv4()) && words.any(|word| word.eq_ignore_ascii_case(name)) {
            found.push(address);
        }
    }
    found.sort_by_key(|address| families.iter().position(|v4| *v4 == address.is_ipv4()));
    found
}

/// Reads a file below a process's root.
fn read_below(pid: i32, path: &str) -> Option<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = std::fs::File::from(rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).ok()?);
    // A pipe or a device is no file to read names from.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn ask(netns: Option<BorrowedFd<'_>>, server: SocketAddr, name: &str, v4: bool, timeout: Duration) -> Outcome {
    let Some(wire) = from_text(name) else { return Outcome::NoSuchName };
    let mut question = wire.into_vec();
    question.push(0);
    question.extend(if v4 { kind::A } else { kind::AAAA }.to_be_bytes());
    question.extend(CLASS_IN.to_be_bytes());
    match exchange(netns, server, &question, timeout) {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Outcome::Silence,
        Err(Errno::CONNREFUSED) => Outcome::Refused,
        Err(e) => Outcome::NoWay(e),
    }
}

fn exchange(
    netns: Option<BorrowedFd<'_>>,
    server: SocketAddr,
    question: &[u8],
    timeout: Duration,
) -> Result<Option<Outcome>, Errno> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let open =
        || rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None);
    let socket: OwnedFd = namespace::within(netns, open).map_err(|_| Errno::PERM)??;
    rustix::net::connect(&socket, &server)?;
    let mut number = [0; 2];
    rustix::rand::getrandom(&mut number[..], rustix::rand::GetRandomFlags::empty())?;
    let id = u16::from_ne_bytes(number);
    let mut query = Vec::new();
    write_query(id, question, false, Some(false), &mut query);
    rustix::net::send(&socket, &query, SendFlags::empty())?;
    let end = Instant::now() + timeout;
    let mut buffer = [0; UDP_MAX];
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let mut poll = [PollFd::new(&socket, PollFlags::IN)];
        match rustix::event::poll(&mut poll, Some(&super::probe::timespec(left))) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        match rustix::net::recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, length)) => {
                if let Some(outcome) = read(buffer.get(..length).unwrap_or(&[]), id, question) {
                    return Ok(Some(outcome));
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// Reads a server's message; none where it is no answer to the question.
fn read(message: &[u8], id: u16, question: &[u8]) -> Option<Outcome> {
    match Reply::parse(message, id, question) {
        Received::Nothing => return None,
        Received::Truncated => {}
        Received::Reply(reply) if reply.code == code::NXDOMAIN => return Some(Outcome::NoSuchName),
        Received::Reply(reply) if reply.code != code::NOERROR => return Some(Outcome::Code(reply.code)),
        Received::Reply(_) => {}
    }
    let mut at = skip_name(message, HEADER)? + 4;
    let (mut addresses, mut ttl) = (Vec::new(), u32::MAX);
    for _ in 0..u16_at(message, 6)? {
        let Some(record) = Record::read(message, at) else { break };
        let data = message.get(record.data.clone())?;
        let address = match record.kind {
            kind::A => <[u8; 4]>::try_from(data).ok().map(|b| IpAddr::from(Ipv4Addr::from(b))),
            kind::AAAA => <[u8; 16]>::try_from(data).ok().map(|b| IpAddr::from(Ipv6Addr::from(b))),
            _ => None,
        };
        if address.is_some() {
            ttl = ttl.min(record.ttl);
        }
        addresses.extend(address);
        at = record.data.end;
    }
    Some(if addresses.is_empty() { Outcome::NoAddress } else { Outcome::Addresses(addresses, ttl) })
}

/// What is known of containers by a name, for whoever asked for one and got nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Namesakes {
    /// Networks of the asker.
    pub own: Vec<String>,
    /// Networks on which a container has that name.
    pub elsewhere: Vec<String>,
    /// The container whose namespace the one of that name has, and whose name is served for both.
    pub shares: Option<String>,
    /// Networks that serve names, with the address that does.
    pub servers: Vec<(IpAddr, String)>,
}

/// Judges a lookup.
pub(super) fn judge(lookup: &Lookup, namesakes: &Namesakes, chosen: Option<IpAddr>) -> Hop {
    let Lookup { name, asker, .. } = lookup;
    if let (Some(address), false) = (chosen, lookup.hosts.is_empty()) {
        return Hop::ok(Place::Name, format!("/etc/hosts of `{asker}`"), format!("`{name}` is {address}"));
    }
    let answered = lookup.tries.iter().find_map(|t| match &t.outcome {
        Outcome::Addresses(_, ttl) => Some((t, *ttl)),
        _ => None,
    });
    if let (Some(address), Some((one, ttl))) = (chosen, answered) {
        let looked_at = format!("`{}` asked of {}", one.name, one.server);
        return Hop::ok(Place::Name, looked_at, format!("{address}, for {ttl} s"));
    }
    let Some(last) = lookup.tries.last() else {
        let reason = format!("`{asker}` has no name server and `{name}` is not in its /etc/hosts");
        return Hop::stop(Place::Name, format!("/etc/resolv.conf of `{asker}`"), reason)
            .hint(format!("holm exec {asker} cat /etc/resolv.conf"));
    };
    let looked_at = format!("`{}` asked of {}", last.name, last.server);
    let told = |outcome: &Outcome| lookup.tries.iter().find(|t| t.outcome == *outcome);
    let ours = namesakes.servers.iter().find(|(address, _)| *address == last.server.ip());
    // Names with dots are no container's: our own server asks those of the host.
    let passed_on = ours.is_some() && name.contains('.');
    let restart = || match ours {
        Some(_) if passed_on => "cat /etc/resolv.conf".to_owned(),
        Some((_, network)) => format!("holm network inspect {network}"),
        None => format!("holm exec {asker} cat /etc/resolv.conf"),
    };
    let passed_on = if passed_on { ": it asks the servers in the host's /etc/resolv.conf" } else { "" };
    if told(&Outcome::NoSuchName).is_some() {
        return no_such_name(lookup, namesakes, looked_at);
    }
    let stop = |reason: String| Hop::stop(Place::Name, looked_at.clone(), reason);
    match &last.outcome {
        Outcome::NoAddress => {
            stop(format!("`{name}` has no address of the family asked for")).hint(format!("holm inspect {name}"))
        }
        Outcome::Silence => stop(format!(
            "the name server {} did not answer `{asker}` within {} s{passed_on}",
            last.server,
            lookup.waited.as_secs_f32()
        ))
        .hint(restart()),
        Outcome::Refused => {
            stop(format!("no name server listens on {}: it refused the question of `{asker}`", last.server))
                .hint(restart())
        }
        Outcome::NoWay(e) => {
            stop(format!("`{asker}` cannot reach its name server {}: {}", last.server, namespace::errno_words(*e)))
                .hint(format!("holm network path {asker} {}:53/udp", super::bracketed(last.server.ip())))
        }
        Outcome::Code(code) => {
            stop(format!("the name server {} failed: {}{passed_on}", last.server, code_word(*code))).hint(restart())
        }
        Outcome::Addresses(..) | Outcome::NoSuchName => {
            stop(format!("`{name}` has no address of the family asked for"))
        }
    }
}

fn no_such_name(lookup: &Lookup, namesakes: &Namesakes, looked_at: String) -> Hop {
    let Lookup { name, asker, .. } = lookup;
    let own = namesakes.own.join(", ");
    if let Some(other) = &namesakes.shares {
        let reason =
            format!("`{name}` has no name on networks: it shares the network of `{other}` and is reached by that name");
        return Hop::stop(Place::Name, looked_at, reason).hint(format!("holm network path {asker} {other}"));
    }
    if let Some(network) = namesakes.elsewhere.first() {
        let list = namesakes.elsewhere.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let reason = format!("no container `{name}` on the networks of `{asker}` ({own}): it is on {list}");
        let joined = namesakes.own.first().map_or(network, |first| first);
        return Hop::stop(Place::Name, looked_at, reason).hint(format!("holm network connect {joined} {name}"));
    }
    let reason = match namesakes.own.is_empty() {
        true => format!("there is no name `{name}`"),
        false => {
            format!("there is no name `{name}`, and no container of that name on the networks of `{asker}` ({own})")
        }
    };
    Hop::stop(Place::Name, looked_at, reason).hint("holm ps -a")
}

fn code_word(number: u16) -> String {
    match number {
        code::FORMERR => "it cannot read the question (FORMERR)".to_owned(),
        code::SERVFAIL => "it found no answer (SERVFAIL)".to_owned(),
        code::NOTIMP => "it does not answer such questions (NOTIMP)".to_owned(),
        code::REFUSED => "it does not answer us (REFUSED)".to_owned(),
        other => format!("code {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(outcome: Outcome) -> Lookup {
        let server = "10.0.0.1:53".parse().unwrap();
        Lookup {
            name: "db".into(),
            asker: "web".into(),
            servers: vec![server],
            tries: vec![Try { name: "db".into(), server, outcome }],
            waited: Duration::from_secs(3),
            ..Lookup::default()
        }
    }

    #[test]
    fn each_way_to_fail_has_a_reason_of_its_own() {
        let own = Namesakes { own: vec!["blue".into()], ..Namesakes::default() };
        let check = |outcome, names: &Namesakes, reason: &str, hint: &str| {
            let hop = judge(&lookup(outcome), names, None);
            assert_eq!((hop.found.as_str(), hop.hint.as_deref()), (reason, Some(hint)));
        };
        let red = Namesakes { elsewhere: vec!["red".into()], ..own.clone() };
        check(
            Outcome::NoSuchName,
            &red,
            "no container `db` on the networks of `web` (blue): it is on `red`",
            "holm network connect blue db",
        );
        check(
            Outcome::NoSuchName,
            &own,
            "there is no name `db`, and no container of that name on the networks of `web` (blue)",
            "holm ps -a",
        );
        check(
            Outcome::Silence,
            &own,
            "the name server 10.0.0.1:53 did not answer `web` within 3 s",
            "holm exec web cat /etc/resolv.conf",
        );
        check(
            Outcome::NoWay(Errno::NETUNREACH),
            &own,
            "`web` cannot reach its name server 10.0.0.1:53: no route (ENETUNREACH)",
            "holm network path web 10.0.0.1:53/udp",
        );
    }

    #[test]
    fn hosts_and_search_lists_are_read_as_the_library_does() {
        let hosts = "# c\n10.0.0.9 db db.local # x\n::9 db\nnonsense db\n";
        let v6: IpAddr = "::9".parse().unwrap();
        assert_eq!(in_hosts(hosts, "DB", &[true, false]), ["10.0.0.9".parse().unwrap(), v6]);
        assert_eq!(in_hosts(hosts, "db", &[false]), [v6]);
        let conf = ResolvConf::parse("search a.test b.test\noptions ndots:2\n", 53, |_| None);
        assert_eq!(names("x.y", &conf), ["x.y.a.test", "x.y.b.test", "x.y"]);
        assert_eq!(names("x.y.z", &conf)[0], "x.y.z");
        assert_eq!(names("x.", &conf), ["x."]);
    }
}
