//! Whom to ask for names that are not ours: the host's resolvers, read again when their file changes, or a fixed list.

use std::fs::Metadata;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::resolv_conf::ResolvConf;

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Most bytes of the file that are read.
const FILE_MAX: u64 = 64 << 10;

/// Time for one try where nothing else is told. The C library's five seconds are its clients' whole patience: the second
/// server would be asked when nobody waits any more.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Rounds over all servers where nothing else is told. *Source*: resolv.conf(5).
const ATTEMPTS: u8 = 2;

/// The servers to ask, and how.
pub struct Upstreams {
    file: Option<Watched>,
    port: u16,
    timeout: Option<Duration>,
    current: Plan,
}

struct Watched {
    path: PathBuf,
    looked: Option<Instant>,
    seen: Option<(i64, i64, u64, u64)>,
}

/// How to ask.
#[derive(Clone)]
pub(super) struct Plan {
    /// The servers, in order.
    pub servers: Rc<[SocketAddr]>,
    /// Time for one try.
    pub timeout: Duration,
    /// Rounds over all servers.
    pub attempts: u8,
    /// Begin with another server each time.
    pub rotate: bool,
}

impl Upstreams {
    /// Those of a `resolv.conf`, which may come, change and go.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let file = Watched { path: path.into(), looked: None, seen: None };
        Self { file: Some(file), ..Self::fixed(Vec::new()) }
    }

    /// These.
    pub fn fixed(servers: Vec<SocketAddr>) -> Self {
        let current = Plan { servers: servers.into(), timeout: TIMEOUT, attempts: ATTEMPTS, rotate: false };
        Self { file: None, port: 53, timeout: None, current }
    }

    /// Asks servers that are told by address alone at this port instead of 53.
    pub fn at_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Gives each try this time, whatever the file says.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self.current.timeout = timeout;
        self
    }

    /// How to ask now: the servers of a container's own, or the host's.
    pub(super) fn plan(&mut self, own: &[IpAddr], now: Instant) -> Plan {
        self.look(now);
        if own.is_empty() {
            return self.current.clone();
        }
        let servers = own.iter().map(|address| SocketAddr::new(*address, self.port)).collect();
        Plan { servers, ..self.current.clone() }
    }

    /// Reads the file again where it is another than last time.
    fn look(&mut self, now: Instant) {
        let Some(file) = &mut self.file else { return };
        if file.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY) {
            return;
        }
        file.looked = Some(now);
        let stamp = |data: Metadata| (data.mtime(), data.mtime_nsec(), data.ino(), data.size());
        let seen = std::fs::metadata(&file.path).ok().filter(|data| data.len() <= FILE_MAX).map(stamp);
        if seen == file.seen {
            return;
        }
        file.seen = seen;
        let bytes = if seen.is_some() { std::fs::read(&file.path).unwrap_or_default() } else { Vec::new() };
        let conf = ResolvConf::parse(&String::from_utf8_lossy(&bytes), self.port, link_number);
        self.current = Plan {
            servers: conf.servers.into(),
            timeout: self.timeout.or(conf.timeout).unwrap_or(TIMEOUT),
            attempts: conf.attempts.unwrap_or(ATTEMPTS),
            rotate: conf.rotate,
        };
    }
}

fn link_number(name: &str) -> Option<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    netdevice::name_to_index(socket, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_again_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let mut upstreams = Upstreams::file(&path);
        let mut now = Instant::now();
        let mut servers = |after: Duration| {
            now += after;
            upstreams.plan(&[], now).servers.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(servers(Duration::ZERO).is_empty());
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert!(servers(LOOK_EVERY / 2).is_empty(), "not looked at so soon");
        assert_eq!(servers(LOOK_EVERY), ["192.0.2.1:53"]);
        std::fs::write(&path, "nameserver 192.0.2.22\n").unwrap();
        assert_eq!(servers(LOOK_EVERY), ["192.0.2.22:53"]);
        std::fs::remove_file(&path).unwrap();
        assert!(servers(LOOK_EVERY).is_empty());
    }

    #[test]
    fn servers_of_a_containers_own_come_instead() {
        let mut upstreams = Upstreams::fixed(vec!["192.0.2.1:53".parse().unwrap()]).at_port(54);
        let plan = upstreams.plan(&["192.0.2.9".parse().unwrap()], Instant::now());
        assert_eq!(*plan.servers, ["192.0.2.9:54".parse().unwrap()]);
    }
}
