//! Namespaces, host names, hosts, name servers and sysctls.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use holm_spec::container::{NamespaceMode, UserNamespaceMode};

use super::{Around, environment};
use crate::error::{CODE_HOLM, Failure};

/// Ids of a container with its own user namespace.
const USER_IDS: u32 = 65_536;

/// An absolute path of a namespace.
pub fn namespace_path(flag: &str, path: &str) -> Result<PathBuf, Failure> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(Failure::flag(flag, path, "the path of a namespace must be absolute").with_hint("as /run/netns/blue"))
}

fn joined(flag: &str, text: &str, around: &Around) -> Result<NamespaceMode, Failure> {
    match text.split_once(':') {
        Some(("container", name)) => (around.container)(name).map(NamespaceMode::Container),
        Some(("ns", path)) => namespace_path(flag, path).map(NamespaceMode::Path),
        _ => Err(Failure::flag(flag, text, "there is no such mode")
            .with_hint(format!("{flag} private, host, container:NAME or ns:PATH"))),
    }
}

/// `--pid`
pub fn pid(text: Option<&str>, around: &Around) -> Result<NamespaceMode, Failure> {
    private_or_host("--pid", text, around)
}

/// `--ipc`
pub fn ipc(text: Option<&str>, around: &Around) -> Result<NamespaceMode, Failure> {
    match text {
        // Every private one can be shared here.
        Some("shareable") => Ok(NamespaceMode::Private),
        Some("none") => {
            Err(Failure::flag("--ipc", "none", "this version always gives a /dev/shm").with_hint("--ipc private"))
        }
        other => private_or_host("--ipc", other, around),
    }
}

/// A mode that is `private`, `host`, `container:NAME` or `ns:PATH`.
pub fn private_or_host(flag: &str, text: Option<&str>, around: &Around) -> Result<NamespaceMode, Failure> {
    match text {
        None | Some("" | "private") => Ok(NamespaceMode::Private),
        Some("host") => Ok(NamespaceMode::Host),
        Some(text) => joined(flag, text, around),
    }
}

/// `--userns`
pub fn user(text: Option<&str>, around: &Around) -> Result<UserNamespaceMode, Failure> {
    let bad = |text: &str, why: String| Failure::flag("--userns", text, why);
    match text {
        None | Some("" | "host") => Ok(UserNamespaceMode::Host),
        Some("auto" | "private") => {
            mapped(USER_IDS, around).map_err(|(why, hint)| bad(text.unwrap_or_default(), why).with_hint(hint))
        }
        Some(text) => match text.split_once(':') {
            Some(("container", name)) => (around.container)(name).map(UserNamespaceMode::Container),
            Some(("auto", options)) => {
                let size =
                    options.strip_prefix("size=").and_then(|n| n.parse().ok()).filter(|n| (1..=1 << 24).contains(n));
                let size = size.ok_or_else(|| bad(text, "it must be auto:size=N".to_owned()))?;
                mapped(size, around).map_err(|(why, hint)| bad(text, why).with_hint(hint))
            }
            _ => Err(bad(text, "there is no such mode".to_owned()).with_hint("--userns host, auto or container:NAME")),
        },
    }
}

/// The range of ids where the table has none for containers: above those of systemd's containers (0x6fffffff) and of
/// users' own, below those that some file systems take for negative. *Source*: systemd, UIDS-GIDS.md.
const FREE_IDS: (u32, u32) = (0x7000_0000, 0x0fff_fffe);

