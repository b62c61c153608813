//! Names of others: a real server, and one that does everything wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NULL, SOA, TXT};
use hickory_proto::rr::{Name as DnsName, RData, Record, RecordType};
use holm_kit::{Holm, wait_until};
use holm_network::dns::Upstreams;

use crate::serving::{Serving, answer, ask, endpoint, query, receive_framed, send_framed};

const CLIENT: &str = "127.78.0.100";

/// What a fake server says to a query: datagrams, or one framed message.
type Script = Box<dyn Fn(&Message, bool) -> Vec<Vec<u8>> + Send>;

/// A server of which a test says what it answers; ends when dropped.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Message>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Fake {
    fn start(script: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let script = Arc::new(script);
        let udp = UdpSocket::bind("127.78.1.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let by_udp: Script = {
            let script = script.clone();
            Box::new(move |query, tcp| script(query, tcp))
        };
        let by_tcp: Script = Box::new(move |query, tcp| script(query, tcp));
        let (asked_udp, asked_tcp, stop_udp, stop_tcp) = (asked.clone(), asked.clone(), stop.clone(), stop.clone());
        let threads = vec![
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok((length, peer)) = udp.recv_from(&mut bytes) {
                    if stop_udp.load(Ordering::SeqCst) {
                        return;
                    }
                    let query = Message::from_vec(&bytes[..length]).unwrap();
                    // Counted first: who has the answer may count at once.
                    asked_udp.lock().unwrap().push(query.clone());
                    for reply in by_udp(&query, false) {
                        udp.send_to(&reply, peer).unwrap();
                    }
                }
            }),
            std::thread::spawn(move || {
                while let Ok((mut stream, _)) = tcp.accept() {
                    if stop_tcp.load(Ordering::SeqCst) {
                        return;
                    }
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).unwrap();
                    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut bytes).unwrap();
                    let query = Message::from_vec(&bytes).unwrap();
                    asked_tcp.lock().unwrap().push(query.clone());
                    for reply in by_tcp(&query, true) {
                        let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                        stream.write_all(&[&length[..], &reply].concat()).unwrap();
                    }
                }
            }),
        ];
        Self { address, asked, stop, threads }
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UdpSocket::bind("127.78.1.1:0").unwrap().send_to(b"", self.address);
        let _ = std::net::TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking());
        }
    }
}

/// An answer to a query with these records.
fn reply(query: &Message, data: Vec<RData>) -> Message {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.recursion_available = true;
    let asked = query.queries[0].clone();
    for data in data {
        message.answers.push(Record::from_rdata(asked.name().clone(), 300, data));
    }
    message.add_query(asked);
    message
}

