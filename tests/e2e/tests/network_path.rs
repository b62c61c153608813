//! `holm network path`: every way in which one cannot reach another is told at its hop, in words, with what to type; and
//! nothing of the looking is left.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use holm_kit::{BUSYBOX, HOST_V4, NetHost, OUTSIDE_V4, OUTSIDE_V6, Output, Scratch, kill, wait_until};

use crate::network_repair::keeper;

/// Networks `blue` and `red`, as far as a test needs them.
fn with_networks(host: &NetHost, names: &[&[&str]]) -> Scratch {
    let scratch = Scratch::on(host);
    for options in names {
        scratch.holm(["network", "create"]).args(*options).ok();
    }
    scratch
}

/// A container that serves HTTP on port 80.
fn web(scratch: &Scratch, name: &str, options: &[&str]) {
    serve(scratch, name, options, "httpd -f -p 80 -h /");
    wait_until("httpd listens", Duration::from_secs(10), || {
        scratch.holm(["exec", name, "sh", "-c", "cat /proc/net/tcp /proc/net/tcp6"]).run().stdout.contains(":0050 ")
    });
}

fn serve(scratch: &Scratch, name: &str, options: &[&str], command: &str) {
    let mut all = vec!["--stop-timeout", "1"];
    all.extend(options);
    scratch.detached(name, &all, &["sh", "-c", &format!("exec {command}")]);
}

fn idle(scratch: &Scratch, name: &str, options: &[&str]) {
    serve(scratch, name, options, "sleep 1000");
}

/// Looks at a path and wants no table of a watch to be there afterwards.
#[track_caller]
fn path(host: &NetHost, scratch: &Scratch, words: &[&str]) -> Output {
    let output = scratch.holm(["network", "path", "--timeout", "2"]).args(words).run().calm();
    let tables = host.command("nft", ["list", "tables"]).ok().stdout;
    assert!(!tables.contains("holm-trace"), "a watch is left: {tables}\n{output}");
    output
}

/// Wants it to be unreachable at a hop, for a reason, with a hint.
#[track_caller]
fn stops(output: Output, hop: &str, reason: &str, hint: &str) -> Output {
    let output = output.code(1).mentions(&format!("stops at: {hop}\n")).mentions(&format!("reason:   {reason}"));
    output.mentions(&format!("hint:     {hint}"))
}

/// Runs a command in a container's network namespace.
#[track_caller]
fn inside(scratch: &Scratch, name: &str, line: &[&str]) {
    let net = format!("--net=/proc/{}/ns/net", scratch.inspect(name, "{{.State.Pid}}"));
    holm_kit::Holm::program("nsenter").arg(net).args(line).ok();
}

/// A socket of this process in a container's network namespace.
fn bound_inside(scratch: &Scratch, name: &str, address: &'static str) -> UdpSocket {
    let netns = File::open(format!("/proc/{}/ns/net", scratch.inspect(name, "{{.State.Pid}}"))).expect("its namespace");
    let bind = move || {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(netns.as_fd(), Some(kind)).expect("enter it");
        UdpSocket::bind(address).expect("bind there")
    };
    std::thread::spawn(bind).join().expect("a socket")
}

fn end(host: &NetHost, scratch: &Scratch) {
    let all = scratch.holm(["ps", "-aq"]).ok().stdout;
    scratch.holm(["rm", "-f"]).args(all.split_whitespace()).ok();
    host.assert_clean();
}

