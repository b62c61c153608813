//! Names that are not ours: from the cache, or by one question to a server for all who wait for it.
//!
//! Owns the cache, the flights and who waits. Sends nothing to clients: it says what is to be told to whom.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use super::answer::write_code;
use super::cache::Cache;
use super::dice::Dice;
use super::flight::{Asked, Flight, Progress, Servers};
use super::poll::Poll;
use super::query::Query;
use super::reply::{Recipient, Reply};
use super::slab::{Key, Slab};
use super::upstream::{Plan, Upstreams};
use super::wire::{code, flag};

/// Most questions on their way: two descriptors each leave half of the usual 1024 for the rest.
pub const FLIGHTS_MAX: usize = 256;
/// Most clients' queries that wait, of all clients.
pub const WAITING_MAX: usize = 2048;
/// Most queries of one client that wait, so that one cannot take all the places.
pub const WAITING_PER_CLIENT: usize = 100;
/// Most lists of servers that are remembered.
const ROUTES_MAX: usize = 64;

/// Where a query came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The listener.
    pub listener: Key,
    /// Who sent it.
    pub peer: SocketAddr,
    /// By which connection, if by one.
    pub connection: Option<Key>,
}

/// What came of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// These first bytes of the buffer.
    Now(usize),
    /// A delivery, some time.
    Later,
    /// Nothing: it was no query, or waits already.
    Never,
}

/// A query that waits.
pub struct Waiter {
    /// Where it came from.
    pub origin: Origin,
    id: u16,
    flags: u16,
    question: Box<[u8]>,
    edns: Option<bool>,
    limit: usize,
}

impl Waiter {
    /// As somebody who gets a reply.
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient { id: self.id, flags: self.flags, question: &self.question, edns: self.edns, limit: self.limit }
    }
}

/// What is to be told to whom.
pub struct Delivery {
    /// The reply.
    pub reply: Rc<Reply>,
    /// All who wait for it.
    pub waiters: Vec<Waiter>,
}

struct Pending {
    flight: Flight,
    cache_key: Box<[u8]>,
    route: u32,
    waiters: Vec<Waiter>,
}

/// Servers that were asked: which list, and who of it answered last.
struct Route {
    number: u32,
    good: usize,
}

/// What asks servers.
pub struct Forwarder {
    upstreams: Upstreams,
    cache: Cache,
    pending: Slab<Pending>,
    by_question: HashMap<Box<[u8]>, Key>,
    waiting: HashMap<IpAddr, usize>,
    waiting_count: usize,
    routes: HashMap<Servers, Route>,
    routes_made: u32,
    dice: Dice,
    cache_key: Vec<u8>,
    /// What is to be told; taken by the server.
    pub deliveries: Vec<Delivery>,
}

