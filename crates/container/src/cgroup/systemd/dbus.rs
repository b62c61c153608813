//! A connection to systemd: its private socket, or the system bus. Blocking, one call at a time.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::wire::{self, Body, ERROR, MAX_MESSAGE, METHOD_RETURN, Target};

/// For root only, and there before the bus is.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// A busy systemd has taken 25 s and more to answer; see the research on mass starts.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that are passed over while an answer is waited for.
const MAX_UNRELATED: usize = 10_000;

/// An authenticated connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    serial: u32,
}

impl Connection {
    /// Connects to systemd.
    pub fn open() -> io::Result<Connection> {
        if let Ok(connection) = Connection::to(Path::new(PRIVATE), false) {
            return Ok(connection);
        }
        Connection::to(Path::new(SYSTEM_BUS), true)
    }

    /// Connects to a socket, which is a bus or one peer.
    pub fn to(socket: &Path, is_bus: bool) -> io::Result<Connection> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Connection { stream, serial: 0 };
        connection.authenticate()?;
        if is_bus {
            let bus = "org.freedesktop.DBus";
            connection.call(
                Target { destination: bus, path: "/org/freedesktop/DBus", interface: bus, member: "Hello" },
                None,
            )?;
        }
        Ok(connection)
    }

    /// By the socket's own credentials.
    fn authenticate(&mut self) -> io::Result<()> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        // Byte by byte: what follows the line belongs to the messages.
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the bus did not accept this user"));
        }
        self.stream.write_all(b"BEGIN\r\n")
    }

    /// Calls a method of systemd's manager.
    pub fn call_manager(&mut self, member: &str, body: &Body) -> io::Result<()> {
        let target = Target {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
        };
        self.call(target, Some(body))
    }

    fn call(&mut self, target: Target<'_>, body: Option<&Body>) -> io::Result<()> {
        self.serial += 1;
        let message = wire::call(self.serial, target, body);
        if message.len() > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is longer than 65536 bytes"));
        }
        self.stream.write_all(&message)?;
        for _ in 0..MAX_UNRELATED {
            let heard = self.hear().map_err(|e| match e.kind() {
                io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in 60 s"),
                _ => e,
            })?;
            if heard.reply_serial != self.serial {
                continue;
            }
            match heard.kind {
                METHOD_RETURN => return Ok(()),
                ERROR => return Err(io::Error::other(heard.error)),
                _ => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "no answer came among 10000 messages"))
    }

    fn hear(&mut self) -> io::Result<wire::Heard> {
        let garbled = || io::Error::new(io::ErrorKind::InvalidData, "a message on the bus is malformed or too long");
        let mut head = [0u8; 16];
        self.stream.read_exact(&mut head)?;
        let length = wire::length(&head).ok_or_else(garbled)?;
        let mut message = head.to_vec();
        message.resize(length, 0);
        self.stream.read_exact(&mut message[16..])?;
        wire::parse(&message).ok_or_else(garbled)
    }
}
