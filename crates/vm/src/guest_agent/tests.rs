//! The protocol against an agent that the test plays.

use std::thread;

use rustix::net::SocketType;

use super::*;

/// Plays an agent: answers each line with what `answer` says.
fn play(theirs: OwnedFd, answer: impl Fn(&Value) -> String + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        while let Ok(Received::Packet(more, _)) = packet::receive_some(theirs.as_fd(), 65536) {
            bytes.extend(more);
            while let Some(at) = bytes.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = bytes.drain(..=at).filter(|b| *b != 0xff).collect();
                let words = answer(&serde_json::from_slice(&line).unwrap());
                let mut words = words.as_bytes();
                while !words.is_empty() {
                    words = &words[packet::send(theirs.as_fd(), words, &[]).unwrap()..];
                }
            }
        }
    })
}

#[test]
fn a_command_is_run_and_what_others_asked_is_passed_over() {
    let (ours, theirs) = packet::pair(SocketType::STREAM).unwrap();
    let agent = play(theirs, |asked| match asked["execute"].as_str().unwrap() {
        "guest-sync-delimited" => format!("{{\"return\": 0}}\nrubbish\n{{\"return\": {}}}\n", asked["arguments"]["id"]),
        "guest-exec" => {
            assert_eq!(asked["arguments"]["path"], "cat");
            assert_eq!(asked["arguments"]["input-data"], "aGk=");
            "{\"return\": {\"pid\": 7}}\n".to_owned()
        }
        _ => "{\"return\": {\"exited\": true, \"exitcode\": 3, \"out-data\": \"aGk=\"}}\n".to_owned(),
    });
    let mut found = GuestAgent::find(ours).unwrap();
    let ended = found.execute(&["cat".to_owned()], &[], b"hi").unwrap();
    assert_eq!(ended, Ended { code: 3, output: b"hi".to_vec(), ..Ended::default() });
    drop(found);
    agent.join().unwrap();
}

#[test]
fn refusals_garbage_and_ends_are_errors() {
    for (words, expected) in [
        ("{\"error\": {\"desc\": \"no \\u001b such\"}}\n", "the guest agent says `no \\u{1b} such`"),
        ("{\"return\": {}}\n", "the guest agent says something else than was asked"),
        ("[[[\n", "the guest agent says something else than was asked"),
    ] {
        let (ours, theirs) = packet::pair(SocketType::STREAM).unwrap();
        let agent = play(theirs, move |asked| match asked["execute"].as_str().unwrap() {
            "guest-sync-delimited" => format!("{{\"return\": {}}}\n", asked["arguments"]["id"]),
            _ => words.to_owned(),
        });
        let mut found = GuestAgent::find(ours).unwrap();
        assert_eq!(found.execute(&["x".to_owned()], &[], b"").unwrap_err().to_string(), expected);
        drop(found);
        agent.join().unwrap();
    }
    let (ours, theirs) = packet::pair(SocketType::STREAM).unwrap();
    drop(theirs);
    assert!(matches!(GuestAgent::find(ours), Err(Error::Closed)));
}
