//! Attacks of one container on its neighbours: forged senders, ARP and router tricks, ways around the walls. All must fail.

use holm_kit::{BUSYBOX, NetHost, Scratch, wait_until};

use crate::network_basic::{GET, get, web};
use crate::probe::built;

/// A network with a victim that tells what arrives and an attacker.
struct Scene {
    scratch: Scratch,
    host: NetHost,
}

impl Scene {
    fn new(options: &[&str]) -> Self {
        let host = NetHost::new();
        let scratch = Scratch::on(&host);
        scratch
            .holm(["network", "create", "--subnet", "10.5.0.0/24", "--subnet", "fd05::/64", "--ipv6"])
            .args(options)
            .arg("net")
            .ok();
        let forge = format!("{}:/forge:ro", built("forge").display());
        for (name, ip, ip6, command) in [
            ("victim", "10.5.0.5", "fd05::5", "exec /forge listen"),
            ("attacker", "10.5.0.6", "fd05::6", "exec sleep 1000"),
        ] {
            let all = ["--network", "net", "--ip", ip, "--ip6", ip6, "-v", &forge, "--stop-timeout", "0"];
            scratch.detached(name, &all, &["sh", "-c", command]);
        }
        wait_until("the victim listens", std::time::Duration::from_secs(10), || {
            scratch.holm(["logs", "victim"]).run().stdout.contains("listening")
        });
        Self { scratch, host }
    }

    /// What the victim sees of an attack; an honest packet behind it marks the end.
    fn seen(&self, attack: &[&str]) -> String {
        self.scratch.holm(["exec", "attacker", "/forge"]).args(attack).ok();
        self.scratch.holm(["exec", "attacker", "/forge", "end", "10.5.0.5"]).ok();
        self.scratch.holm(["wait", "victim"]).ok().says("0");
        let logs = self.scratch.holm(["logs", "victim"]).ok();
        assert!(logs.stdout.contains("ip 10.5.0.6") && logs.stdout.contains("END"), "{logs}");
        let seen = logs.stdout.clone();
        self.scratch.holm(["start", "victim"]).ok();
        seen
    }

    fn finish(self) {
        self.scratch.holm(["rm", "-f", "victim", "attacker"]).ok();
        self.host.assert_clean();
        drop(self.scratch);
    }
}

#[test]
fn forged_senders_never_arrive() {
    let scene = Scene::new(&[]);
    for (attack, mark) in [
        (vec!["source", "10.5.0.1", "10.5.0.5"], "ip 10.5.0.1 "),
        (vec!["source", "192.0.2.99", "10.5.0.5"], "ip 192.0.2.99"),
        (vec!["hardware", "10.5.0.5"], " 66"),
        (vec!["arp", "10.5.0.1"], "arp reply 10.5.0.1"),
        (vec!["arp", "10.5.0.5"], "arp reply 10.5.0.5"),
        (vec!["router"], "type 134"),
        (vec!["neighbour", "fd05::1"], "type 136"),
        (vec!["type"], "type 88cc"),
    ] {
        let seen = scene.seen(&attack);
        assert!(!seen.contains(mark), "{attack:?} arrived:\n{seen}");
    }
    let dropped = scene.host.command("nft", ["list", "table", "bridge", "holm"]).ok();
    assert!(
        dropped.stdout.contains("a forged sender")
            && !dropped.stdout.contains("packets 0 bytes 0 drop comment \"a forged sender, or"),
        "{dropped}"
    );
    scene.finish();
}

#[test]
fn what_a_container_may_say_arrives() {
    let scene = Scene::new(&[]);
    let seen = scene.seen(&["source", "10.5.0.6", "10.5.0.5"]);
    assert!(seen.contains("ip 10.5.0.6"), "{seen}");
    let seen = scene.seen(&["arp", "10.5.0.6"]);
    assert!(seen.contains("arp reply 10.5.0.6"), "{seen}");
    let seen = scene.seen(&["neighbour", "fd05::6"]);
    assert!(seen.contains("type 136"), "{seen}");
    scene.scratch.holm(["exec", "attacker", "ping", "-c", "1", "-W", "5", "fd05::5"]).ok();
    scene.finish();
}

#[test]
fn a_router_that_a_container_plays_is_not_believed_by_the_host() {
    let scene = Scene::new(&[]);
    scene.seen(&["router"]);
    for place in [vec!["-6", "route"], vec!["-6", "address"]] {
        let shown = scene.host.command("ip", place).ok();
        assert!(!shown.stdout.contains("db8:bad"), "{shown}");
    }
    scene.finish();
}