#[test]
fn a_way_that_works_is_told_hop_by_hop_also_by_udp_echo_and_ipv6() {
    let host = NetHost::new();
    let scratch = with_networks(&host, &[&["blue", "--ipv6"]]);
    idle(&scratch, "one", &["--network", "blue"]);
    web(&scratch, "two", &["--network", "blue", "--network-alias", "db"]);
    let told = path(&host, &scratch, &["one", "two:80"]).ok();
    let told =
        told.mentions("ok    name         `two` asked of ").mentions("ok    sender       links and routes in `one`");
    let told = told.mentions("both are on it: packets are switched").mentions("known to the sender filter");
    let told = told.mentions("bridge holm/prerouting: its own addresses - accept").mentions("and the answer too");
    told.mentions("ok    socket       sockets of `two`").mentions("made in ").mentions("\nreachable\n");
    path(&host, &scratch, &["one", "db:80"]).ok().mentions("`db` asked of ").mentions("sockets of `two`");
    path(&host, &scratch, &["one", "two"]).ok().mentions("answered in ").mentions("(ICMP echo)");
    path(&host, &scratch, &["-6", "one", "two:80"]).ok().mentions("made in ");
    path(&host, &scratch, &["-6", "one", "two"]).ok().mentions("answered in ");
    let gateway = scratch.inspect("one", "{{.NetworkSettings.Networks.blue.Gateway}}");
    path(&host, &scratch, &["one", &format!("{gateway}:53/udp")]).ok().mentions("answered in ").mentions("(UDP)");
    let socket = bound_inside(&scratch, "two", "0.0.0.0:5300");
    let told = path(&host, &scratch, &["one", "two:5300/udp"]).ok().mentions("listens on 0.0.0.0:5300/udp");
    told.mentions("delivered; the program did not answer, which it need not");
    assert_eq!(socket.recv_from(&mut [0; 8]).expect("the probe").0, 0, "an empty datagram");
    drop(socket);
    let none = path(&host, &scratch, &["one", "two:53/udp"]);
    stops(none, "socket", "nothing listens on 53/udp in `two`; it listens on no udp port at all", "holm logs two");
    path(&host, &scratch, &["host", "two:80"]).ok().mentions("made in ");
    let json = path(&host, &scratch, &["-o", "json", "one", "two:80"]).ok().json();
    assert_eq!(json["reachable"], true);
    assert_eq!(json["traced"], true);
    assert_eq!((&json["hops"][0]["hop"], &json["hops"][0]["mark"]), (&"name".into(), &"ok".into()));
    path(&host, &scratch, &["-o", "yaml", "one", "two:80"]).ok().mentions("reachable: true");
    end(&host, &scratch);
}

#[test]
fn a_name_that_is_not_known_is_told_from_one_on_another_network() {
    let host = NetHost::new();
    let scratch = with_networks(&host, &[&["blue"], &["red"]]);
    idle(&scratch, "web", &["--network", "blue"]);
    idle(&scratch, "db", &["--network", "red"]);
    let told = path(&host, &scratch, &["web", "db:80"]);
    let reason = "no container `db` on the networks of `web` (blue): it is on `red`";
    stops(told, "name", reason, "holm network connect blue db");
    let told = path(&host, &scratch, &["web", "nobody:80"]);
    let reason = "there is no name `nobody`, and no container of that name on the networks of `web` (blue)";
    stops(told, "name", reason, "holm ps -a");
    end(&host, &scratch);
}

#[test]
fn another_network_by_address_is_dropped_by_the_rule_that_keeps_them_apart() {
    let host = NetHost::new();
    let scratch = with_networks(&host, &[&["blue"], &["red"]]);
    idle(&scratch, "web", &["--network", "blue"]);
    web(&scratch, "db", &["--network", "red"]);
    let address = scratch.inspect("db", "{{.NetworkSettings.Networks.red.IPAddress}}");
    let told = path(&host, &scratch, &["web", &format!("{address}:80")]);
    let reason =
        "networks do not reach each other: `web` is on `blue`, `db` on `red` (table `inet holm`, chain `from-network`)";
    stops(told, "firewall", reason, "holm network connect red web");
    let nobody = format!("{}.250", address.rsplit_once('.').expect("an address").0);
    path(&host, &scratch, &["web", &nobody]).code(1);
    end(&host, &scratch);
}

