//! The server: whose turn it is, and which part does what with it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_spec::Name;
use holm_sys::datagram::{BATCH, Batch};
use rustix::net::{SendFlags, SocketFlags, acceptfrom_with, sendto};

use super::answer::write_bare_code;
use super::catalog::Catalog;
use super::forward::{Delivery, Forwarder, Origin, Response};
use super::listener::Listener;
use super::poll::{Interest, Poll, Token};
use super::query::{Query, Unanswerable};
use super::resolve::{Verdict, resolve};
use super::slab::{Key, Slab};
use super::tcp::Connections;
use super::upstream::Upstreams;
use super::wire::UDP_MAX;

/// Most looks at what is ready in one turn, and most batches of one listener in one look: whoever turns the server has other
/// things to do too.
const LOOKS_MAX: usize = 16;
const BATCHES_MAX: usize = 4;
/// Most connections accepted in one look.
const ACCEPTS_MAX: usize = 16;
/// Bytes of the longest datagram that is read: what fits a link.
const DATAGRAM_MAX: usize = 1536;
/// How long no connection is accepted when there are no more descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// The name server.
pub struct Server {
    poll: Poll,
    listeners: Slab<Listener>,
    connections: Connections,
    forwarder: Forwarder,
    batch: Batch<DATAGRAM_MAX, UDP_MAX>,
    ready: Vec<Token>,
    /// Room for one answer over TCP, as long as there are connections.
    room: Vec<u8>,
}

/// What one turn works with.
struct Turn<'a> {
    catalog: &'a mut Catalog,
    before_answers: &'a mut dyn FnMut(&mut Catalog),
    now: Instant,
}

