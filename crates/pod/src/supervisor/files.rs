//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container: made anew in its folder at every start.

mod change;
mod share;

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_container::rootfs::Rootfs;
use holm_spec::container::{ContainerSpec, NetworkMode};
use holm_spec::guest::OwnFile;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};

use crate::Error;
use crate::layout::write_all;
use crate::owner::Owners;

pub(super) use change::{Place, follow};

/// Most bytes taken of a host's file.
const MAX_BYTES: u64 = 1 << 20;

const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// What a container's networks put into its files.
#[derive(Clone, Debug, Default)]
pub(super) struct OfNetworks {
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Name servers that know its networks.
    pub servers: Vec<IpAddr>,
    /// The host's address as it sees it.
    pub host: Option<IpAddr>,
    /// Search domains, for those who name none.
    pub search: Vec<String>,
    /// Resolver options, for those who name none.
    pub options: Vec<String>,
}

/// A file of the three.
struct File {
    name: &'static str,
    text: String,
}

/// What [`provide`] has done and left to do.
#[derive(Default)]
pub(super) struct Provided {
    /// The names of those that the container's folder holds, to be mounted over the image's.
    pub mounted: Vec<&'static str>,
    /// `/etc` in its root file system and what is to be written there before its program runs.
    later: Option<(OwnedFd, Vec<File>, Owners)>,
}

impl Provided {
    /// Writes what is left: while the container's process sets itself up.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        let Some((etc, files, owners)) = self.later.take() else { return Ok(()) };
        files.iter().try_for_each(|file| put(etc.as_fd(), Path::new(file.name), &file.text, owners))
    }

    /// Whether something is left.
    pub(super) fn is_unfinished(&self) -> bool {
        self.later.is_some()
    }
}

/// Whether the files in its root file system can wait until its process exists: not where that makes its root read-only
/// or mounts something over their folder, which may be filled with what is there.
fn may_wait(spec: &ContainerSpec) -> bool {
    let covered = spec.mounts.iter().any(|m| Path::new("/etc").starts_with(&m.destination));
    !spec.security.read_only_rootfs && !covered
}

/// Provides the three files.
///
/// What the image does not have is written into the container's own root file system, where a mount would need a file to be
/// made anyway: one file instead of two, and no mount. It is there at the next start, and mounted over then.
pub(super) fn provide(
    rootfs: &Rootfs,
    folder: &Path,
    spec: &ContainerSpec,
    host_name: &str,
    owners: Owners,
    networks: &OfNetworks,
) -> Result<Provided, Error> {
    if let NetworkMode::Container(other) = &spec.sandbox.network {
        return Ok(Provided { mounted: share::provide(folder, other, spec)?, later: None });
    }
    let files = texts(spec, host_name, networks);
    let (mut mounted, mut inside_root) = (Vec::new(), Vec::new());
    let mut etc = None;
    for file in files {
        let inside = format!("/etc/{}", file.name);
        if spec.mounts.iter().any(|m| m.destination == inside) {
            continue;
        }
        match rootfs.open_in_root(Path::new(&inside), OFlags::PATH | OFlags::NOFOLLOW) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            _ => {
                put(CWD, &folder.join(file.name), &file.text, owners)?;
                mounted.push(file.name);
                continue;
            }
        }
        // No name server to tell of and no file of the image's: resolvers take both the same.
        if file.text.is_empty() {
            continue;
        }
        if etc.is_none() {
            etc = rootfs.open_in_root(Path::new("/etc"), OFlags::RDONLY | OFlags::DIRECTORY).ok();
        }
        match &etc {
            Some(_) => inside_root.push(file),
            None => {
                put(CWD, &folder.join(file.name), &file.text, owners)?;
                mounted.push(file.name);
            }
        }
    }
    let mut provided = Provided { mounted, later: etc.map(|etc| (etc, inside_root, owners)) };
    if !may_wait(spec) {
        provided.finish()?;
    }
    Ok(provided)
}

/// What the three files hold.
fn texts(spec: &ContainerSpec, host_name: &str, networks: &OfNetworks) -> [File; 3] {
    let host_network = spec.sandbox.network == NetworkMode::Host;
    let networked = matches!(spec.sandbox.network, NetworkMode::Networks(_) | NetworkMode::Cni(_));
    let of_host = |path: &str| if host_network { read(path) } else { String::new() };
    let resolvers =
        if networked { of_networks(&read("/etc/resolv.conf"), spec, networks) } else { of_host("/etc/resolv.conf") };
    [
        File { name: "resolv.conf", text: resolv_conf(spec, &resolvers, networks) },
        File { name: "hostname", text: format!("{host_name}\n") },
        File { name: "hosts", text: hosts(spec, &of_host("/etc/hosts"), host_name, networks) },
    ]
}

/// The files of a container in a virtual machine, whose root file system its agent alone sees.
pub(super) fn for_guest(spec: &ContainerSpec, host_name: &str, networks: &OfNetworks) -> Vec<OwnFile> {
    let asked = |name: &str| spec.mounts.iter().any(|m| m.destination == format!("/etc/{name}"));
    let files = texts(spec, host_name, networks).into_iter().filter(|file| !asked(file.name));
    files.map(|file| OwnFile { name: file.name.to_owned(), text: file.text }).collect()
}

