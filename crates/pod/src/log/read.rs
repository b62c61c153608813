//! Reading a log: the last lines, between two times, and on as it grows, over rotations, to the container's end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify;

use super::FILE;
use crate::clock::parse_rfc3339;
use crate::{LogLine, LogQuery};

/// Longest line of the file that is read: one piece, escaped at six bytes a byte, and its frame.
const MAX_LINE_BYTES: u64 = 256 * 1024;
/// Most lines that `tail` keeps in memory.
const MAX_TAIL: u64 = 1_000_000;

/// Gives the lines that `query` asks for. `alive` is readable once the container has ended for good; `None` means that it
/// does not run.
pub(crate) fn read(
    folder: &Path,
    query: &LogQuery,
    alive: Option<BorrowedFd<'_>>,
    sink: &mut dyn FnMut(LogLine) -> bool,
) -> io::Result<()> {
    let watch = match (query.follow, alive) {
        (true, Some(alive)) => {
            let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            let what = inotify::WatchFlags::CREATE | inotify::WatchFlags::MODIFY | inotify::WatchFlags::MOVED_FROM;
            inotify::add_watch(&watch, folder, what)?;
            Some((watch, alive))
        }
        _ => None,
    };
    let mut reader = Reader { folder: folder.to_owned(), file: None, line: Vec::new() };
    if !past(&mut reader, query, sink)? {
        return Ok(());
    }
    let Some((watch, alive)) = watch else { return Ok(()) };
    loop {
        let ended = ended(alive)?;
        // What was written before the end is read after it was seen.
        while let Some(line) = reader.next_over_rotation()? {
            if wanted(&line, query) && !sink(line) {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
        let mut polls =
            [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN), PollFd::from_borrowed_fd(alive, PollFlags::IN)];
        match rustix::event::poll(&mut polls, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&watch, &mut buffer).is_ok_and(|n| n > 0) {}
    }
}

fn ended(alive: BorrowedFd<'_>) -> io::Result<bool> {
    let mut poll = [PollFd::from_borrowed_fd(alive, PollFlags::IN)];
    let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::event::poll(&mut poll, Some(&zero)).unwrap_or(0) > 0)
}

/// Gives what is there, oldest file first; false when `sink` had enough.
fn past(reader: &mut Reader, query: &LogQuery, sink: &mut dyn FnMut(LogLine) -> bool) -> io::Result<bool> {
    let mut tail: VecDeque<LogLine> = VecDeque::new();
    let keep = query.tail.map(|n| n.min(MAX_TAIL) as usize);
    let mut files: Vec<PathBuf> = Vec::new();
    for n in 1.. {
        let path = reader.folder.join(format!("{FILE}.{n}"));
        if !path.exists() {
            break;
        }
        files.push(path);
    }
    files.reverse();
    files.push(reader.folder.join(FILE));
    for path in files {
        reader.open(&path)?;
        while let Some(line) = reader.next()? {
            if !wanted(&line, query) {
                continue;
            }
            if let Some(keep) = keep {
                tail.push_back(line);
                if tail.len() > keep {
                    tail.pop_front();
                }
            } else if !sink(line) {
                return Ok(false);
            }
        }
    }
    for line in tail {
        if !sink(line) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn wanted(line: &LogLine, query: &LogQuery) -> bool {
    let stream = match line.stream.as_str() {
        "stderr" => query.stderr,
        _ => query.stdout,
    };
    if !stream || (query.since_ns.is_none() && query.until_ns.is_none()) {
        return stream;
    }
    let Some(time) = parse_rfc3339(&line.time) else { return false };
    query.since_ns.is_none_or(|t| time >= t) && query.until_ns.is_none_or(|t| time <= t)
}

struct Reader {
    folder: PathBuf,
    file: Option<BufReader<File>>,
    line: Vec<u8>,
}

impl Reader {
    fn open(&mut self, path: &Path) -> io::Result<()> {
        self.line.clear();
        self.file = match File::open(path) {
            Ok(file) => Some(BufReader::new(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        Ok(())
    }

    /// The next whole line; `None` at the end of the file for now. What is no log line is passed over.
    fn next(&mut self) -> io::Result<Option<LogLine>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        loop {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len() as u64);
            file.by_ref().take(room).read_until(b'\n', &mut self.line)?;
            if self.line.last() == Some(&b'\n') || self.line.len() as u64 >= MAX_LINE_BYTES {
                let parsed = serde_json::from_slice(&self.line);
                self.line.clear();
                if let Ok(line) = parsed {
                    return Ok(Some(line));
                }
            } else {
                return Ok(None);
            }
        }
    }

    /// As [`Reader::next`], going on with the new file once this one was renamed away and read to its end.
    fn next_over_rotation(&mut self) -> io::Result<Option<LogLine>> {
        if let Some(line) = self.next()? {
            return Ok(Some(line));
        }
        let path = self.folder.join(FILE);
        let there = std::fs::metadata(&path).map(|m| (m.dev(), m.ino())).ok();
        let open = self.file.as_ref().and_then(|f| f.get_ref().metadata().ok()).map(|m| (m.dev(), m.ino()));
        if there.is_none() || there == open {
            return Ok(None);
        }
        // The writer leaves a file before it makes the next: what is unread in the old one is there by now.
        if let Some(line) = self.next()? {
            return Ok(Some(line));
        }
        self.open(&path)?;
        self.next()
    }
}
