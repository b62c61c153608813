//! Virtual machines on networks, beside containers: reached and walled off as they are, and told of by `network path`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use holm_kit::{HOST_V4, HOST_V6, Isolation, NetHost, OUTSIDE_V4, Output, Scratch, wait_until};

use crate::probe::built;

/// How long an ordinary step may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Writes a request. Busybox' own `wget` is a static program whose resolver ends at an address.
const GET: &str = r#"printf 'GET / HTTP/1.0\r\n\r\n'"#;
/// A server that answers with the name of its container.
const SERVE: &str = "mkdir -p /www && echo I am $(hostname) >/www/index.html && exec httpd -f -p 80 -h /www";

/// A host with two networks: `blue`, where `machine` is 10.5.0.6 and fd05::6, and `red`.
struct Scene {
    scratch: Scratch,
    host: NetHost,
}

impl Scene {
    fn new(options: &[&str], command: &str) -> Self {
        let host = NetHost::new();
        let mut scratch = Scratch::on(&host);
        scratch.isolate(Isolation::Vm);
        let blue = ["--subnet", "10.5.0.0/24", "--subnet", "fd05::/64", "--ipv6", "blue"];
        scratch.holm(["network", "create"]).args(blue).ok();
        scratch.holm(["network", "create", "--subnet", "10.6.0.0/24", "red"]).ok();
        let scene = Self { scratch, host };
        let own = ["--network", "blue", "--ip", "10.5.0.6", "--ip6", "fd05::6", "--stop-timeout", "0"];
        let all = [&own, &["--hostname", "machine"][..], options].concat();
        scene.scratch.detached("machine", &all, &["sh", "-c", command]);
        scene
    }

    /// A container, which shares the host's kernel.
    fn container(&self, name: &str, options: &[&str], command: &str) {
        let own = ["--isolation", "container", "--hostname", name, "--stop-timeout", "0"];
        self.scratch.detached(name, &[&own, options].concat(), &["sh", "-c", command]);
    }

    fn wait_for_server(&self, name: &str) {
        wait_until("the server listens", PATIENCE, || self.get(name, "127.0.0.1").stdout.contains("I am"));
    }

    fn exec(&self, name: &str, script: &str) -> Output {
        self.scratch.holm(["exec", name, "sh", "-c", script]).run()
    }

    /// What a container gets from the server at an address or a name.
    fn get(&self, name: &str, from: &str) -> Output {
        self.exec(name, &format!("{GET} | nc -w 3 {from} 80"))
    }

    /// Looks at a path and wants no table of a watch to be there afterwards.
    #[track_caller]
    fn path(&self, words: &[&str]) -> Output {
        let output = self.scratch.holm(["network", "path", "--timeout", "2"]).args(words).run().calm();
        let tables = self.host.command("nft", ["list", "tables"]).ok().stdout;
        assert!(!tables.contains("holm-trace"), "a watch is left: {tables}\n{output}");
        output
    }

    /// Wants it to be unreachable at a hop, for a reason.
    #[track_caller]
    fn stops(&self, words: &[&str], hop: &str, reason: &str) {
        let told = self.path(words).code(1).mentions(&format!("stops at: {hop}\n"));
        told.mentions(&format!("reason:   {reason}"));
    }

    fn finish(self) {
        let all = self.scratch.holm(["ps", "-aq"]).ok().stdout;
        self.scratch.holm(["rm", "-f"]).args(all.split_whitespace()).ok();
        self.host.assert_clean();
    }
}

/// The programs that hold a tap, by name.
fn holders(tap: &str) -> BTreeSet<String> {
    let entries = |path: &str| fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    let processes = entries("/proc").filter(|p| p.join("fdinfo").exists());
    let holds = |process: &std::path::PathBuf| {
        entries(&process.join("fdinfo").display().to_string()).any(|info| {
            let text = fs::read_to_string(info).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("iff:").is_some_and(|name| name.trim() == tap))
        })
    };
    processes.filter(holds).filter_map(|p| fs::read_to_string(p.join("comm")).ok()).map(|c| c.trim().into()).collect()
}

