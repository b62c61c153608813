//! Forking a supervisor, and what the command that does it makes for it meanwhile: the container's network namespace.
//!
//! ```text
//! command                         supervisor
//!   fork ------------------------>  cgroups found, networks reserved, overlay, plan
//!   network namespace, loopback     (half of what a container costs the kernel is in that one call)
//!   Request::Namespace ---------->  taken; the container's process enters it
//! ```
//! A command that is killed or held up loses nothing but the time: the supervisor then lets the process make its own.

use std::os::fd::{AsFd, OwnedFd};

use holm_container::namespace;
use holm_spec::ContainerId;
use holm_spec::container::{ContainerSpec, NetworkMode, UserNamespaceMode};
use holm_spec::protocol::Request;
use holm_spec::state::ContainerState;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::SocketType;

use super::Supervisor;
use crate::layout::{FolderLock, Record};
use crate::wire::Received;
use crate::{Error, Roots, StartIo, wire};

/// How long a supervisor waits for the namespace. Making one takes half a millisecond, more where many are made at once, and
/// for ever where the command was stopped by a signal. The end of the command is noticed at once.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What a supervisor is given.
pub(crate) struct Launch<'a> {
    pub roots: &'a Roots,
    pub id: &'a ContainerId,
    pub record: Record,
    pub state: ContainerState,
    pub lock: FolderLock,
    pub io: StartIo,
}

/// The command's ends of what connects it to a new supervisor.
pub(crate) struct Launched {
    pub control: OwnedFd,
    pub stream: Option<OwnedFd>,
}

/// Forks the supervisor. The container is not running yet: the first packet on `control` tells.
pub(crate) fn launch(request: Launch<'_>) -> Result<Launched, Error> {
    let failed = |e: std::io::Error| Error::io("make the supervisor of", request.id.short(), e);
    let (control, theirs) = wire::pair(SocketType::SEQPACKET).map_err(failed)?;
    let (stream, their_stream) = match request.io.attach {
        true => wire::pair(SocketType::STREAM).map(|(ours, theirs)| (Some(ours), Some(theirs))).map_err(failed)?,
        false => (None, None),
    };
    let size = request.io.size;
    let lends = may_lend(&request.record.spec);
    let run_folder = request.lock.path().to_owned();
    let lock = request.lock.fd().try_clone().map_err(failed)?;
    // The new process takes these out of its own copy; here they are closed at the end.
    let mut parts = Some((lock, theirs, their_stream, request.record.clone(), request.state.clone()));
    let mut run = || {
        let Some((lock, control, stream, record, state)) = parts.take() else { return 125 };
        let attached = stream.is_some();
        let kept = holm_sys::detach::keep_only([lock, control].into_iter().chain(stream).collect());
        let Ok(kept) = kept else { return 125 };
        let mut kept = kept.into_iter();
        let (Some(lock), Some(control)) = (kept.next(), kept.next()) else { return 125 };
        let lock = FolderLock::from_parts(lock, run_folder.clone());
        let stream = if attached { kept.next() } else { None };
        match Supervisor::new(request.roots.clone(), request.id.clone(), record, state, lock) {
            Ok(mut supervisor) => {
                supervisor.borrows = lends;
                supervisor.run(control, stream, size)
            }
            Err(_) => 125,
        }
    };
    holm_sys::detach::spawn_detached(&mut run).map_err(failed)?;
    // Before anything that takes time: as long as the lock is open here too, the supervisor's end does not give it up.
    drop(parts);
    if lends {
        lend_network(&control);
    }
    Ok(Launched { control, stream })
}

/// Whether the container gets a network namespace that the command can make: not where a user namespace is to own it.
fn may_lend(spec: &ContainerSpec) -> bool {
    let own = matches!(spec.sandbox.network, NetworkMode::None | NetworkMode::Networks(_));
    let shared = spec.sandbox.isolation.machine().is_none();
    own && shared && matches!(spec.sandbox.userns, UserNamespaceMode::Host)
}

/// Makes a network namespace and hands it over. Where that fails the supervisor hears of the same failure when it tries.
fn lend_network(control: &OwnedFd) {
    if let Ok(netns) = namespace::network_namespace_by_visit() {
        let _ = wire::send(control.as_fd(), &Request::Namespace, &[netns.as_fd()]);
    }
}

impl Supervisor {
    /// The namespace that the command has made for this start; none where it was not to make one or is late.
    pub(super) fn take_lent_network(&mut self) -> Option<OwnedFd> {
        if !std::mem::take(&mut self.borrows) {
            return None;
        }
        let control = self.clients.first()?.socket.as_fd();
        let mut poll = [PollFd::from_borrowed_fd(control, PollFlags::IN)];
        let _ = rustix::event::poll(&mut poll, Some(&PATIENCE));
        match wire::receive(control) {
            Ok(Received::Packet(Request::Namespace, fds)) => fds.into_iter().next(),
            _ => None,
        }
    }
}
