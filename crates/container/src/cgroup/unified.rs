//! Enabling controllers in the v2 tree, from the mount down to the parent of a group.
//!
//! A group with processes of its own cannot hand controllers down (the "no internal processes" rule; the real root
//! may). Where Holm itself sits in such a group, as in a delegated service or in a container, it moves itself into a
//! child.

use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::apply::first_missing;
use super::controller::{Controller, ControllerSet};
use super::error::CgroupError;
use super::file;
use super::hierarchy::GroupPath;

/// Child group into which Holm moves itself.
const OWN_LEAF: &str = "holm.self";

/// Sees to it that the present group `path` has these controllers. One read where they are enabled already.
///
/// *Errors*: a required controller that the root does not offer, or that a parent cannot hand down. Optional ones are
/// left out then.
pub(super) fn enable(
    root: &Path,
    path: &GroupPath,
    required: &[(Controller, &'static str)],
    optional: ControllerSet,
) -> Result<(), CgroupError> {
    let asked = required.iter().fold(ControllerSet::EMPTY, |set, (c, _)| set.union(ControllerSet::of(&[*c])));
    let wanted = asked.union(optional);
    if wanted.is_empty() {
        return Ok(());
    }
    let have = controllers(&path.under(root))?;
    if wanted.minus(have).is_empty() {
        return Ok(());
    }
    let offered = controllers(root)?;
    if let Some((controller, what)) = first_missing(required, offered) {
        let controller = controller.v2_name().unwrap_or(controller.v1_name());
        return Err(CgroupError::NoController { what, controller, place: root.to_owned() });
    }
    let target = wanted.intersection(offered);
    if target.minus(have).is_empty() {
        return Ok(());
    }
    for dir in path.ancestors_under(root) {
        hand_down(&dir, target, asked)?;
    }
    Ok(())
}

fn controllers(dir: &Path) -> Result<ControllerSet, CgroupError> {
    let path = dir.join("cgroup.controllers");
    let text = file::read(&path).map_err(|source| CgroupError::Read { path, source })?;
    Ok(ControllerSet::parse_v2(&text))
}

/// Enables all in one write, or one by one where that is refused.
fn hand_down(dir: &Path, target: ControllerSet, asked: ControllerSet) -> Result<(), CgroupError> {
    let path = dir.join("cgroup.subtree_control");
    let all: Vec<String> = target.iter().filter_map(|c| c.v2_name()).map(|name| format!("+{name}")).collect();
    match file::write(&path, &all.join(" ")) {
        Ok(()) => return Ok(()),
        Err(Errno::BUSY) if !asked.is_empty() && step_aside(dir) => {
            if file::write(&path, &all.join(" ")).is_ok() {
                return Ok(());
            }
        }
        Err(_) => {}
    }
    for controller in target.iter() {
        let Some(name) = controller.v2_name() else { continue };
        match file::write(&path, &format!("+{name}")) {
            Ok(()) => {}
            Err(_) if !asked.contains(controller) => {}
            Err(e) => {
                let hint = match e {
                    Errno::BUSY => "the group has processes of its own, so it cannot have limited child groups",
                    Errno::OPNOTSUPP => "the group is threaded",
                    Errno::NOENT => "its own parent does not hand the controller down",
                    _ => "",
                };
                return Err(CgroupError::Enable { controller: name, path, hint, source: e.into() });
            }
        }
    }
    Ok(())
}

/// If this very process is in `dir`, moves it into a child group of it. Other processes there are left alone.
fn step_aside(dir: &Path) -> bool {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    let Ok(present) = file::read(&dir.join("cgroup.procs")) else { return false };
    if !present.lines().any(|pid| pid == own) {
        return false;
    }
    let leaf = dir.join(OWN_LEAF);
    match rustix::fs::mkdir(&leaf, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => file::write(&leaf.join("cgroup.procs"), "0").is_ok(),
        Err(_) => false,
    }
}
