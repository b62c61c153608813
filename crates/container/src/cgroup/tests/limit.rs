//! Limits as planned writes, on v1, v2 and hybrid layouts.

use std::path::{Path, PathBuf};

use holm_spec::oci::runtime::{BlockIo, Cpu, HugepageLimit, Memory, Pids, Resources, ThrottleDevice};

use crate::cgroup::convert::{cpu_weight, io_weight};
use crate::cgroup::hierarchy::GroupPath;
use crate::cgroup::plan::{Plan, Step};
use crate::cgroup::{Controller, ControllerSet, Hierarchy, V1Mount};

fn v1(names: &[Controller]) -> Vec<V1Mount> {
    let mount =
        |c: &Controller| V1Mount { dir: Path::new("/c").join(c.v1_name()), controllers: ControllerSet::of(&[*c]) };
    names.iter().map(mount).collect()
}

fn pure_v1() -> Hierarchy {
    Hierarchy::assume(v1(&Controller::ALL[..9]), None)
}

fn pure_v2() -> Hierarchy {
    Hierarchy::assume(Vec::new(), Some(PathBuf::from("/c")))
}

fn writes(plan: &Plan) -> Vec<String> {
    let line = |step: &Step| match step {
        Step::Write(w) => format!("{}={}", w.path.display(), w.value),
        Step::Inherit { mount, file } => format!("inherit {}/{file}", mount.display()),
        Step::Period { path, period } => format!("{} period {period}", path.display()),
    };
    plan.steps.iter().map(line).collect()
}

#[track_caller]
fn check(hierarchy: &Hierarchy, resources: &Resources, expected: &[&str]) {
    let plan = Plan::create(hierarchy, &GroupPath::new("h/x").unwrap(), resources).unwrap();
    assert_eq!(writes(&plan), expected);
}

fn memory(memory: Memory) -> Resources {
    Resources { memory: Some(memory), ..Resources::default() }
}

fn cpu(cpu: Cpu) -> Resources {
    Resources { cpu: Some(cpu), ..Resources::default() }
}

#[test]
fn weights_follow_the_new_formula() {
    // Computed by hand from the formula that `cpu_weight` names.
    for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (512, 59), (2048, 174), (10, 4)] {
        assert_eq!(cpu_weight(shares), weight, "{shares}");
    }
    assert_eq!(cpu_weight(1024), 100);
    assert_eq!(cpu_weight(u64::MAX), 10_000);
    let mut last = 0;
    for shares in 0..300_000 {
        let weight = cpu_weight(shares);
        assert!(weight >= last && (1..=10_000).contains(&weight));
        last = weight;
    }
    assert_eq!([io_weight(10), io_weight(500), io_weight(1000), io_weight(0)], [1, 4950, 10_000, 1]);
}

#[test]
fn nothing_asked_is_nothing_written() {
    check(&pure_v1(), &Resources::default(), &[]);
    check(&pure_v2(), &Resources::default(), &[]);
    check(&pure_v2(), &memory(Memory { limit: Some(0), swap: Some(0), ..Memory::default() }), &[]);
}

#[test]
fn swap_is_counted_with_memory_on_v1_and_without_on_v2() {
    let limits = memory(Memory { limit: Some(100), swap: Some(300), reservation: Some(50), ..Memory::default() });
    check(
        &pure_v1(),
        &limits,
        &[
            "/c/memory/h/x/memory.limit_in_bytes=100",
            "/c/memory/h/x/memory.memsw.limit_in_bytes=300",
            "/c/memory/h/x/memory.soft_limit_in_bytes=50",
        ],
    );
    check(&pure_v2(), &limits, &["/c/h/x/memory.swap.max=200", "/c/h/x/memory.max=100", "/c/h/x/memory.low=50"]);
    let open = memory(Memory { limit: Some(-1), ..Memory::default() });
    check(&pure_v2(), &open, &["/c/h/x/memory.swap.max=max", "/c/h/x/memory.max=max"]);
}

