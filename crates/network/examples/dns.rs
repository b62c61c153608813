//! Serves names from a file at an address until it is killed: for measuring and for trying by hand.
//!
//! `dns ADDRESS:PORT FILE [UPSTREAM:PORT…]`; each line of the file is `NAME ADDRESS…`. Clients at the server's own address
//! see them; without upstreams other names go to those of `/etc/resolv.conf`.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use holm_network::dns::{Catalog, NetworkNames, Server, Upstreams, listen};
use holm_spec::network::{Endpoint, MacAddress};
use holm_spec::{ContainerId, Name};
use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(file)) = (args.next(), args.next()) else {
        return Err("usage: dns ADDRESS:PORT FILE [UPSTREAM:PORT…]".into());
    };
    let address: SocketAddr = address.parse()?;
    let upstreams: Vec<SocketAddr> = args.map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let network: Name = "example".parse()?;
    let mut catalog = Catalog::new();
    catalog.set_network(&network, &NetworkNames { internal: false, search: None, subnets: Vec::new() });
    catalog.put(&endpoint(0, &network, "client", &[address.ip()]));
    for (at, line) in std::fs::read_to_string(file)?.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let addresses: Vec<IpAddr> = words.map(str::parse).collect::<Result<_, _>>()?;
        catalog.put(&endpoint(at + 1, &network, name, &addresses));
    }
    let none = upstreams.is_empty();
    let upstreams = if none { Upstreams::file("/etc/resolv.conf") } else { Upstreams::fixed(upstreams) };
    let mut server = Server::new(upstreams)?;
    let (udp, tcp) = listen(address)?;
    server.add_listener(&network, udp, tcp)?;
    loop {
        let wait = server.next_deadline().map(|end| end.saturating_duration_since(std::time::Instant::now()));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut [PollFd::from_borrowed_fd(server.as_fd(), PollFlags::IN)], wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => server.turn(&mut catalog, &mut |_| {}),
            Err(error) => return Err(error.into()),
        }
    }
}

fn endpoint(number: usize, network: &Name, name: &str, addresses: &[IpAddr]) -> Endpoint {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Endpoint {
        container: ContainerId::from_random(&id),
        name: name.to_owned(),
        network: network.clone(),
        aliases: Vec::new(),
        link: String::new(),
        host_link: String::new(),
        mac: MacAddress([2; 6]),
        addresses: addresses.iter().map(|address| IpNet::from(*address)).collect(),
        gateways: Vec::new(),
        ports: Vec::new(),
        dns: Vec::new(),
    }
}