#[test]
fn a_port_that_nobody_listens_on_is_told_with_those_that_somebody_does() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    web(&scratch, "db", &[]);
    let told = path(&host, &scratch, &["web", "db:5432"]);
    let reason = "nothing listens on 5432/tcp in `db`; it listens on [::]:80 only";
    stops(told, "socket", reason, "holm network path web db:80");
    serve(&scratch, "cache", &[], "httpd -f -p 127.0.0.1:6379 -h /");
    wait_until("httpd listens", Duration::from_secs(10), || {
        scratch.holm(["exec", "cache", "cat", "/proc/net/tcp"]).run().stdout.contains("0100007F:18EB")
    });
    let address = scratch.inspect("cache", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    let told = path(&host, &scratch, &["web", "cache:6379"]);
    let reason = format!("nothing listens on {address}:6379/tcp: `cache` listens on 127.0.0.1:6379 only");
    stops(told, "socket", &reason, "holm logs cache");
    path(&host, &scratch, &["cache", "127.0.0.1:6379"]).ok().mentions("is its own address");
    end(&host, &scratch);
}

#[test]
fn published_ports_are_followed_and_a_guarded_one_says_whom_it_is_open_to() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    web(&scratch, "db", &["-p", "8080:80", "-p", "8081:80,from=10.0.0.0/8,interface=uplink"]);
    idle(&scratch, "web", &[]);
    let address = scratch.inspect("db", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    let told = path(&host, &scratch, &["outside", "host:8080"]).ok();
    let told = told.mentions(&format!("{HOST_V4}:8080 is translated to {address}:80 of `db`"));
    told.mentions(&format!("{OUTSIDE_V4} sends on link `uplink`"))
        .mentions("a packet from outside cannot be sent from here");
    let told = path(&host, &scratch, &["outside:uplink", "host:8081"]);
    let reason = format!(
        "port 8081/tcp is open to 10.0.0.0/8 on link `uplink` only, and {OUTSIDE_V4} on link `uplink` is not among them"
    );
    stops(told, "translation", &reason, "holm network ports");
    path(&host, &scratch, &["--source", "10.1.2.3", "outside", "host:8081"]).ok();
    let told = path(&host, &scratch, &["outside", "db:80"]);
    let reason = "from outside, `db` is reached by its published ports only";
    stops(told, "translation", reason, "holm network path outside host:8080");
    path(&host, &scratch, &["host", "host:8080"]).ok().mentions("is translated to");
    let told = path(&host, &scratch, &["web", &format!("{HOST_V4}:8080")]).ok();
    let told = told.mentions("inet holm/published: port published on every address - accept");
    told.mentions(&format!("its destination {HOST_V4} is {address} now"));
    end(&host, &scratch);
}

#[test]
fn an_internal_network_has_no_way_out() {
    let host = NetHost::new();
    let scratch = with_networks(&host, &[&["cave", "--internal"]]);
    idle(&scratch, "web", &["--network", "cave"]);
    let told = path(&host, &scratch, &["web", &format!("{OUTSIDE_V4}:80")]);
    let reason = format!("`web` has no route to {OUTSIDE_V4}: its network `cave` is internal and has no way out");
    stops(told, "sender", &reason, "holm network connect bridge web");
    end(&host, &scratch);
}

#[test]
fn a_link_or_route_that_somebody_took_away_inside_is_told() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    inside(&scratch, "web", &["ip", "route", "del", "default"]);
    let told = path(&host, &scratch, &["web", OUTSIDE_V4]);
    let reason = format!("`web` has no route to {OUTSIDE_V4}: its default route is gone");
    stops(told, "sender", &reason, "nsenter --net=/proc/");
    inside(&scratch, "web", &["ip", "link", "set", "eth0", "down"]);
    let told = path(&host, &scratch, &["web", OUTSIDE_V4]);
    stops(told, "sender", "link `eth0` of `web` is down", "nsenter --net=/proc/");
    end(&host, &scratch);
}

