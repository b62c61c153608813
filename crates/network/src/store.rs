//! The networks' records: made, found, listed, removed. Nothing in the kernel changes here.
//!
//! ```text
//! data/networks/<name>/network.json         one network; the folder of `networks` is locked while one is made or removed
//! ```
//! The default network has a record from its first use on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use holm_spec::network::{DEFAULT_NETWORK, Driver, Isolation, LINK_NAME_MAX, NetworkSpec};
use holm_spec::{ContainerId, Name};
use ipnet::IpNet;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::{Error, Networks, Roots, driver_option, record, subnet};

/// Names that mean something else where a network is named.
const RESERVED: [&str; 4] = ["host", "none", "default", "container"];

/// What a user asks of a new network.
#[derive(Clone, Debug)]
pub struct NetworkRequest {
    /// Its name.
    pub name: Name,
    /// How it joins containers.
    pub driver: Driver,
    /// Its subnets; chosen where there are none.
    pub subnets: Vec<IpNet>,
    /// Gateways, each in one of the subnets.
    pub gateways: Vec<IpAddr>,
    /// Ranges to give addresses from, each in one of the subnets.
    pub ranges: Vec<IpNet>,
    /// With IPv6 too.
    pub ipv6: bool,
    /// No way out and no way in.
    pub internal: bool,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Nanoseconds since the Unix epoch.
    pub now_ns: u64,
}

impl Roots {
    pub(crate) fn networks(&self) -> PathBuf {
        self.data.join("networks")
    }

    fn network(&self, name: &str) -> PathBuf {
        self.networks().join(name)
    }
}

