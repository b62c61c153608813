//! A monitor with a machine that this test plays: agent, hypervisor's words, console, and the process that can be killed.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use holm_spec::guest::{Decoder, Exec, Frame, Kind, Run, ToGuest, ToHost, VERSION, encode};
use holm_spec::oci::runtime::Process;
use holm_sys::packet::{self, Received};
use holm_sys::process::{Child, Fork, close_all_but, exit_now, fork};
use holm_vm::machine::{Ends, HostUser};
use holm_vm::monitor::{self, FromMonitor, MonitorParts, Patience, wire};
use rustix::net::SocketType;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{WaitId, WaitIdOptions};

const LIMIT: Duration = Duration::from_secs(60);

struct Machine {
    channel: OwnedFd,
    decoder: Decoder,
    qmp: OwnedFd,
    console: OwnedFd,
    control: OwnedFd,
    /// A byte here is the exit code with which the hypervisor ends; a hang-up says that it has ended.
    life: OwnedFd,
    monitor: Child,
}

fn machine(boot_timeout: Duration) -> Machine {
    machine_with(boot_timeout, Patience::default())
}

fn machine_with(boot_timeout: Duration, patience: Patience) -> Machine {
    let pair = |kind| packet::pair(kind).unwrap();
    let ((channel, a), (qmp, b)) = (pair(SocketType::STREAM), pair(SocketType::STREAM));
    let ((console, c), (control, d)) = (pair(SocketType::STREAM), pair(SocketType::SEQPACKET));
    let (life, theirs) = pair(SocketType::STREAM);
    let monitor = match fork().unwrap() {
        Fork::Child => {
            let Ok(Fork::Parent(vmm)) = fork() else { hypervisor(&theirs) };
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            monitor::run(MonitorParts {
                ends: Ends { channel: a, qmp: b, console: c },
                control: d,
                vmm: vmm.pidfd,
                user: HostUser { uid, gid },
                restored: false,
                boot_timeout,
                patience,
                graceful_end: true,
                console_copy: None,
                confine: &mut || Ok(()),
            })
        }
        Fork::Parent(child) => child,
    };
    for socket in [&channel, &qmp, &control, &life] {
        set_socket_timeout(socket, Timeout::Recv, Some(LIMIT)).unwrap();
    }
    Machine { channel, decoder: Decoder::default(), qmp, console, control, life, monitor }
}

/// A machine that has come up.
fn booted() -> Machine {
    greeted(machine(LIMIT))
}

fn greeted(mut machine: Machine) -> Machine {
    machine.tell(&ToHost::Hello { version: VERSION, kernel: "6.1".to_owned(), uptime_ns: 9 });
    assert_eq!(machine.hear().0, FromMonitor::Booted { kernel: "6.1".to_owned(), boot_ns: 9 });
    machine
}

fn hypervisor(life: &OwnedFd) -> ! {
    let mut word = [0];
    let _ = close_all_but(&[life.as_fd()]);
    let n = rustix::io::read(life, &mut word).unwrap_or(0);
    exit_now(if n == 1 { word[0].into() } else { 99 })
}

impl Machine {
    fn tell(&mut self, message: &ToHost) {
        self.send(Kind::Message, 0, &serde_json::to_vec(message).unwrap());
    }