#[test]
fn a_container_that_does_not_run_or_is_frozen_is_told_first() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    web(&scratch, "db", &[]);
    scratch.holm(["pause", "db"]).ok();
    let told = path(&host, &scratch, &["web", "db:80"]);
    stops(told, "target", "`db` is paused: the kernel may take connections", "holm unpause db");
    scratch.holm(["unpause", "db"]).ok();
    path(&host, &scratch, &["web", "db:80"]).ok();
    scratch.holm(["stop", "db"]).ok();
    let told = path(&host, &scratch, &["web", "db:80"]);
    stops(told, "target", "`db` is not running: it is exited", "holm start db");
    stops(path(&host, &scratch, &["db", "web:80"]), "sender", "`db` is not running", "holm start db");
    end(&host, &scratch);
}

#[test]
fn a_firewall_of_somebody_elses_is_named_with_table_and_chain() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    let rules = "table inet userfw {\n chain watch {\n type filter hook forward priority 10; policy accept;\n \
                 ip daddr 192.0.2.2 counter drop\n }\n}\n";
    host.command("nft", ["-f", "-"]).input(rules).ok();
    let told = path(&host, &scratch, &["web", &format!("{OUTSIDE_V4}:80")]);
    let reason =
        "table `inet userfw`, chain `watch` drops the packet: rule 2 (link or protocol, compares, header, verdict)";
    let told = stops(told, "firewall", reason, "nft -a list chain inet userfw watch");
    told.mentions("inet holm/from-network: the way out - accept");
    host.command("nft", ["delete", "table", "inet", "userfw"]).ok();
    let rules = "table inet userfw {\n chain strict {\n type filter hook forward priority 10; policy drop;\n }\n}\n";
    host.command("nft", ["-f", "-"]).input(rules).ok();
    let told = path(&host, &scratch, &["web", OUTSIDE_V4]);
    let reason = "table `inet userfw`, chain `strict` drops the packet: by its policy";
    stops(told, "firewall", reason, "nft -a list chain inet userfw strict");
    host.command("nft", ["delete", "table", "inet", "userfw"]).ok();
    path(&host, &scratch, &["web", OUTSIDE_V4]).ok().mentions("goes out under the host's address");
    path(&host, &scratch, &["-6", "web", OUTSIDE_V6]).code(1).mentions("has no IPv6 address");
    end(&host, &scratch);
}

#[test]
fn a_host_that_does_not_forward_or_lost_the_bridge_is_told() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    let forward = |value: &str| {
        host.command("sh", ["-c", &format!("echo {value} > /proc/sys/net/ipv4/ip_forward")]).ok();
    };
    forward("0");
    let told = path(&host, &scratch, &["web", OUTSIDE_V4]);
    let reason = "the host does not forward IPv4 packets: net.ipv4.ip_forward is 0";
    stops(told, "host", reason, "sysctl -w net.ipv4.ip_forward=1");
    forward("1");
    let links = host.command("ip", ["-o", "link", "show", "type", "bridge"]).ok().stdout;
    let bridge = links.split(": ").nth(1).expect("a bridge").to_owned();
    host.command("ip", ["link", "delete", &bridge]).ok();
    let told = path(&host, &scratch, &["web", OUTSIDE_V4]);
    let reason = format!("bridge `{bridge}` of network `bridge` is gone");
    stops(told, "link", &reason, "holm stop web, then holm start web");
    end(&host, &scratch);
}

