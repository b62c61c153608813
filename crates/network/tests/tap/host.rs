//! A host of the test's own: a network namespace with networks, containers (namespaces without processes) and machines.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holm_kit::wait_until;
use holm_network::{JoinRequest, Joined, NetworkRequest, Networks, Roots, Tap};
use holm_spec::ContainerId;
use holm_spec::guest::Route;
use holm_spec::network::{AttachmentSpec, Driver, PublishSpec};
use holm_sys::netlink::{Batch, Protocol, Socket};
use holm_sys::process::{clone_flag, setns, unshare};
use holm_sys::route::{self, End, LinkLocal};
use ipnet::IpNet;

use crate::guest::Guest;

/// The host's address towards the outside.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A keeper is forked from the test's process and briefly has all of its descriptors, taps of other tests among them.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Host {
    pub(crate) networks: Networks,
    _folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A place that has a network namespace.
pub(crate) struct Inside {
    netns: OwnedFd,
    address: Ipv4Addr,
    pub(crate) joined: Joined,
}

/// A machine on one network.
pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) joined: Joined,
    pub(crate) link: String,
    pub(crate) index: u32,
}

/// A link as the kernel has it.
pub(crate) struct Given {
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) routes: Vec<Route>,
}

pub(crate) fn at(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

/// UDP port 8053 of the host leads to 53.
pub(crate) fn published() -> PublishSpec {
    PublishSpec {
        host_ip: None,
        host_ports: (8053, 8053),
        container_port: 53,
        protocol: holm_spec::network::Protocol::Udp,
        interfaces: Vec::new(),
        from: Vec::new(),
    }
}

fn own_netns() -> OwnedFd {
    std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
}

fn within<T>(netns: BorrowedFd<'_>, act: impl FnOnce() -> T) -> T {
    let own = own_netns();
    setns(netns, clone_flag::NEWNET).unwrap();
    let done = act();
    setns(own.as_fd(), clone_flag::NEWNET).unwrap();
    done
}

fn new_netns() -> OwnedFd {
    let own = own_netns();
    unshare(clone_flag::NEWNET).expect("a network namespace (needs root)");
    holm_sys::net::loopback_up().unwrap();
    let made = own_netns();
    setns(own.as_fd(), clone_flag::NEWNET).unwrap();
    made
}

fn socket() -> Socket {
    Socket::open(Protocol::Route).unwrap()
}

fn id(number: u8) -> ContainerId {
    ContainerId::from_random(&[number; 32])
}

impl Host {
    pub(crate) fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        unshare(clone_flag::NEWNET).expect("a network namespace (needs root)");
        holm_sys::net::loopback_up().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let networks = Networks::new(Roots { data: folder.path().join("data"), run: folder.path().join("run") });
        Self { networks, _folder: folder, _alone: alone }
    }

    fn request(name: &str, driver: Driver, subnet: &str, options: &[(&str, &str)]) -> NetworkRequest {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        NetworkRequest {
            name: name.parse().unwrap(),
            driver,
            subnets: vec![subnet.parse().unwrap()],
            gateways: Vec::new(),
            ranges: Vec::new(),
            ipv6: false,
            internal: false,
            options: options.collect(),
            labels: BTreeMap::new(),
            now_ns: 1,
        }
    }

    /// Makes a network; `internal` among the options makes it internal.
    pub(crate) fn network(&self, name: &str, subnet: &str, options: &[(&str, &str)]) {
        let (internal, options): (Vec<_>, Vec<_>) = options.iter().partition(|(key, _)| *key == "internal");
        let mut request = Self::request(name, Driver::Bridge, subnet, &options);
        request.internal = !internal.is_empty();
        self.networks.create(request).unwrap();
    }

    /// Makes a network of the driver macvlan, on a link of its own.
    pub(crate) fn macvlan(&self, name: &str, subnet: &str) {
        let mut batch = Batch::new();
        route::add_bridge(&mut batch, &End { name: "lan0", mac: None, mtu: None, netns: None });
        socket().send(&mut batch).unwrap();
        self.networks.create(Self::request(name, Driver::Macvlan, subnet, &[("parent", "lan0")])).unwrap();
    }

    pub(crate) fn reserve(&self, number: u8, network: &str, ip: Option<&str>, ports: &[PublishSpec]) -> Joined {
        let attachments = [attachment(network, ip)];
        let (container, name) = (id(number), format!("c{number}"));
        let request = JoinRequest { container: &container, name: &name, attachments: &attachments, ports, dns: &[] };
        self.networks.reserve(&request).unwrap()
    }

    pub(crate) fn container(&self, number: u8, network: &str, ip: &str) -> Inside {
        let joined = self.reserve(number, network, Some(ip), &[]);
        let netns = new_netns();
        self.networks.connect(&joined, netns.as_fd()).unwrap();
        Inside { netns, address: ip.parse().unwrap(), joined }
    }

    pub(crate) fn machine(&self, number: u8, network: &str, ip: &str, ports: &[PublishSpec]) -> Machine {
        let joined = self.reserve(number, network, Some(ip), ports);
        let Tap { fd, link, index } = self.networks.connect_taps(&joined).unwrap().remove(0);
        let guest = Guest::new(fd, joined.endpoints()[0].mac.0, ip.parse().unwrap());
        Machine { guest, joined, link, index }
    }

    pub(crate) fn more(&self, machine: &Machine, network: &str, number: usize) -> (Joined, Vec<Tap>) {
        let attachments = [attachment(network, None)];
        let container = &machine.joined.endpoints()[0].container;
        let request = JoinRequest { container, name: "more", attachments: &attachments, ports: &[], dns: &[] };
        self.networks.connect_more_taps(&request, number).unwrap()
    }

    /// A neighbour of the host.
    pub(crate) fn outside(&self) -> Inside {
        let netns = new_netns();
        let mut batch = Batch::new();
        route::add_bridge(&mut batch, &End { name: "wan", mac: None, mtu: None, netns: None });
        let mut here = socket();
        here.send(&mut batch).unwrap();
        let wan = route::link_index(&mut here, "wan").unwrap().unwrap();
        let inner = End { name: "wan", mac: None, mtu: None, netns: Some(netns.as_fd()) };
        let mut batch = Batch::new();
        route::add_veth(&mut batch, &End { name: "wan0", mac: None, mtu: None, netns: None }, wan, &inner);
        route::set_up(&mut batch, wan, LinkLocal::None);
        route::add_address(&mut batch, wan, HOST.into(), 24);
        here.send(&mut batch).unwrap();
        let mut there = within(netns.as_fd(), socket);
        let index = route::link_index(&mut there, "wan").unwrap().unwrap();
        let mut batch = Batch::new();
        route::set_up(&mut batch, index, LinkLocal::None);
        route::add_address(&mut batch, index, OUTSIDE.into(), 24);
        there.send(&mut batch).unwrap();
        let joined = Joined::default();
        Inside { netns, address: OUTSIDE, joined }
    }

    pub(crate) fn link(&self, name: &str) -> Option<route::Link> {
        route::links(&mut socket()).unwrap().into_iter().find(|link| link.name == name)
    }

    pub(crate) fn mac_of(&self, link: &str) -> [u8; 6] {
        self.link(link).and_then(|l| l.mac).unwrap()
    }

    pub(crate) fn await_gone(&self, link: &str) {
        wait_until("the link is gone", Duration::from_secs(10), || self.link(link).is_none());
    }

    /// Packets that the rule with this in its comment has dropped.
    pub(crate) fn dropped(&self, comment: &str) -> u64 {
        let output = Command::new("nft").args(["list", "ruleset"]).output().expect("nft");
        let text = String::from_utf8(output.stdout).unwrap();
        let rule = text.lines().find(|l| l.contains("drop comment") && l.contains(comment)).expect("the rule");
        let mut words = rule.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    }

    /// Ends all; then nothing of a network is left.
    pub(crate) fn finish(self, joined: Vec<Joined>) {
        for one in joined {
            let container = one.endpoints()[0].container.clone();
            one.endpoints().iter().for_each(|endpoint| self.networks.delete_link(endpoint).unwrap());
            self.networks.release(&container, one.endpoints()).unwrap();
        }
        assert_eq!(self.networks.all_endpoints().unwrap(), []);
        let mut socket = socket();
        let mut left = || -> Vec<String> {
            let all = route::links(&mut socket).unwrap().into_iter().map(|link| link.name);
            all.filter(|name| !["lo", "lan0", "wan", "wan0"].contains(&name.as_str())).collect()
        };
        assert!(!left().iter().any(|name| name.starts_with("hv")), "{:?}", left());
        wait_until("the networks are down", Duration::from_secs(20), || left().is_empty());
        wait_until("the tables are gone", Duration::from_secs(20), || {
            Command::new("nft").args(["list", "tables"]).output().expect("nft").stdout.is_empty()
        });
    }
}