impl Forwarder {
    /// One that asks these.
    pub fn new(upstreams: Upstreams) -> Self {
        Self {
            upstreams,
            cache: Cache::default(),
            pending: Slab::default(),
            by_question: HashMap::new(),
            waiting: HashMap::new(),
            waiting_count: 0,
            routes: HashMap::new(),
            routes_made: 0,
            dice: Dice::new(),
            cache_key: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    /// Asks others from now on.
    pub fn set_upstreams(&mut self, upstreams: Upstreams) {
        self.upstreams = upstreams;
    }

    /// Asks, and writes what is known at once into a buffer as for [`super::resolve::resolve`].
    pub fn ask(
        &mut self,
        poll: &Poll,
        query: &Query<'_>,
        own: &[IpAddr],
        origin: Origin,
        out: &mut [u8],
        now: Instant,
    ) -> Response {
        let plan = self.upstreams.plan(own, now);
        if plan.servers.is_empty() {
            return Response::Now(write_code(query, code::SERVFAIL, out));
        }
        let (route, first) = self.route(&plan);
        self.set_cache_key(query, route);
        let limit = out.len();
        if let Some((reply, age)) = self.cache.get(&self.cache_key, now) {
            return Response::Now(reply.write(age, &Recipient::of(query, limit), out));
        }
        let client = origin.peer.ip();
        let already = self.waiting.get(&client).copied().unwrap_or(0);
        if already >= WAITING_PER_CLIENT || self.waiting_count >= WAITING_MAX {
            return Response::Now(write_code(query, code::SERVFAIL, out));
        }
        let edns = query.edns.map(|edns| edns.dnssec);
        let waiter = Waiter { origin, id: query.id, flags: query.flags, question: query.question.into(), edns, limit };
        let key = match self.by_question.get(&*self.cache_key) {
            Some(key) => *key,
            None if self.pending.len() >= FLIGHTS_MAX => return Response::Now(write_code(query, code::SERVFAIL, out)),
            None => self.start(query, plan, route, first, now),
        };
        let Some(pending) = self.pending.get_mut(key) else { return Response::Never };
        // The same again: the client has lost patience, and one answer will do.
        if pending.waiters.iter().any(|other| other.origin == origin && other.id == query.id) {
            return Response::Never;
        }
        pending.waiters.push(waiter);
        *self.waiting.entry(client).or_default() += 1;
        self.waiting_count += 1;
        if pending.waiters.len() == 1 {
            let progress = pending.flight.next(poll, &mut self.dice, now);
            self.take(key, progress, now);
        }
        Response::Later
    }

    fn start(&mut self, query: &Query<'_>, plan: Plan, route: u32, first: usize, now: Instant) -> Key {
        let asked =
            Asked { question: query.question.into(), dnssec: query.dnssec(), unchecked: query.flags & flag::CD != 0 };
        let cache_key: Box<[u8]> = self.cache_key.as_slice().into();
        let in_table = cache_key.clone();
        let key = self.pending.insert(|key| Pending {
            flight: Flight::new(key, asked, plan, first, now),
            cache_key,
            route,
            waiters: Vec::new(),
        });
        self.by_question.insert(in_table, key);
        key
    }

    /// The number of a list of servers, and with which of it to begin.
    fn route(&mut self, plan: &Plan) -> (u32, usize) {
        if self.routes.len() >= ROUTES_MAX && !self.routes.contains_key(&plan.servers) {
            self.routes.clear();
        }
        let made = &mut self.routes_made;
        let route = self.routes.entry(plan.servers.clone()).or_insert_with(|| {
            *made = made.wrapping_add(1);
            Route { number: *made, good: 0 }
        });
        let first = route.good;
        if plan.rotate {
            route.good = (route.good + 1) % plan.servers.len();
        }
        (route.number, first)
    }

    fn set_cache_key(&mut self, query: &Query<'_>, route: u32) {
        self.cache_key.clear();
        self.cache_key.extend_from_slice(&route.to_be_bytes());
        self.cache_key.push(u8::from(query.dnssec()) << 1 | u8::from(query.flags & flag::CD != 0));
        self.cache_key.extend_from_slice(&query.kind.to_be_bytes());
        self.cache_key.extend_from_slice(query.name.as_bytes());
    }

    /// Handles what came for a flight.
    pub fn ready(&mut self, poll: &Poll, key: Key, now: Instant) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        let progress = pending.flight.ready(poll, &mut self.dice, now);
        self.take(key, progress, now);
    }

    /// Handles what has had its time.
    pub fn expire(&mut self, poll: &Poll, now: Instant) {
        let over = |(key, pending): (Key, &Pending)| (pending.flight.deadline() <= now).then_some(key);
        let keys: Vec<_> = self.pending.iter().filter_map(over).collect();
        for key in keys {
            let Some(pending) = self.pending.get_mut(key) else { continue };
            let progress = pending.flight.next(poll, &mut self.dice, now);
            self.take(key, progress, now);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.iter().map(|(_, pending)| pending.flight.deadline()).min()
    }

    fn take(&mut self, key: Key, progress: Progress, now: Instant) {
        let (reply, good) = match progress {
            Progress::Waiting => return,
            Progress::Done(reply, server) => (Rc::new(reply), Some(server)),
            Progress::Failed(reply) => (Rc::new(reply), None),
        };
        let Some(pending) = self.pending.remove(key) else { return };
        self.by_question.remove(&pending.cache_key);
        if let Some(server) = good
            && let Some(route) = self.routes.values_mut().find(|route| route.number == pending.route)
        {
            route.good = server;
        }
        self.cache.put(&pending.cache_key, &reply, now);
        for waiter in &pending.waiters {
            let client = waiter.origin.peer.ip();
            if let Some(count) = self.waiting.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    self.waiting.remove(&client);
                }
            }
        }
        self.waiting_count -= pending.waiters.len();
        self.deliveries.push(Delivery { reply, waiters: pending.waiters });
    }
}
