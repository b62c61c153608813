//! Names of ours, asked by dig and by hand.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use holm_network::dns::Upstreams;

use crate::serving::{Serving, answer, ask, endpoint, query, receive_framed, send_framed};

/// A server with `web` (two containers, of which one has IPv6), `db` on another network too, and a client without names.
fn serve(host: &str) -> (Serving, String) {
    let serving = Serving::start(host, || Upstreams::fixed(Vec::new()));
    serving.network("net", true, Some("holm.test"), &["10.8.0.0/24", "fd00:8::/64"]);
    serving.network("back", true, None, &["10.9.0.0/24"]);
    let mut one = endpoint(1, "net", "One", &["10.8.0.2", "fd00:8::2"]);
    one.aliases = vec!["WEB".to_owned()];
    let mut two = endpoint(2, "net", "two.sub", &["10.8.0.3"]);
    two.aliases = vec!["web".to_owned()];
    let me = endpoint(3, "net", "me", &[host]);
    for endpoint in [one, two, me, endpoint(3, "back", "me", &["10.9.0.9"]), endpoint(4, "back", "db", &["10.9.0.4"])] {
        serving.put(endpoint);
    }
    serving.put(endpoint(5, "net", "other", &["127.77.0.99"]));
    serving.put(endpoint(6, "net", "plain", &["127.0.0.1"]));
    (serving, host.to_owned())
}

#[test]
fn names_of_all_kinds_are_found() {
    let (serving, me) = serve("127.77.0.1");
    let check = |words: &[&str], expected: &[&str]| assert_eq!(serving.short(&me, words), expected, "{words:?}");
    check(&["one"], &["10.8.0.2"]);
    check(&["oNe."], &["10.8.0.2"]);
    check(&["one", "AAAA"], &["fd00:8::2"]);
    check(&["two.sub"], &["10.8.0.3"]);
    check(&["web"], &["10.8.0.2", "10.8.0.3"]);
    check(&["010101010101"], &["10.8.0.2"]);
    check(&["web.net"], &["10.8.0.2", "10.8.0.3"]);
    check(&["one.holm.test"], &["10.8.0.2"]);
    check(&["one.net.holm.test"], &["10.8.0.2"]);
    check(&["db"], &["10.9.0.4"]);
    check(&["db.back"], &["10.9.0.4"]);
    check(&["me"], &[&me]);
    check(&["me.back"], &["10.9.0.9"]);
    check(&["-x", "10.8.0.2"], &["one.net."]);
    check(&["-x", "fd00:8::2"], &["one.net."]);
    check(&["one", "+tcp"], &["10.8.0.2"]);
    // Whose container is on `net` alone sees nothing of `back`.
    assert_eq!(serving.status("127.77.0.99", &["db"]), "NXDOMAIN; qr aa rd ra; answer 0, authority 1");
}

#[test]
fn answers_say_what_they_are() {
    let (serving, me) = serve("127.77.0.2");
    let check = |words: &[&str], expected: &str| assert_eq!(serving.status(&me, words), expected, "{words:?}");
    check(&["one"], "NOERROR; qr aa rd ra; answer 1, authority 0");
    check(&["two.sub", "AAAA"], "NOERROR; qr aa rd ra; answer 0, authority 1");
    check(&["one", "MX"], "NOERROR; qr aa rd ra; answer 0, authority 1");
    check(&["web", "ANY"], "NOERROR; qr aa rd ra; answer 2, authority 0");
    check(&["unknown"], "NXDOMAIN; qr aa rd ra; answer 0, authority 1");
    check(&["unknown.holm.test"], "NXDOMAIN; qr aa rd ra; answer 0, authority 1");
    check(&["holm.test"], "NOERROR; qr aa rd ra; answer 0, authority 1");
    check(&["www.example.com"], "NXDOMAIN; qr aa rd ra; answer 0, authority 1");
    check(&["-x", "10.8.0.77"], "NXDOMAIN; qr aa rd ra; answer 0, authority 1");
    check(&["-c", "CH", "version.bind", "TXT"], "REFUSED; qr rd ra; answer 0, authority 0");
    check(&["one", "+edns=1", "+noednsnegotiation"], "BADVERS; qr rd ra; answer 0, authority 0");
    check(&["one", "+opcode=NOTIFY"], "NOTIMP; qr rd; answer 0, authority 0");
    let transfer = ask(&serving.client(&me), "one.", RecordType::AXFR, None);
    assert_eq!(transfer.metadata.response_code, ResponseCode::Refused);
    let text = serving.dig(&me, &["unknown.holm.test", "+noall", "+authority"]);
    let soa: Vec<_> = text.split_ascii_whitespace().collect();
    assert_eq!(soa, ["holm.test.", "5", "IN", "SOA", ".", ".", "1", "3600", "600", "86400", "5"]);
}

