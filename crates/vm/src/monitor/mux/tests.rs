//! What a guest may do, and every way in which it may not.

use holm_spec::guest::{Exec, INITIAL_CREDIT, Listening, MAX_DATA_BYTES, MAX_SOCKETS, Probe, ProbeKind, Probed, Run};
use holm_spec::oci::runtime::Process as OciProcess;

use super::*;

fn tell(mux: &mut Mux, message: &ToHost) -> Result<(), Breach> {
    let mut bytes = Vec::new();
    encode(Kind::Message, 0, &serde_json::to_vec(message).unwrap(), &mut bytes);
    mux.feed(&bytes)
}

fn send(mux: &mut Mux, kind: Kind, stream: u32, payload: &[u8]) -> Result<(), Breach> {
    let mut bytes = Vec::new();
    encode(kind, stream, payload, &mut bytes);
    mux.feed(&bytes)
}

fn hello() -> ToHost {
    ToHost::Hello { version: VERSION, kernel: "6.1".to_owned(), uptime_ns: 7 }
}

fn run(id: u32) -> ToGuest {
    let run: Run = serde_json::from_value(serde_json::json!({
        "spec": { "ociVersion": "1.2.0" }, "identity": { "unprivileged": {}, "keep_home": false }, "init": false,
        "stdin": true, "seccomp": holm_spec::container::Profile::default(),
    }))
    .unwrap();
    ToGuest::Run { id, run: Box::new(run) }
}

fn exec(id: u32, process: u32, terminal: bool) -> ToGuest {
    let spec = Box::new(OciProcess { terminal, ..OciProcess::default() });
    ToGuest::Exec { id, exec: Box::new(Exec { process, spec, identity: None, unfiltered: false, stdin: terminal }) }
}

fn tar_out(id: u32, stream: u32) -> ToGuest {
    ToGuest::TarOut { id, stream, path: "/x".into(), follow: false, one_mount: false }
}

/// A channel whose first process runs.
fn running() -> Mux {
    let mut mux = Mux::new(false);
    tell(&mut mux, &hello()).unwrap();
    mux.ask(&run(1)).unwrap();
    tell(&mut mux, &ToHost::Started { id: 1, pid: 7 }).unwrap();
    mux.sent(mux.outgoing().len());
    while mux.next_told().is_some() {}
    mux
}

fn sent(mux: &mut Mux) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    decoder.push(mux.outgoing());
    mux.sent(mux.outgoing().len());
    std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
}

fn exited(process: u32) -> ToHost {
    ToHost::Exited { process, code: 3, oom: false }
}

#[test]
fn the_end_of_a_process_is_told_when_its_output_was_written() {
    let mut mux = running();
    send(&mut mux, Kind::Data, 5, b"hello").unwrap();
    send(&mut mux, Kind::End, 5, &[]).unwrap();
    tell(&mut mux, &exited(1)).unwrap();
    assert_eq!(mux.next_told(), None);
    assert_eq!(mux.to_write(5), b"hello");
    mux.wrote(5, 2);
    assert!(mux.writes(5) && mux.next_told().is_none());
    mux.wrote(5, 3);
    assert_eq!(mux.next_told(), Some(exited(1)));
    assert!(!mux.writes(5) && !mux.writes(6) && !mux.reads(4));
}

#[test]
fn credit_is_kept_in_both_directions_and_given_back_when_written() {
    let mut mux = running();
    assert_eq!(mux.room(4), MAX_DATA_BYTES);
    for _ in 0..INITIAL_CREDIT as usize / MAX_DATA_BYTES {
        mux.read(4, &[0; MAX_DATA_BYTES]);
    }
    assert_eq!(mux.room(4), 0);
    mux.sent(mux.outgoing().len());
    send(&mut mux, Kind::Credit, 4, &10u32.to_le_bytes()).unwrap();
    assert_eq!(mux.room(4), 10);
    for _ in 0..INITIAL_CREDIT as usize / MAX_DATA_BYTES {
        send(&mut mux, Kind::Data, 5, &[1; MAX_DATA_BYTES]).unwrap();
    }
    assert!(sent(&mut mux).is_empty());
    let mut overrun = 0;
    while overrun < MAX_DATA_BYTES {
        let length = mux.to_write(5).len().min(MAX_DATA_BYTES - overrun);
        mux.wrote(5, length);
        overrun += length;
    }
    let frames = sent(&mut mux);
    assert_eq!((frames.len(), frames[0].credit()), (1, Some(INITIAL_CREDIT / 4)));
    send(&mut mux, Kind::Data, 5, &[1; MAX_DATA_BYTES]).unwrap();
    assert_eq!(send(&mut mux, Kind::Data, 5, &[1]), Err(Breach::Credit(5)));
    // Another stream is not held back.
    send(&mut mux, Kind::Data, 6, &[1]).unwrap();
}

