//! Networks: what they add to a start, and what packets cost on them beside a bridge made by hand. All on a host of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holm_kit::{BUSYBOX, HOST_V4, Holm, NetHost, Scratch, wait_until};

use crate::peer::Peers;
use crate::report::Table;
use crate::runner::{Contender, Sample, in_turns, time};

const START_ROUNDS: usize = 60;
const ROUNDS: usize = 9;
/// Round trips and MiB of one measurement.
const TRIPS: &str = "12000";
const BULK_MIB: &str = "1024";
const PORT: &str = "7100";

/// Measures it.
pub fn measure(peers: &Peers) -> Vec<Table> {
    let host = NetHost::new();
    // A new namespace has bridged frames cross the firewall where the kernel can do so at all; a host has it only where
    // docker or Kubernetes turned it on.
    host.command("sysctl", ["-q", "-w", "net.bridge.bridge-nf-call-iptables=0"]).run();
    let scratch = Scratch::on(&host);
    let mut tables = vec![start(&scratch)];
    let program = peers.folder().join("stream");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/stream.c");
    Holm::program("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).ok();
    tables.extend(packets(&host, &scratch, &program));
    host.assert_clean();
    tables
}

/// What the default network adds to a start, while another container is on it.
fn start(scratch: &Scratch) -> Table {
    scratch.detached("resident", &["--stop-timeout", "0"], &["sleep", "100000"]);
    let run = |network: &'static str| {
        move || {
            let mut line = scratch.run(["--rm", "--network", network, BUSYBOX, "true"]);
            time(line.command())
        }
    };
    let samples =
        in_turns(START_ROUNDS, vec![Contender::new("none", run("none")), Contender::new("bridge", run("bridge"))]);
    scratch.holm(["rm", "-f", "resident"]).ok();
    let none = samples[0].median();
    let added = Sample::new("added by the network", samples[1].values.iter().map(|ms| ms - none).collect());
    let rows = vec![
        added,
        Sample::new("run, default network", samples[1].values.clone()),
        Sample::new("run, network none", samples[0].values.clone()),
    ];
    Table::new("network-start", "What a network adds to run --rm IMAGE true", "ms", rows).at_most(3.0)
}

/// One way from a client's network namespace to a server.
struct Way {
    name: &'static str,
    /// The client's namespace.
    from: PathBuf,
    address: String,
    port: &'static str,
}

/// A server in a namespace, ended when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn inside(netns: &Path, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg(program);
    command
}

fn server(netns: &Path, program: &Path) -> Server {
    let child = inside(netns, program).args(["server", PORT]).stdout(Stdio::null()).spawn().expect("start a server");
    wait_until("the server listens", Duration::from_secs(10), || {
        inside(netns, program).args(["trips", "127.0.0.1", PORT, "1"]).output().is_ok_and(|o| o.status.success())
    });
    Server(child)
}

fn netns_of(scratch: &Scratch, name: &str) -> PathBuf {
    format!("/proc/{}/ns/net", scratch.inspect(name, "{{.State.Pid}}")).into()
}

fn packets(host: &NetHost, scratch: &Scratch, program: &Path) -> Vec<Table> {
    let hand = ByHand::make();
    let mut ways =
        vec![Way { name: "veth and bridge by hand", from: hand.netns("a"), address: "10.3.0.3".into(), port: PORT }];
    let mut servers = vec![server(&hand.netns("b"), program)];
    for (name, isolation, subnet) in [("holm, l2", "l2", "10.4.0.0/24"), ("holm, routed", "routed", "10.5.0.0/24")] {
        scratch
            .holm(["network", "create", "--subnet", subnet, "-o", &format!("isolation={isolation}"), isolation])
            .ok();
        for (end, options) in [("a", vec![]), ("b", vec!["-p", "7100:7100"])] {
            let options = if isolation == "routed" { vec![] } else { options };
            let all = [&["--network", isolation, "--stop-timeout", "0"], options.as_slice()].concat();
            scratch.detached(&format!("{isolation}-{end}"), &all, &["sleep", "100000"]);
        }
        let to = format!("{isolation}-b");
        let address = scratch.inspect(&to, &format!("{{{{.NetworkSettings.Networks.{isolation}.IPAddress}}}}"));
        servers.push(server(&netns_of(scratch, &to), program));
        ways.push(Way { name, from: netns_of(scratch, &format!("{isolation}-a")), address, port: PORT });
    }
    // A published port beside the same server reached directly, both by a route from outside.
    let direct = scratch.inspect("l2-b", "{{.NetworkSettings.Networks.l2.IPAddress}}");
    let host_netns = host.netns();
    ways.push(Way { name: "direct", from: host_netns.clone(), address: direct, port: PORT });
    ways.push(Way { name: "published port", from: host_netns, address: HOST_V4.into(), port: "7100" });
    let trips = in_turns(ROUNDS, ways.iter().map(|way| contender(way, program, "trips", TRIPS)).collect());
    let bulk = in_turns(ROUNDS, ways.iter().map(|way| contender(way, program, "bulk", BULK_MIB)).collect());
    drop(servers);
    scratch.holm(["rm", "-f", "l2-a", "l2-b", "routed-a", "routed-b"]).ok();
    tables(&trips, "trips", "Round trip of 64 bytes over TCP between two containers", "us", 0.97, 0.80)
        .into_iter()
        .chain(tables(&bulk, "bulk", "One GiB over TCP between two containers", "ms", 0.97, 0.93))
        .collect()
}

