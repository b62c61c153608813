//! Removing groups: children first, waiting a bounded time for processes that are dying.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Dir, FileType, Mode, OFlags, open, rmdir};
use rustix::io::Errno;

use super::error::CgroupError;

/// Depth of child groups that are walked; deeper ones cannot have been made through a path of PATH_MAX.
const MAX_DEPTH: usize = 256;

/// Removes the group at `dir` and the groups below it. Succeeds where there is none. Does not kill.
pub(super) fn tree(dir: &Path, patience: Duration) -> Result<(), CgroupError> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        match rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(e) => return Err(CgroupError::Remove { path: dir.to_owned(), source: e.into() }),
        }
        children(dir, 0);
        match rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(e) if started.elapsed() >= patience => {
                return Err(CgroupError::Remove { path: dir.to_owned(), source: e.into() });
            }
            Err(_) => {}
        }
        wait(dir, pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Removes what can be removed below a group. Errors show when the group itself stays busy.
fn children(dir: &Path, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(entries) = open(dir, flags, Mode::empty()).and_then(Dir::new) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            let child = dir.join(OsStr::from_bytes(name));
            if rmdir(&child).is_err() {
                children(&child, depth + 1);
                let _ = rmdir(&child);
            }
        }
    }
}

/// Waits for the v2 group to become empty, or (v1 has no such event) just a moment.
fn wait(dir: &Path, pause: Duration) {
    let time = Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) };
    match open(dir.join("cgroup.events"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(events) => {
            let mut buffer = [0u8; 256];
            let _ = rustix::io::read(&events, &mut buffer);
            let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&time));
        }
        Err(_) => {
            let _ = poll(&mut [], Some(&time));
        }
    }
}