#[test]
fn output_that_nobody_reads_does_not_hold_the_guest_back() {
    let mut mux = running();
    send(&mut mux, Kind::Data, 5, &[1; MAX_DATA_BYTES]).unwrap();
    mux.write_failed(5);
    for _ in 0..100 {
        send(&mut mux, Kind::Data, 5, &[1; MAX_DATA_BYTES]).unwrap();
    }
    assert!(mux.to_write(5).is_empty());
    tell(&mut mux, &exited(1)).unwrap();
    assert_eq!(mux.next_told(), Some(exited(1)));
}

#[test]
fn a_guest_that_breaks_the_order_is_found_out() {
    let check = |what: &str, expected: Breach, act: fn(&mut Mux) -> Result<(), Breach>| {
        assert_eq!(act(&mut running()), Err(expected), "{what}");
    };
    let greeting = Breach::Turn("its greeting, or something else before it,");
    check("a second greeting", greeting.clone(), |mux| tell(mux, &hello()));
    check("a second start", Breach::Turn("`started`"), |mux| tell(mux, &ToHost::Started { id: 1, pid: 8 }));
    check("an unknown process", Breach::Turn("the end of a process"), |mux| tell(mux, &exited(2)));
    check("an unknown request", Breach::Turn("an answer"), |mux| tell(mux, &ToHost::Done { id: 9, warnings: vec![] }));
    check("an unknown stream", Breach::Stream(9), |mux| send(mux, Kind::Data, 9, b"x"));
    check("data for the input", Breach::Stream(4), |mux| send(mux, Kind::Data, 4, b"x"));
    check("credit for output", Breach::Credit(5), |mux| send(mux, Kind::Credit, 5, &[1, 0, 0, 0]));
    check("endless credit", Breach::Credit(4), |mux| send(mux, Kind::Credit, 4, &u32::MAX.to_le_bytes()));
    check("a process that ends twice", Breach::Turn("the end of a process"), |mux| {
        send(mux, Kind::Data, 5, b"unwritten")?;
        tell(mux, &exited(1))?;
        tell(mux, &exited(1))
    });
    check("data after the end", Breach::Stream(5), |mux| {
        send(mux, Kind::End, 5, &[])?;
        send(mux, Kind::Data, 5, b"x")
    });
    check("a process that ends before it runs", Breach::Turn("the end of a process"), |mux| {
        mux.ask(&exec(2, 2, false)).unwrap();
        tell(mux, &exited(2))
    });
    check("the wrong answer", Breach::Turn("`stats`"), |mux| {
        mux.ask(&ToGuest::Processes { id: 3 }).unwrap();
        tell(mux, &ToHost::Stats { id: 3, stats: holm_spec::guest::Stats::default() })
    });
    check("more sockets than it may list", Breach::Value("more sockets than it may list"), |mux| {
        mux.ask(&ToGuest::Sockets { id: 3 }).unwrap();
        let one = Listening { tcp: true, at: "[::]:80".parse().unwrap() };
        tell(mux, &ToHost::Sockets { id: 3, sockets: vec![one; MAX_SOCKETS + 1] })
    });
    for (what, outcome) in [
        ("an error number that cannot be", Probed::Refused(0)),
        ("an error number that cannot be", Probed::Refused(4096)),
        ("a time that cannot be", Probed::Answered(u64::MAX)),
        ("a time that cannot be", Probed::Silence(u64::MAX)),
    ] {
        let mut mux = Mux::new(true);
        let to = "10.5.0.1".parse().unwrap();
        let probe = Probe { kind: ProbeKind::Echo, to, number: 1, timeout_ms: 1 };
        mux.ask(&ToGuest::Probe { id: 3, probe }).unwrap();
        assert_eq!(tell(&mut mux, &ToHost::Probed { id: 3, outcome }), Err(Breach::Value(what)));
    }
    check("an exit code that cannot be", Breach::Value("an exit code that cannot be"), |mux| {
        tell(mux, &ToHost::Exited { process: 1, code: 256, oom: false })
    });
    let silent = tell(&mut Mux::new(false), &ToHost::OutOfMemory);
    assert_eq!(silent, Err(greeting));
    let other = ToHost::Hello { version: VERSION + 1, kernel: String::new(), uptime_ns: 0 };
    assert_eq!(tell(&mut Mux::new(false), &other), Err(Breach::Version(VERSION + 1)));
}

