//! Real groups on whatever this machine has.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use holm_spec::oci::runtime::{Cpu, DeviceRule, HugepageLimit, Memory, Pids, Resources};
use rustix::event::{PollFd, Timespec, poll};

use crate::cgroup::device::DeviceTable;
use crate::cgroup::{Cgroup, CgroupError, Controller, Driver, Hierarchy, Version, device_program};

const ROOT: &str = "/sys/fs/cgroup";
const PATIENCE: Duration = Duration::from_secs(10);

fn hierarchy() -> Hierarchy {
    Hierarchy::discover(Path::new(ROOT)).unwrap()
}

/// A parent of the test's own, removed with what is in it.
struct Name(String);

impl Name {
    fn new() -> Name {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Name(format!("holm-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    fn child(&self) -> String {
        format!("{}/c", self.0)
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let hierarchy = hierarchy();
        let mounts = hierarchy.v1.iter().map(|m| m.dir.clone()).chain(hierarchy.unified);
        mounts.map(|m| m.join(&self.0)).filter(|d| d.exists()).collect()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let group = Cgroup::open(&hierarchy(), &self.0).unwrap();
        let _ = group.kill_all(PATIENCE);
        let removed = group.remove();
        if !std::thread::panicking() {
            removed.unwrap();
            assert_eq!(self.dirs(), Vec::<PathBuf>::new());
        }
    }
}

fn shell(script: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("read go; {script}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Puts a shell into the group, lets it run the script to its end, and returns what it wrote.
fn run_in(group: &Cgroup, script: &str) -> String {
    let mut child = shell(script);
    group.join_pid(child.id() as i32).unwrap();
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn has(controller: Controller) -> bool {
    let h = hierarchy();
    h.v1_mount(controller).is_some() || controller.v2_name().is_some() && h.version() == Version::V2
}

fn rule(allow: bool, kind: &str, major: i64, minor: i64) -> DeviceRule {
    let number = |n: i64| (n >= 0).then_some(n);
    let (major, minor) = (number(major), number(minor));
    DeviceRule { allow, kind: Some(kind.into()), major, minor, access: Some("rwm".into()) }
}

fn usual_devices() -> Vec<DeviceRule> {
    let mut rules = vec![rule(false, "a", -1, -1)];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1), (10, 200)] {
        rules.push(rule(true, "c", major, minor));
    }
    rules
}

#[test]
fn create_leaves_nothing_after_remove() {
    let name = Name::new();
    let group = Cgroup::create(&hierarchy(), &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
    assert!(!name.dirs().is_empty());
    assert_eq!(group.procs().unwrap(), Vec::<i32>::new());
    group.remove().unwrap();
    assert!(name.dirs().iter().all(|d| !d.join("c").exists()));
    Cgroup::open(&hierarchy(), &name.child()).unwrap().remove().unwrap();
    hierarchy().remove_if_empty(&name.0).unwrap();
    assert_eq!(name.dirs(), Vec::<PathBuf>::new());
}

#[test]
fn create_over_an_occupied_group_fails_and_leaves_it() {
    let name = Name::new();
    let group = Cgroup::create(&hierarchy(), &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
    let mut child = shell("true");
    group.join_pid(child.id() as i32).unwrap();
    let error = Cgroup::create(&hierarchy(), &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap_err();
    assert!(matches!(error, CgroupError::Exists { .. }), "{error}");
    assert_eq!(group.procs().unwrap(), [child.id() as i32]);
    drop(child.stdin.take());
    child.wait().unwrap();
    // Left over and empty: replaced.
    Cgroup::create(&hierarchy(), &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
}

#[test]
fn create_that_fails_is_undone() {
    let name = Name::new();
    let cpu = Cpu { cpus: Some("4000".into()), ..Cpu::default() };
    let resources = Resources { cpu: Some(cpu), ..Resources::default() };
    let error = Cgroup::create(&hierarchy(), &name.child(), &resources, Driver::Cgroupfs).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cpuset.cpus") && text.contains("`4000`"), "{text}");
    assert!(name.dirs().iter().all(|d| !d.join("c").exists()));
}

#[test]
fn limits_reach_the_kernel() {
    if !has(Controller::Memory) || !has(Controller::Pids) || !has(Controller::Cpuset) {
        println!("skipped: needs memory, pids and cpuset controllers");
        return;
    }
    let name = Name::new();
    let resources = Resources {
        memory: Some(Memory { limit: Some(64 << 20), swap: Some(64 << 20), ..Memory::default() }),
        pids: Some(Pids { limit: 7 }),
        cpu: Some(Cpu { quota: Some(50_000), period: Some(100_000), cpus: Some("0".into()), ..Cpu::default() }),
        ..Resources::default()
    };
    let mut group = Cgroup::create(&hierarchy(), &name.child(), &resources, Driver::Cgroupfs).unwrap();
    let stats = group.stats().unwrap();
    assert_eq!((stats.memory.limit_bytes, stats.pids.limit), (Some(64 << 20), Some(7)));
    assert_eq!(run_in(&group, "grep Cpus_allowed_list /proc/self/status"), "Cpus_allowed_list:\t0\n");
    // Up, where memory and swap must go first, and down, where memory must.
    for bytes in [128 << 20, 32 << 20] {
        let memory = Some(Memory { limit: Some(bytes), swap: Some(bytes), ..Memory::default() });
        group.update(&Resources { memory, ..Resources::default() }).unwrap();
        assert_eq!(group.stats().unwrap().memory.limit_bytes, Some(bytes as u64));
    }
}

#[test]
fn update_makes_the_cpuset_group_and_moves_everyone() {
    if !has(Controller::Cpuset) {
        println!("skipped: needs the cpuset controller");
        return;
    }
    let name = Name::new();
    let mut group = Cgroup::create(&hierarchy(), &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
    let mut child = shell("grep Cpus_allowed_list /proc/self/status");
    group.join_pid(child.id() as i32).unwrap();
    let cpu = Some(Cpu { cpus: Some("1".into()), ..Cpu::default() });
    group.update(&Resources { cpu, ..Resources::default() }).unwrap();
    drop(child.stdin.take());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    assert_eq!(text, "Cpus_allowed_list:\t1\n");
}

#[test]
fn entry_lets_a_single_threaded_child_in() {
    let name = Name::new();
    let group = Cgroup::create(&hierarchy(), &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
    for group in [&group, &Cgroup::open(&hierarchy(), &name.child()).unwrap()] {
        let entry = group.entry().unwrap();
        let tasks: Vec<i32> = entry.v1_tasks().iter().map(|fd| fd.as_raw_fd()).collect();
        let script: String = tasks.iter().map(|fd| format!("echo 0 >&{fd}; ")).collect();
        let mut command = Command::new("/bin/bash");
        command.arg("-c").arg(format!("{script} cat /proc/self/cgroup"));
        for fd in entry.v1_tasks() {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.matches(&name.child()).count(), tasks.len(), "{text}");
        assert_eq!(entry.v2_folder().is_some(), hierarchy().unified.is_some());
    }
}

#[test]
fn kill_all_empties_the_group_and_thaws() {
    let name = Name::new();
    let group = Cgroup::create(&hierarchy(), &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
    let mut child = shell("for i in 1 2 3 4 5; do sleep 1000 & done; wait");
    group.join_pid(child.id() as i32).unwrap();
    drop(child.stdin.take());
    let mut rounds = 0;
    while group.procs().unwrap().len() < 6 {
        rounds += 1;
        assert!(rounds < 5000);
        poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 })).unwrap();
    }
    group.freeze().unwrap();
    group.kill_all(PATIENCE).unwrap();
    child.wait().unwrap();
    assert_eq!(group.procs().unwrap(), Vec::<i32>::new());
    group.remove().unwrap();
}

/// On v1 alone there is no `cgroup.kill`: the loop with the freezer must do.
#[test]
fn kill_all_without_v2_empties_the_group() {
    let hierarchy = Hierarchy::assume(hierarchy().v1, None);
    if hierarchy.v1_mount(Controller::Freezer).is_none() {
        println!("skipped: needs a v1 freezer");
        return;
    }
    let name = Name::new();
    let group = Cgroup::create(&hierarchy, &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
    let mut child = shell("(while true; do sleep 0.01 & done) & (while true; do (true) & done) & wait");
    group.join_pid(child.id() as i32).unwrap();
    let pids = Resources { pids: Some(Pids { limit: 200 }), ..Resources::default() };
    Cgroup::open(&hierarchy, &name.child()).unwrap().update(&pids).unwrap();
    drop(child.stdin.take());
    group.freeze().unwrap();
    group.thaw().unwrap();
    group.kill_all(PATIENCE).unwrap();
    child.wait().unwrap();
    assert_eq!(group.procs().unwrap(), Vec::<i32>::new());
}

/// A frozen task of v1 does not take its signal, and one alone is not worth freezing.
#[test]
fn kill_all_without_v2_thaws_what_another_froze() {
    let hierarchy = Hierarchy::assume(hierarchy().v1, None);
    if hierarchy.v1_mount(Controller::Freezer).is_none() {
        println!("skipped: needs a v1 freezer");
        return;
    }
    let name = Name::new();
    let group = Cgroup::create(&hierarchy, &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
    let mut child = shell("true");
    group.join_pid(child.id() as i32).unwrap();
    group.freeze().unwrap();
    group.kill_all(PATIENCE).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(group.procs().unwrap(), Vec::<i32>::new());
}

#[test]
fn oom_kill_is_noticed_and_counted() {
    if !has(Controller::Memory) {
        println!("skipped: needs the memory controller");
        return;
    }
    let name = Name::new();
    let memory = Some(Memory { limit: Some(16 << 20), swap: Some(16 << 20), ..Memory::default() });
    let resources = Resources { memory, ..Resources::default() };
    let group = Cgroup::create(&hierarchy(), &name.child(), &resources, Driver::Cgroupfs).unwrap();
    let watch = group.oom_watch().unwrap().unwrap();
    assert_eq!(group.oom_kills().unwrap(), 0);
    run_in(&group, "head -c 100000000 /dev/zero | tail -c 100000000 > /dev/null");
    assert!(group.oom_kills().unwrap() >= 1);
    let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&watch, watch.interest())], Some(&timeout)).unwrap(), 1);
    watch.clear();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&watch, watch.interest())], Some(&now)).unwrap(), 0);
}

#[test]
fn device_rules_are_enforced() {
    let name = Name::new();
    let resources = Resources { devices: usual_devices(), ..Resources::default() };
    let group = Cgroup::create(&hierarchy(), &name.child(), &resources, Driver::Cgroupfs).unwrap();
    let out = run_in(&group, "exec 2>&1; head -c 1 /dev/urandom | wc -c; true < /dev/kmsg; true");
    assert!(out.starts_with("1\n") && out.contains("Operation not permitted"), "{out}");
}

#[test]
fn device_program_is_enforced_and_replaced_on_the_v2_tree() {
    let Some(root) = hierarchy().unified else {
        println!("skipped: needs a v2 tree");
        return;
    };
    let only_v2 = Hierarchy::assume(Vec::new(), Some(root.clone()));
    let name = Name::new();
    let resources = Resources { devices: usual_devices(), ..Resources::default() };
    let mut group = Cgroup::create(&only_v2, &name.child(), &resources, Driver::Cgroupfs).unwrap();
    let script = "exec 2>&1; head -c 1 /dev/zero | wc -c; true < /dev/kmsg && echo yes; true";
    let out = run_in(&group, script);
    assert!(out.starts_with("1\n") && out.contains("Operation not permitted") && !out.contains("yes"), "{out}");
    // kmsg in, zero out.
    let mut other = vec![rule(false, "a", -1, -1)];
    other.extend([(1, 3), (1, 11)].map(|(major, minor)| rule(true, "c", major, minor)));
    group.update(&Resources { devices: other, ..Resources::default() }).unwrap();
    let out = run_in(&group, script);
    assert!(out.contains("/dev/zero") && out.contains("yes"), "{out}");
    let dir = root.join(name.child());
    device_program::attach(&dir, &DeviceTable::new(&[]).unwrap(), true).unwrap();
    let out = run_in(&group, script);
    assert!(out.starts_with("1\n") && out.contains("yes"), "{out}");
}

/// Puts the root's `cgroup.subtree_control` back.
struct Handed(PathBuf, bool);

impl Drop for Handed {
    fn drop(&mut self) {
        if !self.1 {
            std::fs::write(&self.0, "-hugetlb").unwrap();
        }
    }
}

#[test]
fn limit_enables_its_controller_on_the_v2_tree() {
    let Some(root) = hierarchy().unified else {
        println!("skipped: needs a v2 tree");
        return;
    };
    let size = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    let offered = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap();
    if !offered.contains("hugetlb") || !Path::new(size).exists() {
        println!("skipped: needs the hugetlb controller and pages of 2 MiB");
        return;
    }
    let control = root.join("cgroup.subtree_control");
    let before = std::fs::read_to_string(&control).unwrap();
    let _handed = Handed(control, before.contains("hugetlb"));
    let name = Name::new();
    let huge = HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 };
    let resources = Resources { hugepage_limits: vec![huge], ..Resources::default() };
    let group = Cgroup::create(&hierarchy(), &name.child(), &resources, Driver::Cgroupfs).unwrap();
    let dir = root.join(name.child());
    assert_eq!(std::fs::read_to_string(dir.join("hugetlb.2MB.max")).unwrap(), "4194304\n");
    group.remove().unwrap();
    // A parent with processes cannot hand controllers down, and the error says so.
    let occupied = Name::new();
    let parent = Cgroup::create(&hierarchy(), &occupied.0, &Resources::default(), Driver::Cgroupfs).unwrap();
    let mut child = shell("true");
    parent.join_pid(child.id() as i32).unwrap();
    let error = Cgroup::create(&hierarchy(), &occupied.child(), &resources, Driver::Cgroupfs).unwrap_err().to_string();
    assert!(error.contains("`hugetlb`") && error.contains("processes of its own"), "{error}");
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// Creation, entry, join by a child, and removal. The bound is loose, as machines and builds differ; the figures are
/// printed.
#[test]
fn one_container_costs_little() {
    let found = hierarchy();
    if let Some(root) = found.unified.clone() {
        let devices = Resources { devices: usual_devices(), ..Resources::default() };
        measure("v2 alone, with a device program", &Hierarchy::assume(Vec::new(), Some(root)), &devices);
    }
    let resources = Resources {
        devices: usual_devices(),
        memory: Some(Memory { limit: Some(64 << 20), swap: Some(128 << 20), ..Memory::default() }),
        pids: Some(Pids { limit: 100 }),
        ..Resources::default()
    };
    measure("as the machine has them", &found, &resources);
}

fn measure(what: &str, found: &Hierarchy, resources: &Resources) {
    let name = Name::new();
    Cgroup::create(found, &name.child(), &Resources::default(), Driver::Cgroupfs).unwrap();
    let mut figures: Vec<[u128; 4]> = Vec::new();
    for round in 0..100 {
        let start = Instant::now();
        let _ = hierarchy();
        let discovered = start.elapsed();
        let group = Cgroup::create(found, &format!("{}/{round}", name.0), resources, Driver::Cgroupfs).unwrap();
        let created = start.elapsed();
        let entry = group.entry().unwrap();
        let opened = start.elapsed();
        drop(entry);
        let closed = start.elapsed();
        group.remove().unwrap();
        let removed = start.elapsed();
        let steps = [discovered, created - discovered, opened - created, removed - closed];
        figures.push(steps.map(|d| d.as_micros()));
    }
    let median = |step: usize| {
        let mut list: Vec<u128> = figures.iter().map(|f| f[step]).collect();
        list.sort_unstable();
        list[list.len() / 2]
    };
    let [discover, create, entry, remove] = [0, 1, 2, 3].map(median);
    println!("{what}: discover {discover} us, create {create} us, entry {entry} us, remove {remove} us");
    assert!(discover + create + entry + remove < 50_000);
}
