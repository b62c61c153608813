//! The systemd driver without systemd: names, bytes, and a real bus that checks them where `dbus-daemon` is installed.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use super::dbus::Connection;
use super::wire::{ERROR, Heard, MAX_MESSAGE, Target, call, length, parse};
use super::{escape, scope_in, start_arguments, unit_of};
use crate::cgroup::hierarchy::GroupPath;

#[test]
fn unit_and_slice_come_from_the_path() {
    for (path, unit, slice) in [
        ("holm/web", "holm-web.scope", "system.slice"),
        ("machine.slice/holm-web.scope", "holm-web.scope", "machine.slice"),
        ("user.slice/user-1.slice/x", "x.scope", "user-1.slice"),
        ("x", "x.scope", "system.slice"),
        ("a/b c", "a-b\\x20c.scope", "system.slice"),
    ] {
        assert_eq!(unit_of(&GroupPath::new(path).unwrap()), (unit.to_owned(), slice.to_owned()), "{path}");
    }
    assert_eq!(escape(".a\\b@c"), "\\x2ea\\x5cb\\x40c");
}

#[test]
fn scope_is_found_in_the_own_groups() {
    let text = "1:name=systemd:/system.slice/other.scope\n0::/system.slice/holm-a.scope/supervisor\n";
    assert_eq!(scope_in(text, "holm-a.scope").as_deref(), Some("/system.slice/holm-a.scope"));
    assert_eq!(scope_in(text, "other.scope").as_deref(), Some("/system.slice/other.scope"));
    assert_eq!(scope_in(text, "holm-b.scope"), None);
    assert_eq!(scope_in(text, "m-a.scope"), None);
}

#[test]
fn call_has_the_bytes_of_the_specification() {
    let target = Target { destination: "d.e", path: "/p", interface: "i.j", member: "M" };
    let bytes = call(7, target, None);
    let head = [b'l', 1, 0, 1, 0, 0, 0, 0, 7, 0, 0, 0];
    assert_eq!(bytes[..12], head);
    assert_eq!(bytes.len() % 8, 0);
    assert_eq!(bytes[16..27], [1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'p', 0]);
    assert_eq!(bytes[32..44], [2, 1, b's', 0, 3, 0, 0, 0, b'i', b'.', b'j', 0]);
    assert_eq!(length(bytes[..16].try_into().unwrap()), Some(bytes.len()));
}

#[test]
fn lying_messages_are_refused() {
    assert_eq!(length(&[b'l', 2, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255]), None);
    assert_eq!(length(&[b'B', 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    let just = (MAX_MESSAGE as u32 - 16).to_le_bytes();
    let mut head = [b'l', 2, 0, 1, just[0], just[1], just[2], just[3], 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(length(&head), Some(MAX_MESSAGE));
    head[4] += 1;
    assert_eq!(length(&head), None);
    // Every shortening and every changed byte is read without a panic.
    let good = call(1, Target { destination: "d.e", path: "/p", interface: "i.j", member: "M" }, None);
    for end in 0..good.len() {
        let _ = parse(&good[..end]);
    }
    for at in 0..good.len() {
        for value in [0, 1, 127, 255] {
            let mut bad = good.clone();
            bad[at] = value;
            let _ = parse(&bad);
        }
    }
}

#[test]
fn error_answer_is_read_with_its_text() {
    let mut bytes = vec![b'l', ERROR, 0, 1, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([5, 1, b'u', 0, 42, 0, 0, 0]);
    bytes.extend([4, 1, b's', 0, 3, 0, 0, 0, b'a', b'.', b'b', 0, 0, 0, 0, 0]);
    bytes.extend([8, 1, b'g', 0, 1, b's', 0]);
    bytes[12] = 31;
    bytes.push(0);
    bytes.extend([4, 0, 0, 0, b'g', b'o', b'n', b'e', 0]);
    let wanted = Heard { kind: ERROR, reply_serial: 42, error: "a.b: gone".to_owned() };
    assert_eq!(parse(&bytes), Some(wanted));
}

/// A bus ends the connection of whoever sends it a malformed message; to a well-formed call of a service that is not
/// there it answers with an error.
#[test]
fn real_bus_accepts_the_start_of_a_scope() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bus");
    // Without service folders, so that nothing is started on our behalf.
    let config = dir.path().join("config");
    let text = format!(
        "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
         <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>\
         </policy></busconfig>",
        socket.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("dbus-daemon");
    command.args(["--nofork", "--print-address=1", "--nosyslog"]).arg(format!("--config-file={}", config.display()));
    let Ok(mut bus) = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
        println!("skipped: needs dbus-daemon");
        return;
    };
    // The address is printed when the socket is there.
    bus.stdout.take().unwrap().read_exact(&mut [0; 4]).unwrap();
    let answer = Connection::to(Path::new(&socket), true).and_then(|mut connection| {
        let refused =
            connection.call_manager("StartTransientUnit", &start_arguments("holm-a.scope", "system.slice", 1));
        // Twice, to see that the connection is still good.
        let again = connection.call_manager("StartTransientUnit", &start_arguments("holm-b.scope", "a.slice", 77));
        assert!(again.is_err());
        refused
    });
    bus.kill().unwrap();
    bus.wait().unwrap();
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("org.freedesktop.DBus.Error.ServiceUnknown") && error.contains("systemd1"), "{error}");
}
