//! `resolv.conf`: reads its text. Opens nothing.
//!
//! *Source*: resolv.conf(5).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Most servers that are asked; the C library asks three.
const SERVERS_MAX: usize = 8;

/// What a `resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// Servers, in order.
    pub servers: Vec<SocketAddr>,
    /// Domains that are tried after short names.
    pub search: Vec<String>,
    /// Dots from which a name is tried as it is first, where told.
    pub ndots: Option<u8>,
    /// Time that one server has for one try, where told.
    pub timeout: Option<Duration>,
    /// Rounds over all servers, where told.
    pub attempts: Option<u8>,
    /// Begin with another server each time.
    pub rotate: bool,
}

impl ResolvConf {
    /// Reads a text; what cannot be read counts as not there, as for the C library. `link` gives a link's number by name, for
    /// addresses like `fe80::1%eth0`.
    pub fn parse(text: &str, port: u16, link: impl Fn(&str) -> Option<u32>) -> Self {
        let mut out =
            Self { servers: Vec::new(), search: Vec::new(), ndots: None, timeout: None, attempts: None, rotate: false };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| server(word, port, &link));
                    let room = out.servers.len() < SERVERS_MAX;
                    out.servers.extend(server.filter(|server| room && !out.servers.contains(server)));
                }
                Some("search" | "domain") => out.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| out.set_option(word)),
                _ => {}
            }
        }
        out
    }

    fn set_option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        // Greater values count as the greatest, as for the C library.
        let number = value.parse::<u32>().ok().map(|number| number.min(255));
        let at_most = |most: u8| number.map(|number| u8::try_from(number).unwrap_or(most).min(most));
        match name {
            "ndots" => self.ndots = at_most(15).or(self.ndots),
            "timeout" => {
                let seconds = at_most(30).map(|seconds| Duration::from_secs(u64::from(seconds.max(1))));
                self.timeout = seconds.or(self.timeout);
            }
            "attempts" => self.attempts = at_most(5).map(|attempts| attempts.max(1)).or(self.attempts),
            "rotate" => self.rotate = true,
            _ => {}
        }
    }
}

fn server(word: &str, port: u16, link: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Some((address, scope)) = word.split_once('%') {
        let address: Ipv6Addr = address.parse().ok()?;
        let scope = scope.parse().ok().or_else(|| link(scope))?;
        return Some(SocketAddrV6::new(address, port, 0, scope).into());
    }
    let address: IpAddr = word.parse().ok()?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ResolvConf {
        ResolvConf::parse(text, 53, |name| (name == "eth0").then_some(7))
    }

    #[test]
    fn everything_is_read() {
        let conf = parse(
            "# a\n; b\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # c\nnameserver fe80::1%eth0\nnameserver fe80::2%9\n\
             domain x.example\nsearch a.example b.example\noptions ndots:2 timeout:3 rotate\noptions attempts:4 edns0\n",
        );
        let servers: Vec<_> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53", "[fe80::2%9]:53"]);
        assert_eq!(conf.search, ["a.example", "b.example"]);
        let timeout = Some(Duration::from_secs(3));
        assert_eq!((conf.ndots, conf.timeout, conf.attempts, conf.rotate), (Some(2), timeout, Some(4), true));
    }

    #[test]
    fn what_cannot_be_read_counts_as_not_there() {
        let conf =
            parse("nameserver\nnameserver x\nnameserver fe80::1%none\noptions ndots:x timeout attempts:-1\nfoo\n");
        assert_eq!(conf, parse(""));
    }

    #[test]
    fn limits_hold() {
        let conf = parse("options ndots:99 timeout:0 attempts:0\n");
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (Some(15), Some(Duration::from_secs(1)), Some(1)));
        let conf = parse("options timeout:999999 attempts:300\n");
        assert_eq!((conf.timeout, conf.attempts), (Some(Duration::from_secs(30)), Some(5)));
        let many: String = (1..20).map(|at| format!("nameserver 192.0.2.{at}\nnameserver 192.0.2.{at}\n")).collect();
        assert_eq!(parse(&many).servers.len(), SERVERS_MAX);
    }
}