#[test]
fn stranger_is_refused() {
    let (serving, _) = serve("127.77.0.3");
    assert_eq!(serving.status("127.77.0.77", &["one"]), "REFUSED; qr rd ra; answer 0, authority 0");
    assert_eq!(serving.status("127.77.0.77", &["one", "+tcp"]), "REFUSED; qr rd ra; answer 0, authority 0");
}

#[test]
fn name_is_served_with_the_first_query_after_its_record() {
    let (serving, me) = serve("127.77.0.4");
    let client = serving.client(&me);
    for round in 0..200_u8 {
        let text = format!("10.8.1.{round}");
        serving.put(endpoint(9, "net", "late", &[&text]));
        let found = ask(&client, "late.", RecordType::A, None);
        assert_eq!(found.answers[0].data.to_string(), text);
        serving.change(|catalog| {
            let gone = endpoint(9, "net", "late", &[]);
            catalog.remove(&gone.network, &gone.container);
        });
        assert_eq!(ask(&client, "late.", RecordType::A, None).metadata.response_code, ResponseCode::NXDomain);
    }
}

#[test]
fn many_addresses_take_turns_and_are_cut_to_what_the_client_takes() {
    let (serving, me) = serve("127.77.0.5");
    for at in 1..=100 {
        let mut one = endpoint(100 + at, "net", &format!("c{at}"), &[&format!("10.8.2.{at}")]);
        one.aliases = vec!["many".to_owned()];
        serving.put(one);
    }
    let client = serving.client(&me);
    let first = |size| ask(&client, "web.", RecordType::A, size).answers[0].data.to_string();
    assert_ne!(first(None), first(None));
    let small = ask(&client, "many.", RecordType::A, None);
    // 512 less header, question of ten bytes; sixteen each.
    assert_eq!((small.metadata.truncation, small.answers.len()), (true, (512 - 12 - 10) / 16));
    let large = ask(&client, "many.", RecordType::A, Some(4096));
    assert_eq!((large.metadata.truncation, large.answers.len()), (true, (1232 - 12 - 10 - 11) / 16));
    assert_eq!(serving.short(&me, &["many"]).len(), 100, "dig asks again over TCP");
}

#[test]
fn connection_carries_many_queries_however_they_are_cut() {
    let (serving, _) = serve("127.77.0.6");
    let stream = serving.connection();
    let message = query(1, "one.", RecordType::A, None);
    for id in 0..100 {
        send_framed(&stream, &query(id, "one.", RecordType::A, None));
    }
    let mut ids: Vec<_> = (0..100).map(|_| receive_framed(&stream).metadata.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    for byte in framed {
        std::io::Write::write_all(&mut &stream, &[byte]).unwrap();
    }
    assert_eq!(receive_framed(&stream).metadata.id, 1);
}

#[test]
fn connections_of_one_client_are_limited() {
    let (serving, _) = serve("127.77.0.7");
    let streams: Vec<_> = (0..20).map(|_| serving.connection()).collect();
    let answered = |stream: &std::net::TcpStream| {
        use std::io::{Read, Write};
        let message = query(1, "one.", RecordType::A, None);
        let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
        { stream }.write_all(&framed).is_ok() && { stream }.read(&mut [0; 512]).is_ok_and(|length| length > 0)
    };
    assert_eq!(streams.iter().filter(|stream| answered(stream)).count(), 8);
}

#[test]
fn what_is_no_query_is_not_answered_and_does_no_harm() {
    let (serving, me) = serve("127.77.0.8");
    let client = serving.client(&me);
    let mut response = query(1, "one.", RecordType::A, None);
    response[2] |= 0x80;
    for bytes in [&response[..], b"", b"x", &[0; 11], &[0xff; 3000]] {
        client.send(bytes).unwrap();
    }
    client.send(&[0; 12]).unwrap();
    assert_eq!(answer(&client).metadata.response_code, ResponseCode::FormErr);
    assert_eq!(ask(&client, "one.", RecordType::A, None).answers.len(), 1);
}
