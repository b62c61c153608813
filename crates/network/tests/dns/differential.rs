//! Our reader of queries against `hickory-proto`: what ours takes, both read alike; what ours refuses, it says why.

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::RecordType;
use holm_kit::{Numbers, mutate};
use holm_network::dns::query::{Query, Unanswerable};
use holm_network::dns::wire;

use crate::serving::query;

/// The name as hickory has it, in wire form and lower case.
fn wire_name(name: &hickory_proto::rr::Name) -> Vec<u8> {
    name.iter().flat_map(|label| [&[label.len() as u8][..], &label.to_ascii_lowercase()].concat()).collect()
}

fn compare(bytes: &[u8]) -> bool {
    let theirs = Message::from_vec(bytes);
    match (Query::parse(bytes), theirs) {
        (Ok(ours), Ok(theirs)) => {
            let asked = &theirs.queries[0];
            assert_eq!(theirs.queries.len(), 1, "{bytes:02x?}");
            assert_eq!(ours.id, theirs.metadata.id);
            assert_eq!(ours.name.as_bytes(), wire_name(asked.name()), "{bytes:02x?}");
            assert_eq!(ours.kind, u16::from(asked.query_type()), "{bytes:02x?}");
            assert_eq!(ours.class, u16::from(asked.query_class()), "{bytes:02x?}");
            let rd = ours.flags & wire::flag::RD != 0;
            assert_eq!(rd, theirs.metadata.recursion_desired);
            let edns = theirs.edns.as_ref().map(|edns| (edns.version(), edns.flags().dnssec_ok));
            assert_eq!(ours.edns.map(|edns| (edns.version, edns.dnssec)), edns, "{bytes:02x?}");
            true
        }
        // Records beside the question may hold what only hickory looks into; the question is not in doubt.
        (Ok(_), Err(_)) => {
            assert!(wire::u16_at(bytes, 10) > Some(0), "{bytes:02x?}");
            false
        }
        (Err(Unanswerable::Silence), Ok(theirs)) => {
            assert_eq!(theirs.metadata.message_type, MessageType::Response, "{bytes:02x?}");
            false
        }
        (Err(Unanswerable::Code(code)), Ok(theirs)) => {
            let plain = theirs.queries.len() == 1 && theirs.answers.is_empty() && theirs.authorities.is_empty();
            let pointer = bytes.get(12..).is_some_and(|rest| rest.iter().any(|byte| *byte >= 0xc0));
            let kind = theirs.queries.first().map(|query| u16::from(query.query_type()));
            let meta = matches!(kind, Some(0 | wire::kind::OPT));
            let explained = code == wire::code::NOTIMP || !plain || pointer || meta || theirs.additionals.len() > 7;
            assert!(explained, "{code} for {bytes:02x?}");
            false
        }
        (Err(_), Err(_)) => false,
    }
}

#[test]
fn both_read_the_same() {
    let mut seeds = vec![query(7, ".", RecordType::NS, None), query(7, &"a.".repeat(120), RecordType::A, Some(4096))];
    for text in ["web.", "WWW.Example.com.", "2.0.8.10.in-addr.arpa."] {
        for edns in [None, Some(1232)] {
            seeds.push(query(0x1234, text, RecordType::AAAA, edns));
        }
    }
    assert!(seeds.iter().all(|seed| compare(seed)));
    let mut numbers = Numbers(0x0dd_ba11);
    let rounds = 200_000;
    let alike = (0..rounds).filter(|round| compare(&mutate(&seeds[round % seeds.len()], &mut numbers))).count();
    assert!(alike > rounds / 20, "only {alike} of {rounds} were read: the seeds are spoiled too much to compare");
}
