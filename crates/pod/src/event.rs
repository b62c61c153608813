//! Events: who did what to which container or volume, in one file of JSON lines under the run root.
//!
//! Owns that file. Every writer appends one line by one write, so lines never mix; at 1 MiB the file is renamed away and
//! one older file is kept, which bounds it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::fs::{Mode, OFlags};

use crate::layout::{now_ns, with_parents, write_all};
use crate::{Error, Event, EventQuery};

/// Size at which the file is renamed away.
const ROTATE_BYTES: i64 = 1 << 20;
/// Longest line that is read.
const MAX_LINE_BYTES: u64 = 256 << 10;
const FILE: &str = "events.jsonl";
const OLD_FILE: &str = "events.jsonl.1";

impl Event {
    /// An event of now.
    pub fn now(kind: &str, action: &str, id: &str) -> Self {
        let attributes = BTreeMap::new();
        Self { time_ns: now_ns(), kind: kind.to_owned(), action: action.to_owned(), id: id.to_owned(), attributes }
    }

    /// With one more attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(key.to_owned(), value.into());
        self
    }
}

/// Appends events. A failure is dropped: an event is talk, never worth failing what caused it.
pub(crate) fn emit(run: &Path, events: &[Event]) {
    let _ = try_emit(run, events);
}

fn try_emit(run: &Path, events: &[Event]) -> std::io::Result<()> {
    let mut text = Vec::with_capacity(512);
    for event in events {
        serde_json::to_writer(&mut text, event)?;
        text.push(b'\n');
    }
    let path = run.join(FILE);
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let file = with_parents(run, || rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR))?;
    write_all(&file, &text)?;
    if rustix::fs::seek(&file, rustix::fs::SeekFrom::Current(0))? as i64 > ROTATE_BYTES {
        rustix::fs::rename(&path, run.join(OLD_FILE))?;
    }
    Ok(())
}

/// Gives events to `sink` until it returns false, or the query's end.
pub(crate) fn read(run: &Path, query: EventQuery, sink: &mut dyn FnMut(Event) -> bool) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::io("read events in", run.display().to_string(), e);
    let watch =
        inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(|e| failed(e.into()))?;
    with_parents(run, || inotify::add_watch(&watch, run, inotify::WatchFlags::CREATE | inotify::WatchFlags::MODIFY))
        .map_err(|e| failed(e.into()))?;
    let past = query.since_ns.is_some() || query.until_ns.is_some() || !query.follow;
    let mut cursor = Cursor { file: None, line: Vec::new() };
    let mut give = |event: Event| {
        let wanted =
            query.since_ns.is_none_or(|t| event.time_ns >= t) && query.until_ns.is_none_or(|t| event.time_ns <= t);
        !wanted || sink(event)
    };
    if past && !cursor.read_file(&run.join(OLD_FILE), &mut give).map_err(failed)? {
        return Ok(());
    }
    cursor.open(&run.join(FILE), !past).map_err(failed)?;
    loop {
        if !cursor.drain(&mut give).map_err(failed)? {
            return Ok(());
        }
        if cursor.moved(&run.join(FILE)) {
            cursor.open(&run.join(FILE), false).map_err(failed)?;
            continue;
        }
        if !query.follow || !wait(watch.as_fd(), query.until_ns).map_err(failed)? {
            return Ok(());
        }
    }
}

/// Waits for a change; false when `until_ns` has passed.
fn wait(watch: std::os::fd::BorrowedFd<'_>, until_ns: Option<u64>) -> std::io::Result<bool> {
    let left = until_ns.map(|t| t.saturating_sub(now_ns()));
    if left == Some(0) {
        return Ok(false);
    }
    let timeout = left.map(|ns| Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 });
    let mut poll = [PollFd::from_borrowed_fd(watch, PollFlags::IN)];
    match rustix::event::poll(&mut poll, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let mut buffer = [0u8; 4096];
    while rustix::io::read(watch, &mut buffer).is_ok_and(|n| n > 0) {}
    Ok(true)
}

/// Where a reader stands in the file.
struct Cursor {
    file: Option<BufReader<std::fs::File>>,
    line: Vec<u8>,
}

impl Cursor {
    fn open(&mut self, path: &Path, at_end: bool) -> std::io::Result<()> {
        self.line.clear();
        self.file = match std::fs::File::open(path) {
            Ok(mut file) => {
                if at_end {
                    file.seek(SeekFrom::End(0))?;
                }
                Some(BufReader::new(file))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        Ok(())
    }

    fn read_file(&mut self, path: &Path, give: &mut dyn FnMut(Event) -> bool) -> std::io::Result<bool> {
        self.open(path, false)?;
        self.drain(give)
    }

    /// Gives the whole lines that are there. A line that is no event is passed over.
    fn drain(&mut self, give: &mut dyn FnMut(Event) -> bool) -> std::io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(true) };
        loop {
            file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                if self.line.len() as u64 >= MAX_LINE_BYTES {
                    self.line.clear();
                    continue;
                }
                return Ok(true);
            }
            let event = serde_json::from_slice(&self.line);
            self.line.clear();
            if event.is_ok_and(|event| !give(event)) {
                return Ok(false);
            }
        }
    }

    /// Whether another file has the name by now.
    fn moved(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let there = std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
        let open = self.file.as_ref().and_then(|f| f.get_ref().metadata().ok()).map(|m| (m.dev(), m.ino()));
        there.is_some() && there != open
    }
}