    fn send(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        encode(kind, stream, payload, &mut bytes);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let sent = packet::send(self.channel.as_fd(), rest, &[]).unwrap();
            rest = &rest[sent..];
        }
    }

    /// The next frame that reaches the guest.
    fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return frame;
            }
            match packet::receive_some(self.channel.as_fd(), 100_000).unwrap() {
                Received::Packet(bytes, _) => self.decoder.push(&bytes),
                other => panic!("no frame, but {other:?}"),
            }
        }
    }

    fn asked(&mut self) -> ToGuest {
        let frame = self.frame();
        assert_eq!(frame.kind, Kind::Message);
        serde_json::from_slice(&frame.payload).unwrap()
    }

    fn hear(&self) -> (FromMonitor, Vec<OwnedFd>) {
        match wire::hear(self.control.as_fd()).unwrap() {
            wire::Received::Packet(message, fds) => (message, fds),
            other => panic!("no message, but {other:?}"),
        }
    }

    fn lost(&self) -> (String, String) {
        match self.hear().0 {
            FromMonitor::Lost { reason, console } => (reason, console),
            other => panic!("not lost, but {other:?}"),
        }
    }

    /// The exit code of the monitor.
    fn code(&self) -> Option<i32> {
        let status = rustix::process::waitid(WaitId::PidFd(self.monitor.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
        status.and_then(|status| status.exit_status())
    }

    fn hypervisor_is_gone(&self) -> bool {
        matches!(packet::receive_some(self.life.as_fd(), 1), Ok(Received::Closed))
    }

    /// Runs the first process; the other ends of its streams.
    fn run(&mut self) -> [OwnedFd; 3] {
        let run: Run = serde_json::from_value(serde_json::json!({
            "spec": { "ociVersion": "1.2.0" }, "identity": { "unprivileged": {}, "keep_home": false }, "init": false,
            "stdin": true, "seccomp": holm_spec::container::Profile::default(),
        }))
        .unwrap();
        let ends = self.ask(&ToGuest::Run { id: 1, run: Box::new(run) });
        assert!(matches!(self.asked(), ToGuest::Run { id: 1, .. }));
        self.started(1);
        ends
    }

    fn started(&mut self, id: u32) -> Vec<OwnedFd> {
        self.tell(&ToHost::Started { id, pid: 7 });
        let (message, fds) = self.hear();
        assert_eq!(message, FromMonitor::Guest(ToHost::Started { id, pid: 7 }));
        fds
    }

    fn ask(&self, request: &ToGuest) -> [OwnedFd; 3] {
        let ((stdin, write), (out, stdout), (err, stderr)) = (pipe(), pipe(), pipe());
        wire::ask(self.control.as_fd(), request, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).unwrap();
        [write, out, err]
    }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn exec(id: u32, process: u32, terminal: bool) -> ToGuest {
    let spec = Box::new(Process { terminal, ..Process::default() });
    ToGuest::Exec { id, exec: Box::new(Exec { process, spec, identity: None, unfiltered: false, stdin: true }) }
}

fn read(fd: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0; 100_000];
    let n = rustix::io::read(fd, &mut buffer).unwrap();
    buffer.truncate(n);
    buffer
}

#[test]
fn a_process_runs_and_its_exit_code_is_the_monitors() {
    let mut machine = booted();
    let [stdin, stdout, stderr] = machine.run();
    rustix::io::write(&stdin, b"question").unwrap();
    let frame = machine.frame();
    assert_eq!((frame.kind, frame.stream, frame.payload.as_slice()), (Kind::Data, 4, &b"question"[..]));
    drop(stdin);
    assert_eq!(machine.frame().kind, Kind::End);
    machine.send(Kind::Data, 5, b"answer");
    machine.send(Kind::Data, 6, b"complaint");
    machine.tell(&ToHost::Exited { process: 1, code: 3, oom: true });
    assert_eq!(machine.hear().0, FromMonitor::Guest(ToHost::Exited { process: 1, code: 3, oom: true }));
    assert_eq!((read(&stdout), read(&stderr)), (b"answer".to_vec(), b"complaint".to_vec()));
    assert_eq!((read(&stdout).len(), read(&stderr).len()), (0, 0), "both have ended");
    assert!(matches!(machine.asked(), ToGuest::PowerOff { .. }));
    rustix::io::write(&machine.life, &[0]).unwrap();
    assert_eq!(machine.code(), Some(3));
}

#[test]
fn a_reader_that_stalls_holds_back_its_own_stream_alone() {
    let mut machine = booted();
    let [_stdin, stdout, _stderr] = machine.run();
    let [_in, stalled, _err] = machine.ask(&exec(2, 2, false));
    assert!(matches!(machine.asked(), ToGuest::Exec { .. }));
    machine.started(2);
    for _ in 0..4 {
        machine.send(Kind::Data, 9, &[b'x'; 65_536]);
    }
    machine.send(Kind::Data, 5, b"still here");
    assert_eq!(read(&stdout), b"still here");
    let frame = {
        let mut taken = 0;
        while taken < 65_536 {
            taken += read(&stalled).len();
        }
        machine.frame()
    };
    assert_eq!((frame.stream, frame.credit().is_some_and(|n| n >= 65_536)), (9, true));
}

#[test]
fn a_terminal_is_made_here_and_its_master_comes_with_the_start() {
    let mut machine = booted();
    let _streams = machine.run();
    wire::ask(machine.control.as_fd(), &exec(2, 2, true), &[]).unwrap();
    assert!(matches!(machine.asked(), ToGuest::Exec { .. }));
    let fds = machine.started(2);
    let [master] = fds.as_slice() else { panic!("{fds:?}") };
    rustix::io::write(master, b"a\r\x03").unwrap();
    let frame = machine.frame();
    assert_eq!((frame.stream, frame.payload.as_slice()), (8, &b"a\r\x03"[..]));
    machine.send(Kind::Data, 9, b"b\n");
    assert_eq!(read(master), b"b\n");
    machine.tell(&ToHost::Exited { process: 2, code: 0, oom: false });
    assert!(matches!(machine.hear().0, FromMonitor::Guest(ToHost::Exited { process: 2, .. })));
    assert_eq!(rustix::io::read(master, &mut [0; 8][..]), Err(rustix::io::Errno::IO), "it has hung up");
}

#[test]
fn a_guest_that_breaks_the_protocol_is_killed() {
    let mut machine = booted();
    machine.send(Kind::Data, 77, b"x");
    assert_eq!(machine.lost().0, "the guest sent on stream 77, which is not open");
    assert!(machine.hypervisor_is_gone());
    assert_eq!(machine.code(), Some(255));
}

#[test]
fn a_dead_kernel_is_told_with_its_last_lines() {
    let machine = booted();
    packet::send(machine.console.as_fd(), b"Kernel panic - \x1bnot syncing\r\n", &[]).unwrap();
    let words = b"{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-reset\"}}\n";
    packet::send(machine.qmp.as_fd(), words, &[]).unwrap();
    rustix::io::write(&machine.life, &[0]).unwrap();
    let (reason, console) = machine.lost();
    assert_eq!(reason, "the guest's kernel died or restarted");
    assert_eq!(console, "Kernel panic - \u{fffd}not syncing\n");
    assert_eq!(machine.code(), Some(255));
}

#[test]
fn a_hypervisor_that_fails_and_an_agent_that_is_late_are_told() {
    let machine = self::machine(LIMIT);
    rustix::io::write(&machine.life, &[1]).unwrap();
    assert_eq!(machine.lost().0, "the hypervisor ended with status 1");
    assert_eq!(machine.code(), Some(125));
    let machine = self::machine(Duration::from_millis(20));
    assert_eq!(machine.lost().0, "the agent did not come up within 0 s");
    assert_eq!(machine.code(), Some(125));
}

#[test]
fn a_process_that_cannot_be_run_ends_the_machine_with_its_code() {
    let mut machine = booted();
    let _streams = machine.ask(&exec(1, 1, false));
    assert!(matches!(machine.asked(), ToGuest::Exec { .. }));
    machine.tell(&ToHost::Failed { id: 1, message: "cannot execute `x`".to_owned(), code: 127 });
    assert!(matches!(machine.hear().0, FromMonitor::Guest(ToHost::Failed { code: 127, .. })), "an exec's goes on");
    wire::ask(machine.control.as_fd(), &ToGuest::Setup { id: 2, setup: Box::default() }, &[]).unwrap();
    assert!(matches!(machine.asked(), ToGuest::Setup { .. }));
    machine.tell(&ToHost::Failed { id: 2, message: "cannot find disk `root`".to_owned(), code: 125 });
    assert!(matches!(machine.hear().0, FromMonitor::Guest(ToHost::Failed { id: 2, .. })));
    assert!(matches!(machine.asked(), ToGuest::PowerOff { .. }));
    rustix::io::write(&machine.life, &[0]).unwrap();
    assert_eq!(machine.code(), Some(125));
}

#[test]
fn nothing_outlives_the_supervisor() {
    let machine = booted();
    let Machine { control, life, monitor, .. } = machine;
    drop(control);
    assert!(matches!(packet::receive_some(life.as_fd(), 1), Ok(Received::Closed)));
    let status = rustix::process::waitid(WaitId::PidFd(monitor.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
    assert_eq!(status.and_then(|status| status.exit_status()), Some(137));
}

#[test]
fn an_agent_that_says_nothing_is_asked_and_one_that_hangs_is_lost() {
    let patience = Patience { ping_after: Duration::from_millis(1), hang_after: Duration::from_secs(2) };
    let mut machine = greeted(machine_with(LIMIT, patience));
    for _ in 0..3 {
        let ToGuest::Ping { id } = machine.asked() else { panic!("no ping") };
        machine.tell(&ToHost::Done { id, warnings: Vec::new() });
    }
    let (reason, _) = machine.lost();
    assert!(reason.starts_with("the agent has said nothing for"), "{reason}");
    assert!(machine.hypervisor_is_gone());
    assert_eq!(machine.code(), Some(255));
}

#[test]
fn a_supervisor_that_has_heard_the_end_may_leave() {
    let mut machine = booted();
    let _streams = machine.run();
    machine.tell(&ToHost::Exited { process: 1, code: 4, oom: false });
    machine.hear();
    let (_, other) = packet::pair(SocketType::SEQPACKET).unwrap();
    machine.control = other;
    assert!(matches!(machine.asked(), ToGuest::PowerOff { .. }));
    rustix::io::write(&machine.life, &[0]).unwrap();
    assert_eq!(machine.code(), Some(4));
}
