//! Tests of the names of all networks.

use super::*;

fn endpoint(number: u8, network: &str, name: &str, address: &str) -> Endpoint {
    Endpoint {
        container: ContainerId::from_random(&[number; 32]),
        name: name.to_owned(),
        network: network.parse().unwrap(),
        aliases: vec!["alias".to_owned()],
        link: String::new(),
        host_link: String::new(),
        mac: "02:00:00:00:00:01".parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        gateways: Vec::new(),
        ports: Vec::new(),
        dns: Vec::new(),
    }
}

fn found(catalog: &Catalog, network: &str, client: &str, name: &str) -> Vec<String> {
    let network = catalog.network(&network.parse().unwrap()).unwrap();
    let view = catalog.view(network, client.parse().unwrap()).unwrap();
    let Found::Entry(entry) = view.find(&from_text(name).unwrap()) else { return Vec::new() };
    let mut addresses: Vec<_> = entry.addresses(true).map(|address| address.to_string()).collect();
    addresses.sort();
    addresses
}

#[test]
fn own_network_comes_first() {
    let mut catalog = Catalog::new();
    catalog.put(&endpoint(1, "a", "me", "10.1.0.1/24"));
    catalog.put(&endpoint(1, "b", "me", "10.2.0.1/24"));
    catalog.put(&endpoint(2, "a", "both", "10.1.0.2/24"));
    catalog.put(&endpoint(2, "b", "both", "10.2.0.2/24"));
    assert_eq!(found(&catalog, "a", "10.1.0.1", "both"), ["10.1.0.2"]);
    assert_eq!(found(&catalog, "b", "10.2.0.1", "both"), ["10.2.0.2"]);
    assert_eq!(found(&catalog, "b", "10.2.0.1", "both.a"), ["10.1.0.2"]);
}

#[test]
fn what_is_removed_or_replaced_leaves_nothing() {
    let mut catalog = Catalog::new();
    let (a, id) = ("a".parse().unwrap(), ContainerId::from_random(&[2; 32]));
    catalog.put(&endpoint(1, "a", "me", "10.1.0.1/24"));
    catalog.put(&endpoint(2, "a", "old", "10.1.0.2/24"));
    assert_eq!(found(&catalog, "a", "10.1.0.1", "alias"), ["10.1.0.1", "10.1.0.2"]);
    catalog.put(&endpoint(2, "a", "new", "10.1.0.3/24"));
    assert_eq!(found(&catalog, "a", "10.1.0.1", "alias"), ["10.1.0.1", "10.1.0.3"]);
    assert!(found(&catalog, "a", "10.1.0.1", "old").is_empty());
    assert!(catalog.view(0, "10.1.0.2".parse().unwrap()).is_none());
    catalog.remove(&a, &id);
    catalog.remove(&a, &id);
    assert_eq!(found(&catalog, "a", "10.1.0.1", "alias"), ["10.1.0.1"]);
    catalog.remove_network(&a);
    catalog.remove_network(&a);
    assert!(catalog.by_id.is_empty() && catalog.by_name.is_empty());
    assert!(catalog.clients.iter().all(Option::is_none) && catalog.networks.iter().all(Option::is_none));
}

#[test]
fn address_that_moved_to_another_container_stays_with_it() {
    let mut catalog = Catalog::new();
    catalog.put(&endpoint(1, "a", "gone", "10.1.0.1/24"));
    catalog.put(&endpoint(2, "a", "new", "10.1.0.1/24"));
    catalog.remove(&"a".parse().unwrap(), &ContainerId::from_random(&[1; 32]));
    assert_eq!(found(&catalog, "a", "10.1.0.1", "new"), ["10.1.0.1"]);
}

#[test]
fn network_that_nobody_described_lets_nothing_out() {
    let mut catalog = Catalog::new();
    catalog.put(&endpoint(1, "a", "me", "10.1.0.1/24"));
    let outside = |catalog: &Catalog| catalog.view(0, "10.1.0.1".parse().unwrap()).unwrap().may_ask_outside();
    assert!(!outside(&catalog));
    let names = NetworkNames { internal: false, search: None, subnets: Vec::new() };
    catalog.set_network(&"a".parse().unwrap(), &names);
    assert!(outside(&catalog));
    assert_eq!(found(&catalog, "a", "10.1.0.1", "me"), ["10.1.0.1"]);
}

#[test]
fn addresses_take_turns() {
    let mut catalog = Catalog::new();
    for number in 1..=3 {
        catalog.put(&endpoint(number, "a", "c", &format!("10.1.0.{number}/24")));
    }
    let view = catalog.view(0, "10.1.0.1".parse().unwrap()).unwrap();
    let Found::Entry(entry) = view.find(b"\x05alias") else { panic!("not found") };
    let firsts: Vec<_> = (0..6).map(|_| entry.addresses(true).next().unwrap().to_string()).collect();
    assert_eq!(firsts, ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.1", "10.1.0.2", "10.1.0.3"]);
}