fn attachment(network: &str, ip: Option<&str>) -> AttachmentSpec {
    AttachmentSpec {
        network: network.parse().unwrap(),
        ipv4: ip.map(|ip| ip.parse().unwrap()),
        ipv6: None,
        mac: None,
        aliases: Vec::new(),
    }
}

impl Machine {
    pub(crate) fn bridge(&self) -> String {
        self.joined.networks()[0].link.clone()
    }
}

impl Inside {
    pub(crate) fn mac(&self) -> [u8; 6] {
        self.joined.endpoints()[0].mac.0
    }

    pub(crate) fn udp(&self, port: u16) -> UdpSocket {
        within(self.netns.as_fd(), || UdpSocket::bind((self.address, port)).unwrap())
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> Child {
        within(self.netns.as_fd(), || command.spawn().unwrap())
    }

    /// The link of this name, with its routes in the order of the records: straight ones before those through a gateway.
    pub(crate) fn link_like(&self, name: &str) -> Given {
        let mut socket = within(self.netns.as_fd(), socket);
        let link = route::links(&mut socket).unwrap().into_iter().find(|link| link.name == name).unwrap();
        let addresses = route::addresses(&mut socket).unwrap().into_iter().filter(|a| a.index == link.index);
        let addresses = addresses.map(|a| IpNet::new(a.address, a.prefix).unwrap()).collect();
        let everything: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let own = |r: &route::Route| r.link == Some(link.index) && r.table == 254;
        let mut routes: Vec<Route> = route::routes(&mut socket)
            .unwrap()
            .into_iter()
            .filter(own)
            .map(|r| {
                let (to, prefix) = r.to.unwrap_or((everything, 0));
                Route { to: IpNet::new(to, prefix).unwrap(), via: r.gateway }
            })
            .collect();
        routes.sort_by_key(|r| std::cmp::Reverse(r.to.prefix_len()));
        Given { mac: link.mac.unwrap(), mtu: link.mtu, addresses, routes }
    }
}