#[test]
fn swap_below_memory_is_refused_with_both_values() {
    let limits = memory(Memory { limit: Some(300), swap: Some(100), ..Memory::default() });
    let error = Plan::create(&pure_v2(), &GroupPath::new("x").unwrap(), &limits).unwrap_err().to_string();
    assert!(error.contains("100") && error.contains("300"), "{error}");
    let alone = memory(Memory { swap: Some(100), ..Memory::default() });
    assert!(Plan::create(&pure_v2(), &GroupPath::new("x").unwrap(), &alone).is_err());
}

#[test]
fn what_v2_lacks_is_a_warning_or_an_error() {
    let soft = memory(Memory { swappiness: Some(10), disable_oom_killer: Some(true), ..Memory::default() });
    let plan = Plan::create(&pure_v2(), &GroupPath::new("x").unwrap(), &soft).unwrap();
    assert_eq!(plan.warnings.len(), 2);
    let hard = cpu(Cpu { realtime_runtime: Some(1000), ..Cpu::default() });
    assert!(Plan::create(&pure_v2(), &GroupPath::new("x").unwrap(), &hard).is_err());
}

#[test]
fn cpu_time_goes_period_quota_burst() {
    let limits =
        Cpu { quota: Some(50_000), period: Some(100_000), burst: Some(1000), shares: Some(1024), ..Cpu::default() };
    check(
        &pure_v1(),
        &cpu(limits.clone()),
        &[
            "/c/cpu/h/x/cpu.shares=1024",
            "/c/cpu/h/x/cpu.cfs_period_us=100000",
            "/c/cpu/h/x/cpu.cfs_quota_us=50000",
            "/c/cpu/h/x/cpu.cfs_burst_us=1000",
        ],
    );
    check(
        &pure_v2(),
        &cpu(limits),
        &["/c/h/x/cpu.weight=100", "/c/h/x/cpu.max=50000 100000", "/c/h/x/cpu.max.burst=1000"],
    );
    check(&pure_v2(), &cpu(Cpu { quota: Some(-1), ..Cpu::default() }), &["/c/h/x/cpu.max=max"]);
}

#[test]
fn period_alone_keeps_the_quota_of_a_present_group() {
    let limits = cpu(Cpu { period: Some(50_000), ..Cpu::default() });
    let plan = Plan::update(&pure_v2(), &GroupPath::new("x").unwrap(), &limits).unwrap();
    assert_eq!(writes(&plan), ["/c/x/cpu.max period 50000"]);
    let plan = Plan::create(&pure_v2(), &GroupPath::new("x").unwrap(), &limits).unwrap();
    assert_eq!(writes(&plan), ["/c/x/cpu.max=max 50000"]);
}

#[test]
fn cpuset_on_v1_inherits_before_it_is_set() {
    let limits = cpu(Cpu { cpus: Some("0-1".into()), ..Cpu::default() });
    check(
        &pure_v1(),
        &limits,
        &["inherit /c/cpuset/cpuset.cpus", "inherit /c/cpuset/cpuset.mems", "/c/cpuset/h/x/cpuset.cpus=0-1"],
    );
    check(&pure_v2(), &limits, &["/c/h/x/cpuset.cpus=0-1"]);
    let bad = cpu(Cpu { cpus: Some("0\n1".into()), ..Cpu::default() });
    assert!(Plan::create(&pure_v1(), &GroupPath::new("x").unwrap(), &bad).is_err());
}

#[test]
fn cpuset_mounted_with_another_controller_is_always_inherited() {
    let together = ControllerSet::of(&[Controller::Cpu, Controller::Cpuset]);
    let mount = V1Mount { dir: PathBuf::from("/c/cpu"), controllers: together };
    let hierarchy = Hierarchy::assume(vec![mount], None);
    check(&hierarchy, &Resources::default(), &["inherit /c/cpu/cpuset.cpus", "inherit /c/cpu/cpuset.mems"]);
}

#[test]
fn zero_processes_is_a_real_limit() {
    let pids = |limit| Resources { pids: Some(Pids { limit }), ..Resources::default() };
    check(&pure_v1(), &pids(0), &["/c/pids/h/x/pids.max=0"]);
    check(&pure_v1(), &pids(-1), &["/c/pids/h/x/pids.max=max"]);
    // Nothing can be cloned into a v2 group at 0.
    check(&pure_v2(), &pids(0), &["/c/h/x/pids.max=1"]);
    let plan = Plan::update(&pure_v2(), &GroupPath::new("x").unwrap(), &pids(0)).unwrap();
    assert_eq!(writes(&plan), ["/c/x/pids.max=0"]);
}

