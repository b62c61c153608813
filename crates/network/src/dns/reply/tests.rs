//! Tests of servers' answers.

use super::*;

const QUESTION: &[u8] = b"\x01a\x00\x00\x01\x00\x01";
const OPT: &[u8] = b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00";

fn record(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&[0xc0, 12], &kind.to_be_bytes()[..], &[0, 1], &ttl.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn message(flags: u16, counts: [u16; 3], records: &[&[u8]]) -> Vec<u8> {
    let head = [7, flags, 1, counts[0], counts[1], counts[2]].map(u16::to_be_bytes);
    [head.as_flattened(), QUESTION, &records.concat()].concat()
}

fn parse(message: &[u8]) -> Option<Reply> {
    match Reply::parse(message, 7, QUESTION) {
        Received::Reply(reply) => Some(reply),
        _ => None,
    }
}

fn to(edns: Option<bool>, limit: usize) -> Recipient<'static> {
    Recipient { id: 9, flags: flag::RD, question: b"\x01A\x00\x00\x01\x00\x01", edns, limit }
}

#[test]
fn lifetimes_follow_the_records() {
    let check = |code, counts, records: &[&[u8]], expected| {
        let reply = parse(&message(0x8180 | code, counts, records)).unwrap();
        assert_eq!((reply.lifetime, reply.code), (expected, code));
    };
    let soa = |minimum: u32| [&[0, 0][..], &[0; 16], &minimum.to_be_bytes()].concat();
    let a = |ttl| record(1, ttl, &[1; 4]);
    check(0, [2, 0, 0], &[&a(60), &a(30)], 30);
    check(0, [1, 0, 0], &[&a(u32::MAX)], 0);
    check(0, [1, 0, 0], &[&a(i32::MAX as u32)], TTL_MAX);
    check(0, [0, 0, 0], &[], 0);
    check(3, [0, 1, 0], &[&record(6, 60, &soa(20))], 20);
    check(3, [0, 1, 0], &[&record(6, 10, &soa(20))], 10);
    check(3, [0, 1, 0], &[&record(6, 86400, &soa(86400))], NEGATIVE_TTL_MAX);
    check(3, [1, 1, 0], &[&record(5, 5, &[0]), &record(6, 60, &soa(20))], 5);
    check(2, [0, 0, 0], &[], FAILURE_TTL);
}

#[test]
fn options_are_taken_off_and_put_on_as_the_client_speaks() {
    let a = record(1, 60, &[1; 4]);
    let reply = parse(&message(0x81a0, [1, 0, 1], &[&a, OPT])).unwrap();
    let mut out = [0; 1232];
    let length = reply.write(7, &to(None, 512), &mut out);
    let expected = message(0x8180, [1, 0, 0], &[&record(1, 53, &[1; 4])]);
    assert_eq!((&out[3..13], &out[14..length]), (&expected[3..13], &expected[14..]));
    assert_eq!((out[1], out[13]), (9, b'A'), "number and letters of the client");
    let length = reply.write(7, &to(Some(true), 512), &mut out);
    assert_eq!((length, out[11], out[3] & 0x20), (expected.len() + OPT_LENGTH, 1, 0x20));
}

#[test]
fn what_does_not_fit_is_marked() {
    let records: Vec<_> = (0..40).map(|_| record(1, 60, &[1; 4])).collect();
    let slices: Vec<_> = records.iter().map(Vec::as_slice).collect();
    let reply = parse(&message(0x8180, [40, 0, 0], &slices)).unwrap();
    let mut out = [0; 1232];
    for (edns, limit, whole) in [(None, 512, false), (Some(false), 669, false), (Some(false), 670, true)] {
        let length = reply.write(0, &to(edns, limit), &mut out);
        assert!(length <= limit);
        assert_eq!((out[2] & 0x02 == 0, out[7] == 40), (whole, whole), "{limit}");
    }
}

#[test]
fn extended_codes_are_told_to_whom_understands_them() {
    let opt = b"\x00\x00\x29\x10\x00\x01\x00\x00\x00\x00\x00";
    let reply = parse(&message(0x8187, [0, 0, 1], &[opt])).unwrap();
    assert_eq!(reply.code, 23);
    let mut out = [0; 512];
    reply.write(0, &to(None, 512), &mut out);
    assert_eq!(u16::from(out[3]) & flag::RCODE, code::SERVFAIL);
    let length = reply.write(0, &to(Some(false), 512), &mut out);
    assert_eq!((out[3] & 15, out[length - 6]), (7, 1));
}

#[test]
fn what_is_not_to_the_question_is_nothing() {
    let good = message(0x8180, [1, 0, 0], &[&record(1, 60, &[1; 4])]);
    assert!(parse(&good).is_some());
    for (at, bits) in [(0, 1), (2, 0x80), (2, 0x08), (5, 2), (13, 2), (16, 3), (18, 1)] {
        let mut bad = good.clone();
        bad[at] ^= bits;
        assert!(parse(&bad).is_none(), "byte {at}");
    }
    for length in 0..good.len() {
        assert!(parse(&good[..length]).is_none(), "{length} bytes");
    }
}
