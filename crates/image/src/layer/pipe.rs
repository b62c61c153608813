//! A bounded pipe of large buffers between the decoding and the extracting thread. Buffers are reused.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{self, Receiver as Channel, SyncSender};

/// Size of one buffer: large reads and writes, small enough for the second-level cache of most processors.
const BUFFER_BYTES: usize = 256 * 1024;
/// Buffers in flight: 2 MiB per layer.
const BUFFERS: usize = 8;

type Chunk = io::Result<(Vec<u8>, usize)>;

/// The writing end.
#[derive(Debug)]
pub(super) struct Sender {
    full: SyncSender<Chunk>,
    empty: Channel<Vec<u8>>,
    made: usize,
}

/// The reading end. Reading fails where the writing end said so.
#[derive(Debug)]
pub(super) struct Receiver {
    full: Channel<Chunk>,
    empty: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    filled: usize,
}

/// Makes a pipe.
pub(super) fn pair() -> (Sender, Receiver) {
    let (full_in, full_out) = mpsc::sync_channel(BUFFERS);
    let (empty_in, empty_out) = mpsc::sync_channel(BUFFERS);
    let sender = Sender { full: full_in, empty: empty_out, made: 0 };
    let receiver = Receiver { full: full_out, empty: empty_in, current: Vec::new(), position: 0, filled: 0 };
    (sender, receiver)
}

impl Sender {
    /// A buffer to fill. Waits until one is free; fails with `BrokenPipe` if the reading end is gone.
    pub fn buffer(&mut self) -> io::Result<Vec<u8>> {
        if let Ok(buffer) = self.empty.try_recv() {
            return Ok(buffer);
        }
        if self.made < BUFFERS {
            self.made += 1;
            return Ok(vec![0; BUFFER_BYTES]);
        }
        self.empty.recv().map_err(|_| broken())
    }

    /// Hands over the first `filled` bytes of a buffer.
    pub fn send(&mut self, buffer: Vec<u8>, filled: usize) -> io::Result<()> {
        self.full.send(Ok((buffer, filled))).map_err(|_| broken())
    }

    /// Makes the reading end fail.
    pub fn fail(&mut self, error: io::Error) {
        // If the reading end is gone, nobody needs to know.
        let _ = self.full.send(Err(error));
    }
}

fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::BrokenPipe)
}

impl BufRead for Receiver {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.filled {
            let used = std::mem::take(&mut self.current);
            if !used.is_empty() {
                // If the writing end is gone, the buffer is not needed any more.
                let _ = self.empty.try_send(used);
            }
            (self.position, self.filled) = (0, 0);
            if let Ok(chunk) = self.full.recv() {
                (self.current, self.filled) = chunk?;
            }
        }
        Ok(&self.current[self.position..self.filled])
    }

    fn consume(&mut self, amount: usize) {
        self.position = (self.position + amount).min(self.filled);
    }
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}
