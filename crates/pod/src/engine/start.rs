//! Starting a container, and reaching the supervisor of a running one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use holm_spec::ContainerId;
use holm_spec::protocol::{Reply, Request};
use holm_spec::state::Status;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags, inotify};
use rustix::io::Errno;

use super::Engine;
use crate::layout::{FolderLock, NotTaken};
use crate::supervisor::{Launch, SOCKET, launch};
use crate::{Connection, Error, StartIo, Started, wire};

/// How long a supervisor may take between being responsible and answering.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Starts it: returns when its program runs, or why it does not (see [`Error::exit_code`]). With `auto_remove` a
    /// container whose start failed is removed.
    pub fn start(&self, id: &ContainerId, io: StartIo) -> Result<Started, Error> {
        let prepared = self.prepared.take().filter(|p| p.id == *id);
        let (record, state, run_lock, _lock) = match prepared {
            Some(p) => (p.record, Default::default(), p.run_lock, p._lock),
            None => {
                let lock = self.lock(id)?;
                let run_lock = self.responsibility(id, "start")?;
                let record = self.roots.read_record(id)?;
                (record, self.roots.read_state(id)?, run_lock, lock)
            }
        };
        let name = record.spec.name.to_string();
        let launched = launch(Launch { roots: &self.roots, id, record, state, lock: run_lock, io })?;
        let control = Connection::new(launched.control);
        match control.receive()? {
            Some((Reply::Started { pid, warnings, .. }, _)) => {
                Ok(Started { pid, warnings, control, stream: launched.stream })
            }
            Some((Reply::Failed { message, hint, code }, _)) => Err(Error::Start { name, message, hint, code }),
            _ => {
                self.recover_container(id)?;
                let message = "its supervisor ended before it was started".to_owned();
                Err(Error::Start { name, message, hint: None, code: 125 })
            }
        }
    }

    /// Takes the lock for a transition. *Errors*: the container is gone.
    pub(super) fn lock(&self, id: &ContainerId) -> Result<FolderLock, Error> {
        FolderLock::wait(&self.roots.container(id))?.ok_or_else(|| Error::NoSuchContainer(id.short().to_owned()))
    }

    /// Becomes responsible for a container that does not run. Waits for a supervisor that is about to end; what a dead one
    /// left is cleaned up. *Order*: the container's lock is held.
    pub(super) fn responsibility(&self, id: &ContainerId, verb: &'static str) -> Result<FolderLock, Error> {
        let folder = self.roots.run_container(id);
        if self.supervisor(id)?.is_some() {
            let status = self.roots.read_state(id).unwrap_or_default().status;
            let name = self.roots.read_record(id)?.spec.name.to_string();
            // Between two words of a supervisor that is just starting or ending, its record may still say otherwise.
            let status = if status.is_live() { status } else { Status::Running };
            return Err(Error::WrongState { verb, name, status: status.word() });
        }
        let lock = FolderLock::make(&folder)?;
        if self.roots.read_state(id)?.status.is_live() {
            self.clean_up(id)?;
        }
        Ok(lock)
    }

    /// Connects to the supervisor of a container that runs or is just being started; `None` when it does not run.
    pub(super) fn supervisor(&self, id: &ContainerId) -> Result<Option<Connection>, Error> {
        let found = reach(&self.roots.run_container(id), id.short(), &|lock| self.recover_held(id, lock))?;
        Ok(found.map(Connection::new))
    }

    /// The supervisor of a container that must run.
    pub(super) fn running(&self, id: &ContainerId, verb: &'static str) -> Result<(Connection, String), Error> {
        let name = self.roots.read_record(id)?.spec.name.to_string();
        match self.supervisor(id)? {
            Some(connection) => Ok((connection, name)),
            None => Err(self.not_running(id, verb, name)),
        }
    }

    pub(super) fn not_running(&self, id: &ContainerId, verb: &'static str, name: String) -> Error {
        let status = self.roots.read_state(id).unwrap_or_default().status;
        let status = if status.is_live() { Status::Exited } else { status };
        Error::WrongState { verb, name, status: status.word() }
    }

    /// Asks the supervisor for one thing that has no answer but done.
    pub(super) fn ask(&self, id: &ContainerId, verb: &'static str, request: &Request) -> Result<(), Error> {
        let (connection, name) = self.running(id, verb)?;
        match connection.ask(verb, &name, request, &[])? {
            Some((Reply::Done, _)) => Ok(()),
            Some(_) | None => Err(self.not_running(id, verb, name)),
        }
    }
}

/// Connects to the supervisor whose run folder this is; `None` when none answers.
pub(crate) fn connect(path: &Path, what: &str) -> Result<Option<OwnedFd>, Error> {
    let failed = |e: std::io::Error| Error::io("reach the supervisor of", what, e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(failed(e.into())),
    };
    match wire::connect(folder.as_fd(), SOCKET) {
        Ok(socket) => Ok(Some(socket)),
        Err(e) if wire::nobody_listens(&e) => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// Connects to a supervisor that is there or is just coming or going; `None` when there is none. What a dead one left is
/// given to `recover`.
pub(crate) fn reach(
    path: &Path,
    what: &str,
    recover: &dyn Fn(FolderLock) -> Result<(), Error>,
) -> Result<Option<OwnedFd>, Error> {
    let give_up = Instant::now() + PATIENCE;
    let mut watch = None;
    loop {
        if let Some(socket) = connect(path, what)? {
            return Ok(Some(socket));
        }
        match FolderLock::try_now(path)? {
            Err(NotTaken::Gone) => return Ok(None),
            Ok(lock) => {
                // Nobody is responsible: the supervisor was killed.
                recover(lock)?;
                return Ok(None);
            }
            Err(NotTaken::Held) if Instant::now() > give_up => return Ok(None),
            Err(NotTaken::Held) => {}
        }
        // Somebody is starting or ending it: the folder changes when the socket comes or all is over. The watch is made
        // first and the socket tried once more, so that no change is missed.
        match &watch {
            None => watch = Some(watch_folder(path)?),
            Some(watch) => wait_for_change(watch, Duration::from_millis(50)),
        }
    }
}

fn watch_folder(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |e: Errno| Error::io("watch", path.display().to_string(), e);
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    let what = inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF;
    match inotify::add_watch(&watch, path, what) {
        Ok(_) | Err(Errno::NOENT) => Ok(watch),
        Err(e) => Err(failed(e)),
    }
}

/// Waits for a change or the time; a supervisor that is killed changes nothing in its folder, hence the time.
fn wait_for_change(watch: &OwnedFd, at_most: Duration) {
    let timeout = Timespec { tv_sec: at_most.as_secs().cast_signed(), tv_nsec: at_most.subsec_nanos().into() };
    let mut poll = [PollFd::new(watch, PollFlags::IN)];
    let _ = rustix::event::poll(&mut poll, Some(&timeout));
    let mut buffer = [0u8; 1024];
    while rustix::io::read(watch, &mut buffer).is_ok_and(|n| n > 0) {}
}