#[test]
fn block_io_goes_to_throttle_files_or_io_max() {
    let device = |rate| vec![ThrottleDevice { major: 8, minor: 16, rate }];
    let io = BlockIo {
        weight: Some(10),
        throttle_read_bps_device: device(1 << 20),
        throttle_write_iops_device: device(9),
        ..BlockIo::default()
    };
    let resources = Resources { block_io: Some(io), ..Resources::default() };
    check(
        &pure_v1(),
        &resources,
        &[
            "/c/blkio/h/x/blkio.weight=10",
            "/c/blkio/h/x/blkio.throttle.read_bps_device=8:16 1048576",
            "/c/blkio/h/x/blkio.throttle.write_iops_device=8:16 9",
        ],
    );
    check(
        &pure_v2(),
        &resources,
        &["/c/h/x/io.bfq.weight=10", "/c/h/x/io.max=8:16 rbps=1048576", "/c/h/x/io.max=8:16 wiops=9"],
    );
}

#[test]
fn raw_entries_are_limits_in_the_own_group_only() {
    let raw = |file: &str| Resources { unified: [(file.to_owned(), "1".to_owned())].into(), ..Resources::default() };
    check(&pure_v2(), &raw("memory.high"), &["/c/h/x/memory.high=1"]);
    check(&pure_v2(), &raw("cgroup.max.depth"), &["/c/h/x/cgroup.max.depth=1"]);
    for bad in ["../memory.high", "memory/x.y", "cgroup.procs", "cgroup.kill", "", "memory", ".memory.x", "a..b"] {
        assert!(Plan::create(&pure_v2(), &GroupPath::new("x").unwrap(), &raw(bad)).is_err(), "{bad}");
    }
    assert!(Plan::create(&pure_v1(), &GroupPath::new("x").unwrap(), &raw("memory.high")).is_err());
}

#[test]
fn hybrid_takes_each_limit_where_its_controller_is() {
    let hybrid = Hierarchy::assume(v1(&[Controller::Memory, Controller::Devices]), Some(PathBuf::from("/c/unified")));
    let huge = HugepageLimit { page_size: "2MB".into(), limit: 4096 };
    let resources = Resources {
        hugepage_limits: vec![huge],
        memory: Some(Memory { limit: Some(7), ..Memory::default() }),
        ..Resources::default()
    };
    let plan = Plan::create(&hybrid, &GroupPath::new("x").unwrap(), &resources).unwrap();
    assert_eq!(
        writes(&plan),
        [
            "/c/memory/x/memory.limit_in_bytes=7",
            "/c/unified/x/hugetlb.2MB.max=4096",
            "/c/unified/x/hugetlb.2MB.rsvd.max=4096",
        ]
    );
    assert_eq!(plan.required, [(Controller::Hugetlb, "huge pages")]);
    assert_eq!(plan.v1, ControllerSet::of(&[Controller::Memory]));
}

#[test]
fn limit_without_controller_is_an_error_that_names_it() {
    let only_memory = Hierarchy::assume(v1(&[Controller::Memory]), None);
    let resources = Resources { pids: Some(Pids { limit: 5 }), ..Resources::default() };
    let error = Plan::create(&only_memory, &GroupPath::new("x").unwrap(), &resources).unwrap_err().to_string();
    assert!(error.contains("`pids`") && error.contains("number of processes"), "{error}");
    assert!(Plan::create(&only_memory, &GroupPath::new("x").unwrap(), &Resources::default()).is_ok());
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    for bad in ["", "/", "..", "a/../b", "a//b", "./a", "a/.", "a\nb", "tasks", "a/cgroup.procs", &"x".repeat(2000)] {
        assert!(GroupPath::new(bad).is_err(), "{bad:?}");
    }
    for good in ["a", "/holm/x", "system.slice/holm-1.scope", "ü/1"] {
        assert!(GroupPath::new(good).is_ok(), "{good:?}");
    }
}
