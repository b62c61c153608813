//! The agent in a real machine: QEMU boots a distribution's kernel, and a client speaks the host's side of the protocol.

#[path = "machine/client.rs"]
mod client;
#[path = "machine/files.rs"]
mod files;

use holm_container::capability;
use holm_spec::container::Profile;
use holm_spec::guest::{
    Disk, Exec, INITIAL_CREDIT, Identity, Kind, Link, OwnFile, Route, Run, Setup, ToGuest, ToHost, placeholder_mac,
    stream,
};
use holm_spec::network::MacAddress;
use holm_spec::oci::runtime::{
    ConsoleSize, Linux, Memory, Mount, Namespace, NamespaceKind, Pids, Process, Resources, Root, Spec,
};

use client::Machine;

fn setup(changes: bool) -> Setup {
    let disk = |serial: &str, file_system: &str| Disk { serial: serial.into(), file_system: file_system.into() };
    Setup {
        clock_ns: 1_700_000_000_000_000_000,
        entropy: "0123456789abcdef".repeat(4),
        host_name: "machine".into(),
        root: disk("root", "erofs"),
        changes: changes.then(|| disk("changes", "ext4")),
        ..Setup::default()
    }
}

fn process(args: &[&str]) -> Process {
    let all = capability::resolve(&[], &[], false).unwrap();
    Process {
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".into(),
        capabilities: Some(capability::sets(all)),
        ..Process::default()
    }
}

fn shell(script: &str) -> Process {
    process(&["sh", "-c", script])
}

fn mount(kind: &str, at: &str, options: &[&str]) -> Mount {
    Mount {
        destination: at.into(),
        kind: Some(kind.into()),
        source: Some(kind.into()),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..Mount::default()
    }
}

