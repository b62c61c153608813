//! Processes of the host as tests see them: signals by number, memory, descent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal. A process that is gone is no failure.
pub fn kill(pid: i32, signal: i32) {
    let (Some(pid), Some(signal)) = (Pid::from_raw(pid), Signal::from_named_raw(signal)) else {
        panic!("cannot send signal {signal} to {pid}: no such thing");
    };
    let _ = kill_process(pid, signal);
}

/// Whether a process is there and is no zombie.
pub fn alive(pid: i32) -> bool {
    stat_fields(pid).is_some_and(|fields| !matches!(fields.first().map(String::as_str), Some("Z" | "X")))
}

/// Fields of `/proc/PID/stat` from the state on.
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Every process there is.
pub(crate) fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("list /proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What a process was started with, and where it stands: for messages.
pub(crate) fn describe(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let fields = stat_fields(pid).unwrap_or_default();
    let state = fields.first().map_or("?", String::as_str);
    format!("process {pid} ({}) state {state}: {}", name.trim(), line.trim())
}

/// Whether anything of a process that outlives an exec names `needle`: environment, arguments, open files, mounts.
pub(crate) fn mentions(pid: i32, needle: &str) -> bool {
    let folder = Path::new("/proc").join(pid.to_string());
    let within =
        |file: &str| fs::read(folder.join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(needle));
    let links = |name: &str| {
        let entries = fs::read_dir(folder.join(name)).into_iter().flatten().flatten();
        entries.flat_map(|entry| fs::read_link(entry.path())).any(|path| path.to_string_lossy().contains(needle))
    };
    within("environ") || within("cmdline") || within("cgroup") || links("fd")
}

/// Proportional set size of a process, KiB.
pub fn pss_kib(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

/// Proportional set size of these processes and all that descend from them, less those in `except`, KiB.
pub fn tree_pss_kib(roots: &[i32], except: &[i32]) -> u64 {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in all() {
        let parent = stat_fields(pid).and_then(|fields| fields.get(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut waiting = roots.to_vec();
    let mut total = 0;
    while let Some(pid) = waiting.pop() {
        if except.contains(&pid) {
            continue;
        }
        total += pss_kib(pid);
        waiting.extend(children.get(&pid).into_iter().flatten());
    }
    total
}
