//! The log of a container: docker's `json-file` form, one JSON object a line, rotated by size and count.
//!
//! Owns writing; `log::read` reads. `container.log` is the newest file, `container.log.1` the one before it.

pub(crate) mod read;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_spec::container::{LogDriver, LogSpec};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use crate::clock::rfc3339;
use crate::layout::{now_ns, write_all};

/// Name of the newest file.
pub(crate) const FILE: &str = "container.log";

/// A line longer than this is written in pieces. *Source*: moby daemon/logger/copier.go, `defaultBufSize`.
const PIECE_BYTES: usize = 16 * 1024;

/// One line of the file.
#[derive(Serialize)]
struct Entry<'a> {
    log: &'a str,
    stream: &'a str,
    time: &'a str,
}

/// Writes the log. The file is made with the first piece; a container that says nothing has none.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: PathBuf,
    spec: LogSpec,
    file: Option<OwnedFd>,
    size: u64,
    /// What came of an unfinished line, by stream.
    rest: [Vec<u8>; 2],
}

impl Writer {
    /// A writer for the container of `folder`.
    pub(crate) fn new(folder: &Path, spec: LogSpec) -> Self {
        Self { folder: folder.to_owned(), spec, file: None, size: 0, rest: [Vec::new(), Vec::new()] }
    }

    /// Takes output as it comes; `stream` is 1 or 2. Lines are written when they end or reach 16 KiB.
    pub(crate) fn take(&mut self, stream: u8, bytes: &[u8]) -> io::Result<()> {
        if self.spec.driver == LogDriver::None {
            return Ok(());
        }
        let slot = usize::from(stream == 2);
        let mut pending = std::mem::take(&mut self.rest[slot]);
        pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        let time = rfc3339(now_ns());
        let mut from = 0;
        while from < pending.len() {
            let left = &pending[from..];
            let piece = match left.iter().take(PIECE_BYTES).position(|b| *b == b'\n') {
                Some(at) => &left[..=at],
                None if left.len() >= PIECE_BYTES => &left[..cut(&left[..PIECE_BYTES])],
                None => break,
            };
            from += piece.len();
            entry(&mut out, stream, piece, &time)?;
            if self.spec.max_size_bytes > 0 && self.size + out.len() as u64 >= self.spec.max_size_bytes {
                self.flush(&mut out)?;
            }
        }
        pending.drain(..from);
        if pending.is_empty() {
            pending = Vec::new();
        }
        self.rest[slot] = pending;
        self.flush(&mut out)
    }

    /// Writes what is left of unfinished lines.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        let time = rfc3339(now_ns());
        for (slot, stream) in [(0, 1), (1, 2)] {
            let rest = std::mem::take(&mut self.rest[slot]);
            if !rest.is_empty() {
                entry(&mut out, stream, &rest, &time)?;
            }
        }
        self.flush(&mut out)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
            let file = rustix::fs::open(self.folder.join(FILE), flags, Mode::RUSR | Mode::WUSR)?;
            self.size = rustix::fs::fstat(&file)?.st_size.cast_unsigned();
            self.file = Some(file);
        }
        if let Some(file) = &self.file {
            write_all(file, out)?;
        }
        self.size += out.len() as u64;
        out.clear();
        if self.spec.max_size_bytes > 0 && self.size >= self.spec.max_size_bytes { self.rotate() } else { Ok(()) }
    }

    /// Moves every file one number up, by renames only: a reader that has one open keeps it.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let numbered = |n: u32| self.folder.join(if n == 0 { FILE.to_owned() } else { format!("{FILE}.{n}") });
        let last = self.spec.max_files.max(1) - 1;
        if last == 0 {
            // A single file: what it held is gone, as with docker.
            return match rustix::fs::unlink(numbered(0)) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
                Err(e) => Err(e.into()),
            };
        }
        for n in (0..last).rev() {
            match rustix::fs::rename(numbered(n), numbered(n + 1)) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// Where to cut a long piece so that no UTF-8 character is torn: at most three bytes earlier.
fn cut(piece: &[u8]) -> usize {
    match std::str::from_utf8(piece) {
        Err(e) if e.error_len().is_none() && e.valid_up_to() > 0 => e.valid_up_to(),
        _ => piece.len(),
    }
}

fn entry(out: &mut Vec<u8>, stream: u8, piece: &[u8], time: &str) -> io::Result<()> {
    let log = String::from_utf8_lossy(piece);
    let stream = if stream == 2 { "stderr" } else { "stdout" };
    serde_json::to_writer(&mut *out, &Entry { log: &log, stream, time })?;
    out.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests;