fn run_of(process: Process) -> Run {
    use NamespaceKind::*;
    let namespaces = [Mount, Pid, Ipc, Uts, Cgroup].map(|kind| Namespace { kind, path: None }).to_vec();
    let spec = Spec {
        oci_version: "1.2.0".into(),
        process: Some(process),
        root: Some(Root { path: "root".into(), readonly: false }),
        hostname: Some("inside".into()),
        mounts: vec![
            mount("proc", "/proc", &[]),
            mount("tmpfs", "/dev", &["nosuid", "mode=755", "size=65536k"]),
            mount("devpts", "/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("sysfs", "/sys", &["ro"]),
            mount("cgroup", "/sys/fs/cgroup", &["ro"]),
        ],
        linux: Some(Linux { namespaces, ..Linux::default() }),
        ..Spec::default()
    };
    Run {
        spec: Box::new(spec),
        identity: Identity::default(),
        files: Vec::new(),
        init: false,
        stdin: false,
        seccomp: Profile::Default,
        seccomp_text: None,
    }
}

fn limited(mut run: Run, resources: Resources) -> Run {
    run.spec.linux.as_mut().unwrap().resources = Some(resources);
    run
}

trait Asking {
    fn set_up(&mut self, changes: bool);
    fn start(&mut self, run: Run);
    fn exec(&mut self, number: u32, process: Process, stdin: bool) -> ToHost;
}

impl Asking for Machine {
    fn set_up(&mut self, changes: bool) {
        let answer = self.ask(|id| ToGuest::Setup { id, setup: Box::new(setup(changes)) });
        assert!(matches!(&answer, ToHost::Done { warnings, .. } if warnings.is_empty()), "{answer:?}");
    }

    fn start(&mut self, run: Run) {
        let answer = self.ask(|id| ToGuest::Run { id, run: Box::new(run) });
        assert!(matches!(answer, ToHost::Started { .. }), "{answer:?}\n{}", self.console());
    }

    fn exec(&mut self, number: u32, process: Process, stdin: bool) -> ToHost {
        let exec = Exec { process: number, spec: Box::new(process), identity: None, unfiltered: false, stdin };
        self.ask(|id| ToGuest::Exec { id, exec: Box::new(exec) })
    }
}

#[test]
fn container_runs_with_streams_names_files_and_an_exit_code() {
    let mut machine = Machine::boot(true, &[]);
    machine.set_up(true);
    let script = "cat; echo err >&2; id -u; hostname; cat /etc/hosts /etc/resolv.conf; date +%Y; \
                  grep Seccomp: /proc/self/status; echo $HOME; exit 7";
    let mut run = run_of(shell(script));
    run.stdin = true;
    run.files = vec![
        OwnFile { name: "hosts".into(), text: "of the host\n".into() },
        OwnFile { name: "resolv.conf".into(), text: "nameserver 10.0.0.1\n".into() },
    ];
    machine.start(run);
    machine.send(Kind::Data, stream(1, 0), b"typed\n");
    machine.send(Kind::End, stream(1, 0), b"");
    assert_eq!(machine.exited(1), (7, false));
    let expected = "typed\n0\ninside\nof the host\nnameserver 10.0.0.1\n2023\nSeccomp:\t2\n/root\n";
    assert_eq!((machine.text(1).as_str(), machine.text_of(1, 2).as_str()), (expected, "err\n"));
    let console = machine.power_off();
    assert!(!console.contains("holm"), "{console}");
}

#[test]
fn processes_join_by_terminal_or_pipes_as_whom_they_are_asked_to() {
    let mut machine = Machine::boot(false, &[]);
    machine.set_up(false);
    let mut run = run_of(shell("trap 'echo caught; exit 3' TERM; while :; do sleep 1; done"));
    run.identity.user = Some("user".into());
    run.identity.groups = vec!["3000".into()];
    run.init = true;
    machine.start(run);
    // As the container's user, whose home and groups the container's files know.
    machine.exec(2, shell("id -u; id -G; echo $HOME; grep CapEff /proc/self/status"), false);
    assert_eq!(machine.exited(2), (0, false));
    assert_eq!(machine.text(2), "1000\n1000 2000 3000\n/home/user\nCapEff:\t0000000000000000\n");
    // As root, at a terminal whose size changes.
    let mut at_terminal = shell("stty size; trap 'stty size' WINCH; while read line; do echo \"<$line>\"; done");
    at_terminal.terminal = true;
    at_terminal.console_size = Some(ConsoleSize { height: 24, width: 80 });
    let exec = Exec {
        process: 9,
        spec: Box::new(at_terminal),
        identity: Some(Identity::default()),
        unfiltered: true,
        stdin: true,
    };
    let answer = machine.ask(|id| ToGuest::Exec { id, exec: Box::new(exec) });
    assert!(matches!(answer, ToHost::Started { .. }), "{answer:?}");
    machine.says(9, "24 80\r\n");
    machine.send(Kind::Data, stream(9, 0), b"a line\n");
    machine.says(9, "<a line>\r\n");
    let size = ConsoleSize { height: 40, width: 100 };
    machine.ask(|id| ToGuest::Resize { id, process: 9, size });
    machine.send(Kind::Data, stream(9, 0), b"x\n");
    machine.says(9, "40 100\r\n");
    machine.send(Kind::Data, stream(9, 0), b"\x04");
    assert_eq!(machine.exited(9), (0, false));
    // Many at once, one that is no program, one whose number is taken.
    for number in 20..40 {
        let answer = machine.exec(number, shell("read word; echo $word"), true);
        assert!(matches!(answer, ToHost::Started { .. }), "{answer:?}");
    }
    assert!(matches!(machine.exec(20, shell(""), false), ToHost::Failed { code: 125, .. }));
    assert!(matches!(machine.exec(40, process(&["none"]), false), ToHost::Failed { code: 127, .. }));
    assert!(matches!(machine.exec(40, process(&["/etc"]), false), ToHost::Failed { code: 126, .. }));
    for number in 20..40 {
        machine.send(Kind::Data, stream(number, 0), format!("word{number}\n").as_bytes());
    }
    for number in 20..40 {
        assert_eq!(machine.exited(number), (0, false));
        assert_eq!(machine.text(number), format!("word{number}\n"));
    }
    // What an added process leaves running holds nothing up.
    machine.exec(41, shell("sleep 1000 & echo left"), false);
    assert_eq!((machine.exited(41).0, machine.text(41).as_str()), (0, "left\n"));
    let ToHost::Processes { rows, .. } = machine.ask(|id| ToGuest::Processes { id }) else { panic!("no processes") };
    let commands: Vec<&str> = rows.iter().map(|row| row.command.as_str()).collect();
    assert!(commands.contains(&"sleep 1000") && rows.iter().all(|row| row.stat.starts_with(&row.pid.to_string())));
    machine.exec(42, shell("sleep 1000"), false);
    machine.ask(|id| ToGuest::Signal { id, process: 42, signal: 9 });
    assert_eq!(machine.exited(42), (137, false));
    machine.ask(|id| ToGuest::Signal { id, process: 1, signal: 15 });
    assert_eq!(machine.exited(1), (3, false));
    assert_eq!(machine.text(1), "caught\n");
    assert!(matches!(machine.exec(43, shell(""), false), ToHost::Failed { .. }));
    machine.power_off();
}

#[test]
fn program_at_a_terminal_under_an_init_ends_and_its_orphans_are_reaped() {
    let mut machine = Machine::boot(false, &[]);
    machine.set_up(false);
    let orphan = "(setsid sh -c 'echo $$ > /orphan; exit 0' &); while [ ! -s /orphan ]; do :; done";
    let wait = "while [ -d /proc/$(cat /orphan) ]; do :; done; echo reaped; exit 5";
    let mut process = shell(&format!("{orphan}; {wait}"));
    process.terminal = true;
    let mut run = run_of(process);
    run.init = true;
    machine.start(run);
    assert_eq!((machine.exited(1), machine.text(1).as_str()), ((5, false), "reaped\r\n"));
    machine.power_off();
}

#[test]
fn stalled_stream_holds_back_its_own_process_alone() {
    let mut machine = Machine::boot(false, &[]);
    machine.set_up(false);
    let mut run = run_of(shell("yes & cat | wc -c; wait"));
    run.stdin = true;
    machine.stalled.push(stream(1, 1));
    machine.start(run);
    let credit = INITIAL_CREDIT as usize;
    machine.hear_until(|m| m.output.get(&stream(1, 1)).map_or(0, Vec::len) == credit);
    // Another floods meanwhile, and everything else goes on.
    machine.exec(2, shell("head -c 5000000 /dev/zero; echo done >&2"), false);
    assert_eq!(machine.exited(2), (0, false));
    assert_eq!((machine.output[&stream(2, 1)].len(), machine.text_of(2, 2).as_str()), (5_000_000, "done\n"));
    assert_eq!(machine.output[&stream(1, 1)].len(), credit, "no more than there was credit for");
    // Input is taken, and credit given for what was taken.
    machine.exec(3, shell("wc -c"), true);
    machine.feed(stream(3, 0), &vec![7; 2_000_000]);
    assert_eq!(machine.exited(3), (0, false));
    assert_eq!(machine.text(3), "2000000\n");
    // Its turn comes when it is read again.
    machine.send(Kind::Credit, stream(1, 1), &10_000u32.to_le_bytes());
    machine.hear_until(|m| m.output[&stream(1, 1)].len() == credit + 10_000);
    machine.ask(|id| ToGuest::Signal { id, process: 1, signal: 9 });
    machine.stalled.clear();
    machine.send(Kind::Credit, stream(1, 1), &1_000_000u32.to_le_bytes());
    assert_eq!(machine.exited(1), (137, false));
    machine.power_off();
}

#[test]
fn limits_hold_and_are_told() {
    let mut machine = Machine::boot(false, &[]);
    machine.set_up(false);
    let limits = |memory: i64, pids: i64| Resources {
        memory: Some(Memory { limit: Some(memory), swap: Some(memory), ..Memory::default() }),
        pids: Some(Pids { limit: pids }),
        ..Resources::default()
    };
    let run = run_of(shell("while :; do sleep 1; done"));
    machine.start(limited(run, limits(50 << 20, 100)));
    // One that takes too much goes, and the container goes on.
    machine.exec(2, shell("tail /dev/zero; echo $?"), false);
    machine.message(|m| *m == ToHost::OutOfMemory);
    assert_eq!((machine.exited(2), machine.text(2).as_str()), ((0, true), "137\n"));
    // A fork bomb fills its limit and no more, and leaves the agent at work.
    machine.exec(3, shell("bomb() { bomb | bomb & }; bomb; sleep 1000"), false);
    let mut stats = None;
    while !matches!(&stats, Some(ToHost::Stats { stats, .. }) if stats.pids >= 100) {
        stats = Some(machine.ask(|id| ToGuest::Stats { id }));
    }
    let Some(ToHost::Stats { stats, .. }) = stats else { panic!("no figures") };
    assert_eq!((stats.pids, stats.memory_limit_bytes), (100, 50 << 20));
    assert!(stats.cpu_ns > 0 && stats.memory_bytes > 0 && stats.links.is_empty(), "{stats:?}");
    let update = limits(60 << 20, 50);
    let answer = machine.ask(|id| ToGuest::Update { id, resources: Box::new(update) });
    assert!(matches!(answer, ToHost::Done { .. }), "{answer:?}");
    let ToHost::Stats { stats, .. } = machine.ask(|id| ToGuest::Stats { id }) else { panic!("no figures") };
    assert_eq!(stats.memory_limit_bytes, 60 << 20);
    machine.ask(|id| ToGuest::Signal { id, process: 1, signal: 9 });
    assert_eq!(machine.exited(1).0, 137);
    // Without a limit the machine's memory is one.
    machine.start(run_of(shell("exec tail /dev/zero")));
    assert_eq!(machine.exited(1), (137, true));
    machine.power_off();
}

#[test]
fn changes_stay_for_the_next_run_and_links_are_set_up() {
    let nic = |n: u8| format!("virtio-net-device,netdev=n{n},mac={}", placeholder_mac(n));
    let hubs = ["hubport,id=n0,hubid=0", "hubport,id=n1,hubid=1"];
    let mut machine =
        Machine::boot(true, &["-netdev", hubs[0], "-device", &nic(0), "-netdev", hubs[1], "-device", &nic(1)]);
    let link = |n: u8, addresses: &[&str], routes| Link {
        name: format!("eth{n}"),
        mac: MacAddress([2, 1, 2, 3, 4, n]),
        mtu: Some(1400),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        routes,
    };
    let out = Route { to: "0.0.0.0/0".parse().unwrap(), via: Some("10.1.2.1".parse().unwrap()) };
    let mut asked = setup(true);
    asked.links = vec![link(0, &["10.1.2.3/24", "fd00::3/64"], vec![out]), link(1, &["10.2.2.3/24"], Vec::new())];
    let answer = machine.ask(|id| ToGuest::Setup { id, setup: Box::new(asked) });
    assert!(matches!(answer, ToHost::Done { .. }), "{answer:?}\n{}", machine.console());
    machine.start(run_of(shell("ip -o addr; ip route; cat /sys/class/net/eth?/address; echo kept > /kept")));
    assert_eq!(machine.exited(1), (0, false));
    let text = machine.text(1);
    for part in [
        "10.1.2.3/24 ",
        "fd00::3/64 ",
        "default via 10.1.2.1 dev eth0",
        "eth1    inet 10.2.2.3/24 ",
        "02:01:02:03:04:01",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    machine.output.clear();
    let mut run = run_of(shell("cd /proc/sys/net; cat /kept core/somaxconn ipv4/ip_unprivileged_port_start"));
    run.identity.user = Some("1000".into());
    run.spec.linux.as_mut().unwrap().sysctl = [("net.core.somaxconn".to_owned(), "77".to_owned())].into();
    machine.start(run);
    assert_eq!((machine.exited(1).0, machine.text(1).as_str()), (0, "kept\n77\n0\n"));
    machine.power_off();
}

#[test]
fn host_that_leaves_comes_back_to_where_it_was() {
    let mut machine = Machine::boot(false, &[]);
    machine.set_up(false);
    machine.start(run_of(shell("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; sleep 1000")));
    machine.hear_until(|m| m.output.contains_key(&stream(1, 1)));
    machine.reconnect();
    let ToHost::Stats { stats, .. } = machine.ask(|id| ToGuest::Stats { id }) else { panic!("no figures") };
    assert!(stats.pids > 0);
    machine.reconnect();
    machine.exec(2, shell("echo again"), false);
    assert_eq!((machine.exited(2).0, machine.text(2).as_str()), (0, "again\n"));
    machine.power_off();
}

#[test]
fn host_that_breaks_the_protocol_is_told_on_the_console() {
    let mut machine = Machine::boot(false, &[]);
    machine.set_up(false);
    machine.send(Kind::Message, 0, b"{\"ask\":\"nothing\"}");
    let console = machine.ends();
    assert!(console.contains("holm-guest: cannot go on with the host: it sends what is no message"), "{console}");
}

#[test]
fn files_go_out_and_in_as_tar_streams() {
    let mut machine = Machine::boot(true, &[]);
    machine.set_up(true);
    // Before any process runs: the bare file system.
    let answer = machine.ask(|id| ToGuest::Stat { id, path: "/etc/hosts".into() });
    assert!(matches!(answer, ToHost::Stat { size: 13, mode: 0o100_644, link_target: None, .. }), "{answer:?}");
    let answer = machine.ask(|id| ToGuest::Stat { id, path: "/bin/sh".into() });
    assert!(matches!(&answer, ToHost::Stat { link_target: Some(to), .. } if to.as_os_str() == "busybox"), "{answer:?}");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3_000_000);
    header.set_mode(0o640);
    header.set_uid(1000);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, "sub/big", &vec![b'x'; 3_000_000][..]).unwrap();
    let stream_in = tar.into_inner().unwrap();
    let ask = |id| ToGuest::TarIn { id, stream: 400, path: "/tmp".into(), keep_owner: true };
    machine.begin(9001, ask);
    machine.feed(400, &stream_in);
    assert!(matches!(machine.answer(9001), ToHost::Done { .. }));
    let script = "stat -c '%u %a %s' /tmp/sub/big; rm -r /home /etc/hosts; mkdir /home; echo new > /new; ln -s / /out; sleep 1000";
    machine.start(run_of(shell(script)));
    machine.says(1, "1000 640 3000000\n");
    while !matches!(machine.ask(|id| ToGuest::Stat { id, path: "/out".into() }), ToHost::Stat { .. }) {}
    // While one runs: what it sees, links taken inside.
    let ask = |id| ToGuest::TarOut { id, stream: 404, path: "/out/tmp/sub".into(), follow: false, one_mount: true };
    assert!(matches!(machine.ask(ask), ToHost::Done { .. }));
    assert!(machine.ended.contains(&404));
    let out = machine.output.remove(&404).unwrap();
    let mut archive = tar::Archive::new(&out[..]);
    let names: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(names, [std::path::Path::new("sub/"), std::path::Path::new("sub/big")]);
    let ask = |id| ToGuest::TarOut { id, stream: 408, path: "/none".into(), follow: false, one_mount: true };
    let answer = machine.ask(ask);
    assert!(
        matches!(&answer, ToHost::Failed { message, .. } if message.contains("`/none`: No such file")),
        "{answer:?}"
    );
    // The changes, in the form of an overlay.
    assert!(matches!(machine.ask(|id| ToGuest::TarChanges { id, stream: 412 }), ToHost::Done { .. }));
    let changes = machine.output.remove(&412).unwrap();
    let mut archive = tar::Archive::new(&changes[..]);
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let opaque = entry.pax_extensions().unwrap().is_some_and(|mut records| {
            records.any(|record| record.unwrap().key() == Ok("SCHILY.xattr.trusted.overlay.opaque"))
        });
        let path = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned();
        found.push((path, entry.header().entry_type(), opaque));
    }
    let has = |path: &str, kind, opaque| found.contains(&(path.to_owned(), kind, opaque));
    assert!(has("etc/hosts", tar::EntryType::Char, false) && has("new", tar::EntryType::Regular, false), "{found:?}");
    assert!(has("home", tar::EntryType::Directory, true) && has("tmp/sub/big", tar::EntryType::Regular, false));
    machine.ask(|id| ToGuest::Signal { id, process: 1, signal: 9 });
    assert_eq!(machine.exited(1).0, 137);
    // After its end: the bare file system again.
    let answer = machine.ask(|id| ToGuest::Stat { id, path: "/new".into() });
    assert!(matches!(answer, ToHost::Stat { size: 4, .. }), "{answer:?}");
    assert!(matches!(machine.ask(|id| ToGuest::Ping { id }), ToHost::Done { .. }));
    machine.power_off();
}
