//! The leak check: what a test found when it began must be all there is when it ends.
//!
//! Owns what counts as a leak: processes, mounts, control groups, network links, descriptors of this process, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::holm::is_reference;
use crate::{Scratch, cgroup, process};

/// What there was before.
pub struct Leaks<'a> {
    scratch: &'a Scratch,
    processes: BTreeSet<i32>,
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl<'a> Leaks<'a> {
    /// Looks at what there is now.
    pub fn before(scratch: &'a Scratch) -> Self {
        Self {
            scratch,
            processes: scratch.processes().into_iter().collect(),
            mounts: scratch.mounts().into_iter().collect(),
            links: links(),
            files: files(scratch),
        }
    }

    /// What is there now and was not before, one line each. Files count only where the test removed its containers.
    pub fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        if is_reference() {
            return found;
        }
        for pid in self.scratch.processes() {
            if !self.processes.contains(&pid) {
                found.push(process::describe(pid));
            }
        }
        for mount in self.scratch.mounts() {
            if !self.mounts.contains(&mount) {
                found.push(format!("mount {mount}"));
            }
        }
        let own = self.scratch.cgroup().to_owned();
        let children = cgroup::group_folders(&own).into_iter().filter(|folder| !folder.ends_with(&own[1..]));
        found.extend(children.map(|folder| format!("control group {}", folder.display())));
        found.extend(links().difference(&self.links).map(|link| format!("link {link}")));
        found.extend(files(self.scratch).difference(&self.files).map(|file| format!("file {file}")));
        found
    }

    /// Wants nothing to be left. What ends by itself has five seconds to do so; a machine's template that is just being made
    /// has as long as a boot on a busy host may take.
    #[track_caller]
    pub fn assert_none(&self) {
        let start = Instant::now();
        let mut found = self.found();
        while !found.is_empty() && start.elapsed() < self.scratch.patience() {
            std::thread::sleep(Duration::from_millis(20));
            found = self.found();
        }
        assert!(found.is_empty(), "left behind:\n{}", found.join("\n"));
    }
}

fn links() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Names below the roots, less what is kept: locks, the history of events, the mark of this boot, what runs machines.
fn files(scratch: &Scratch) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in [scratch.data_root(), scratch.run_root()] {
        walk(&root, scratch.path(), &mut found);
    }
    found
}

fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // The default network's record stays from its first use on; what is up is for the host's own check.
        // What machines are made of is kept for the next one.
        let kept_folder =
            ["data/networks", "run/network", "data/machines"].iter().any(|known| path == root.join(known));
        let kept = kept_folder
            || name.ends_with("lock")
            || ["events", "cache", "booted", "accelerator"].iter().any(|start| name.starts_with(start));
        // Unpacked layers have thousands of files; their folder's name is enough.
        let is_layer = folder.file_name().is_some_and(|name| name == "layers");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !kept {
            if !is_layer {
                walk(&path, root, found);
            }
            if folder == root.join("data") || folder == root.join("run") {
                continue;
            }
        }
        if !kept {
            found.insert(path.strip_prefix(root).unwrap_or(&path).display().to_string());
        }
    }
}