#[test]
fn a_name_server_that_is_not_there_is_told_from_one_that_knows_no_such_name() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    idle(&scratch, "db", &[]);
    for (server, reason) in [
        ("192.0.2.77", "the name server 192.0.2.77:53 did not answer `web` within 2 s"),
        (OUTSIDE_V4, "no name server listens on 192.0.2.2:53: it refused the question of `web`"),
    ] {
        let script = format!("echo nameserver {server} > /etc/resolv.conf");
        scratch.holm(["exec", "web", "sh", "-c", &script]).ok();
        let told = path(&host, &scratch, &["web", "db:80"]);
        stops(told, "name", reason, "holm exec web cat /etc/resolv.conf");
    }
    scratch.holm(["exec", "web", "sh", "-c", "echo > /etc/resolv.conf"]).ok();
    let told = path(&host, &scratch, &["web", "db:80"]);
    stops(told, "name", "`web` has no name server and `db` is not in its /etc/hosts", "holm exec web cat");
    // A file that points out of the container is read inside of it.
    scratch.holm(["exec", "web", "sh", "-c", "umount /etc/hosts; ln -sf /proc/1/root/etc/hosts /etc/hosts"]).run();
    path(&host, &scratch, &["web", "db:80"]).code(1);
    end(&host, &scratch);
}

#[test]
fn many_looks_at_once_do_not_disturb_each_other_and_a_killed_one_leaves_nothing() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    web(&scratch, "db", &[]);
    let looks: Vec<_> = (0..6)
        .map(|at| scratch.holm(["network", "path", "web", if at % 2 == 0 { "db:80" } else { "db" }]).start())
        .collect();
    for look in looks {
        look.finish().ok().mentions("bridge holm/prerouting: its own addresses - accept");
    }
    let silent = scratch.holm(["network", "path", "--timeout", "60", "web", "192.0.2.77:80"]).start();
    let tables = || host.command("nft", ["list", "tables"]).ok().stdout;
    wait_until("a watch begins", Duration::from_secs(10), || tables().contains("holm-trace"));
    silent.signal(9);
    let _ = silent.finish();
    wait_until("the watch is gone", Duration::from_secs(5), || !tables().contains("holm-trace"));
    end(&host, &scratch);
}

#[test]
fn who_has_no_network_or_no_name_or_does_not_answer_is_told() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    idle(&scratch, "lonely", &["--network", "none"]);
    idle(&scratch, "side", &["--network", "container:web"]);
    idle(&scratch, "db", &[]);
    let told = path(&host, &scratch, &["web", "lonely"]);
    stops(told, "name", "`lonely` is on no network", "holm run --network bridge");
    let told = path(&host, &scratch, &["lonely", HOST_V4]);
    stops(told, "sender", "`lonely` is on no network: it has loopback only", "holm run --network bridge");
    let told = path(&host, &scratch, &["db", "side:80"]);
    let reason = "`side` has no name on networks: it shares the network of `web` and is reached by that name";
    stops(told, "name", reason, "holm network path db web");
    let told = path(&host, &scratch, &["web", "192.0.2.77:80"]);
    stops(told, "answer", "nobody on `uplink` answers for 192.0.2.77", "ip neighbour show 192.0.2.77");
    let told = path(&host, &scratch, &["web", "10.77.9.9:80"]);
    stops(told, "target", "no container has the address 10.77.9.9 of network `bridge`", "holm network inspect bridge");
    let told = path(&host, &scratch, &["web", "host:22"]);
    stops(told, "socket", "nothing listens on 22/tcp on the host", "ss -lnp");
    end(&host, &scratch);
}

