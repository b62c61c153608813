//! Records for tests.

use std::collections::BTreeMap;

use holm_spec::ContainerId;
use holm_spec::network::{Driver, Endpoint, Isolation, NetworkSpec, Subnet};

use crate::Roots;
use crate::store::NetworkRequest;

pub(crate) fn roots() -> (tempfile::TempDir, Roots) {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots { data: folder.path().join("data"), run: folder.path().join("run") };
    (folder, roots)
}

pub(crate) fn container(number: u8) -> ContainerId {
    ContainerId::from_random(&[number; 32])
}

pub(crate) fn network(name: &str, subnet: &str) -> NetworkSpec {
    let subnet: ipnet::IpNet = subnet.parse().unwrap();
    let gateway = subnet.hosts().next();
    NetworkSpec {
        version: NetworkSpec::VERSION,
        id: container(7),
        name: name.parse().unwrap(),
        created_at_ns: 1,
        driver: Driver::Bridge,
        subnets: vec![Subnet { subnet, gateway, range: None }],
        internal: false,
        mtu: None,
        isolation: Isolation::L2,
        link: format!("hb-{name}"),
        names: true,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    }
}

pub(crate) fn request(name: &str) -> NetworkRequest {
    NetworkRequest {
        name: name.parse().unwrap(),
        driver: Driver::Bridge,
        subnets: Vec::new(),
        gateways: Vec::new(),
        ranges: Vec::new(),
        ipv6: false,
        internal: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        now_ns: 1,
    }
}

pub(crate) fn endpoint(network: &str, number: u8, address: &str) -> Endpoint {
    Endpoint {
        container: container(number),
        name: format!("c{number}"),
        network: network.parse().unwrap(),
        aliases: Vec::new(),
        link: "eth0".to_owned(),
        host_link: format!("hv{number}"),
        mac: format!("02:42:00:00:00:{number:02x}").parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        gateways: Vec::new(),
        dns: Vec::new(),
        ports: Vec::new(),
    }
}
