//! Networks and published ports as typed: `--network`, `-p` and what goes with them.

use std::net::IpAddr;

use holm_spec::container::NetworkMode;
use holm_spec::network::{AttachmentSpec, CniSpec, DEFAULT_NETWORK, LINK_NAME_MAX, MacAddress, Protocol, PublishSpec};
use ipnet::IpNet;

use super::{Around, namespace};
use crate::args::create::sandbox::SandboxFlags;
use crate::error::{CODE_HOLM, Failure};

/// Most ports of one range.
const RANGE_MAX: usize = 16_384;

/// The network that was asked for with all its flags.
pub fn mode(flags: &SandboxFlags, around: &Around) -> Result<NetworkMode, Failure> {
    let named: Vec<&str> = flags.network.iter().map(String::as_str).collect();
    let names: &[&str] = if named.is_empty() { std::slice::from_ref(&around.default_network) } else { &named };
    let single = match names {
        ["none"] => Some(NetworkMode::None),
        ["host"] => Some(NetworkMode::Host),
        [one] => match one.split_once(':') {
            Some(("container", name)) => Some((around.container)(name).map(NetworkMode::Container)?),
            Some(("ns", path)) => Some(namespace::namespace_path("--network", path).map(NetworkMode::Path)?),
            Some(("cni", rest)) => return cni(flags, one, rest).map(NetworkMode::Cni),
            _ => None,
        },
        _ => None,
    };
    if let Some(mode) = single {
        refuse_addresses(flags, names[0])?;
        return Ok(mode);
    }
    let mut attachments: Vec<AttachmentSpec> = Vec::new();
    for text in names {
        let one = attachment(text)?;
        if attachments.iter().any(|a| a.network == one.network) {
            return Err(Failure::flag("--network", text, "it is named twice"));
        }
        attachments.push(one);
    }
    add_flags(flags, &mut attachments[0])?;
    Ok(NetworkMode::Networks(attachments))
}

/// `cni:NAME[:ip=ADDRESS,mac=ADDRESS,ingress=BITS,egress=BITS]`, and the flags that mean the same.
fn cni(flags: &SandboxFlags, text: &str, rest: &str) -> Result<CniSpec, Failure> {
    let bad = |why: &str| Failure::flag("--network", text, why);
    let (name, options) = rest.split_once(':').unwrap_or((rest, ""));
    let named = name.parse().map_err(|_| bad("the name of a CNI configuration has letters, digits and _ . - only"))?;
    let mut found = CniSpec { name: named, ips: Vec::new(), mac: None, ingress_bits: None, egress_bits: None };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("ip" | "ip6", value)) => {
                if value.parse::<IpNet>().is_err() && value.parse::<IpAddr>().is_err() {
                    return Err(bad("ip must be an address, with or without a prefix"));
                }
                found.ips.push(value.to_owned());
            }
            Some(("mac", value)) => found.mac = Some(value.parse::<MacAddress>().map_err(|why| bad(&why))?),
            Some(("ingress", value)) => found.ingress_bits = Some(bits(value).map_err(bad)?),
            Some(("egress", value)) => found.egress_bits = Some(bits(value).map_err(bad)?),
            _ => return Err(bad("an option must be one of ip, mac, ingress, egress")),
        }
    }
    let mut asked = AttachmentSpec::to(found.name.clone());
    add_flags(flags, &mut asked)?;
    if !asked.aliases.is_empty() {
        refuse_addresses(&SandboxFlags { ip: None, ip6: None, mac_address: None, ..flags.clone() }, "cni:NAME")?;
    }
    found.ips.extend(asked.ipv4.map(|ip| ip.to_string()).into_iter().chain(asked.ipv6.map(|ip| ip.to_string())));
    found.mac = found.mac.or(asked.mac);
    Ok(found)
}

/// Bits per second, with k, m or g for thousands, millions and milliards.
fn bits(text: &str) -> Result<u64, &'static str> {
    let unit = |factor: u64, digits: &str| digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
    let lower = text.to_ascii_lowercase();
    let found = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(digits) if lower.ends_with('k') => unit(1_000, digits),
        Some(digits) if lower.ends_with('m') => unit(1_000_000, digits),
        Some(digits) => unit(1_000_000_000, digits),
        None => unit(1, &lower),
    };
    found.filter(|n| *n > 0).ok_or("a bandwidth is a number of bits per second, as 800k, 10m or 1g")
}

