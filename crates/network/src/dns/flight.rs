//! One question on its way to servers: which is asked now, by which socket, and what came of it. Keeps no answers.
//!
//! ```text
//! UDP to a server --answer--> done            the best server, then the others, so many rounds
//!      |--does not fit--> TCP to the same --answer--> done
//!      |--cannot read EDNS--> UDP without it to the same
//!      '--failure, refused, time-out--> UDP to the next; the one before may still answer
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with, sockopt,
};

use super::dice::Dice;
use super::poll::{Interest, Poll, Token};
use super::reply::{Received, Reply, write_query};
use super::slab::Key;
use super::stream::Stream;
use super::upstream::Plan;
use super::wire::code;

/// Most datagrams that are read of one socket in one go, so that a flood of false answers does not stop the rest.
const READS_MAX: usize = 8;
/// Most sockets of one question: the server asked now and the one before.
const ATTEMPTS_OPEN: usize = 2;
/// Time after which no more server is asked, however many there are: by then no client waits any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked, and how.
pub struct Asked {
    /// The question: name as the first client wrote it, type, class.
    pub question: Box<[u8]>,
    /// DNSSEC records are wanted.
    pub dnssec: bool,
    /// What fails verification is wanted too.
    pub unchecked: bool,
}

/// A question on its way.
pub struct Flight {
    key: Key,
    asked: Asked,
    plan: Plan,
    first: usize,
    started: usize,
    attempts: Vec<Attempt>,
    deadline: Instant,
    end: Instant,
    failure: Option<Reply>,
}

struct Attempt {
    server: usize,
    id: u16,
    edns: bool,
    link: Link,
}

enum Link {
    Datagram(OwnedFd),
    Stream { stream: Stream, connected: bool },
}

/// What came of it.
pub enum Progress {
    /// Nothing yet.
    Waiting,
    /// This answer of this server, counted as in the plan.
    Done(Reply, usize),
    /// No server gave an answer; what is to be told.
    Failed(Reply),
}

/// What an attempt came to.
enum Outcome {
    Nothing,
    Answer(Reply),
    Truncated,
    Broken,
}

impl Flight {
    /// A question for the servers of a plan, which has some, beginning with one of them.
    pub fn new(key: Key, asked: Asked, plan: Plan, first: usize, now: Instant) -> Self {
        let end = now + PATIENCE;
        Self { key, asked, plan, first, started: 0, attempts: Vec::new(), deadline: now, end, failure: None }
    }

    /// When the server that is asked now has had its time.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Asks the next server, after the one before failed or its time is over.
    pub fn next(&mut self, poll: &Poll, dice: &mut Dice, now: Instant) -> Progress {
        let servers = self.plan.servers.len();
        let most = servers * usize::from(self.plan.attempts);
        while self.started < most && now < self.end {
            let server = (self.first + self.started) % servers;
            self.started += 1;
            if self.ask(server, true, poll, dice, now).is_ok() {
                return Progress::Waiting;
            }
        }
        if !self.attempts.is_empty() && now < self.deadline {
            return Progress::Waiting;
        }
        let failure = || Reply::failure(&self.asked.question, code::SERVFAIL);
        Progress::Failed(self.failure.take().unwrap_or_else(failure))
    }