impl Server {
    /// A server without listeners that asks these for names that are not ours.
    pub fn new(upstreams: Upstreams) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::create()?,
            listeners: Slab::default(),
            connections: Connections::default(),
            forwarder: Forwarder::new(upstreams),
            batch: Batch::new(),
            ready: Vec::new(),
            room: Vec::new(),
        })
    }

    /// Readable when [`Self::turn`] has something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }

    /// When [`Self::turn`] has something to do though nothing is readable.
    pub fn next_deadline(&self) -> Option<Instant> {
        let paused = self.listeners.iter().filter_map(|(_, listener)| listener.paused_until).min();
        [self.forwarder.next_deadline(), self.connections.next_deadline(), paused].into_iter().flatten().min()
    }

    /// Answers queries to these sockets as on this network; they are those of [`super::listen`].
    pub fn add_listener(&mut self, network: &Name, udp: OwnedFd, tcp: OwnedFd) -> io::Result<()> {
        let listener = Listener { network: network.clone(), udp, tcp, paused_until: None };
        let key = self.listeners.insert(|_| listener);
        let Some(listener) = self.listeners.get_mut(key) else { return Ok(()) };
        let watched = self
            .poll
            .add(&listener.udp, Token::Datagrams(key), Interest::READ)
            .and_then(|()| self.poll.add(&listener.tcp, Token::Connections(key), Interest::READ));
        if watched.is_err() {
            self.listeners.remove(key);
        }
        watched
    }

    /// Closes the sockets of a network and its clients' connections.
    pub fn remove_listeners(&mut self, network: &Name) {
        let of_network = |(key, listener): (Key, &Listener)| (listener.network == *network).then_some(key);
        let keys: Vec<_> = self.listeners.iter().filter_map(of_network).collect();
        for key in keys {
            self.connections.remove_of(key);
            self.listeners.remove(key);
        }
    }

    /// Asks others from now on for names that are not ours.
    pub fn set_upstreams(&mut self, upstreams: Upstreams) {
        self.forwarder.set_upstreams(upstreams);
    }

    /// Does what there is to do, without waiting. `before_answers` is called when queries have been received and none of
    /// them is answered: what it puts into the catalogue they see.
    pub fn turn(&mut self, catalog: &mut Catalog, before_answers: &mut dyn FnMut(&mut Catalog)) {
        let mut turn = Turn { catalog, before_answers, now: Instant::now() };
        let mut ready = std::mem::take(&mut self.ready);
        for _ in 0..LOOKS_MAX {
            self.poll.look(&mut ready);
            if ready.is_empty() {
                break;
            }
            turn.now = Instant::now();
            for token in &ready {
                match *token {
                    Token::Datagrams(key) => self.serve_datagrams(key, &mut turn),
                    Token::Connections(key) => self.accept(key, turn.now),
                    Token::Client(key) if self.connections.is_broken_by_event(key) => self.connections.remove(key),
                    Token::Client(key) => self.serve_connection(key, &mut turn),
                    Token::Server(key) => self.forwarder.ready(&self.poll, key, turn.now),
                }
            }
            self.deliver_all(&mut turn);
        }
        self.ready = ready;
        self.forwarder.expire(&self.poll, turn.now);
        self.deliver_all(&mut turn);
        self.connections.expire(turn.now);
        self.resume(turn.now);
        if self.connections.is_empty() {
            self.room = Vec::new();
        }
    }

    fn serve_datagrams(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(listener) = self.listeners.get_mut(key) else { return };
        for _ in 0..BATCHES_MAX {
            // An error is that of an answer sent before, and is gone now.
            let count = self.batch.receive(listener.udp.as_fd()).unwrap_or(0);
            if count == 0 {
                return;
            }
            (turn.before_answers)(turn.catalog);
            let network = turn.catalog.network(&listener.network);
            for at in 0..count {
                let Some((message, peer, out)) = self.batch.datagram(at) else { continue };
                let origin = Origin { listener: key, peer, connection: None };
                let asked = Asked { message, origin, network };
                if let Response::Now(length) = respond(&mut self.forwarder, &self.poll, &asked, turn, out) {
                    self.batch.reply(at, length);
                }
            }
            self.batch.send(listener.udp.as_fd());
            if count < BATCH {
                return;
            }
        }
    }

    fn accept(&mut self, key: Key, now: Instant) {
        let Some(listener) = self.listeners.get_mut(key) else { return };
        for _ in 0..ACCEPTS_MAX {
            match acceptfrom_with(&listener.tcp, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, Some(peer))) => {
                    let Ok(peer) = SocketAddr::try_from(peer) else { continue };
                    self.connections.add(&self.poll, key, socket, peer, now);
                }
                Ok((_, None)) | Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return,
                // Out of descriptors or memory: the event would come again and again.
                Err(_) => {
                    let nothing = Interest { read: false, write: false };
                    if self.poll.change(&listener.tcp, Token::Connections(key), nothing).is_ok() {
                        listener.paused_until = Some(now + PAUSE);
                    }
                    return;
                }
            }
        }
    }

    /// Accepts connections again where the pause is over.
    fn resume(&mut self, now: Instant) {
        let over = |(key, listener): (Key, &Listener)| listener.paused_until.filter(|end| *end <= now).map(|_| key);
        let keys: Vec<_> = self.listeners.iter().filter_map(over).collect();
        for key in keys {
            let Some(listener) = self.listeners.get_mut(key) else { continue };
            if self.poll.change(&listener.tcp, Token::Connections(key), Interest::READ).is_ok() {
                listener.paused_until = None;
            }
        }
    }

    fn serve_connection(&mut self, key: Key, turn: &mut Turn<'_>) {
        self.room.resize(usize::from(u16::MAX), 0);
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return };
            let message = match connection.read(turn.now) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => return self.connections.remove(key),
            };
            let Some(listener) = self.listeners.get_mut(connection.listener) else { break };
            (turn.before_answers)(turn.catalog);
            let network = turn.catalog.network(&listener.network);
            let origin = Origin { listener: connection.listener, peer: connection.peer, connection: Some(key) };
            let asked = Asked { message: &message, origin, network };
            match respond(&mut self.forwarder, &self.poll, &asked, turn, &mut self.room) {
                Response::Now(length) => connection.write(&self.room[..length]),
                Response::Later => connection.wait(),
                Response::Never => {}
            }
        }
        self.connections.settle(&self.poll, key, turn.now);
    }

    /// Delivers what is to be told; a connection that got an answer may ask more, which may be to be told at once.
    fn deliver_all(&mut self, turn: &mut Turn<'_>) {
        while let Some(delivery) = self.forwarder.deliveries.pop() {
            for key in self.deliver(&delivery) {
                self.serve_connection(key, turn);
            }
        }
    }

    /// Tells all who wait; those of them that are connections.
    fn deliver(&mut self, delivery: &Delivery) -> Vec<Key> {
        let mut connections = Vec::new();
        for waiter in &delivery.waiters {
            let recipient = waiter.recipient();
            if let Some(key) = waiter.origin.connection {
                let Some(connection) = self.connections.get_mut(key) else { continue };
                let mut out = vec![0; delivery.reply.wire_bytes()];
                let length = delivery.reply.write(0, &recipient, &mut out);
                connection.write(&out[..length]);
                connection.waited();
                connections.push(key);
            } else if let Some(listener) = self.listeners.get_mut(waiter.origin.listener) {
                let mut out = [0; UDP_MAX];
                let length = delivery.reply.write(0, &recipient, &mut out);
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                // What the kernel does not take is lost, as on a network.
                let _ = sendto(&listener.udp, &out[..length], flags, &waiter.origin.peer);
            }
        }
        connections
    }
}

/// A message and where it came from.
struct Asked<'a> {
    message: &'a [u8],
    origin: Origin,
    network: Option<usize>,
}

/// What becomes of a message, written into as much of a buffer as its sender takes.
fn respond(forwarder: &mut Forwarder, poll: &Poll, asked: &Asked<'_>, turn: &Turn<'_>, out: &mut [u8]) -> Response {
    let query = match Query::parse(asked.message) {
        Ok(query) => query,
        Err(Unanswerable::Silence) => return Response::Never,
        Err(Unanswerable::Code(code)) => return Response::Now(write_bare_code(asked.message, code, out)),
    };
    let limit = if asked.origin.connection.is_some() { out.len() } else { query.udp_limit().min(out.len()) };
    let out = &mut out[..limit];
    let client = asked.origin.peer.ip();
    match resolve(turn.catalog, asked.network, client, &query, out) {
        Verdict::Answer(length) => Response::Now(length),
        Verdict::Elsewhere(own) => forwarder.ask(poll, &query, &own, asked.origin, out, turn.now),
    }
}
