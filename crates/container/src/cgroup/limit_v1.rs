//! Limits as writes to v1 files. Pure.
//!
//! Zero means "not given" as everywhere in Docker's interface, except for the number of processes and `idle`.

use std::path::Path;

use holm_spec::oci::runtime::{BlockIo, Cpu, HugepageLimit, Memory, ThrottleDevice};

use super::device::DeviceTable;
use super::plan::{Missing, Planner, Write};

/// Whether any CPU time setting is given.
pub fn asks_cpu(cpu: &Cpu) -> bool {
    given(cpu.shares).is_some()
        || given(cpu.quota).is_some()
        || given(cpu.period).is_some()
        || cpu.burst.is_some()
        || given(cpu.realtime_runtime).is_some()
        || given(cpu.realtime_period).is_some()
        || cpu.idle.is_some()
}

/// Whether any memory setting is given.
pub fn asks_memory(memory: &Memory) -> bool {
    given(memory.limit).is_some()
        || given(memory.reservation).is_some()
        || given(memory.swap).is_some()
        || memory.swappiness.is_some()
        || memory.disable_oom_killer == Some(true)
}

/// The value, unless it is absent or zero.
pub fn given<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|v| *v != T::default())
}

/// CPU time. The period goes before the quota and both before the burst; on a refusal (the new period with the old
/// quota may be more than the parent has) the write comes again after the others.
pub(super) fn cpu(planner: &mut Planner, dir: &Path, cpu: &Cpu) {
    let mut put = |file: &str, value: String, what, retried: bool| {
        let write = Write::new(dir.join(file), value, what);
        planner.write(if retried { write.retried() } else { write });
    };
    if let Some(shares) = given(cpu.shares) {
        put("cpu.shares", shares.to_string(), "the CPU shares", false);
    }
    if let Some(idle) = cpu.idle {
        put("cpu.idle", idle.to_string(), "the CPU idle flag", false);
    }
    if let Some(period) = given(cpu.period) {
        put("cpu.cfs_period_us", period.to_string(), "the CPU period", true);
    }
    if let Some(quota) = given(cpu.quota) {
        put("cpu.cfs_quota_us", quota.max(-1).to_string(), "the CPU quota", true);
    }
    if let Some(burst) = cpu.burst {
        put("cpu.cfs_burst_us", burst.to_string(), "the CPU burst", true);
    }
    if let Some(period) = given(cpu.realtime_period) {
        put("cpu.rt_period_us", period.to_string(), "the real-time period", true);
    }
    if let Some(runtime) = given(cpu.realtime_runtime) {
        put("cpu.rt_runtime_us", runtime.to_string(), "the real-time runtime", true);
    }
}

/// Memory. The limit may not exceed memory and swap together, whichever of the two is written first.
pub(super) fn memory(planner: &mut Planner, dir: &Path, memory: &Memory) {
    let limit = given(memory.limit).map(|v| v.max(-1));
    let mut swap = given(memory.swap).map(|v| v.max(-1));
    if limit == Some(-1) && swap.is_none() {
        swap = Some(-1);
    }
    if let Some(limit) = limit {
        planner.write(Write::new(dir.join("memory.limit_in_bytes"), limit, "the memory limit").retried());
    }
    if let Some(swap) = swap {
        // A kernel booted without swap accounting lacks the file.
        let write = Write::new(dir.join("memory.memsw.limit_in_bytes"), swap, "the limit of memory and swap");
        planner.write(write.when_missing(Missing::Warn).retried());
    }
    if let Some(reservation) = given(memory.reservation) {
        let value = reservation.max(-1);
        planner.write(Write::new(dir.join("memory.soft_limit_in_bytes"), value, "the memory reservation"));
    }
    if let Some(swappiness) = memory.swappiness {
        planner.write(Write::new(dir.join("memory.swappiness"), swappiness, "the swappiness"));
    }
    if memory.disable_oom_killer == Some(true) {
        planner.write(Write::new(dir.join("memory.oom_control"), 1, "the out-of-memory killer's absence"));
    }
}

/// Number of tasks.
pub(super) fn pids(planner: &mut Planner, dir: &Path, limit: i64) {
    let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
    planner.write(Write::new(dir.join("pids.max"), value, "the limit of processes"));
}

/// Block devices. The weights exist only where the BFQ (or, long ago, CFQ) scheduler is.
pub(super) fn block_io(planner: &mut Planner, dir: &Path, io: &BlockIo) {
    if let Some(weight) = given(io.weight) {
        let write = Write::new(dir.join("blkio.weight"), weight, "the block I/O weight");
        planner.write(write.or(dir.join("blkio.bfq.weight"), weight));
    }
    if let Some(weight) = given(io.leaf_weight) {
        planner.write(Write::new(dir.join("blkio.leaf_weight"), weight, "the block I/O leaf weight"));
    }
    for device in &io.weight_device {
        let at = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = given(device.weight) {
            let value = format!("{at} {weight}");
            let write = Write::new(dir.join("blkio.weight_device"), &value, "a device's block I/O weight");
            planner.write(write.or(dir.join("blkio.bfq.weight_device"), value));
        }
        if let Some(weight) = given(device.leaf_weight) {
            let value = format!("{at} {weight}");
            planner.write(Write::new(dir.join("blkio.leaf_weight_device"), value, "a device's block I/O leaf weight"));
        }
    }
    let throttles: [(&str, &'static str, &[ThrottleDevice]); 4] = [
        ("blkio.throttle.read_bps_device", "a device's read rate", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", "a device's write rate", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", "a device's reads a second", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", "a device's writes a second", &io.throttle_write_iops_device),
    ];
    for (file, what, devices) in throttles {
        for device in devices {
            let value = format!("{}:{} {}", device.major, device.minor, device.rate);
            planner.write(Write::new(dir.join(file), value, what));
        }
    }
}

/// One size of huge pages; the reservation limit is newer than the other.
pub(super) fn hugetlb(planner: &mut Planner, dir: &Path, huge: &HugepageLimit) {
    let (size, limit) = (&huge.page_size, huge.limit);
    let file = dir.join(format!("hugetlb.{size}.limit_in_bytes"));
    planner.write(Write::new(file, limit, "the huge page limit"));
    let reserved = dir.join(format!("hugetlb.{size}.rsvd.limit_in_bytes"));
    planner.write(Write::new(reserved, limit, "the huge page reservation limit").when_missing(Missing::Ignore));
}

/// The device table: the default first, which clears what was there, then the exceptions.
pub(super) fn devices(planner: &mut Planner, dir: &Path, table: &DeviceTable) {
    let (default, exceptions) =
        if table.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    planner.write(Write::new(dir.join(default), "a", "the device rules"));
    for exception in &table.exceptions {
        planner.write(Write::new(dir.join(exceptions), exception.line(), "the device rules"));
    }
}