#[test]
fn bytes_that_are_no_message_are_found_out() {
    let deep = "[".repeat(100_000);
    for text in ["", "{", "{}", "[]", r#"{"tell":"novel"}"#, deep.as_str()] {
        let result = send(&mut running(), Kind::Message, 0, text.as_bytes());
        assert!(matches!(result, Err(Breach::Message(_))), "{:.20}", text);
    }
    let header = [u32::MAX.to_le_bytes(), 1u32.to_le_bytes(), [0; 4]].concat();
    assert!(matches!(running().feed(&header), Err(Breach::Frame(Violation::Length { .. }))));
}

#[test]
fn a_flood_of_what_nobody_asked_for_is_found_out_and_a_little_is_not() {
    let acts: [fn(&mut Mux) -> Result<(), Breach>; 4] = [
        |mux| tell(mux, &ToHost::OutOfMemory),
        |mux| send(mux, Kind::Data, 5, &[]),
        |mux| send(mux, Kind::Credit, 99, &[1, 0, 0, 0]),
        |mux| send(mux, Kind::End, 99, &[]),
    ];
    for act in acts {
        let mut mux = running();
        for _ in 0..3 {
            mux.tick();
            assert!((0..MAX_IDLE_FRAMES).all(|_| act(&mut mux).is_ok()));
        }
        assert!(mux.told.len() <= 3, "a message a second at most");
        assert_eq!(act(&mut mux), Err(Breach::Flood));
    }
}

#[test]
fn a_transfer_ends_with_its_answer_and_its_stream_can_be_used_again() {
    let mut mux = running();
    mux.ask(&tar_out(2, 400)).unwrap();
    assert!(mux.ask(&tar_out(3, 400)).is_err() && mux.ask(&tar_out(3, 5)).is_err() && mux.ask(&tar_out(3, 1)).is_err());
    send(&mut mux, Kind::Data, 400, b"tar").unwrap();
    send(&mut mux, Kind::End, 400, &[]).unwrap();
    tell(&mut mux, &ToHost::Done { id: 2, warnings: Vec::new() }).unwrap();
    assert!(matches!(mux.next_told(), Some(ToHost::Done { id: 2, .. })) && mux.writes(400));
    mux.wrote(400, 3);
    assert!(!mux.writes(400));
    mux.ask(&tar_out(2, 400)).unwrap();
    tell(&mut mux, &ToHost::Failed { id: 2, message: "no\u{1b}[2J".to_owned(), code: 1 }).unwrap();
    let told = ToHost::Failed { id: 2, message: "no\u{fffd}[2J".to_owned(), code: 125 };
    assert_eq!((mux.next_told(), mux.writes(400)), (Some(told), false));
}

#[test]
fn a_process_that_fails_to_start_leaves_nothing_and_a_terminal_has_two_streams() {
    let mut mux = running();
    mux.ask(&exec(2, 2, true)).unwrap();
    assert!(mux.reads(8) && mux.writes(9) && !mux.writes(10));
    assert!(mux.ask(&exec(3, 2, false)).is_err() && mux.ask(&exec(3, 0, false)).is_err() && mux.ask(&run(3)).is_err());
    tell(&mut mux, &ToHost::Failed { id: 2, message: String::new(), code: 127 }).unwrap();
    assert!(!mux.reads(8) && !mux.writes(9));
    mux.ask(&exec(2, 2, false)).unwrap();
    assert!(!mux.reads(8) && mux.writes(9) && mux.writes(10));
}
