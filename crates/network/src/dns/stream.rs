//! Messages over TCP, each after its length: what came, what is to go. Knows neither questions nor answers.
//!
//! *Source*: RFC 7766, section 8.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Bytes read at once.
const CHUNK: usize = 4096;

/// One connection, non-blocking.
pub struct Stream {
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    message_max: usize,
    ended: bool,
}

impl Stream {
    /// A connection on which messages longer than this are an error.
    pub fn new(socket: OwnedFd, message_max: usize) -> Self {
        Self { socket, input: Vec::new(), output: Vec::new(), sent: 0, message_max, ended: false }
    }

    /// The socket.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Nothing more will come.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes that wait to go.
    pub fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Takes the next whole message.
    ///
    /// # Errors
    /// Its length is over the limit, or the connection broke.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some((head, rest)) = self.input.split_first_chunk::<2>() {
                let length = usize::from(u16::from_be_bytes(*head));
                if length > self.message_max {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
                }
                if rest.len() >= length {
                    let message = rest[..length].to_vec();
                    self.input.drain(..2 + length);
                    return Ok(Some(message));
                }
            }
            if self.ended || !self.receive()? {
                return Ok(None);
            }
        }
    }

    /// Reads some bytes; false where there are none now.
    fn receive(&mut self) -> io::Result<bool> {
        let before = self.input.len();
        self.input.resize(before + CHUNK, 0);
        let got = recv(&self.socket, &mut self.input[before..], RecvFlags::DONTWAIT);
        self.input.truncate(before + got.as_ref().map_or(0, |(_, length)| (*length).min(CHUNK)));
        match got {
            Ok((_, 0)) => {
                self.ended = true;
                Ok(false)
            }
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a message to what is to go.
    pub fn write(&mut self, message: &[u8]) {
        if let Ok(length) = u16::try_from(message.len()) {
            self.output.extend_from_slice(&length.to_be_bytes());
            self.output.extend_from_slice(message);
        }
    }

    /// Sends what can go now; true where something went.
    pub fn flush(&mut self) -> io::Result<bool> {
        let before = self.sent;
        while self.sent < self.output.len() {
            match send(&self.socket, &self.output[self.sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => self.sent += length,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let went = self.sent > before;
        if self.sent == self.output.len() {
            // A large answer's room is not kept.
            self.output = Vec::new();
            self.sent = 0;
        }
        Ok(went)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, Stream) {
        let (theirs, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (theirs, Stream::new(ours.into(), 300))
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let (mut theirs, mut stream) = pair();
        for byte in [0, 2, b'a'] {
            theirs.write_all(&[byte]).unwrap();
            assert_eq!(stream.read().unwrap(), None);
        }
        theirs.write_all(b"b\x00\x00\x00\x01c\x00").unwrap();
        assert_eq!(stream.read().unwrap().as_deref(), Some(&b"ab"[..]));
        assert_eq!(stream.read().unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(stream.read().unwrap().as_deref(), Some(&b"c"[..]));
        drop(theirs);
        assert_eq!(stream.read().unwrap(), None);
        assert!(stream.is_ended());
    }

    #[test]
    fn message_over_the_limit_is_an_error() {
        let (mut theirs, mut stream) = pair();
        theirs.write_all(&[&[1, 44][..], &[7; 300]].concat()).unwrap();
        assert_eq!(stream.read().unwrap().map(|message| message.len()), Some(300));
        theirs.write_all(&[1, 45]).unwrap();
        assert!(stream.read().is_err());
    }

    #[test]
    fn what_does_not_fit_goes_later() {
        let (theirs, mut stream) = pair();
        let message = [3; 60_000];
        for _ in 0..20 {
            stream.write(&message);
        }
        assert!(stream.flush().unwrap());
        assert!(stream.unsent() > 0);
        let mut reader = Stream::new(theirs.into(), 60_000);
        let mut count = 0;
        while count < 20 {
            stream.flush().unwrap();
            while let Some(got) = reader.read().unwrap() {
                assert_eq!(got, message);
                count += 1;
            }
        }
        assert_eq!(stream.unsent(), 0);
    }
}
