//! The systemd driver: a transient scope, for hosts where systemd wants to own every group.
//!
//! The calling process, the container's supervisor, becomes the scope's process, with `Delegate=yes`: systemd then
//! leaves what is below to Holm. The supervisor moves to a leaf `supervisor` and the container's group is `container`
//! beside it, made and removed as with the other driver, so that its start still needs no bus after the first one. The
//! scope ends with the supervisor.

mod dbus;
mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::error::CgroupError;
use super::file;
use super::hierarchy::{GroupPath, Hierarchy};
use dbus::Connection;
use wire::{Body, Value};

/// How long systemd may take to move the process.
const PATIENCE: Duration = Duration::from_secs(30);

/// The unit and slice for a group path: `holm/web` becomes `holm-web.scope` in `system.slice`, and `a.slice/web.scope`
/// is taken as it is.
fn unit_of(path: &GroupPath) -> (String, String) {
    let (parent, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
    let slice = parent.rsplit('/').next().filter(|last| last.ends_with(".slice"));
    let mut unit = String::new();
    if slice.is_none() && !parent.is_empty() {
        unit = escape(parent) + "-";
    }
    unit += &escape(name.strip_suffix(".scope").unwrap_or(name));
    (unit + ".scope", slice.unwrap_or("system.slice").to_owned())
}

/// Escapes a name for a unit. *Source*: systemd.unit(5), "String escaping for inclusion in unit names".
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' | b'-' => out.push(char::from(byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

/// The arguments of `StartTransientUnit`.
fn start_arguments(unit: &str, slice: &str, pid: u32) -> Body {
    let properties = [
        ("Description", Value::Text("Holm container".to_owned())),
        ("Slice", Value::Text(slice.to_owned())),
        ("Delegate", Value::Flag(true)),
        ("DefaultDependencies", Value::Flag(false)),
        ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
        ("PIDs", Value::Numbers(vec![pid])),
    ];
    let mut body = Body::new("ssa(sv)a(sa(sv))");
    body.text(unit);
    body.text("fail");
    body.properties(&properties);
    body.empty_structures();
    body
}

/// Puts the calling process into a scope of its own, unless it is in it already, and returns the path of the
/// container's group in there.
///
/// *Order*: by the container's supervisor, before the container's process is made.
pub(super) fn scope(hierarchy: &Hierarchy, path: &GroupPath) -> Result<GroupPath, CgroupError> {
    let (unit, slice) = unit_of(path);
    let failed = |verb, source| CgroupError::Systemd { verb, unit: unit.clone(), source };
    let own = match own_path(&unit).map_err(|e| failed("find", e.into()))? {
        Some(own) => own,
        None => {
            let mut connection = Connection::open().map_err(|e| failed("reach systemd for", e.into()))?;
            let body = start_arguments(&unit, &slice, std::process::id());
            connection.call_manager("StartTransientUnit", &body).map_err(|e| failed("start", e.into()))?;
            wait_for_move(&unit).map_err(|e| failed("start", e.into()))?
        }
    };
    let scope = GroupPath::new(&own)?;
    if let Some(root) = &hierarchy.unified {
        step_aside(&scope.under(root)).map_err(|e| failed("divide", std::io::Error::from(e).into()))?;
    }
    GroupPath::new(&format!("{}/container", scope.as_str()))
}

/// The path of the scope, where this process is in it.
fn own_path(unit: &str) -> std::io::Result<Option<String>> {
    Ok(scope_in(&file::read(Path::new("/proc/self/cgroup"))?, unit))
}

/// Finds the scope in the lines of `/proc/self/cgroup`.
fn scope_in(text: &str, unit: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let mut end = 0;
        for part in path.split_inclusive('/') {
            end += part.len();
            if part.trim_end_matches('/') == unit {
                return Some(path[..end].trim_end_matches('/').to_owned());
            }
        }
        None
    })
}

fn wait_for_move(unit: &str) -> std::io::Result<String> {
    let started = Instant::now();
    let mut pause = 500_000;
    loop {
        if let Some(path) = own_path(unit)? {
            return Ok(path);
        }
        if started.elapsed() >= PATIENCE {
            return Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "systemd has not moved this process in 30 s",
            ));
        }
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: pause }));
        pause = (pause * 2).min(20_000_000);
    }
}

/// Only leaves may have processes.
fn step_aside(scope: &Path) -> Result<(), Errno> {
    let leaf = scope.join("supervisor");
    match rustix::fs::mkdir(&leaf, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => file::write(&leaf.join("cgroup.procs"), "0"),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests;
