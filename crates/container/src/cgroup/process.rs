//! The processes of a group: listed, frozen, killed, moved along.
//!
//! Killing: v2 has `cgroup.kill`, which forks cannot outrun. Elsewhere: freeze, signal all, thaw, look again, until the
//! group is empty. Freezing is undone on every way out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Dir, FileType, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::error::CgroupError;
use super::{Cgroup, Controller, ControllerSet, entry, file};

/// How long freezing may take.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);
/// Depth of child groups that are read.
const MAX_DEPTH: usize = 64;
/// Processes that are listed at most.
const MAX_PROCS: usize = 4 << 20;

pub(super) fn list(group: &Cgroup) -> Result<Vec<i32>, CgroupError> {
    for dir in group.tracking_dirs() {
        let mut pids = Vec::new();
        if collect(&dir, 0, &mut pids)? {
            pids.sort_unstable();
            pids.dedup();
            return Ok(pids);
        }
    }
    Ok(Vec::new())
}

/// Adds the processes of a group and of those below it; false where there is no such group. Groups that vanish
/// meanwhile are passed over.
fn collect(dir: &Path, depth: usize, pids: &mut Vec<i32>) -> Result<bool, CgroupError> {
    match file::read_if_present(&dir.join("cgroup.procs")) {
        Ok(None) => return Ok(false),
        Ok(Some(text)) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0)),
        // A threaded child group lists no processes; they are its parent's.
        Err(CgroupError::Read { source, .. }) if source.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
        Err(e) => return Err(e),
    }
    if depth >= MAX_DEPTH || pids.len() > MAX_PROCS {
        return Ok(true);
    }
    for child in children(dir) {
        collect(&child, depth + 1, pids)?;
    }
    Ok(true)
}

fn children(dir: &Path) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    // The folder of a group without child groups has two links; asking is cheaper than reading some forty names.
    if rustix::fs::stat(dir).is_ok_and(|s| s.st_nlink == 2) {
        return Vec::new();
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(entries) = open(dir, flags, Mode::empty()).and_then(Dir::new) else { return Vec::new() };
    let mut list = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            list.push(dir.join(std::ffi::OsStr::from_bytes(name)));
        }
    }
    list
}

pub(super) fn kill_all(group: &Cgroup, patience: Duration) -> Result<(), CgroupError> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(100);
    if let Some(dir) = group.v2_dir() {
        match file::write(&dir.join("cgroup.kill"), "1") {
            Ok(()) => return wait_empty(group, &dir, started, patience),
            // Gone, or older than 5.14.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(CgroupError::Kill { pid: 0, path: group.path().to_owned(), source: e.into() }),
        }
    }
    loop {
        let before = list(group)?;
        if before.is_empty() {
            return Ok(());
        }
        // One process cannot hide behind a fork that freezing would catch any better than the next round does.
        if before.len() > 1 {
            let _ = set_frozen(group, true);
        }
        let killed = list(group).and_then(|pids| signal(group, &pids));
        // Also where freezing failed half-way, and where somebody else had frozen it: a frozen task does not die on v1.
        match thaw(group) {
            Ok(()) | Err(CgroupError::NoController { .. }) => {}
            Err(CgroupError::Write { source, .. }) if file::is_gone(&source) => {}
            Err(e) => return Err(e),
        }
        killed?;
        if started.elapsed() >= patience {
            return timeout(group, "kill", started);
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn signal(group: &Cgroup, pids: &[i32]) -> Result<(), CgroupError> {
    let own = rustix::process::getpid();
    for &raw in pids {
        let Some(pid) = Pid::from_raw(raw).filter(|pid| *pid != own) else { continue };
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(e) => return Err(CgroupError::Kill { pid: raw, path: group.path().to_owned(), source: e.into() }),
        }
    }
    Ok(())
}

/// *Source*: proc_pid_oom_score(5). A process that cannot be asked is not chosen, nor one of score 0, which the kernel spares.
pub(super) fn kill_largest(group: &Cgroup) -> Result<bool, CgroupError> {
    let score = |pid: i32| -> Option<u64> {
        file::read_if_present(Path::new(&format!("/proc/{pid}/oom_score"))).ok()??.trim().parse().ok()
    };
    let largest = list(group)?.into_iter().filter_map(|pid| Some((score(pid).filter(|score| *score > 0)?, pid))).max();
    let Some((_, pid)) = largest else { return Ok(false) };
    signal(group, &[pid])?;
    Ok(true)
}

/// Waits for `populated 0` by the event that `cgroup.events` gives.
fn wait_empty(group: &Cgroup, dir: &Path, started: Instant, patience: Duration) -> Result<(), CgroupError> {
    let path = dir.join("cgroup.events");
    let events = match open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(CgroupError::Open { path, source: e.into() }),
    };
    loop {
        match read_events(&events) {
            Ok(text) if file::keyed(&text, "populated") != Some(1) => return Ok(()),
            Ok(_) => {}
            Err(Errno::NODEV) => return Ok(()),
            Err(e) => return Err(CgroupError::Read { path, source: e.into() }),
        }
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            return timeout(group, "kill", started);
        }
        let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timespec(left)));
    }
}