#[test]
fn a_machine_is_reached_and_walled_off_as_a_container_is() {
    let scene = Scene::new(&["-p", "8080:80"], SERVE);
    scene.container("box", &["--network", "blue"], SERVE);
    scene.container("far", &["--network", "red", "--ip", "10.6.0.9"], SERVE);
    ["machine", "box", "far"].iter().for_each(|name| scene.wait_for_server(name));
    for (from, to, address6) in [("machine", "box", "fd05::2"), ("box", "machine", "fd05::6")] {
        let output = scene.get(from, to);
        assert!(output.stdout.contains(&format!("I am {to}")), "{from} to {to}: {output}");
        scene.exec(from, &format!("ping -c 1 -W 5 {to} && ping6 -c 1 -W 5 {to}")).code(0);
        let output = scene.get(from, address6);
        assert!(output.stdout.contains(&format!("I am {to}")), "{from} to {address6}: {output}");
    }
    scene.exec("machine", &format!("ping -c 1 -W 5 {OUTSIDE_V4}")).code(0);
    for (from, to) in [("machine", "far"), ("machine", "10.6.0.9"), ("far", "10.5.0.6")] {
        let output = scene.get(from, to);
        assert!(output.exit_code() != 0 && output.stdout.is_empty(), "{from} reached {to}: {output}");
    }
    for address in [HOST_V4, &format!("[{HOST_V6}]")] {
        let url = format!("http://{address}:8080/");
        scene.host.outside_command("curl", ["-g", "-s", "-m", "10", &url]).ok().says("I am machine");
    }
    for address in ["127.0.0.1", "[::1]", HOST_V4] {
        let url = format!("http://{address}:8080/");
        scene.host.command("curl", ["-g", "-s", "-m", "10", &url]).ok().says("I am machine");
    }
    // What passes on the port from the host's own loopback is a fork of who made the tap.
    let links = scene.host.command("ip", ["-o", "link", "show", "type", "tun"]).ok().stdout;
    let tap = links.split(": ").nth(1).expect("the tap").to_owned();
    let holders = holders(&tap);
    assert!(holders.len() == 1 && holders.iter().all(|name| name.starts_with("qemu")), "{tap}: {holders:?}");
    let scratch = &scene.scratch;
    let shown = scratch.holm(["network", "inspect", "blue"]).ok();
    shown.mentions("\"Name\": \"machine\"").mentions("10.5.0.6/24").mentions("fd05::6/64");
    scratch.holm(["network", "rm", "blue"]).fails(1).complains("2 container(s) are on it");
    let refused = scratch.holm(["network", "connect", "red", "machine"]).fails(1);
    refused.complains("running virtual machine").complains("holm stop machine");
    scratch.holm(["network", "disconnect", "blue", "machine"]).fails(1).complains("running virtual machine");
    scratch.holm(["stop", "machine"]).ok();
    scratch.holm(["network", "connect", "red", "machine"]).ok();
    scene.finish();
}