#[test]
fn routed_containers_see_each_other_only_through_the_firewall() {
    let scene = Scene::new(&["-o", "isolation=routed"]);
    // A broadcast reaches nobody, an honest packet does.
    let seen = scene.seen(&["arp", "10.5.0.6"]);
    assert!(!seen.contains("arp reply 10.5.0.6"), "{seen}");
    scene.scratch.holm(["exec", "attacker", "ping", "-c", "1", "-W", "5", "fd05::5"]).ok();
    // Nobody is told of a way past the firewall; what the host tells on other links is as it was.
    for (link, told) in [("all", "0"), ("uplink", "1"), ("default", "1")] {
        let path = format!("/proc/sys/net/ipv4/conf/{link}/send_redirects");
        scene.host.command("sh", ["-c", &format!("cat {path}")]).ok().says(told);
    }
    scene.finish();
}

#[test]
fn routed_containers_of_an_internal_network_reach_each_other_and_nothing_else() {
    let scene = Scene::new(&["-o", "isolation=routed", "--internal"]);
    for address in ["10.5.0.5", "fd05::5"] {
        scene.scratch.holm(["exec", "attacker", "ping", "-c", "1", "-W", "5", address]).ok();
    }
    for address in [holm_kit::OUTSIDE_V4, holm_kit::OUTSIDE_V6, holm_kit::HOST_V4, holm_kit::HOST_V6] {
        scene.scratch.holm(["exec", "attacker", "ping", "-c", "1", "-W", "1", address]).fails(1);
        let detour = "ip route add default via 10.5.0.1; ip -6 route add default via fd05::1 dev eth0; ping -c 1 -W 1 ";
        let script = format!("{detour}{address}");
        let options = ["--rm", "--network", "net", "--cap-add", "NET_ADMIN", BUSYBOX, "sh", "-c", &script];
        scene.scratch.run(options).fails(1);
    }
    scene.finish();
}

#[test]
fn walls_between_networks_hold_from_every_side() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    for (name, subnet) in [("blue", "10.6.0.0/24"), ("red", "10.7.0.0/24")] {
        scratch.holm(["network", "create", "--subnet", subnet, name]).ok();
    }
    scratch.holm(["network", "create", "--internal", "--subnet", "10.8.0.0/24", "inner"]).ok();
    web(&scratch, "target", &["--network", "red", "--ip", "10.7.0.9"]);
    web(&scratch, "deep", &["--network", "inner", "--ip", "10.8.0.9"]);
    let from = |network: &str, place: &str| {
        let script = format!("{GET} | nc -w 2 {place}");
        scratch.run(["--rm", "--network", network, BUSYBOX, "sh", "-c", &script]).run()
    };
    assert!(from("red", "10.7.0.9 80").stdout.contains("I am target"));
    assert!(from("inner", "10.8.0.9 80").stdout.contains("I am deep"));
    for (network, place) in
        [("blue", "10.7.0.9 80"), ("inner", "10.7.0.9 80"), ("blue", "10.8.0.9 80"), ("inner", "192.0.2.2 80")]
    {
        let output = from(network, place);
        assert!(output.exit_code() != 0 && output.stdout.is_empty(), "{network} reached {place}: {output}");
    }
    // A route of one's own via the gateway, and the other network's gateway itself.
    let detour = "ip route add 10.7.0.0/24 via 10.6.0.1; ping -c 1 -W 1 10.7.0.9 || ping -c 1 -W 1 10.7.0.1";
    scratch.run(["--rm", "--network", "blue", "--cap-add", "NET_ADMIN", BUSYBOX, "sh", "-c", detour]).fails(1);
    // From outside, by a route to the containers' addresses; and the host's loopback from inside.
    host.command("ip", ["address", "add", "127.9.9.9/8", "dev", "lo"]).run();
    let outside = host.outside_command("ip", ["route", "add", "10.7.0.0/24", "via", holm_kit::HOST_V4]);
    outside.ok();
    let reached = host.outside_command("curl", ["-s", "-m", "2", "http://10.7.0.9/"]).run();
    assert!(reached.exit_code() != 0, "from outside: {reached}");
    let loopback = "ip route add 127.9.9.9/32 via 10.6.0.1; ping -c 1 -W 1 127.9.9.9";
    scratch
        .run([
            "--rm",
            "--network",
            "blue",
            "--cap-add",
            "NET_ADMIN",
            "--sysctl",
            "net.ipv4.conf.all.route_localnet=1",
            BUSYBOX,
            "sh",
            "-c",
            loopback,
        ])
        .fails(1);
    assert!(get(&host, "http://10.7.0.9/").stdout.contains("I am target"), "the host itself reaches it");
    scratch.holm(["rm", "-f", "target", "deep"]).ok();
    host.assert_clean();
}
