//! The way of a packet from and to a machine: what records tell, and what its agent is asked.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holm_network::path::{Kind, Life, Machines, Mark, Member, Origin, Question, Report, Target, Unasked};
use holm_spec::guest::{Listening, Probe, ProbeKind, Probed};

use crate::guest::Sent;
use crate::host::{Host, Inside, Machine, at};

/// Stands for the agent: tells of one socket, and sends what it is asked to from the machine.
struct Agent<'a> {
    machine: &'a Machine,
    to_mac: [u8; 6],
    arrived: std::net::UdpSocket,
}

impl Machines for Agent<'_> {
    fn sockets(&self, _: &Member) -> Result<Vec<Listening>, String> {
        Ok(vec![Listening { tcp: false, at: "0.0.0.0:5000".parse().unwrap() }])
    }

    fn probe(&self, _: &Member, probe: Probe) -> Result<Probed, String> {
        let (ProbeKind::Udp(port), std::net::IpAddr::V4(to)) = (probe.kind, probe.to) else { panic!("{probe:?}") };
        let mut from = at("10.5.0.6:0");
        from.set_port(probe.number);
        let to = (self.to_mac, std::net::SocketAddrV4::new(to, port));
        self.machine.guest.udp(&Sent { mac: self.machine.guest.mac, from, to, text: "" });
        assert_eq!(self.machine.guest.serve_until(&self.arrived).1, SocketAddr::from(from));
        Ok(Probed::Silence(1_000_000))
    }
}

/// A process in the container, until it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn question(container: &Inside, process: &Process, machine: &Machine, to_machine: bool, kind: Kind) -> Question {
    let member = |joined: &holm_network::Joined, pid: u32, machine: bool| Member {
        owner: joined.endpoints()[0].container.clone(),
        name: joined.endpoints()[0].name.clone(),
        pid: Some(pid.cast_signed()),
        machine,
        life: Life::Running,
        on_host: false,
        networks: vec!["blue".to_owned()],
    };
    // The machine's own process is one that nothing may be read of.
    let members = vec![member(&container.joined, process.0.id(), false), member(&machine.joined, u32::MAX >> 1, true)];
    let (from, to) = if to_machine { (0, 1) } else { (1, 0) };
    Question {
        from: Origin::Container(from),
        // Without a root of its own the container has no name servers of its networks.
        to: if to_machine { Target::Address([10, 5, 0, 6].into()) } else { Target::Container(to) },
        from_text: members[from].name.clone(),
        to_text: members[to].name.clone(),
        kind,
        v4: Some(true),
        timeout: Duration::from_secs(5),
        members,
    }
}

fn found<'r>(report: &'r Report, word: &str) -> &'r str {
    let hop = report.hops.iter().find(|hop| hop.hop.word() == word);
    hop.map_or_else(|| panic!("no {word} in {report:?}"), |hop| hop.found.as_str())
}

#[test]
fn the_way_to_and_from_a_machine_is_walked() {
    let host = Host::new();
    host.network("blue", "10.5.0.0/24", &[]);
    let container = host.container(1, "blue", "10.5.0.5");
    let machine = host.machine(2, "blue", "10.5.0.6", &[]);
    let quiet = (Stdio::null(), Stdio::null());
    let process = Process(container.spawn(Command::new("sleep").arg("1000").stdout(quiet.0).stderr(quiet.1)));
    let agent = Agent { machine: &machine, to_mac: container.mac(), arrived: container.udp(4000) };

    let ask = question(&container, &process, &machine, true, Kind::Udp(5000));
    let (stop, stopped) = rustix::pipe::pipe().unwrap();
    let report = std::thread::scope(|scope| {
        let guest = &machine.guest;
        scope.spawn(move || guest.serve_while_silent(stop.as_fd()));
        let report = host.networks.path(&ask, &Silent).unwrap();
        drop(stopped);
        report
    });
    assert!(report.reachable && report.traced, "{report:?}");
    assert_eq!(found(&report, "socket"), "listens on 0.0.0.0:5000/udp");
    assert!(report.hops.iter().all(|hop| hop.mark == Mark::Ok), "{report:?}");

    let ask = question(&container, &process, &machine, false, Kind::Udp(4000));
    let report = host.networks.path(&ask, &agent).unwrap();
    assert!(report.reachable && report.traced, "{report:?}");
    assert_eq!(found(&report, "sender"), "eth0 is up with 10.5.0.6/24; 10.5.0.5 directly");
    assert_eq!(found(&report, "socket"), "listens on 10.5.0.5:4000/udp");
    assert_eq!(found(&report, "name"), "c1 is 10.5.0.5 on `blue`");

    let report = host.networks.path(&ask, &Unasked).unwrap();
    assert!(!report.reachable && !report.traced, "{report:?}");
    assert!(found(&report, "answer").starts_with("not known: the machine's agent was not asked"), "{report:?}");
    drop((agent, process));
    host.finish(vec![container.joined, machine.joined]);
}

/// Tells of its socket and sends nothing.
struct Silent;

impl Machines for Silent {
    fn sockets(&self, _: &Member) -> Result<Vec<Listening>, String> {
        Ok(vec![Listening { tcp: false, at: "0.0.0.0:5000".parse().unwrap() }])
    }

    fn probe(&self, _: &Member, _: Probe) -> Result<Probed, String> {
        Err("it is not to send".to_owned())
    }
}