impl Networks {
    /// The network of this name or identifier, or the only one whose identifier begins so.
    pub fn find(&self, text: &str) -> Result<NetworkSpec, Error> {
        let name = if text == "default" { DEFAULT_NETWORK } else { text };
        if let Some(found) = self.read(name)? {
            return Ok(found);
        }
        if name == DEFAULT_NETWORK {
            return self.make_default();
        }
        let fits = |network: &NetworkSpec| text.len() >= 2 && network.id.as_str().starts_with(text);
        let mut fitting = self.list_made()?.into_iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::invalid(format!("network `{text}`"), "several identifiers begin so")),
            (None, _) => Err(Error::NoSuchNetwork(text.to_owned())),
        }
    }

    fn read(&self, name: &str) -> Result<Option<NetworkSpec>, Error> {
        // A name that is none is not looked for on disk.
        let Ok(name) = name.parse::<Name>() else { return Ok(None) };
        record::read(&self.roots.network(name.as_str()).join("network.json"))
    }

    /// All networks, by name; the default one is among them.
    pub fn list(&self) -> Result<Vec<NetworkSpec>, Error> {
        if self.read(DEFAULT_NETWORK)?.is_none() {
            self.make_default()?;
        }
        self.list_made()
    }

    /// The networks that have a record, by name; none is made for it.
    pub fn list_made(&self) -> Result<Vec<NetworkSpec>, Error> {
        let mut names = record::names(&self.roots.networks())?;
        names.sort_unstable();
        let mut found = Vec::new();
        for name in names {
            found.extend(self.read(&name)?);
        }
        Ok(found)
    }

    /// Makes a network. *Errors*: the name or a subnet is taken, or something asked makes no sense; nothing is made.
    pub fn create(&self, request: NetworkRequest) -> Result<NetworkSpec, Error> {
        let name = request.name.as_str();
        if RESERVED.contains(&name) {
            return Err(Error::invalid(format!("the name `{name}`"), "it means something else to --network"));
        }
        let _lock = self.lock_records()?;
        if name == DEFAULT_NETWORK || self.read(name)?.is_some() {
            return Err(Error::NameTaken(name.to_owned()));
        }
        self.write_new(request)
    }

    fn make_default(&self) -> Result<NetworkSpec, Error> {
        let _lock = self.lock_records()?;
        if let Some(found) = self.read(DEFAULT_NETWORK)? {
            return Ok(found);
        }
        let name = DEFAULT_NETWORK.parse().map_err(|_| Error::NoSuchNetwork(DEFAULT_NETWORK.to_owned()))?;
        self.write_new(NetworkRequest {
            name,
            driver: Driver::Bridge,
            subnets: Vec::new(),
            gateways: Vec::new(),
            ranges: Vec::new(),
            ipv6: false,
            internal: false,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            now_ns: now_ns(),
        })
    }

    fn write_new(&self, request: NetworkRequest) -> Result<NetworkSpec, Error> {
        let others = self.list_made()?;
        let options = driver_option::read(&request)?;
        let subnets = subnet::choose(&request, &others, &self.host_subnets(&others)?)?;
        let id = random_id()?;
        let is_default = request.name.as_str() == DEFAULT_NETWORK;
        let link = match &options.link {
            Some(link) => link.clone(),
            None if request.driver == Driver::Macvlan => self.way_out()?,
            None if is_default => "holm0".to_owned(),
            None => format!("holm-{}", &id.as_str()[..LINK_NAME_MAX - 5]),
        };
        if let Some(other) = others.iter().find(|o| o.driver == Driver::Bridge && o.link == link) {
            return Err(Error::invalid(format!("link name `{link}`"), format!("network `{}` has it", other.name)));
        }
        let network = NetworkSpec {
            version: NetworkSpec::VERSION,
            id,
            created_at_ns: request.now_ns,
            driver: request.driver,
            subnets,
            internal: request.internal,
            mtu: options.mtu,
            isolation: options.isolation,
            link,
            names: request.driver == Driver::Bridge && options.names,
            labels: request.labels,
            options: request.options,
            name: request.name,
        };
        let folder = self.roots.network(network.name.as_str());
        record::make_folder(&folder)?;
        record::write(&folder, "network.json", &network).inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&folder);
        })?;
        Ok(network)
    }

    /// Removes a network, unless `refer` says that a container that does not run names it. *Errors*: containers run on it, it
    /// is the default one, or it is not there; nothing changes.
    pub fn remove(&self, text: &str, refer: &dyn Fn(&NetworkSpec) -> Result<(), Error>) -> Result<NetworkSpec, Error> {
        if matches!(text, DEFAULT_NETWORK | "default") {
            return Err(Error::invalid("network `bridge`", "it is the default one and stays"));
        }
        let _lock = self.lock_records()?;
        let network = self.find(text)?;
        let name = network.name.as_str();
        if name == DEFAULT_NETWORK {
            return Err(Error::invalid("network `bridge`", "it is the default one and stays"));
        }
        refer(&network)?;
        let _live = self.roots.lock_alone()?;
        let endpoints = self.roots.endpoints_of(name)?;
        if let Some(first) = endpoints.first() {
            let (network, count, user) = (name.to_owned(), endpoints.len(), first.name.clone());
            return Err(Error::InUse { network, count, user });
        }
        self.take_down_now(name)?;
        let folder = self.roots.network(name);
        // The record goes by one step; a folder without one is nothing.
        for gone in [folder.join("network.json"), folder.join(".network.json.new")] {
            match std::fs::remove_file(&gone) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", gone.display().to_string(), e));
                }
                _ => {}
            }
        }
        std::fs::remove_dir(&folder).map_err(|e| Error::io("remove", folder.display().to_string(), e))?;
        Ok(network)
    }

    fn lock_records(&self) -> Result<OwnedFd, Error> {
        self.lock_folder(FlockOperation::LockExclusive)
    }

    pub(crate) fn lock_records_shared(&self) -> Result<OwnedFd, Error> {
        self.lock_folder(FlockOperation::LockShared)
    }

    fn lock_folder(&self, how: FlockOperation) -> Result<OwnedFd, Error> {
        let folder = self.roots.networks();
        record::make_folder(&folder)?;
        let failed = |e: rustix::io::Errno| Error::io("lock", folder.display().to_string(), e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&folder, flags, Mode::empty()).map_err(failed)?;
        while let Err(e) = rustix::fs::flock(&fd, how) {
            if e != rustix::io::Errno::INTR {
                return Err(failed(e));
            }
        }
        Ok(fd)
    }
}

fn random_id() -> Result<ContainerId, Error> {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::io("read", "random bytes", e))?;
    Ok(ContainerId::from_random(&bytes))
}

pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// How the networks of one are kept apart, for those who read it.
pub fn isolation_word(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::L2 => "l2",
        Isolation::Routed => "routed",
        Isolation::Private => "private",
    }
}
