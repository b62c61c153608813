//! The keeper: one small process as long as any network is up. It serves names, repairs the firewall when somebody flushes
//! it, and takes networks down when nobody is on them any more.
//!
//! ```text
//! run/network/keeper/lock        held by it for life: whoever can take it may start another
//! run/network/keeper/socket      whoever connects is told with one byte when everything that was written before is known
//! ```
//! Supervisors keep their connection. Its end means that the keeper was killed, and the first of them starts another: names
//! and firewall need nobody's command to come back. It ends itself only with the networks' lock held and no network up, so
//! nobody is left without one.

mod run;
mod watch;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::{Error, Networks, Roots, record};

/// How long a keeper may take until it knows everything.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted: as many as supervisors may start at once.
const BACKLOG: i32 = 1024;

/// A connection to the keeper. It is at its end (readable) when there is none any more.
#[derive(Debug)]
pub struct KeeperLink {
    socket: OwnedFd,
}

impl AsFd for KeeperLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Roots {
    fn keeper(&self) -> PathBuf {
        self.run().join("keeper")
    }
}

impl Networks {
    /// Makes sure that a keeper runs and knows all that was written before this call.
    ///
    /// *Order*: the caller has one thread: where there is none, one is forked from it.
    pub fn ensure_keeper(&self) -> Result<KeeperLink, Error> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = self.lock_keeper()? {
                self.start_keeper(lock)?;
            }
            match self.connect_keeper(give_up) {
                Ok(Some(link)) => return Ok(link),
                // It is just starting, or just ended: the lock tells which.
                Ok(None) if Instant::now() < give_up => pause(),
                Ok(None) => {
                    let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                    return Err(Error::io("reach", "the networks' keeper", late));
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Starts a keeper where networks are up and everybody who looked after them was killed. It takes down what nobody is on.
    pub fn recover(&self) -> Result<(), Error> {
        if self.roots.live_networks()?.is_empty() || self.has_keeper() {
            return Ok(());
        }
        self.ensure_keeper().map(|_| ())
    }

    /// Whether a keeper runs. Makes nothing.
    pub(crate) fn has_keeper(&self) -> bool {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(self.roots.keeper().join("lock"), flags, Mode::empty());
        lock.is_ok_and(|lock| rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
    }

    fn lock_keeper(&self) -> Result<Option<OwnedFd>, Error> {
        let folder = self.roots.keeper();
        let path = folder.join("lock");
        let failed = |e: Errno| Error::io("lock", path.display().to_string(), e);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let open = || rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
        let fd = match open() {
            Err(Errno::NOENT) => {
                record::make_folder(&folder)?;
                open()
            }
            other => other,
        }
        .map_err(failed)?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(fd)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    fn start_keeper(&self, lock: OwnedFd) -> Result<(), Error> {
        let failed = |e: std::io::Error| Error::io("start", "the networks' keeper", e);
        let path = self.roots.keeper().join("socket");
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(e.into())),
        }
        // Made here, so that who connects from now on waits and is not refused.
        let listener = listen(&path).map_err(|e| failed(e.into()))?;
        let networks = self.clone();
        let mut parts = Some((lock, listener));
        let mut body = || {
            let Some((lock, listener)) = parts.take() else { return 125 };
            let Ok(kept) = holm_sys::detach::keep_only(vec![lock, listener]) else { return 125 };
            let mut kept = kept.into_iter();
            let (Some(lock), Some(listener)) = (kept.next(), kept.next()) else { return 125 };
            run::keep(&networks, lock, listener)
        };
        holm_sys::detach::spawn_detached(&mut body).map_err(failed)?;
        Ok(())
    }

    fn connect_keeper(&self, give_up: Instant) -> Result<Option<KeeperLink>, Error> {
        let failed = |e: Errno| Error::io("reach", "the networks' keeper", e);
        let socket = socket().map_err(failed)?;
        let path = self.roots.keeper().join("socket");
        let address = SocketAddrUnix::new(&path).map_err(failed)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        let left = give_up.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut poll = [PollFd::new(&socket, PollFlags::IN)];
        let _ = rustix::event::poll(&mut poll, Some(&timeout));
        let mut byte = [0; 1];
        match rustix::io::read(&socket, &mut byte) {
            Ok(1) => Ok(Some(KeeperLink { socket })),
            _ => Ok(None),
        }
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn listen(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    let listener = socket()?;
    let old = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&listener, &SocketAddrUnix::new(path)?);
    rustix::process::umask(old);
    bound?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// A moment, where there is nothing to wait on: the lock's holder neither listens yet nor is gone.
fn pause() {
    let _ = rustix::thread::nanosleep(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 });
}
