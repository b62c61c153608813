//! What came back: the last hop of a way.

use std::net::IpAddr;

use rustix::io::Errno;

use super::probe::{Kind, Outcome};
use super::report::{Hop, Place};
use super::{bracketed, namespace};

/// A probe that was sent, and what is known besides.
#[derive(Clone, Debug)]
pub(super) struct Sent<'a> {
    pub kind: Kind,
    pub to: IpAddr,
    /// Who sent it.
    pub from: &'a str,
    /// The target is known, so it was seen to arrive.
    pub known: bool,
    /// That nobody answers for the next hop.
    pub silent: Option<String>,
    pub outcome: Outcome,
    /// Why it was not sent, or not watched.
    pub why: Option<&'a str>,
}

/// Judges it.
pub(super) fn judge(sent: &Sent<'_>) -> Hop {
    let to = sent.to;
    let what = match sent.kind {
        Kind::Tcp(port) => format!("TCP connection to {}:{port}", bracketed(to)),
        Kind::Udp(port) => format!("UDP datagram to {}:{port}", bracketed(to)),
        Kind::Echo => format!("ICMP echo request to {to}"),
    };
    let looked_at = format!("{what} from {}", sent.from);
    let stop = |reason: String| Hop::stop(Place::Answer, looked_at.clone(), reason);
    let listen = |hop: Hop| hop.hint(format!("tcpdump -ni any host {to}"));
    if let (Some(reason), Outcome::Silence(_) | Outcome::Refused(_)) = (&sent.silent, sent.outcome) {
        return stop(reason.clone()).hint(format!("ip neighbour show {to}"));
    }
    match (sent.outcome, sent.kind) {
        (Outcome::Answered(after), Kind::Tcp(_)) => {
            Hop::ok(Place::Answer, looked_at, format!("made in {:.1} ms", after.as_secs_f64() * 1e3))
        }
        (Outcome::Answered(after), _) => {
            Hop::ok(Place::Answer, looked_at, format!("answered in {:.1} ms", after.as_secs_f64() * 1e3))
        }
        (Outcome::Unsent, _) => stop(format!("not known: {}", sent.why.unwrap_or("it was not sent"))),
        (Outcome::Silence(_), Kind::Udp(_)) if sent.known => {
            Hop::note(Place::Answer, looked_at, "delivered; the program did not answer, which it need not")
        }
        (Outcome::Silence(after), Kind::Udp(_)) => {
            listen(stop(format!("no answer within {:.0} s, and no error: UDP does not tell more", after.as_secs_f64())))
        }
        (Outcome::Silence(after), _) => {
            let after = after.as_secs_f64();
            listen(stop(format!("no answer within {after:.0} s; every hop that can be looked at from here is well")))
        }
        (Outcome::Refused(Errno::CONNREFUSED), _) => {
            listen(stop(format!("{to} refuses it: nothing listens there, or it does not want to")))
        }
        (Outcome::Refused(errno), _) => listen(stop(namespace::errno_words(errno))),
    }
}