/// Flags that need a network of Holm's.
fn refuse_addresses(flags: &SandboxFlags, mode: &str) -> Result<(), Failure> {
    let asked = [
        ("--ip", flags.ip.is_some()),
        ("--ip6", flags.ip6.is_some()),
        ("--mac-address", flags.mac_address.is_some()),
        ("--network-alias", !flags.network_alias.is_empty()),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((flag, _)) => {
            Err(Failure::new(format!("cannot use {flag} with --network {mode}: it belongs to a network of Holm's"))
                .with_code(CODE_HOLM)
                .with_hint("holm network create NAME, then --network NAME"))
        }
        None => Ok(()),
    }
}

/// Flags without a network of their own mean the first one.
fn add_flags(flags: &SandboxFlags, first: &mut AttachmentSpec) -> Result<(), Failure> {
    if let Some(text) = &flags.ip {
        first.ipv4 = Some(text.parse().map_err(|_| Failure::flag("--ip", text, "it must be an IPv4 address"))?);
    }
    if let Some(text) = &flags.ip6 {
        first.ipv6 = Some(text.parse().map_err(|_| Failure::flag("--ip6", text, "it must be an IPv6 address"))?);
    }
    if let Some(text) = &flags.mac_address {
        first.mac = Some(text.parse().map_err(|why: String| Failure::flag("--mac-address", text, why))?);
    }
    for text in &flags.network_alias {
        first.aliases.push(alias("--network-alias", text)?);
    }
    Ok(())
}

/// A name that a container has on a network. *Source*: RFC 1123, with underscores, which people use.
pub fn alias(flag: &str, text: &str) -> Result<String, Failure> {
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if text.len() <= 253 && text.split('.').all(good) {
        return Ok(text.to_owned());
    }
    Err(Failure::flag(flag, text, "a name has letters, digits, - and _ only, each part 1 to 63 characters"))
}

/// `NAME`, docker's `name=NAME,alias=…,ip=…` or podman's `NAME:alias=…,ip=…`.
pub fn attachment(text: &str) -> Result<AttachmentSpec, Failure> {
    let bad = |why: &str| Failure::flag("--network", text, why);
    let (name, options) = match text.split_once([':', '=']) {
        Some((_, _)) if text.starts_with("name=") => (None, text),
        Some((name, options)) if text[name.len()..].starts_with(':') => (Some(name), options),
        Some(_) => (None, text),
        None => (Some(text), ""),
    };
    let mut network = name.map(str::to_owned);
    let mut found = AttachmentSpec::to(DEFAULT_NETWORK.parse()?);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').ok_or_else(|| bad("an option must be KEY=VALUE"))?;
        match key {
            "name" => network = Some(value.to_owned()),
            "alias" => found.aliases.push(alias("--network", value)?),
            "ip" => match value.parse() {
                Ok(IpAddr::V4(v4)) => found.ipv4 = Some(v4),
                Ok(IpAddr::V6(v6)) => found.ipv6 = Some(v6),
                Err(_) => return Err(bad("ip must be an address")),
            },
            "ip6" => found.ipv6 = Some(value.parse().map_err(|_| bad("ip6 must be an IPv6 address"))?),
            "mac" | "mac-address" => found.mac = Some(value.parse::<MacAddress>().map_err(|why| bad(&why))?),
            _ => return Err(bad("an option must be one of name, alias, ip, ip6, mac")),
        }
    }
    let network = network.ok_or_else(|| bad("it names no network"))?;
    let network = if network == "default" { DEFAULT_NETWORK.to_owned() } else { network };
    if matches!(network.as_str(), "none" | "host") {
        return Err(bad("it cannot be together with others").with_hint(format!("--network {network} alone")));
    }
    found.network = network.parse().map_err(|e: holm_spec::IdError| bad(&e.to_string()))?;
    Ok(found)
}

