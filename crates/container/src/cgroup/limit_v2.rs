//! Limits as writes to v2 files. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use holm_spec::oci::runtime::{BlockIo, Cpu, HugepageLimit, Memory};

use super::controller::Controller;
use super::convert::{cpu_weight, io_weight};
use super::error::CgroupError;
use super::limit_v1::given;
use super::plan::{Missing, Planner, Step, Write};

/// Bytes of one raw value at most.
const MAX_RAW: usize = 4096;
/// Raw entries at most.
const MAX_RAW_ENTRIES: usize = 128;

/// CPU time.
pub(super) fn cpu(planner: &mut Planner, dir: &Path, cpu: &Cpu) -> Result<(), CgroupError> {
    if given(cpu.realtime_runtime).is_some() || given(cpu.realtime_period).is_some() {
        let reason = "control groups v2 have no real-time limits".to_owned();
        return Err(CgroupError::Value { what: "the real-time runtime", reason });
    }
    if let Some(shares) = given(cpu.shares) {
        planner.write(Write::new(dir.join("cpu.weight"), cpu_weight(shares), "the CPU shares"));
    }
    if let Some(idle) = cpu.idle {
        planner.write(Write::new(dir.join("cpu.idle"), idle, "the CPU idle flag"));
    }
    let (quota, period) = (given(cpu.quota), given(cpu.period));
    if let (None, Some(period), true) = (quota, period, planner.update) {
        planner.plan.steps.push(Step::Period { path: dir.join("cpu.max"), period });
    } else if quota.is_some() || period.is_some() {
        // One number alone leaves the other as it is; a period needs a quota before it.
        let value = match (quota, period) {
            (Some(q), None) if q < 0 => "max".to_owned(),
            (Some(q), None) => q.to_string(),
            (Some(q), Some(p)) if q >= 0 => format!("{q} {p}"),
            (_, Some(p)) => format!("max {p}"),
            (None, None) => String::new(),
        };
        planner.write(Write::new(dir.join("cpu.max"), value, "the CPU quota").retried());
    }
    if let Some(burst) = cpu.burst {
        planner.write(Write::new(dir.join("cpu.max.burst"), burst, "the CPU burst").retried());
    }
    Ok(())
}