/// The lowest free range of `size` ids among the subordinate ids of Holm, of containers in general or of root.
fn mapped(size: u32, around: &Around) -> Result<UserNamespaceMode, (String, String)> {
    let hint = || "give Holm's containers more: echo holm:2147483648:1073741824 >> /etc/subuid".to_owned();
    let shown = around.subuid.display();
    let table = match std::fs::read_to_string(around.subuid) {
        Ok(table) => table,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err((format!("cannot read `{shown}`: {error}"), hint())),
    };
    let mut used = (around.used_ids)().map_err(|failure| (failure.message, hint()))?;
    used.sort_unstable();
    let row = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next().filter(|name| matches!(*name, "holm" | "containers" | "root"))?.to_owned();
        Some((owner, (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)))
    };
    let rows: Vec<(String, (u32, u32))> = table.lines().filter_map(row).collect();
    let of = |owner: &'static str| rows.iter().filter(move |(name, _)| name == owner).map(|(_, range)| *range);
    let mut ranges: Vec<(u32, u32)> = of("holm").chain(of("containers")).chain(of("root")).collect();
    if ranges.is_empty() {
        ranges.push(FREE_IDS);
    }
    let found = ranges.into_iter().find_map(|(first, count)| free_range(first, count, size, &used));
    match found {
        Some(host_id) => Ok(UserNamespaceMode::Mapped { host_id, size }),
        None => Err((format!("there are no {size} free ids for containers"), hint())),
    }
}

/// The lowest `size` ids of `first`, `first + count` that touch none of `used`, which is sorted.
fn free_range(first: u32, count: u32, size: u32, used: &[(u32, u32)]) -> Option<u32> {
    let end = u64::from(first) + u64::from(count);
    let mut candidate = u64::from(first);
    for (start, length) in used {
        let (start, stop) = (u64::from(*start), u64::from(*start) + u64::from(*length));
        if start < candidate + u64::from(size) && stop > candidate {
            candidate = stop;
        }
    }
    if candidate + u64::from(size) <= end.min(u64::from(u32::MAX)) { u32::try_from(candidate).ok() } else { None }
}

/// A host or domain name. *Source*: hostname(7); the kernel's limit is 64.
pub fn host_name(flag: &str, text: &str) -> Result<String, Failure> {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    let why = "it must be letters, digits, - and . only, each part up to 63 and the whole up to 64 characters";
    Err(Failure::flag(flag, text, why))
}

/// `--sysctl`
pub fn sysctls(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for text in texts {
        let (name, value) = environment::pair("--sysctl", text)?;
        let name = name.replace('/', ".");
        let good =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-*".contains(&b));
        if !name.split('.').all(good) || !name.contains('.') {
            return Err(Failure::flag("--sysctl", text, "it must be NAME=VALUE with a dotted name")
                .with_hint("--sysctl net.core.somaxconn=1024"));
        }
        map.insert(name, value.to_owned());
    }
    Ok(map)
}

/// `--add-host`
pub fn hosts(texts: &[String]) -> Result<Vec<String>, Failure> {
    let one = |text: &String| {
        let bad = |why: &str| Failure::flag("--add-host", text, why).with_hint("--add-host db:10.0.0.7");
        let parts = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, address) = parts.ok_or_else(|| bad("it must be NAME:ADDRESS"))?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err(bad("the name is malformed"));
        }
        if address == "host-gateway" {
            return Ok(format!("{name}:{address}"));
        }
        let plain = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let address: IpAddr = plain.parse().map_err(|_| bad("the address is malformed"))?;
        Ok(format!("{name}:{address}"))
    };
    texts.iter().map(one).collect()
}

/// `--dns`
pub fn name_servers(texts: &[String]) -> Result<Vec<String>, Failure> {
    let one = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(Failure::flag("--dns", text, "it must be an address").with_hint("--dns 9.9.9.9")),
    };
    texts.iter().map(one).collect()
}

/// `--cgroup-parent`
pub fn cgroup_parent(text: &str) -> Result<String, Failure> {
    if text.is_empty() || text.split('/').any(|part| part == "..") || text.contains('\0') {
        return Err(Failure::flag("--cgroup-parent", text, "it must be a path below the root of the control groups")
            .with_code(CODE_HOLM));
    }
    Ok(text.to_owned())
}