/// `--expose`: `PORT[-PORT][/PROTOCOL]`.
pub fn exposed(texts: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for text in texts {
        let bad = |why: String| Failure::flag("--expose", text, why).with_hint("--expose 80 or --expose 5000-5010/udp");
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol.parse::<Protocol>().map_err(bad)?;
        let (first, last) = range(ports).map_err(bad)?;
        if usize::from(last - first) >= RANGE_MAX {
            return Err(bad(format!("a range has at most {RANGE_MAX} ports")));
        }
        all.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    all.dedup();
    Ok(all)
}

/// Flags that contradict the network, as docker refuses them.
pub fn check_combinations(flags: &SandboxFlags) -> Result<(), Failure> {
    let Some(of) = flags.network.iter().find(|network| network.starts_with("container:")) else { return Ok(()) };
    let asked = [
        ("--hostname", flags.hostname.is_some()),
        ("--dns", !flags.dns.is_empty()),
        ("--dns-search", !flags.dns_search.is_empty()),
        ("--dns-option", !flags.dns_option.is_empty()),
        ("--add-host", !flags.add_host.is_empty()),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((flag, _)) => {
            let failure = Failure::new(format!("cannot use {flag} with --network {of}: that container's is shared"));
            Err(failure.with_code(CODE_HOLM).with_hint(format!("give {flag} to that container when it is made")))
        }
        None => Ok(()),
    }
}

/// Docker's warning where ports are published that nobody can.
pub fn discarded(mode: &NetworkMode, ports: &[PublishSpec]) -> Option<String> {
    let mode = match mode {
        _ if ports.is_empty() => return None,
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
        NetworkMode::Container(_) => "container",
        NetworkMode::Path(_) => "ns",
        NetworkMode::Networks(_) | NetworkMode::Cni(_) => return None,
    };
    Some(format!("Published ports are discarded when using {mode} network mode"))
}

/// `-p`: `[IP:][HOST[-HOST]:]PORT[-PORT][/PROTOCOL][,from=CIDR][,interface=LINK]`.
pub fn published(texts: &[String]) -> Result<Vec<PublishSpec>, Failure> {
    let mut all: Vec<PublishSpec> = Vec::new();
    for text in texts {
        let found = one_published(text).map_err(|why| {
            Failure::flag("--publish", text, why).with_hint("-p 8080:80, -p 127.0.0.1:8080:80/tcp or -p 53:53/udp")
        })?;
        all.extend(found);
    }
    for (at, one) in all.iter().enumerate() {
        let same = |other: &&PublishSpec| {
            other.host_ports == one.host_ports
                && one.host_ports.0 == one.host_ports.1
                && one.host_ports.0 != 0
                && other.protocol == one.protocol
                && (other.host_ip == one.host_ip || other.host_ip.is_none() || one.host_ip.is_none())
        };
        if all[..at].iter().any(|other| same(&other)) {
            let what = format!("{}/{}", one.host_ports.0, one.protocol);
            return Err(Failure::flag("--publish", &what, "the host's port is named twice"));
        }
    }
    Ok(all)
}

fn one_published(text: &str) -> Result<Vec<PublishSpec>, String> {
    let mut parts = text.split(',');
    let main = parts.next().unwrap_or_default();
    let (mut interfaces, mut from) = (Vec::new(), Vec::new());
    for option in parts {
        match option.split_once('=') {
            Some(("from", net)) => from.push(source(net)?),
            Some(("interface", link)) if !link.is_empty() && link.len() <= LINK_NAME_MAX => {
                interfaces.push(link.to_owned());
            }
            Some(("interface", _)) => return Err(format!("a link's name has 1 to {LINK_NAME_MAX} characters")),
            _ => return Err("an option must be from=SUBNET or interface=LINK".to_owned()),
        }
    }
    let (ports, protocol) = match main.rsplit_once('/') {
        Some((ports, protocol)) => (ports, protocol.parse::<Protocol>()?),
        None => (main, Protocol::Tcp),
    };
    let (host_ip, host, container) = split(ports)?;
    let (first, last) = range(container)?;
    let count = usize::from(last - first) + 1;
    if count > RANGE_MAX {
        return Err(format!("a range has at most {RANGE_MAX} ports"));
    }
    let host = host.map(range).transpose()?;
    let hosts = |at: u16| match host {
        None => Ok((0, 0)),
        // One port of a range of the host, whichever is free.
        Some(range) if count == 1 => Ok(range),
        Some((begin, end)) if usize::from(end - begin) + 1 == count => Ok((begin + at, begin + at)),
        Some(_) => Err("both ranges must be of one length".to_owned()),
    };
    (0..=last - first)
        .map(|at| {
            Ok(PublishSpec {
                host_ip,
                host_ports: hosts(at)?,
                container_port: first + at,
                protocol,
                interfaces: interfaces.clone(),
                from: from.clone(),
            })
        })
        .collect()
}

fn source(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net| net.trunc()).map_err(|_| format!("`{text}` is no address and no subnet"))
}