fn address(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn code(query: &Message, code: ResponseCode) -> Vec<u8> {
    let mut message = reply(query, Vec::new());
    message.metadata.response_code = code;
    message.to_vec().unwrap()
}

fn serve(host: &str, servers: Vec<SocketAddr>) -> Serving {
    serve_within(host, servers, Duration::from_secs(20))
}

fn serve_within(host: &str, servers: Vec<SocketAddr>, timeout: Duration) -> Serving {
    let serving = Serving::start(host, move || Upstreams::fixed(servers).within(timeout));
    serving.network("net", false, None, &["127.78.0.0/16"]);
    serving.put(endpoint(1, "net", "client", &[CLIENT, "127.0.0.1"]));
    serving
}

/// A server at whose address nobody listens.
fn nobody() -> SocketAddr {
    UdpSocket::bind("127.78.1.1:0").unwrap().local_addr().unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn answer_is_passed_on_once_and_kept() {
    let fake = Fake::start(|query, _| vec![reply(query, vec![address(1), address(2)]).to_vec().unwrap()]);
    let serving = serve("127.78.0.1", vec![fake.address]);
    let client = serving.client(CLIENT);
    for text in ["www.example.", "WWW.exAmple."] {
        let found = ask(&client, text, RecordType::A, None);
        assert_eq!(addresses(&found), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(found.queries[0].name().to_ascii(), text, "the question as it was asked");
        assert!(!found.metadata.authoritative && found.edns.is_none());
    }
    assert!(ask(&client, "www.example.", RecordType::A, Some(1232)).edns.is_some());
    assert_eq!(fake.count(), 1);
    let asked = fake.asked.lock().unwrap()[0].clone();
    assert_eq!(asked.edns.unwrap().max_payload(), 1232);
    assert!(asked.metadata.recursion_desired);
}

#[test]
fn negative_answers_are_kept_by_their_soa_and_those_without_are_not() {
    let fake = Fake::start(|query, _| {
        let mut message = reply(query, Vec::new());
        message.metadata.response_code = ResponseCode::NXDomain;
        let root = DnsName::root();
        if query.queries[0].name().to_ascii().starts_with("kept") {
            let soa = SOA::new(root.clone(), root.clone(), 1, 1, 1, 1, 60);
            message.authorities.push(Record::from_rdata(root, 3600, RData::SOA(soa)));
        }
        vec![message.to_vec().unwrap()]
    });
    let serving = serve("127.78.0.2", vec![fake.address]);
    let client = serving.client(CLIENT);
    for (text, asked) in [("kept.example.", 1), ("kept.example.", 1), ("not.example.", 2), ("not.example.", 3)] {
        let found = ask(&client, text, RecordType::A, None);
        assert_eq!((found.metadata.response_code, fake.count()), (ResponseCode::NXDomain, asked), "{text}");
    }
}

#[test]
fn false_answers_are_ignored_until_the_true_one_comes() {
    let fake = Fake::start(|query, _| {
        let truth = reply(query, vec![address(1)]).to_vec().unwrap();
        let lie = reply(query, vec![address(66)]);
        let mut wrong_id = lie.to_vec().unwrap();
        wrong_id[0] ^= 1;
        let mut no_response = lie.to_vec().unwrap();
        no_response[2] &= 0x7f;
        let mut wrong_question = lie.clone();
        wrong_question.queries[0].set_name(DnsName::from_ascii("other.example.").unwrap());
        let mut cut = lie.to_vec().unwrap();
        cut.truncate(cut.len() - 3);
        vec![wrong_id, no_response, wrong_question.to_vec().unwrap(), cut, b"garbage".to_vec(), Vec::new(), truth]
    });
    let serving = serve("127.78.0.3", vec![fake.address]);
    let client = serving.client(CLIENT);
    assert_eq!(addresses(&ask(&client, "www.example.", RecordType::A, None)), ["192.0.2.1"]);
}

#[test]
fn next_server_is_asked_when_one_is_silent_gone_or_failing_and_the_good_one_stays() {
    let silent = Fake::start(|_, _| Vec::new());
    let failing = Fake::start(|query, _| vec![code(query, ResponseCode::ServFail)]);
    let refusing = Fake::start(|query, _| vec![code(query, ResponseCode::Refused)]);
    let good = Fake::start(|query, _| vec![reply(query, vec![address(1)]).to_vec().unwrap()]);
    let servers = vec![nobody(), silent.address, failing.address, refusing.address, good.address];
    let serving = serve_within("127.78.0.4", servers, Duration::from_millis(100));
    let client = serving.client(CLIENT);
    assert_eq!(addresses(&ask(&client, "a.example.", RecordType::A, None)), ["192.0.2.1"]);
    assert_eq!(addresses(&ask(&client, "b.example.", RecordType::A, None)), ["192.0.2.1"]);
    assert_eq!([&silent, &failing, &refusing, &good].map(Fake::count), [1, 1, 1, 2]);
}

#[test]
fn failure_is_told_at_once_and_not_asked_again_at_once() {
    let failing = Fake::start(|query, _| vec![code(query, ResponseCode::ServFail)]);
    let serving = serve("127.78.0.5", vec![failing.address]);
    let client = serving.client(CLIENT);
    for _ in 0..3 {
        assert_eq!(ask(&client, "a.example.", RecordType::A, None).metadata.response_code, ResponseCode::ServFail);
    }
    assert_eq!(failing.count(), 2, "two rounds, and then the failure is kept for a while");
    let serving = serve("127.78.0.6", vec![nobody()]);
    let client = serving.client(CLIENT);
    assert_eq!(ask(&client, "a.example.", RecordType::A, None).metadata.response_code, ResponseCode::ServFail);
    let serving = serve("127.78.0.7", Vec::new());
    let client = serving.client(CLIENT);
    assert_eq!(ask(&client, "a.example.", RecordType::A, None).metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn server_without_edns_is_asked_without() {
    let fake = Fake::start(|query, _| {
        vec![match query.edns {
            Some(_) => code(query, ResponseCode::FormErr)[..12]
                .iter()
                .enumerate()
                .map(|(at, byte)| if at == 5 { 0 } else { *byte })
                .collect(),
            None => reply(query, vec![address(1)]).to_vec().unwrap(),
        }]
    });
    let serving = serve("127.78.0.8", vec![fake.address]);
    let client = serving.client(CLIENT);
    assert_eq!(addresses(&ask(&client, "a.example.", RecordType::A, Some(1232))), ["192.0.2.1"]);
    assert_eq!(fake.count(), 2);
}

#[test]
fn truncated_answer_is_fetched_over_tcp_and_cut_to_what_the_client_takes() {
    let fake = Fake::start(|query, tcp| {
        if tcp {
            let text = |at: usize| RData::TXT(TXT::new(vec![format!("{at:0250}")]));
            return vec![reply(query, (0..100).map(text).collect()).to_vec().unwrap()];
        }
        let mut message = reply(query, Vec::new());
        message.metadata.truncation = true;
        vec![message.to_vec().unwrap()]
    });
    let serving = serve("127.78.0.9", vec![fake.address]);
    let client = serving.client(CLIENT);
    let cut = ask(&client, "a.example.", RecordType::TXT, Some(4096));
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let stream = serving.connection();
    send_framed(&stream, &query(9, "a.example.", RecordType::TXT, None));
    let whole = receive_framed(&stream);
    assert_eq!((whole.metadata.id, whole.metadata.truncation, whole.answers.len()), (9, false, 100));
}

#[test]
fn records_of_unknown_types_and_chains_arrive_as_they_were_sent() {
    let fake = Fake::start(|query, _| {
        let asked = query.queries[0].name().clone();
        let target = DnsName::from_ascii("target.example.").unwrap();
        let mut message = reply(query, vec![RData::CNAME(CNAME(target.clone()))]);
        let code = RecordType::Unknown(65_300);
        message.answers.push(Record::from_rdata(target, 10, RData::Unknown { code, rdata: NULL::with(vec![1, 2, 3]) }));
        message.additionals.push(Record::from_rdata(asked, 1, address(7)));
        vec![message.to_vec().unwrap()]
    });
    let serving = serve("127.78.0.10", vec![fake.address]);
    let client = serving.client(CLIENT);
    let found = ask(&client, "a.example.", RecordType::Unknown(65_300), None);
    let expected = fake.asked.lock().unwrap()[0].clone();
    assert_eq!(expected.queries[0].query_type(), RecordType::Unknown(65_300));
    assert_eq!(found.answers.len(), 2);
    assert_eq!(found.answers[0].data.to_string(), "target.example.");
    assert!(matches!(&found.answers[1].data, RData::Unknown { rdata, .. } if rdata.anything == [1, 2, 3]));
    assert_eq!(found.additionals.len(), 1);
}

/// A server that answers when it is told.
fn held() -> (Fake, Sender<()>) {
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let fake = Fake::start(move |query, _| {
        let _ = wait.lock().unwrap().recv();
        vec![reply(query, vec![address(1)]).to_vec().unwrap()]
    });
    (fake, go)
}

#[test]
fn same_question_of_many_is_asked_once() {
    let (fake, go) = held();
    let serving = serve("127.78.0.11", vec![fake.address]);
    let clients: Vec<_> = (0..20).map(|_| serving.client(CLIENT)).collect();
    for (id, client) in clients.iter().enumerate() {
        client.send(&query(u16::try_from(id).unwrap(), "a.example.", RecordType::A, None)).unwrap();
    }
    // An answer from memory comes after all that was sent before.
    ask(&serving.client(CLIENT), "client.", RecordType::A, None);
    go.send(()).unwrap();
    for (id, client) in clients.iter().enumerate() {
        let found = answer(client);
        assert_eq!((usize::from(found.metadata.id), addresses(&found)), (id, vec!["192.0.2.1".to_owned()]));
    }
    assert_eq!(fake.count(), 1);
}

#[test]
fn one_client_cannot_take_all_places() {
    let (fake, go) = held();
    let serving = serve("127.78.0.12", vec![fake.address]);
    serving.put(endpoint(2, "net", "two", &["127.78.0.101"]));
    let client = serving.client(CLIENT);
    for id in 0..101 {
        client.send(&query(id, &format!("n{id}.example."), RecordType::A, None)).unwrap();
    }
    let refused = answer(&client);
    assert_eq!((refused.metadata.id, refused.metadata.response_code), (100, ResponseCode::ServFail));
    let other = serving.client("127.78.0.101");
    other.send(&query(7, "o.example.", RecordType::A, None)).unwrap();
    for _ in 0..102 {
        go.send(()).unwrap();
    }
    assert_eq!(addresses(&answer(&other)), ["192.0.2.1"]);
}

#[test]
fn what_stays_here_is_never_asked_elsewhere() {
    let fake = Fake::start(|query, _| vec![reply(query, vec![address(1)]).to_vec().unwrap()]);
    let serving = serve("127.78.0.13", vec![fake.address]);
    serving.network("inside", true, None, &[]);
    let check = |words: &[&str], expected: &str| assert_eq!(serving.status(CLIENT, words), expected, "{words:?}");
    check(&["single"], "NXDOMAIN; qr aa rd ra; answer 0, authority 1");
    check(&["-x", "127.78.9.9"], "NXDOMAIN; qr aa rd ra; answer 0, authority 1");
    check(&["www.example", "+norecurse"], "REFUSED; qr ra; answer 0, authority 0");
    check(&["www.example", "ANY"], "NOERROR; qr rd ra; answer 1, authority 0");
    assert_eq!(fake.count(), 0);
    check(&["www.example"], "NOERROR; qr rd ra; answer 1, authority 0");
    check(&["single", "NS"], "NOERROR; qr rd ra; answer 1, authority 0");
    assert_eq!(fake.count(), 2);
}

#[test]
fn servers_of_a_containers_own_are_asked_instead_and_know_single_labels() {
    let host = Fake::start(|query, _| vec![reply(query, vec![address(1)]).to_vec().unwrap()]);
    let own = Fake::start(|query, _| vec![reply(query, vec![address(2)]).to_vec().unwrap()]);
    let (servers, port) = (vec![host.address], own.address.port());
    let serving = Serving::start("127.78.0.14", move || Upstreams::fixed(servers).at_port(port));
    serving.put(endpoint(1, "net", "client", &[CLIENT]));
    let mut special = endpoint(2, "net", "special", &["127.78.0.102"]);
    special.dns = vec![own.address.ip()];
    serving.put(special);
    for _ in 0..2 {
        assert_eq!(serving.short(CLIENT, &["www.example"]), ["192.0.2.1"]);
        assert_eq!(serving.short("127.78.0.102", &["www.example"]), ["192.0.2.2"]);
    }
    assert_eq!(serving.short("127.78.0.102", &["single"]), ["192.0.2.2"]);
    assert_eq!((host.count(), own.count()), (1, 2));
}

#[test]
fn dnsmasq_is_asked_and_believed() {
    let address = nobody();
    let listen = format!("--listen-address={}", address.ip());
    let port = format!("--port={}", address.port());
    let args =
        ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root"];
    let names =
        ["--pid-file=", "--host-record=real.example,192.0.2.53,2001:db8::53", "--local=/example/", "--log-facility=-"];
    let running = Holm::program("dnsmasq").args(args).args(names).args([&listen, &port]).start();
    let serving = serve("127.78.0.15", vec![address]);
    wait_until("dnsmasq answers", Duration::from_secs(20), || {
        Holm::program("dig")
            .args(["-r", "+short", "+tries=1", "+time=1", "-p", &port[7..]])
            .arg(format!("@{}", address.ip()))
            .arg("real.example")
            .run()
            .text()
            .trim()
            == "192.0.2.53"
    });
    for transport in ["+notcp", "+tcp"] {
        assert_eq!(serving.short(CLIENT, &["real.example", transport]), ["192.0.2.53"]);
        assert_eq!(serving.short(CLIENT, &["real.example", "AAAA", transport]), ["2001:db8::53"]);
        assert!(serving.status(CLIENT, &["none.example", transport]).starts_with("NXDOMAIN"));
    }
    running.signal(15);
    running.finish();
}
