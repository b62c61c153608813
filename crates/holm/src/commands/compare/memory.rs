//! Memory on the host of a supervisor and everything that descends from it: the container's processes, or the attendant and
//! the hypervisor with what the guest has touched.

use std::collections::HashMap;
use std::fs;

/// Proportional set size of a process and all its descendants, bytes. `None` where none of it could be read.
pub fn of_tree(root: i32) -> Option<u64> {
    let entries = fs::read_dir("/proc").ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in pids {
        // One that has ended meanwhile is no longer counted.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = parent_of(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut waiting, mut total) = (vec![root], None);
    while let Some(pid) = waiting.pop() {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        if let Some(bytes) = pss_bytes(&rollup) {
            *total.get_or_insert(0) += bytes;
        }
        waiting.extend(children.remove(&pid).unwrap_or_default());
    }
    total
}

/// *Source*: proc(5): the fourth field; the second, in parentheses, may hold anything.
fn parent_of(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn pss_bytes(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_a_process_calls_itself() {
        assert_eq!(parent_of("7 (a) b ) S 42 7 7 0"), Some(42));
        assert_eq!(parent_of("7 (sh) R 1 7"), Some(1));
        assert_eq!(parent_of(""), None);
        let rollup = "55 - 7f [rollup]\nRss:  2000 kB\nPss:   1500 kB\nPss_Dirty: 3 kB\n";
        assert_eq!(pss_bytes(rollup), Some(1500 * 1024));
        assert_eq!(pss_bytes("Rss: 1 kB\n"), None);
    }

    #[test]
    fn own_tree_takes_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(of_tree(own).is_some_and(|bytes| bytes > 100 << 10));
    }
}
