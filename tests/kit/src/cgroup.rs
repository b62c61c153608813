//! Control groups of the host, v1, v2 and hybrid, as tests look at them and clear them away.

use std::fs;
use std::path::{Path, PathBuf};

/// The mount points of all hierarchies, with the controllers of each; `unified` for v2.
pub fn controllers() -> Vec<(PathBuf, Vec<String>)> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    table.lines().filter_map(hierarchy).collect()
}

fn hierarchy(line: &str) -> Option<(PathBuf, Vec<String>)> {
    let (left, right) = line.split_once(" - ")?;
    let point = PathBuf::from(left.split(' ').nth(4)?);
    let mut fields = right.split(' ');
    match fields.next()? {
        "cgroup2" => Some((point, vec!["unified".to_owned()])),
        "cgroup" => Some((point, fields.nth(1)?.split(',').map(str::to_owned).collect())),
        _ => None,
    }
}

/// Every folder below the group `name` in every hierarchy, and the group's own.
pub fn group_folders(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (point, _) in controllers() {
        collect(&point.join(name.trim_start_matches('/')), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
    found.push(folder.to_owned());
}

/// The processes in a group and below it.
pub(crate) fn members(name: &str) -> Vec<i32> {
    let mut found: Vec<i32> = group_folders(name)
        .iter()
        .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Reads the first of these files that some hierarchy has in the group: a v1 name and its v2 equal.
pub fn read_limit(group: &str, files: &[&str]) -> Option<String> {
    let folders = controllers().into_iter().map(|(point, _)| point.join(group.trim_start_matches('/')));
    let candidates = folders.flat_map(|folder| files.iter().map(move |file| folder.join(file)).collect::<Vec<_>>());
    candidates.filter_map(|path| fs::read_to_string(path).ok()).map(|text| text.trim().to_owned()).next()
}

/// Kills what is in the group, thaws it, and removes its folders.
pub(crate) fn clear(name: &str) {
    for folder in group_folders(name) {
        let _ = fs::write(folder.join("freezer.state"), "THAWED");
        let _ = fs::write(folder.join("cgroup.freeze"), "0");
    }
    for pid in members(name) {
        crate::process::kill(pid, 9);
    }
    let mut tries = 0;
    while !members(name).is_empty() && tries < 200 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        tries += 1;
    }
    for folder in group_folders(name) {
        let _ = fs::remove_dir(folder);
    }
}