fn bytes(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// Memory. Swap is a limit of its own here, and memory and swap together in the document.
pub(super) fn memory(planner: &mut Planner, dir: &Path, memory: &Memory) {
    let limit = given(memory.limit);
    let mut swap = given(memory.swap).map(|v| v.max(-1));
    if limit.is_some_and(|l| l < 0) && swap.is_none() {
        swap = Some(-1);
    }
    match (swap, limit) {
        (Some(-1), _) => swap_limit(planner, dir, -1),
        (Some(both), Some(limit)) if limit >= 0 && both >= limit => swap_limit(planner, dir, both - limit),
        (Some(both), Some(limit)) => {
            planner.refuse(
                "the limit of memory and swap",
                format!("{both} bytes are less than the memory limit of {limit}"),
            );
        }
        (Some(both), None) => {
            planner.refuse("the limit of memory and swap", format!("{both} bytes need a memory limit beside them"));
        }
        (None, _) => {}
    }
    if let Some(limit) = limit {
        planner.write(Write::new(dir.join("memory.max"), bytes(limit), "the memory limit"));
    }
    if let Some(reservation) = given(memory.reservation) {
        planner.write(Write::new(dir.join("memory.low"), bytes(reservation), "the memory reservation"));
    }
    if memory.swappiness.is_some() {
        planner.plan.warnings.push("the swappiness of one container cannot be set with control groups v2".to_owned());
    }
    if memory.disable_oom_killer == Some(true) {
        planner.plan.warnings.push("the out-of-memory killer cannot be disabled with control groups v2".to_owned());
    }
}

fn swap_limit(planner: &mut Planner, dir: &Path, swap: i64) {
    // A kernel without swap lacks the file; no swap at all is then what it does anyway.
    let missing = if swap <= 0 { Missing::Ignore } else { Missing::Warn };
    planner.write(Write::new(dir.join("memory.swap.max"), bytes(swap), "the swap limit").when_missing(missing));
}

/// Number of tasks. A new group cannot be cloned into while its limit is 0, and 1 has the same effect once the
/// container's process is in: no fork succeeds.
pub(super) fn pids(planner: &mut Planner, dir: &Path, limit: i64) {
    let limit = if limit == 0 && !planner.update { 1 } else { limit };
    planner.write(Write::new(dir.join("pids.max"), bytes(limit), "the limit of processes"));
}

/// Block devices. BFQ takes the weights of v1 as they are.
pub(super) fn block_io(planner: &mut Planner, dir: &Path, io: &BlockIo) {
    if given(io.leaf_weight).is_some() || io.weight_device.iter().any(|d| given(d.leaf_weight).is_some()) {
        planner.plan.warnings.push("control groups v2 have no block I/O leaf weight".to_owned());
    }
    if let Some(weight) = given(io.weight) {
        let write = Write::new(dir.join("io.bfq.weight"), weight, "the block I/O weight");
        planner.write(write.or(dir.join("io.weight"), io_weight(weight)));
    }
    for device in &io.weight_device {
        if let Some(weight) = given(device.weight) {
            let at = format!("{}:{}", device.major, device.minor);
            let value = format!("{at} {weight}");
            let write = Write::new(dir.join("io.bfq.weight"), value, "a device's block I/O weight");
            planner.write(write.or(dir.join("io.weight"), format!("{at} {}", io_weight(weight))));
        }
    }
    let throttles = [
        ("rbps", "a device's read rate", &io.throttle_read_bps_device),
        ("wbps", "a device's write rate", &io.throttle_write_bps_device),
        ("riops", "a device's reads a second", &io.throttle_read_iops_device),
        ("wiops", "a device's writes a second", &io.throttle_write_iops_device),
    ];
    for (key, what, devices) in throttles {
        for device in devices {
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            let value = format!("{}:{} {key}={rate}", device.major, device.minor);
            planner.write(Write::new(dir.join("io.max"), value, what));
        }
    }
}

/// One size of huge pages.
pub(super) fn hugetlb(planner: &mut Planner, dir: &Path, huge: &HugepageLimit) {
    let (size, limit) = (&huge.page_size, huge.limit);
    planner.write(Write::new(dir.join(format!("hugetlb.{size}.max")), limit, "the huge page limit"));
    let reserved = dir.join(format!("hugetlb.{size}.rsvd.max"));
    planner.write(Write::new(reserved, limit, "the huge page reservation limit").when_missing(Missing::Ignore));
}

/// Raw files, last, so that they win. Names are checked to stay in the group's folder and to be limits.
pub(super) fn raw(planner: &mut Planner, entries: &BTreeMap<String, String>) -> Result<(), CgroupError> {
    const WHAT: &str = "a raw control group file";
    let refuse = |reason: String| Err(CgroupError::Value { what: WHAT, reason });
    if entries.is_empty() {
        return Ok(());
    }
    if entries.len() > MAX_RAW_ENTRIES {
        return refuse(format!("{} entries are more than {MAX_RAW_ENTRIES}", entries.len()));
    }
    let Some(dir) = planner.unified_dir() else {
        return refuse("this host has control groups v1 only".to_owned());
    };
    for (file, value) in entries {
        let named = file.len() <= 128 && file.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_');
        if !named || !file.contains('.') || file.starts_with('.') || file.contains("..") {
            return refuse(format!("`{}` is not the name of a control group file", file.escape_debug()));
        }
        if value.len() > MAX_RAW {
            return refuse(format!("the value of `{file}` has {} bytes, more than {MAX_RAW}", value.len()));
        }
        // Core files: freezing, killing, types and delegation are Holm's own; these two only bound child groups.
        if file.starts_with("cgroup.") && file != "cgroup.max.depth" && file != "cgroup.max.descendants" {
            return refuse(format!("`{file}` is not a limit"));
        }
        if let Some(controller) = Controller::of_v2_file(file) {
            planner.place_unified(controller, WHAT)?;
        }
        for line in value.lines() {
            planner.write(Write::new(dir.join(file), line, WHAT));
        }
    }
    Ok(())
}