#[test]
fn the_way_from_and_to_a_machine_is_told_hop_by_hop() {
    let scene = Scene::new(&["-p", "8080:80"], SERVE);
    scene.container("box", &["--network", "blue"], SERVE);
    scene.container("far", &["--network", "red", "--ip", "10.6.0.9"], SERVE);
    ["machine", "box", "far"].iter().for_each(|name| scene.wait_for_server(name));
    let told = scene.path(&["machine", "box:80"]).code(0).mentions("that the machine `machine` was given");
    told.mentions("known to the sender filter").mentions("and the answer too").mentions("made in ");
    let told = scene.path(&["box", "machine:80"]).code(0).mentions("ok    socket       sockets of `machine`");
    told.mentions("listens on [::]:80/tcp").mentions("made in ");
    for (from, to) in [("machine", "box"), ("box", "machine")] {
        scene.path(&[from, to]).code(0).mentions("answered in ").mentions("(ICMP echo)");
        scene.path(&["-6", from, to]).code(0).mentions("answered in ");
        scene.path(&["-6", from, &format!("{to}:80")]).code(0).mentions("made in ");
        let reason = format!("nothing listens on 81/tcp in `{to}`; it listens on [::]:80 only");
        scene.stops(&[from, &format!("{to}:81")], "socket", &reason);
        let reason = format!("nothing listens on 80/udp in `{to}`; it listens on no udp port at all");
        scene.stops(&[from, &format!("{to}:80/udp")], "socket", &reason);
    }
    scene.path(&["machine", "10.5.0.1:53/udp"]).code(0).mentions("answered in ").mentions("(UDP)");
    scene.path(&["host", "machine:80"]).code(0).mentions("made in ");
    scene.path(&["outside", "host:8080"]).code(0).mentions(":8080 is translated to 10.5.0.6:80 of `machine`");
    let wall = |from: &str, on: &str, to: &str, other: &str| {
        format!("networks do not reach each other: `{from}` is on `{on}`, `{to}` on `{other}`")
    };
    scene.stops(&["machine", "10.6.0.9:80"], "firewall", &wall("machine", "blue", "far", "red"));
    scene.stops(&["far", "10.5.0.6:80"], "firewall", &wall("far", "red", "machine", "blue"));
    scene.scratch.holm(["pause", "machine"]).ok();
    scene.path(&["box", "machine:80"]).code(1).mentions("`machine` is paused");
    scene.scratch.holm(["unpause", "machine"]).ok();
    scene.finish();
}

#[test]
fn root_of_a_machine_forges_nothing() {
    let scene = Scene::new(&["--cap-add", "NET_ADMIN"], "exec sleep 1000");
    let forge = built("forge");
    let mount = format!("{}:/forge:ro", forge.display());
    let options = ["--network", "blue", "--ip", "10.5.0.5", "--ip6", "fd05::5", "-v", &mount];
    scene.container("victim", &options, "exec /forge listen");
    let listens = || scene.scratch.holm(["logs", "victim"]).run().stdout.contains("listening");
    wait_until("the victim listens", PATIENCE, listens);
    scene.scratch.holm(["cp", &forge.display().to_string(), "machine:/"]).ok();
    let forged = "set -e; for attack in 'source 10.5.0.1 10.5.0.5' 'source 192.0.2.99 10.5.0.5' 'hardware 10.5.0.5' \
        'arp 10.5.0.1' 'arp 10.5.0.5' router 'neighbour fd05::1' type; do /forge $attack; done";
    scene.exec("machine", forged).code(0);
    // Another hardware address for all that it says, and its own again.
    let other = "mac=$(cat /sys/class/net/eth0/address); ip link set eth0 address 02:66:66:66:66:66; \
        arping -U -c 1 -I eth0 10.5.0.6; ping -c 1 -W 2 10.5.0.5; code=$?; ip link set eth0 address $mac; exit $code";
    scene.exec("machine", other).code(1);
    let other = "ip address add 10.5.0.99/24 dev eth0; ping -c 1 -W 2 -I 10.5.0.99 10.5.0.5; code=$?; \
        ip address del 10.5.0.99/24 dev eth0; exit $code";
    scene.exec("machine", other).code(1);
    // Advertisements of neighbours (type 136) are not looked for here: honest ones cannot be told from forged ones by what the
    // listener prints. `network_attack` looks at what becomes of forged ones.
    // What is honest arrives, behind all that is not.
    scene.exec("machine", "ping -c 1 -W 5 10.5.0.5 && /forge end 10.5.0.5").code(0);
    scene.scratch.holm(["wait", "victim"]).ok().says("0");
    let seen = scene.scratch.holm(["logs", "victim"]).ok();
    let seen = seen.mentions("ip 10.5.0.6").mentions("END");
    let marks = ["ip 10.5.0.1 ", "ip 192.0.2.99", "ip 10.5.0.99", " 66", "arp reply 10.5.0.1", "arp reply 10.5.0.5"];
    for mark in marks.into_iter().chain(["type 134", "type 88cc"]) {
        assert!(!seen.stdout.contains(mark), "`{mark}` arrived:\n{seen}");
    }
    scene.finish();
}