fn read(path: &str) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    let _ = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn put(at: BorrowedFd<'_>, path: &Path, text: &str, owners: Owners) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::io("write", path.display().to_string(), e);
    // Everybody in the container may read them, whoever they are there.
    let mode = Mode::from_raw_mode(0o644);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(at, path, flags, mode).map_err(|e| failed(e.into()))?;
    if let Some(map) = owners.mapping() {
        let (uid, gid) = (Uid::from_raw(map.host_id), Gid::from_raw(map.host_id));
        rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(|e| failed(e.into()))?;
    }
    write_all(&file, text.as_bytes()).map_err(failed)
}

/// The host's lines where it shares the host's network, else the usual ones and its own name; then what was asked for.
fn hosts(spec: &ContainerSpec, of_host: &str, host_name: &str, networks: &OfNetworks) -> String {
    let mut text = if spec.sandbox.network == NetworkMode::Host {
        of_host.to_owned()
    } else if networks.addresses.is_empty() {
        format!("{HOSTS}127.0.1.1\t{host_name}\n")
    } else {
        let name = spec.name.as_str();
        let more = if name == host_name { String::new() } else { format!(" {name}") };
        let own: String = networks.addresses.iter().map(|a| format!("{a}\t{host_name}{more}\n")).collect();
        format!("{HOSTS}{own}")
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in &spec.sandbox.extra_hosts {
        // `name:address`; an IPv6 address has colons of its own and may stand in brackets.
        if let Some((name, address)) = entry.split_once([':', '=']) {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            let host = networks.host.map(|host| host.to_string());
            let address = if address == "host-gateway" { host.as_deref().unwrap_or("127.0.0.1") } else { address };
            text.push_str(&format!("{address}\t{name}\n"));
        }
    }
    text
}

/// The host's file as a container on a network can use it: the network's own name servers, or those of the host that can be
/// reached from elsewhere.
fn of_networks(of_host: &str, spec: &ContainerSpec, networks: &OfNetworks) -> String {
    let mut text: String = networks.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for line in of_host.lines() {
        let mut words = line.split_ascii_whitespace();
        let kept = match words.next() {
            Some("nameserver") => {
                let server: Option<IpAddr> = words.next().and_then(|server| server.parse().ok());
                networks.servers.is_empty() && server.is_some_and(|server| !server.is_loopback())
            }
            Some("search" | "domain" | "options") => true,
            _ => false,
        };
        if kept {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !text.contains("nameserver") && spec.sandbox.dns.is_empty() {
        text.push_str("# the host has no name server that can be reached from here\n");
    }
    text
}

/// The host's file where it shares the host's network, each kind of line replaced by what was asked for.
fn resolv_conf(spec: &ContainerSpec, of_host: &str, networks: &OfNetworks) -> String {
    let sandbox = &spec.sandbox;
    let mut text = String::new();
    for line in of_host.lines() {
        let replaced = match line.split_ascii_whitespace().next() {
            // Where names are served the server asks them itself.
            Some("nameserver") => !sandbox.dns.is_empty() && networks.servers.is_empty(),
            Some("search" | "domain") => !sandbox.dns_search.is_empty() || !networks.search.is_empty(),
            Some("options") => !sandbox.dns_options.is_empty() || !networks.options.is_empty(),
            _ => false,
        };
        if !replaced {
            text.push_str(line);
            text.push('\n');
        }
    }
    for server in sandbox.dns.iter().filter(|_| networks.servers.is_empty()) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let asked = |own: &'_ [String], given: &'_ [String]| if own.is_empty() { given.to_vec() } else { own.to_vec() };
    let (search, options) =
        (asked(&sandbox.dns_search, &networks.search), asked(&sandbox.dns_options, &networks.options));
    let search: Vec<&str> = search.iter().map(String::as_str).filter(|s| *s != ".").collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;

    #[test]
    fn hosts_has_own_name_or_the_hosts_lines_and_what_was_asked() {
        let mut spec = spec();
        spec.sandbox.extra_hosts = vec!["db:10.0.0.1".into(), "v6:[fd00::1]".into()];
        let own = hosts(&spec, "", "web", &OfNetworks::default());
        assert!(own.contains("127.0.1.1\tweb\n") && own.ends_with("10.0.0.1\tdb\nfd00::1\tv6\n"), "{own}");
        spec.sandbox.network = NetworkMode::Host;
        assert_eq!(
            hosts(&spec, "127.0.0.1 here", "web", &OfNetworks::default()),
            "127.0.0.1 here\n10.0.0.1\tdb\nfd00::1\tv6\n"
        );
    }

    #[test]
    fn resolv_conf_replaces_only_what_was_asked() {
        let mut spec = spec();
        spec.sandbox.network = NetworkMode::Host;
        spec.sandbox.dns = vec!["9.9.9.9".into()];
        let text = resolv_conf(&spec, "nameserver 1.1.1.1\nsearch a b\n", &OfNetworks::default());
        assert_eq!(text, "search a b\nnameserver 9.9.9.9\n");
        spec.sandbox.dns_search = vec![".".into()];
        assert_eq!(resolv_conf(&spec, "search a b\n", &OfNetworks::default()), "nameserver 9.9.9.9\n");
    }
}