    fn ask(&mut self, server: usize, edns: bool, poll: &Poll, dice: &mut Dice, now: Instant) -> io::Result<()> {
        let id = dice.roll().ok_or(io::ErrorKind::Other)?;
        let address = self.plan.servers[server];
        // A socket of its own has a port of its own, which the kernel chooses at random.
        let socket = open(address, SocketType::DGRAM)?;
        connect(&socket, &address)?;
        let mut query = Vec::with_capacity(512);
        write_query(id, &self.asked.question, self.asked.unchecked, edns.then_some(self.asked.dnssec), &mut query);
        send(&socket, &query, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        poll.add(&socket, Token::Server(self.key), Interest::READ)?;
        self.push(Attempt { server, id, edns, link: Link::Datagram(socket) }, now);
        Ok(())
    }

    fn ask_by_stream(&mut self, before: &Attempt, poll: &Poll, now: Instant) -> io::Result<()> {
        let address = self.plan.servers[before.server];
        let socket = open(address, SocketType::STREAM)?;
        match connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let mut query = Vec::with_capacity(512);
        let edns = before.edns.then_some(self.asked.dnssec);
        write_query(before.id, &self.asked.question, self.asked.unchecked, edns, &mut query);
        poll.add(&socket, Token::Server(self.key), Interest::WRITE)?;
        let mut stream = Stream::new(socket, usize::from(u16::MAX));
        stream.write(&query);
        let link = Link::Stream { stream, connected: false };
        self.push(Attempt { server: before.server, id: before.id, edns: before.edns, link }, now);
        Ok(())
    }

    fn push(&mut self, attempt: Attempt, now: Instant) {
        if self.attempts.len() == ATTEMPTS_OPEN {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
        self.deadline = now + self.plan.timeout;
    }

    /// Reads what came on any of its sockets.
    pub fn ready(&mut self, poll: &Poll, dice: &mut Dice, now: Instant) -> Progress {
        let mut at = 0;
        while at < self.attempts.len() {
            let newest = at + 1 == self.attempts.len();
            let outcome = self.attempts[at].turn(&self.asked.question, Token::Server(self.key), poll);
            if matches!(outcome, Outcome::Nothing) {
                at += 1;
                continue;
            }
            let attempt = self.attempts.remove(at);
            let again = match outcome {
                Outcome::Answer(reply) if !reply.is_failure() => return Progress::Done(reply, attempt.server),
                Outcome::Answer(reply) => {
                    let unread = attempt.edns && matches!(reply.code, code::FORMERR | code::NOTIMP);
                    self.failure = Some(reply);
                    unread && self.ask(attempt.server, false, poll, dice, now).is_ok()
                }
                Outcome::Truncated => self.ask_by_stream(&attempt, poll, now).is_ok(),
                Outcome::Nothing | Outcome::Broken => false,
            };
            // The failure of one that was given up already is no reason to hurry the one asked now.
            if again || !newest {
                continue;
            }
            if let failed @ Progress::Failed(_) = self.next(poll, dice, now) {
                return failed;
            }
        }
        Progress::Waiting
    }
}

impl Attempt {
    fn turn(&mut self, question: &[u8], token: Token, poll: &Poll) -> Outcome {
        match &mut self.link {
            Link::Datagram(socket) => turn_datagram(socket.as_fd(), self.id, question),
            Link::Stream { stream, connected } => {
                let outcome = turn_stream(stream, connected, self.id, question, token, poll);
                outcome.unwrap_or(Outcome::Broken)
            }
        }
    }
}

fn turn_datagram(socket: BorrowedFd<'_>, id: u16, question: &[u8]) -> Outcome {
    let mut buffer = [0; 4096];
    for _ in 0..READS_MAX {
        match recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, length)) => match Reply::parse(&buffer[..length.min(buffer.len())], id, question) {
                Received::Reply(reply) => return Outcome::Answer(reply),
                Received::Truncated => return Outcome::Truncated,
                Received::Nothing => {}
            },
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => return Outcome::Nothing,
            // Nobody listens there, or there is no way.
            Err(_) => return Outcome::Broken,
        }
    }
    Outcome::Nothing
}

fn turn_stream(
    stream: &mut Stream,
    connected: &mut bool,
    id: u16,
    question: &[u8],
    token: Token,
    poll: &Poll,
) -> io::Result<Outcome> {
    sockopt::socket_error(stream.as_fd())??;
    if stream.unsent() > 0 {
        match stream.flush() {
            // Still connecting.
            Err(error) if error.kind() == io::ErrorKind::NotConnected && !*connected => return Ok(Outcome::Nothing),
            flushed => flushed?,
        };
        if stream.unsent() > 0 {
            return Ok(Outcome::Nothing);
        }
        *connected = true;
        poll.change(stream.as_fd(), token, Interest::READ)?;
    }
    let Some(message) = stream.read()? else {
        return Ok(if stream.is_ended() { Outcome::Broken } else { Outcome::Nothing });
    };
    Ok(match Reply::parse(&message, id, question) {
        Received::Reply(reply) => Outcome::Answer(reply),
        Received::Truncated | Received::Nothing => Outcome::Broken,
    })
}

fn open(address: SocketAddr, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Servers of a plan by which questions to them are told apart from those to others.
pub type Servers = Rc<[SocketAddr]>;
