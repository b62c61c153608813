//! The keeper's life: one loop over what can happen.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_spec::Name;
use holm_sys::netlink::Socket;
use holm_sys::nftables;
use rustix::event::{PollFd, PollFlags, epoll};
use rustix::net::SocketFlags;

use super::watch::Watch;
use crate::dns::{Catalog, Server, Upstreams};
use crate::{Networks, firewall};

/// How long a network stays up without anybody on it: the next container of a script that runs one after the other finds it.
const LINGER: Duration = Duration::from_secs(1);
/// How soon a network that somebody was just joining is looked at again.
const AGAIN: Duration = Duration::from_millis(200);
/// Changes of nftables come in bursts; the firewall is looked at when one is over.
const SETTLE: Duration = Duration::from_millis(100);

struct Keeper<'a> {
    networks: &'a Networks,
    catalog: Catalog,
    server: Server,
    watch: Watch,
    changes: Option<Socket>,
    listener: OwnedFd,
    /// The listener and all connections.
    clients: OwnedFd,
    connected: BTreeMap<u64, OwnedFd>,
    next_client: u64,
    idle_since: BTreeMap<Name, Instant>,
    verify_at: Option<Instant>,
}

/// Keeps until no network is up; the exit code of its process.
pub(super) fn keep(networks: &Networks, lock: OwnedFd, listener: OwnedFd) -> i32 {
    let _ = rustix::thread::set_name(c"holm-net");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let _ = rustix::process::chdir("/");
    let Ok(mut keeper) = Keeper::start(networks, listener) else { return 1 };
    holm_sys::detach::trim_heap();
    loop {
        if keeper.turn() {
            match keeper.end() {
                Some(last) => {
                    let _ = rustix::fs::unlink(networks.roots.keeper().join("socket"));
                    // In this order: whoever brings a network up next must find no keeper, rather than one that ends.
                    drop(lock);
                    drop(last);
                    return 0;
                }
                None => keeper.watch.changed = true,
            }
        }
    }
}

const LISTENER: u64 = 0;

impl<'a> Keeper<'a> {
    fn start(networks: &'a Networks, listener: OwnedFd) -> std::io::Result<Self> {
        let clients = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&clients, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        let changes = firewall::open().ok().filter(|socket| socket.subscribe(nftables::GROUP_CHANGES).is_ok());
        Ok(Self {
            networks,
            catalog: Catalog::new(),
            server: Server::new(Upstreams::file("/etc/resolv.conf"))?,
            watch: Watch::start(networks)?,
            changes,
            listener,
            clients,
            connected: BTreeMap::new(),
            next_client: LISTENER + 1,
            idle_since: BTreeMap::new(),
            // Whatever happened while there was no keeper.
            verify_at: Some(Instant::now()),
        })
    }

    /// Waits for something and does it. Gives whether nothing is left to keep.
    fn turn(&mut self) -> bool {
        if self.watch.changed {
            let count = self.watch.refresh(self.networks, &mut self.catalog, &mut self.server);
            if count == 0 {
                return true;
            }
            let now = Instant::now();
            let idle = self.watch.idle();
            self.idle_since.retain(|name, _| idle.contains(name));
            for name in idle {
                self.idle_since.entry(name).or_insert(now + LINGER);
            }
        }
        self.wait();
        self.take_changes();
        self.watch.drain(self.networks, &mut self.catalog);
        if self.watch.changed {
            self.watch.refresh(self.networks, &mut self.catalog, &mut self.server);
            self.watch.changed = true;
        }
        let (watch, networks) = (&mut self.watch, self.networks);
        self.server.turn(&mut self.catalog, &mut |catalog| watch.drain(networks, catalog));
        self.serve_clients();
        self.take_down_idle();
        if self.verify_at.is_some_and(|at| at <= Instant::now()) {
            self.verify_at = None;
            // What cannot be repaired is tried again with the next change; what somebody is just changing, a little later.
            if matches!(self.networks.verify_if_free(), Ok(None)) {
                self.verify_at = Some(Instant::now() + AGAIN);
            }
        }
        false
    }

    fn wait(&mut self) {
        let deadlines = [self.server.next_deadline(), self.verify_at, self.idle_since.values().min().copied()]
            .into_iter()
            .flatten();
        let wait = deadlines.min().map(|at| at.saturating_duration_since(Instant::now()));
        let mut polls = vec![
            PollFd::from_borrowed_fd(self.watch.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.server.as_fd(), PollFlags::IN),
            PollFd::new(&self.clients, PollFlags::IN),
        ];
        if let Some(changes) = &self.changes {
            polls.push(PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN));
        }
        // Without a time to wait for it may be days.
        let _ = match wait {
            Some(wait) => {
                let timeout = rustix::event::Timespec {
                    tv_sec: wait.as_secs().cast_signed(),
                    tv_nsec: wait.subsec_nanos().into(),
                };
                rustix::event::poll(&mut polls, Some(&timeout)).map_err(std::io::Error::from)
            }
            None => holm_sys::idle::poll_in_little_memory(&mut polls, None),
        };
    }

    fn take_changes(&mut self) {
        let Some(changes) = &self.changes else { return };
        loop {
            match changes.take() {
                Ok(messages) if messages.is_empty() => return,
                // More than the socket holds is a change too.
                Ok(_) | Err(_) => self.verify_at = Some(Instant::now() + SETTLE),
            }
        }
    }

    fn serve_clients(&mut self) {
        let mut events = Vec::with_capacity(64);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut events);
        if !matches!(epoll::wait(&self.clients, spare, Some(&now)), Ok(1..)) {
            return;
        }
        let tokens: Vec<u64> = events.iter().map(|event| event.data.u64()).collect();
        for token in tokens {
            match token {
                LISTENER => self.accept(),
                // Nothing is ever sent here: it is the end.
                token => drop(self.connected.remove(&token)),
            }
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(client) = rustix::net::accept_with(&self.listener, flags) {
            // Whatever was written before it connected is known before it is told.
            self.watch.drain(self.networks, &mut self.catalog);
            self.watch.refresh(self.networks, &mut self.catalog, &mut self.server);
            self.watch.changed = true;
            let token = self.next_client;
            self.next_client += 1;
            let events = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            let told = rustix::io::write(&client, b"1");
            if told == Ok(1) && epoll::add(&self.clients, &client, epoll::EventData::new_u64(token), events).is_ok() {
                self.connected.insert(token, client);
            }
        }
    }

    fn take_down_idle(&mut self) {
        let now = Instant::now();
        let due: Vec<Name> =
            self.idle_since.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            match self.networks.take_down_if_idle(name.as_str()) {
                Ok(true) | Err(_) => {
                    self.idle_since.remove(&name);
                    self.watch.changed = true;
                }
                Ok(false) => {
                    self.idle_since.insert(name, now + AGAIN);
                }
            }
        }
    }

    /// Makes sure that nothing is to be kept; the lock that must be held until the end.
    fn end(&self) -> Option<crate::live::Lock> {
        let lock = self.networks.roots.try_lock_alone().ok().flatten();
        match lock {
            Some(lock) if self.networks.roots.live_networks().is_ok_and(|all| all.is_empty()) => Some(lock),
            _ => {
                // Somebody is just bringing a network up.
                let _ = rustix::thread::nanosleep(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 });
                None
            }
        }
    }
}