type Split<'a> = (Option<IpAddr>, Option<&'a str>, &'a str);

/// Address, the host's port and the container's, as they stand between colons.
fn split(text: &str) -> Result<Split<'_>, String> {
    let (address, rest) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once("]:").ok_or("an IPv6 address stands in brackets, then a colon")?;
            (Some(address), rest)
        }
        None if text.matches(':').count() >= 2 => {
            let (address, rest) = text.split_once(':').unwrap_or((text, ""));
            (Some(address), rest)
        }
        None => (None, text),
    };
    let address = match address {
        None | Some("") => None,
        Some(address) => Some(address.parse().map_err(|_| format!("`{address}` is no address"))?),
    };
    match rest.split_once(':') {
        Some((_, container)) if container.contains(':') => Err("an IPv6 address must stand in brackets".to_owned()),
        Some(("", container)) => Ok((address, None, container)),
        Some((host, container)) => Ok((address, Some(host), container)),
        None => Ok((address, None, rest)),
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(format!("`{text}` is no port: they go from 1 to 65535")),
        Ok(port) => Ok(port),
    };
    match text.split_once('-') {
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            if first > last { Err("a range must go upwards".to_owned()) } else { Ok((first, last)) }
        }
        None => port(text).map(|port| (port, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let all = published(&[text.to_owned()]).map_err(|f| f.render(false))?;
        let ip = |p: &PublishSpec| p.host_ip.map(|ip| format!("{ip} ")).unwrap_or_default();
        Ok(all
            .iter()
            .map(|p| format!("{}{}-{}>{}/{}", ip(p), p.host_ports.0, p.host_ports.1, p.container_port, p.protocol))
            .collect())
    }

    #[test]
    fn ports_are_read_in_all_of_dockers_forms() {
        for (text, expected) in [
            ("80", vec!["0-0>80/tcp"]),
            ("8080:80", vec!["8080-8080>80/tcp"]),
            ("8080:80/udp", vec!["8080-8080>80/udp"]),
            ("127.0.0.1:8080:80", vec!["127.0.0.1 8080-8080>80/tcp"]),
            ("127.0.0.1::80", vec!["127.0.0.1 0-0>80/tcp"]),
            ("[::1]:8080:80", vec!["::1 8080-8080>80/tcp"]),
            ("8000-8001:80-81", vec!["8000-8000>80/tcp", "8001-8001>81/tcp"]),
            ("8000-8010:80", vec!["8000-8010>80/tcp"]),
            ("9:9/sctp", vec!["9-9>9/sctp"]),
            ("80,from=10.0.0.0/8,interface=eth0", vec!["0-0>80/tcp"]),
        ] {
            assert_eq!(shown(text).unwrap(), expected, "{text}");
        }
        let limited = published(&["80:80,from=10.1.2.3/8,from=::1,interface=eth0".into()]).unwrap();
        assert_eq!(limited[0].from.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn malformed_ports_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "is no port"),
            ("0:80", "is no port"),
            ("70000:80", "is no port"),
            ("80/icmp", "tcp, udp or sctp"),
            ("1.2.3:80:80", "is no address"),
            ("::1:80:80", "in brackets"),
            ("80-70:80", "upwards"),
            ("80-85:80-81", "one length"),
            ("80,from=x", "no subnet"),
            ("80,colour=red", "from=SUBNET"),
        ] {
            let failure = shown(text).unwrap_err();
            assert!(failure.contains(why), "{text}: {failure}");
        }
        assert!(published(&["80:80".into(), "127.0.0.1:80:81".into()]).is_err());
        assert!(published(&["80:80".into(), "80:81/udp".into()]).is_ok());
    }

    #[test]
    fn networks_are_read_in_dockers_and_podmans_forms() {
        for text in [
            "web:ip=10.1.0.9,alias=a,mac=02:00:00:00:00:01",
            "name=web,alias=a,ip=10.1.0.9,mac-address=02:00:00:00:00:01",
        ] {
            let one = attachment(text).unwrap();
            assert_eq!(
                (one.network.as_str(), one.aliases, one.ipv4.map(|a| a.to_string())),
                ("web", vec!["a".into()], Some("10.1.0.9".into()))
            );
        }
        for bad in ["web:ip=x", "web:colour=red", "a b", "name=host,alias=x", "web:alias=-/"] {
            assert!(attachment(bad).is_err(), "{bad}");
        }
    }
}
