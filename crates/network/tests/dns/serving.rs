//! A server in a thread of its own, its catalogue changed just before answers, and ways to ask it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name as DnsName, RecordType};
use holm_kit::Holm;
use holm_network::dns::{Catalog, NetworkNames, Server, Upstreams, listen};
use holm_spec::network::{Endpoint, MacAddress};
use holm_spec::{ContainerId, Name};
use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

type Change = Box<dyn FnOnce(&mut Catalog) + Send>;

/// A server on network `net` at an address of loopback, until it is dropped.
pub struct Serving {
    pub address: SocketAddr,
    changes: Sender<Change>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Serves at this address of loopback, of any port.
    pub fn start(host: &str, upstreams: impl FnOnce() -> Upstreams + Send + 'static) -> Self {
        let (udp, tcp) = listen(SocketAddr::new(host.parse().unwrap(), 0)).unwrap();
        let address = UdpSocket::from(udp.try_clone().unwrap()).local_addr().unwrap();
        let (changes, changed) = channel::<Change>();
        let (ended, stop) = rustix::pipe::pipe().unwrap();
        let thread = std::thread::spawn(move || {
            let mut catalog = Catalog::new();
            let mut server = Server::new(upstreams()).unwrap();
            server.add_listener(&name("net"), udp, tcp).unwrap();
            loop {
                let wait = server.next_deadline().map(|end| end.saturating_duration_since(Instant::now()));
                let wait = wait.map(|wait| Timespec::try_from(wait).unwrap());
                let mut fds = [
                    PollFd::from_borrowed_fd(server.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
                ];
                poll(&mut fds, wait.as_ref()).unwrap();
                if !fds[1].revents().is_empty() {
                    return;
                }
                server.turn(&mut catalog, &mut |catalog| changed.try_iter().for_each(|change| change(catalog)));
            }
        });
        let serving = Self { address, changes, stop: Some(stop), thread: Some(thread) };
        serving.network("net", false, None, &[]);
        serving
    }

    pub fn change(&self, change: impl FnOnce(&mut Catalog) + Send + 'static) {
        self.changes.send(Box::new(change)).unwrap();
    }

    pub fn network(&self, network: &str, internal: bool, search: Option<&str>, subnets: &[&str]) {
        let subnets = subnets.iter().map(|subnet| subnet.parse().unwrap()).collect();
        let names = NetworkNames { internal, search: search.map(str::to_owned), subnets };
        let network = name(network);
        self.change(move |catalog| catalog.set_network(&network, &names));
    }

    pub fn put(&self, endpoint: Endpoint) {
        self.change(move |catalog| catalog.put(&endpoint));
    }

    /// What dig prints for these words, asked from this address.
    pub fn dig(&self, from: &str, words: &[&str]) -> String {
        let server = format!("@{}", self.address.ip());
        let port = self.address.port().to_string();
        let dig = Holm::program("dig").args(["-r", &server, "-p", &port, "-b", from, "+tries=1", "+time=20"]);
        dig.args(words).run().text().to_owned()
    }

    /// The lines that `dig +short` prints, sorted.
    pub fn short(&self, from: &str, words: &[&str]) -> Vec<String> {
        let mut words = words.to_vec();
        words.push("+short");
        let mut lines: Vec<_> = self.dig(from, &words).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// What dig says of a name: status, flags, and the parts of the answer.
    pub fn status(&self, from: &str, words: &[&str]) -> String {
        let text = self.dig(from, words);
        let after = |key: &str, end: &str| {
            text.split_once(key)
                .and_then(|(_, rest)| rest.split_once(end))
                .map_or("none", |(value, _)| value)
                .to_owned()
        };
        format!(
            "{}; {}; answer {}, authority {}",
            after("status: ", ","),
            after(";; flags: ", ";"),
            after("ANSWER: ", ","),
            after("AUTHORITY: ", ",")
        )
    }

    /// A socket that asks from this address.
    pub fn client(&self, from: &str) -> UdpSocket {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(self.address).unwrap();
        socket
    }

    /// A connection that asks from 127.0.0.1.
    pub fn connection(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop = None;
        let outcome = self.thread.take().unwrap().join();
        assert!(outcome.is_ok() || std::thread::panicking(), "the server has panicked");
    }
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// An endpoint: container by number, network, name, addresses.
pub fn endpoint(number: u8, network: &str, container: &str, addresses: &[&str]) -> Endpoint {
    let address = |text: &&str| IpNet::from(text.parse::<IpAddr>().unwrap());
    Endpoint {
        container: ContainerId::from_random(&[number; 32]),
        name: container.to_owned(),
        network: name(network),
        aliases: Vec::new(),
        link: "eth0".to_owned(),
        host_link: String::new(),
        mac: MacAddress([2; 6]),
        addresses: addresses.iter().map(address).collect(),
        gateways: Vec::new(),
        ports: Vec::new(),
        dns: Vec::new(),
    }
}

/// A query as another library writes it.
pub fn query(id: u16, text: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(DnsName::from_ascii(text).unwrap(), kind));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.edns = Some(edns);
    }
    message.to_vec().unwrap()
}

/// The answer that comes to a socket, as another library reads it.
pub fn answer(socket: &UdpSocket) -> Message {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("an answer");
    Message::from_vec(&bytes[..length]).expect("a message")
}

/// Asks over UDP.
pub fn ask(socket: &UdpSocket, text: &str, kind: RecordType, edns: Option<u16>) -> Message {
    socket.send(&query(7, text, kind, edns)).unwrap();
    answer(socket)
}

/// Writes a message to a connection.
pub fn send_framed(mut stream: &TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], message].concat()).unwrap();
}

/// Reads a message from a connection.
pub fn receive_framed(mut stream: &TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("an answer's length");
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).expect("an answer");
    Message::from_vec(&bytes).expect("a message")
}
