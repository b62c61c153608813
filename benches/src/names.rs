//! The name server beside dnsmasq: answers a second and how long they take, with ten names and with a thousand.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holm_kit::{has_command, wait_until};

use crate::peer::Peers;
use crate::report::Table;
use crate::runner::Sample;

const ROUNDS: usize = 7;
/// Seconds of each run.
const SECONDS: &str = "1";
/// Queries a second at which it is measured how long the slow answers take: about a fifth of what both bear.
const STEADY: &str = "20000";
/// The address from which dnsperf asks; the only client that Holm's server knows, besides the names.
const CLIENT: &str = "127.81.0.1";

/// A server that is being measured.
struct Contender {
    name: String,
    child: Child,
    address: (String, u16),
    queries: PathBuf,
    /// What [`run`] gave.
    values: [Vec<f64>; 2],
}

/// Measures it.
pub fn measure(peers: &Peers) -> Vec<Table> {
    let Some(example) = example().filter(|_| has_command("dnsperf") && has_command("dnsmasq")) else {
        eprintln!("names: not measured: dnsperf, dnsmasq or the example `dns` is missing");
        return Vec::new();
    };
    let mut contenders = Vec::new();
    for count in [10, 1000] {
        let files = Files::write(&peers.folder().join(format!("names-{count}")), count);
        contenders.push(start(&format!("holm, {count} names"), &files, |address, files| {
            let mut command = Command::new(&example);
            // An upstream at which nobody listens: nothing is forwarded here.
            command.arg(format!("{}:{}", address.0, address.1)).arg(&files.names).arg("127.0.0.1:1");
            command
        }));
        contenders.push(start(&format!("dnsmasq, {count} names"), &files, |address, files| {
            let mut command = Command::new("dnsmasq");
            command.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
            command.args(["--user=root", "--pid-file=", "--local-ttl=5", &format!("--port={}", address.1)]);
            command
                .arg(format!("--listen-address={}", address.0))
                .arg(format!("--addn-hosts={}", files.hosts.display()));
            command
        }));
    }
    for round in 0..ROUNDS {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let contender = &mut contenders[at];
            let [each, p99] = run(contender);
            contender.values[0].push(each);
            contender.values[1].push(p99);
        }
    }
    [0, 1].into_iter().flat_map(|value| tables(&contenders, value)).collect()
}

/// Compares with dnsmasq by number of names, and Holm with itself.
fn tables(contenders: &[Contender], value: usize) -> [Table; 2] {
    let sample = |at: usize| Sample::new(&contenders[at].name, contenders[at].values[value].clone());
    let (key, title, factor) = match value {
        0 => ("names", "Names of our own: time for each answer at full load", 1.05),
        _ => (
            "names-p99",
            "Names of our own: time within which 99 of 100 answers come, at 20 000 queries a second",
            f64::INFINITY,
        ),
    };
    let ten = Table::new(&format!("{key}-10"), title, "us", vec![sample(0), sample(1)]);
    let thousand = Table::new(&format!("{key}-1000"), title, "us", vec![sample(2), sample(3), sample(0)]);
    let ten = ten.at_most_of("dnsmasq, 10 names", 1.0);
    let thousand = thousand.at_most_of("dnsmasq, 1000 names", 1.0);
    let thousand = if factor.is_finite() { thousand.at_most_of("holm, 10 names", factor) } else { thousand };
    [ten, thousand]
}

/// The names in the forms that the programs read.
struct Files {
    names: PathBuf,
    hosts: PathBuf,
    queries: PathBuf,
}

impl Files {
    fn write(folder: &Path, count: usize) -> Self {
        fs::create_dir_all(folder).expect("make a folder");
        let lines = |form: &dyn Fn(&str, &str) -> String| {
            (0..count).map(|at| form(&format!("name{at}"), &format!("10.9.{}.{}", at / 250, at % 250 + 1))).collect()
        };
        let write = |file: &str, text: String| {
            let path = folder.join(file);
            fs::write(&path, text).expect("write names");
            path
        };
        // Holm's server answers only whom it knows.
        let mut names: String = lines(&|name, address| format!("{name} {address}\n"));
        names.push_str(&format!("dnsperf {CLIENT}\n"));
        Self {
            names: write("names", names),
            hosts: write("hosts", lines(&|name, address| format!("{address} {name}\n"))),
            queries: write("queries", lines(&|name, _| format!("{name} A\n"))),
        }
    }
}

/// Holm's server as a program of its own, where `make bench` has built it.
fn example() -> Option<PathBuf> {
    Some(holm_kit::target_folder().join("release/examples/dns")).filter(|path| path.exists())
}

fn start(name: &str, files: &Files, command: impl Fn(&(String, u16), &Files) -> Command) -> Contender {
    let host = "127.81.0.2".to_owned();
    let port = UdpSocket::bind((host.as_str(), 0)).and_then(|socket| socket.local_addr()).expect("a free port").port();
    let address = (host, port);
    let mut command = command(&address, files);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a name server");
    let values = [Vec::new(), Vec::new()];
    let contender = Contender { name: name.to_owned(), child, address, queries: files.queries.clone(), values };
    wait_until("the name server answers", Duration::from_secs(20), || {
        let mut dig = Command::new("dig");
        dig.args(["-r", "+short", "+tries=1", "+time=1", "-b", CLIENT, "-p", &contender.address.1.to_string()]);
        let output = dig.arg(format!("@{}", contender.address.0)).arg("name0").output().expect("run dig");
        output.stdout.starts_with(b"10.9.0.1")
    });
    contender
}

/// One round: microseconds for each answer at full load, and those within which 99 of 100 came at a load that both bear.
fn run(contender: &Contender) -> [f64; 2] {
    let text = dnsperf(contender, &["-l", SECONDS]);
    let each = 1e6 / number(&text, "Queries per second:");
    let text = dnsperf(contender, &["-l", "1", "-Q", STEADY, "-v"]);
    // `> CODE NAME TYPE SECONDS` for each answer.
    let latency = |line: &str| line.strip_prefix("> ")?.rsplit(' ').next()?.parse::<f64>().ok();
    let answers = Sample::new(&contender.name, text.lines().filter_map(latency).collect());
    [each, answers.quantile(0.99) * 1e6]
}

fn dnsperf(contender: &Contender, load: &[&str]) -> String {
    let mut command = Command::new("dnsperf");
    command.args(["-s", &contender.address.0, "-p", &contender.address.1.to_string(), "-a", CLIENT]);
    command.args(["-c", "4", "-T", "1", "-q", "100"]).args(load).arg("-d").arg(&contender.queries);
    let output = command.output().expect("run dnsperf");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (sent, lost) = (number(&text, "Queries sent:"), number(&text, "Queries lost:"));
    assert!(sent > 0.0 && lost == 0.0, "{}: {lost} of {sent} queries were lost", contender.name);
    text
}

/// The number after these words.
fn number(text: &str, words: &str) -> f64 {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(words)).unwrap_or_default();
    line.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