#[test]
fn a_host_link_taken_off_its_bridge_or_unknown_to_the_sender_filter_is_told() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    idle(&scratch, "web", &[]);
    web(&scratch, "db", &[]);
    let links = host.command("ip", ["-o", "link", "show", "type", "veth"]).ok().stdout;
    let short = scratch.inspect("db", "{{.Id}}")[..10].to_owned();
    let link = links.split([' ', '@', ':']).find(|word| word.contains(&short)).expect("the link of db").to_owned();
    host.command("ip", ["link", "set", &link, "down"]).ok();
    let told = path(&host, &scratch, &["web", "db:80"]);
    stops(told, "target", &format!("link `{link}` of the host is down"), &format!("ip link set {link} up"));
    host.command("ip", ["link", "set", &link, "nomaster"]).ok();
    let told = path(&host, &scratch, &["web", "db:80"]);
    stops(
        told,
        "target",
        &format!("`{link}` of `db` is no port of bridge `holm0`"),
        &format!("ip link set {link} master holm0"),
    );
    let told = path(&host, &scratch, &["db", "10.77.0.1:53/udp"]);
    stops(told, "link", &format!("`{link}` of `db` is no port of bridge `holm0`"), "ip link set");
    host.command("ip", ["link", "set", &link, "master", "holm0", "up"]).ok();
    path(&host, &scratch, &["web", "db:80"]).ok();
    host.command("nft", ["flush", "set", "bridge", "holm", "sender4"]).ok();
    let told = path(&host, &scratch, &["db", "10.77.0.1:53/udp"]);
    let reason = format!("the sender filter does not know `{link}` with the addresses of `db`");
    stops(told, "link", &reason, "holm network repair");
    scratch.holm(["network", "repair"]).ok();
    path(&host, &scratch, &["web", "db:80"]).ok();
    end(&host, &scratch);
}

#[test]
fn a_container_whose_links_others_made_is_found_by_its_own_addresses() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    web(&scratch, "db", &["--network", "none"]);
    let pid = scratch.inspect("db", "{{.State.Pid}}");
    let add = ["link", "add", "other", "type", "veth", "peer", "name", "eth0", "netns", &pid];
    host.command("ip", add).ok();
    host.command("ip", ["address", "add", "198.51.100.1/24", "dev", "other"]).ok();
    host.command("ip", ["link", "set", "other", "up"]).ok();
    inside(&scratch, "db", &["ip", "address", "add", "198.51.100.2/24", "dev", "eth0"]);
    inside(&scratch, "db", &["ip", "link", "set", "eth0", "up"]);
    let told = path(&host, &scratch, &["host", "db:80"]).ok();
    told.mentions("198.51.100.2, which is not of a network of Holm's").mentions("listens on [::]:80/tcp");
    let told = path(&host, &scratch, &["host", "db:81"]);
    stops(told, "socket", "nothing listens on 81/tcp in `db`", "holm network path host db:80");
    path(&host, &scratch, &["db", "198.51.100.1"]).ok().mentions("eth0 is up with 198.51.100.2/24");
    end(&host, &scratch);
}

#[test]
fn a_name_server_that_says_nothing_any_more_is_told() {
    let host = NetHost::new();
    let scratch = with_networks(&host, &[&["blue"]]);
    idle(&scratch, "web", &["--network", "blue"]);
    web(&scratch, "db", &["--network", "blue"]);
    let keeper = keeper(&host).expect("a keeper");
    kill(keeper, 19);
    let told = path(&host, &scratch, &["web", "db:80"]);
    stops(told, "name", "the name server 10.120.0.1:53 did not answer `web` within 2 s", "holm network inspect blue");
    kill(keeper, 18);
    path(&host, &scratch, &["web", "db:80"]).ok();
    kill(keeper, 9);
    // Supervisors start another.
    wait_until("names are back", Duration::from_secs(10), || {
        scratch.holm(["network", "path", "--timeout", "1", "web", "db:80"]).run().exit_code() == 0
    });
    end(&host, &scratch);
}

#[test]
fn what_cannot_be_understood_is_a_usage_error() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    for words in [
        &["nobody", "host"][..],
        &["host", "db:0"],
        &["host", "db:80/sctp"],
        &["host"],
        &["--source", "10.0.0.1", "host", "db"],
    ] {
        scratch.holm(["network", "path"]).args(words).fails(2).calm();
    }
    scratch.run(["--rm", BUSYBOX, "true"]).ok();
    host.assert_clean();
}
