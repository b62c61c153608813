//! v2 files in a temporary folder: enabling controllers, updating and undoing, statistics.

use std::fs;
use std::path::Path;

use holm_spec::oci::runtime::{Cpu, Memory, Pids, Resources};

use crate::cgroup::{Cgroup, CgroupError, Hierarchy};

/// A folder that looks like a v2 tree with a group `h/x`.
fn tree(controllers: &str, group_controllers: &str) -> (tempfile::TempDir, Hierarchy) {
    let root = tempfile::tempdir().unwrap();
    for (dir, text) in [("", controllers), ("h", controllers), ("h/x", group_controllers)] {
        let dir = root.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cgroup.controllers"), text).unwrap();
        fs::write(dir.join("cgroup.subtree_control"), "").unwrap();
    }
    let hierarchy = Hierarchy::assume(Vec::new(), Some(root.path().to_owned()));
    (root, hierarchy)
}

fn read(root: &Path, file: &str) -> String {
    fs::read_to_string(root.join(file)).unwrap()
}

fn limit_pids() -> Resources {
    Resources { pids: Some(Pids { limit: 5 }), ..Resources::default() }
}

#[test]
fn update_enables_the_controller_down_the_path() {
    let (root, hierarchy) = tree("cpu memory pids\n", "cpu\n");
    fs::write(root.path().join("h/x/pids.max"), "").unwrap();
    Cgroup::open(&hierarchy, "h/x").unwrap().update(&limit_pids()).unwrap();
    assert_eq!(read(root.path(), "cgroup.subtree_control"), "+pids");
    assert_eq!(read(root.path(), "h/cgroup.subtree_control"), "+pids");
    assert_eq!(read(root.path(), "h/x/cgroup.subtree_control"), "", "the container's own group is a leaf");
    assert_eq!(read(root.path(), "h/x/pids.max"), "5");
}

#[test]
fn update_with_controller_enabled_writes_no_parent() {
    let (root, hierarchy) = tree("pids\n", "pids\n");
    fs::write(root.path().join("h/x/pids.max"), "").unwrap();
    Cgroup::open(&hierarchy, "h/x").unwrap().update(&limit_pids()).unwrap();
    assert_eq!(read(root.path(), "cgroup.subtree_control"), "");
}

#[test]
fn update_without_controller_names_it() {
    let (_root, hierarchy) = tree("cpu memory\n", "cpu\n");
    let error = Cgroup::open(&hierarchy, "h/x").unwrap().update(&limit_pids()).unwrap_err();
    assert!(matches!(error, CgroupError::NoController { controller: "pids", .. }), "{error}");
}

#[test]
fn update_that_fails_writes_the_old_values_back() {
    let (root, hierarchy) = tree("cpu pids\n", "cpu pids\n");
    // Files of the test do not replace their content as the kernel's do: an append shows each write.
    fs::write(root.path().join("h/x/cpu.weight"), "7").unwrap();
    let resources = Resources { cpu: Some(Cpu { shares: Some(1024), ..Cpu::default() }), ..limit_pids() };
    let error = Cgroup::open(&hierarchy, "h/x").unwrap().update(&resources).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("pids.max") && text.contains("`5`") && text.contains("no such setting"), "{text}");
    // 100 was written over 7, then 7 over the first digit of 100.
    assert_eq!(read(root.path(), "h/x/cpu.weight"), "700");
}

#[test]
fn update_below_use_is_refused_where_the_document_asks() {
    let (root, hierarchy) = tree("memory\n", "memory\n");
    fs::write(root.path().join("h/x/memory.current"), "1000\n").unwrap();
    fs::write(root.path().join("h/x/memory.max"), "").unwrap();
    let memory = |limit, check| Resources {
        memory: Some(Memory { limit: Some(limit), check_before_update: Some(check), ..Memory::default() }),
        ..Resources::default()
    };
    let mut group = Cgroup::open(&hierarchy, "h/x").unwrap();
    let error = group.update(&memory(999, true)).unwrap_err().to_string();
    assert!(error.contains("999") && error.contains("1000"), "{error}");
    assert_eq!(read(root.path(), "h/x/memory.max"), "");
    group.update(&memory(1000, true)).unwrap();
    group.update(&memory(999, false)).unwrap();
}

#[test]
fn stats_are_read_as_docker_counts() {
    let (root, hierarchy) = tree("", "");
    for (file, text) in [
        ("cpu.stat", "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 2\nthrottled_usec 5\n"),
        ("memory.current", "5000\n"),
        ("memory.max", "max\n"),
        ("memory.peak", "6000\n"),
        ("memory.swap.current", "77\n"),
        ("memory.stat", "anon 100\nfile 900\ninactive_file 800\n"),
        ("memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
        ("pids.current", "3\n"),
        ("pids.max", "10\n"),
        ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n"),
    ] {
        fs::write(root.path().join("h/x").join(file), text).unwrap();
    }
    let stats = Cgroup::open(&hierarchy, "h/x").unwrap().stats().unwrap();
    assert_eq!((stats.cpu.usage_ns, stats.cpu.user_ns, stats.cpu.throttled_ns), (30_000, 20_000, 5_000));
    assert_eq!((stats.memory.usage_bytes, stats.memory.charged_bytes), (4200, 5000));
    assert_eq!((stats.memory.limit_bytes, stats.memory.max_usage_bytes, stats.memory.swap_bytes), (None, 6000, 77));
    assert_eq!((stats.pids.current, stats.pids.limit), (3, Some(10)));
    assert_eq!((stats.block.read_bytes, stats.block.write_bytes, stats.block.read_ops), (15, 20, 2));
    assert_eq!(stats.oom_kills, 2);
}

#[test]
fn gone_group_has_no_processes_and_no_use() {
    let root = tempfile::tempdir().unwrap();
    let hierarchy = Hierarchy::assume(Vec::new(), Some(root.path().to_owned()));
    let group = Cgroup::open(&hierarchy, "gone/x").unwrap();
    assert_eq!(group.procs().unwrap(), Vec::<i32>::new());
    assert_eq!(group.stats().unwrap(), crate::cgroup::Stats::default());
    assert!(group.entry().is_err());
    group.remove().unwrap();
}