/// `trips` in microseconds, `bulk` in milliseconds, as the program itself measured.
fn contender<'a>(way: &'a Way, program: &'a Path, what: &'a str, amount: &'a str) -> Contender<'a> {
    Contender::new(way.name, move || {
        let output =
            inside(&way.from, program).args([what, &way.address, way.port, amount]).output().expect("run a client");
        assert!(output.status.success(), "{}: {}", way.name, String::from_utf8_lossy(&output.stderr));
        let nanoseconds: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
        Duration::from_nanos(nanoseconds)
    })
}

/// Shares of speed are turned into shares of time.
fn tables(samples: &[Sample], key: &str, title: &str, unit: &'static str, l2: f64, routed: f64) -> [Table; 3] {
    let factor = if unit == "us" { 1000.0 } else { 1.0 };
    let row = |name: &str| {
        let sample = samples.iter().find(|s| s.name == name).expect("a sample");
        Sample::new(name, sample.values.iter().map(|v| v * factor).collect())
    };
    let by_hand = "veth and bridge by hand";
    let table = |end: &str, words: &str, rows: [&str; 2], share: f64| {
        let rows: Vec<Sample> = rows.iter().map(|name| row(name)).collect();
        let peer = rows[1].name.clone();
        Table::new(&format!("network-{key}-{end}"), &format!("{title}{words}"), unit, rows)
            .at_most_of(&peer, 1.0 / share)
    };
    [
        table("l2", "", ["holm, l2", by_hand], l2),
        table("routed", ", every packet through the firewall", ["holm, routed", by_hand], routed),
        table("published", ", from the host by a published port", ["published port", "direct"], 0.95),
    ]
}

/// Two namespaces on a bridge, made with `ip`.
struct ByHand {
    name: String,
}

impl ByHand {
    fn make() -> Self {
        let made = Self { name: format!("holm-hand-{}", std::process::id()) };
        let host = made.name.clone();
        let ip = |args: &[&str]| drop(Holm::program("ip").args(args).ok());
        ip(&["netns", "add", &host]);
        ip(&["-n", &host, "link", "add", "name", "hand0", "type", "bridge"]);
        ip(&["-n", &host, "link", "set", "dev", "hand0", "up"]);
        for (end, address) in [("a", "10.3.0.2/24"), ("b", "10.3.0.3/24")] {
            let netns = format!("{host}-{end}");
            ip(&["netns", "add", &netns]);
            ip(&["-n", &host, "link", "add", "name", end, "type", "veth", "peer", "name", "eth0", "netns", &netns]);
            ip(&["-n", &host, "link", "set", "dev", end, "master", "hand0", "up"]);
            ip(&["-n", &netns, "address", "add", address, "dev", "eth0"]);
            ip(&["-n", &netns, "link", "set", "eth0", "up"]);
            ip(&["-n", &netns, "link", "set", "lo", "up"]);
        }
        // As the kernel has it where nobody uses bridge filtering.
        Holm::program("nsenter")
            .args([&format!("--net=/run/netns/{host}"), "sysctl", "-q", "net.bridge.bridge-nf-call-iptables=0"])
            .run();
        made
    }

    fn netns(&self, end: &str) -> PathBuf {
        format!("/run/netns/{}-{end}", self.name).into()
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        for end in ["", "-a", "-b"] {
            let _ = Command::new("ip").args(["netns", "delete", &format!("{}{end}", self.name)]).status();
        }
    }
}