fn read_events(events: &std::os::fd::OwnedFd) -> Result<String, Errno> {
    let mut buffer = [0u8; 256];
    let count = rustix::io::retry_on_intr(|| rustix::io::pread(events, &mut buffer, 0))?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn timespec(time: Duration) -> Timespec {
    // Bounded, so that the conversion holds.
    let time = time.min(Duration::from_secs(3600));
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

fn sleep(time: Duration) {
    let _ = poll(&mut [], Some(&timespec(time)));
}

fn timeout<T>(group: &Cgroup, verb: &'static str, started: Instant) -> Result<T, CgroupError> {
    let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let left = list(group).map_or(0, |pids| pids.len());
    Err(CgroupError::Timeout { verb, path: group.path().to_owned(), waited_ms, left })
}

pub(super) fn freeze(group: &Cgroup) -> Result<(), CgroupError> {
    let result = set_frozen(group, true);
    if result.is_err() {
        let _ = set_frozen(group, false);
    }
    result
}

pub(super) fn thaw(group: &Cgroup) -> Result<(), CgroupError> {
    set_frozen(group, false)
}

/// Writes the wanted state and, for freezing, waits until it is reached.
fn set_frozen(group: &Cgroup, frozen: bool) -> Result<(), CgroupError> {
    if let Some(dir) = group.v2_dir() {
        return set_frozen_v2(group, &dir, frozen);
    }
    let Some(dir) = group.v1_dir(Controller::Freezer) else {
        let place = group.hierarchy.v1.first().and_then(|m| m.dir.parent()).unwrap_or(Path::new("/")).to_owned();
        return Err(CgroupError::NoController { what: "running (pause)", controller: "freezer", place });
    };
    let path = dir.join("freezer.state");
    let started = Instant::now();
    let mut pause = Duration::from_micros(100);
    let value = if frozen { "FROZEN" } else { "THAWED" };
    loop {
        put_state(&path, value)?;
        if !frozen {
            return Ok(());
        }
        // A task that forks meanwhile leaves FREEZING behind; writing again catches its child.
        match file::read(&path) {
            Ok(state) if state.trim() == "FROZEN" => return Ok(()),
            Ok(_) => {}
            Err(source) => return Err(CgroupError::Read { path, source }),
        }
        if started.elapsed() >= FREEZE_PATIENCE {
            return timeout(group, "freeze", started);
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn put_state(path: &Path, value: &str) -> Result<(), CgroupError> {
    file::write(path, value).map_err(|e| CgroupError::Write {
        what: "the freezer state",
        value: value.to_owned(),
        path: path.to_owned(),
        hint: if e == Errno::NOENT { "the container is gone" } else { "" },
        source: e.into(),
    })
}

fn set_frozen_v2(group: &Cgroup, dir: &Path, frozen: bool) -> Result<(), CgroupError> {
    put_state(&dir.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
    if !frozen {
        return Ok(());
    }
    let path = dir.join("cgroup.events");
    let failed = |e: Errno| CgroupError::Read { path: path.clone(), source: e.into() };
    let events = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let started = Instant::now();
    loop {
        let text = read_events(&events).map_err(failed)?;
        if file::keyed(&text, "frozen") == Some(1) || file::keyed(&text, "populated") == Some(0) {
            return Ok(());
        }
        let left = FREEZE_PATIENCE.saturating_sub(started.elapsed());
        if left.is_zero() {
            return timeout(group, "freeze", started);
        }
        let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timespec(left)));
    }
}

/// Moves all processes into v1 groups that an update made. Ends when a look finds nobody new.
pub(super) fn follow(group: &Cgroup, made: ControllerSet) -> Result<(), CgroupError> {
    let mut moved: Vec<i32> = Vec::new();
    loop {
        let new: Vec<i32> = list(group)?.into_iter().filter(|pid| moved.binary_search(pid).is_err()).collect();
        if new.is_empty() {
            return Ok(());
        }
        for pid in new {
            match entry::move_in(group, pid, Some(made)) {
                Ok(()) => {}
                Err(CgroupError::Join { source, .. }) if source.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                Err(e) => return Err(e),
            }
            moved.insert(moved.partition_point(|&p| p < pid), pid);
        }
    }
}
