//! Notice of out-of-memory kills as they happen.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::error::CgroupError;
use super::{Cgroup, Controller, file};

/// A descriptor that becomes ready when memory runs out in a group, and when the group is removed. It says that
/// something happened; how often processes were killed says [`Cgroup::oom_kills`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    interest: PollFlags,
}

impl OomWatch {
    /// What to poll it for: an eventfd's readability on v1, a priority event of `memory.events` on v2.
    pub fn interest(&self) -> PollFlags {
        self.interest
    }

    /// Takes the event off, so that the next poll waits for the next one.
    pub fn clear(&self) {
        let mut buffer = [0u8; 512];
        if self.interest == PollFlags::IN {
            let _ = rustix::io::read(&self.fd, &mut buffer[..8]);
        } else {
            let _ = rustix::io::pread(&self.fd, &mut buffer, 0);
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn watch(group: &Cgroup) -> Result<Option<OomWatch>, CgroupError> {
    if let Some(dir) = group.v1_dir(Controller::Memory) {
        return watch_v1(&dir);
    }
    let Some(dir) = group.v2_dir() else { return Ok(None) };
    let path = dir.join("memory.events");
    match open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => {
            let watch = OomWatch { fd, interest: PollFlags::PRI };
            // Kernfs reports a change since the last read.
            watch.clear();
            Ok(Some(watch))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(CgroupError::Open { path, source: e.into() }),
    }
}

fn watch_v1(dir: &Path) -> Result<Option<OomWatch>, CgroupError> {
    let path = dir.join("memory.oom_control");
    let control = match open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(CgroupError::Open { path, source: e.into() }),
    };
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|e| CgroupError::Open { path: path.clone(), source: e.into() })?;
    let registration = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
    let registry = dir.join("cgroup.event_control");
    match file::write(&registry, &registration) {
        Ok(()) => Ok(Some(OomWatch { fd, interest: PollFlags::IN })),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => {
            let what = "the out-of-memory notice";
            Err(CgroupError::Write { what, value: registration, path: registry, hint: "", source: e.into() })
        }
    }
}
