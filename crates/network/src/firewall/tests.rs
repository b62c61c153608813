use super::*;
use crate::tests_support::{endpoint, network};

fn names(entries: &[Entry]) -> Vec<&'static str> {
    entries.iter().map(|e| e.set).collect()
}

#[test]
fn a_network_fills_the_sets_of_its_families() {
    let mut net = network("n", "10.9.0.0/24");
    let all = of_network(&net);
    assert_eq!(names(&all), ["bridges", "samenet", "gateway4", "gateways4", "near4", "masquerade4", "masquerade4"]);
    net.options.insert("masquerade".to_owned(), "false".to_owned());
    assert!(!names(&of_network(&net)).contains(&"masquerade4"), "it keeps its addresses");
    net.internal = true;
    let all = of_network(&net);
    assert!(names(&all).contains(&"internal") && !names(&all).contains(&"masquerade4"));
}

#[test]
fn an_endpoint_may_send_as_itself_and_has_its_ports() {
    let net = network("n", "10.9.0.0/24");
    let mut end = endpoint("n", 1, "10.9.0.2/24");
    assert_eq!(names(&of_endpoint(&net, &end)), ["ports", "sender4"]);
    end.ports = serde_json::from_str(
        r#"[{"host_port": 80, "container_port": 8080, "protocol": "tcp"},
            {"host_ip": "127.0.0.1", "host_port": 81, "container_port": 8080, "protocol": "tcp"},
            {"host_port": 82, "container_port": 8080, "protocol": "udp", "interfaces": ["eth0", "eth1"], "from": ["10.0.0.0/8"]}]"#,
    )
    .unwrap();
    let sets = names(&of_endpoint(&net, &end));
    assert_eq!(sets[2..], ["publish4", "publishat4", "publish4", "allowedon4", "allowedon4", "guarded"]);
}

#[test]
fn link_local_addresses_follow_the_hardware() {
    let mac = "02:42:0a:59:00:02".parse().unwrap();
    assert_eq!(entry::link_local(mac).to_string(), "fe80::42:aff:fe59:2");
}

#[test]
fn tables_are_made_in_the_kernel_repaired_and_deleted() {
    holm_sys::process::unshare(holm_sys::process::clone_flag::NEWNET).expect("a network namespace (needs root)");
    let mut socket = open().unwrap();
    let net = network("n", "10.9.0.0/24");
    let end = endpoint("n", 1, "10.9.0.2/24");
    assert!(!is_whole(&mut socket));
    assert!(is_missing(&add(&mut socket, &of_endpoint(&net, &end)).unwrap_err()));
    rebuild(&mut socket, &[(net.clone(), vec![end.clone()])], "/run/x").unwrap();
    assert!(is_whole(&mut socket));
    assert_eq!(owner(&mut socket).as_deref(), Some("/run/x"));
    let senders = |socket: &mut Socket| nftables::elements(socket, BRIDGE, "sender4").unwrap().len();
    assert_eq!(senders(&mut socket), 1);
    let other = endpoint("n", 2, "10.9.0.3/24");
    add(&mut socket, &of_endpoint(&net, &other)).unwrap();
    add(&mut socket, &of_endpoint(&net, &other)).unwrap();
    assert_eq!(senders(&mut socket), 2);
    remove(&mut socket, &of_endpoint(&net, &end)).unwrap();
    remove(&mut socket, &of_endpoint(&net, &end)).unwrap();
    assert_eq!(senders(&mut socket), 1);
    // As a firewall that is started again does.
    let flushed = std::process::Command::new("nft").args(["flush", "chain", "inet", "holm", "forward"]).status();
    assert!(flushed.expect("nft").success() && !is_whole(&mut socket));
    rebuild(&mut socket, &[(net, vec![other])], "/run/x").unwrap();
    assert!(is_whole(&mut socket) && senders(&mut socket) == 1);
    delete(&mut socket).unwrap();
    delete(&mut socket).unwrap();
    assert_eq!(nftables::tables(&mut socket).unwrap(), []);
}
