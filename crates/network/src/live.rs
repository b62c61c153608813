//! What lives until the next boot: which networks are up, who is on them, who has which address.
//!
//! ```text
//! run/network/lock                          held shared while an endpoint is made or taken away, exclusive while bridges
//!                                           and tables are: so nobody joins what is just being taken down
//! run/network/live/<network>/               there as long as the network is up
//!     network.json                          the network as it was when it came up
//!     endpoints/<container id>              who is on it: written before anything in the kernel is changed for it, removed
//!                                           last, so whatever a crash leaves is found by it
//!     addresses/<address>                   symbolic link to the container that has it: made by one atomic step
//! run/network/keeper/                       see `keeper`
//! ```

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use holm_spec::ContainerId;
use holm_spec::network::{Endpoint, NetworkSpec};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::{Error, Roots, record};

/// The lock of all networks' kernel state, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _fd: OwnedFd,
}

impl Roots {
    pub(crate) fn run(&self) -> PathBuf {
        self.run.join("network")
    }

    /// The run root as it is written into the firewall's table, whose comments are short.
    pub(crate) fn shown(&self) -> String {
        self.run.display().to_string().chars().take(100).collect()
    }

    pub(crate) fn live(&self) -> PathBuf {
        self.run().join("live")
    }

    pub(crate) fn live_network(&self, network: &str) -> PathBuf {
        self.live().join(network)
    }

    pub(crate) fn endpoints(&self, network: &str) -> PathBuf {
        self.live_network(network).join("endpoints")
    }

    pub(crate) fn addresses(&self, network: &str) -> PathBuf {
        self.live_network(network).join("addresses")
    }

    /// Waits for the lock, shared with others that join or leave.
    pub(crate) fn lock_shared(&self) -> Result<Lock, Error> {
        self.lock(FlockOperation::LockShared).map(|lock| lock.unwrap_or_else(|| unreachable!("a lock that waits")))
    }

    /// Waits for the lock, alone.
    pub(crate) fn lock_alone(&self) -> Result<Lock, Error> {
        self.lock(FlockOperation::LockExclusive).map(|lock| lock.unwrap_or_else(|| unreachable!("a lock that waits")))
    }

    /// Takes the lock alone if nobody has it.
    pub(crate) fn try_lock_alone(&self) -> Result<Option<Lock>, Error> {
        self.lock(FlockOperation::NonBlockingLockExclusive)
    }

    fn lock(&self, how: FlockOperation) -> Result<Option<Lock>, Error> {
        let path = self.run().join("lock");
        let failed = |e: Errno| Error::io("lock", path.display().to_string(), e);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let open = || rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
        let fd = match open() {
            Err(Errno::NOENT) => {
                record::make_folder(&self.run())?;
                open()
            }
            other => other,
        };
        let fd = fd.map_err(failed)?;
        loop {
            match rustix::fs::flock(&fd, how) {
                Ok(()) => return Ok(Some(Lock { _fd: fd })),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// Names of the networks that are up.
    pub(crate) fn live_networks(&self) -> Result<Vec<String>, Error> {
        record::names(&self.live())
    }

    /// The network as it came up; `None` if it is not up.
    pub(crate) fn live_spec(&self, network: &str) -> Result<Option<NetworkSpec>, Error> {
        record::read(&self.live_network(network).join("network.json"))
    }

    /// Who is on a network, in the order of their ids.
    pub(crate) fn endpoints_of(&self, network: &str) -> Result<Vec<Endpoint>, Error> {
        let folder = self.endpoints(network);
        let mut names = record::names(&folder)?;
        names.sort_unstable();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            // One that leaves meanwhile is none.
            found.extend(record::read(&folder.join(name))?);
        }
        Ok(found)
    }

    /// One container's place on a network.
    pub(crate) fn endpoint(&self, network: &str, container: &ContainerId) -> Result<Option<Endpoint>, Error> {
        record::read(&self.endpoints(network).join(container.as_str()))
    }

    pub(crate) fn write_endpoint(&self, endpoint: &Endpoint) -> Result<(), Error> {
        record::write(&self.endpoints(endpoint.network.as_str()), endpoint.container.as_str(), endpoint)
    }

    pub(crate) fn remove_endpoint(&self, network: &str, container: &ContainerId) -> Result<(), Error> {
        let path = self.endpoints(network).join(container.as_str());
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("remove", path.display().to_string(), e)),
        }
    }
}
