//! What a group uses, in the units and with the meanings of `docker stats`.

use std::path::Path;

use holm_spec::oci::runtime::Resources;

use super::error::CgroupError;
use super::{Cgroup, Controller, file};

/// USER_HZ, the unit of `cpuacct.stat`. Fixed at 100 by the kernel's user-space interface.
const NS_PER_TICK: u64 = 10_000_000;
/// v1 says "no limit" by a number of pages close to the greatest 64-bit one.
const V1_UNLIMITED: u64 = 1 << 62;

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// CPU time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidStats,
    /// Block devices.
    pub block: BlockStats,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
}

/// CPU time since the group was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CpuStats {
    /// All of it.
    pub usage_ns: u64,
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
    /// Enforcement periods that went by.
    pub periods: u64,
    /// Those in which it was throttled.
    pub throttled_periods: u64,
    /// Time throttled.
    pub throttled_ns: u64,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// As docker counts it: charged memory less inactive file pages.
    pub usage_bytes: u64,
    /// All charged memory.
    pub charged_bytes: u64,
    /// The limit; none where unlimited.
    pub limit_bytes: Option<u64>,
    /// The most ever charged. *Kernel*: on v2 5.19.
    pub max_usage_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
    /// Page cache.
    pub cache_bytes: u64,
    /// Anonymous memory.
    pub anonymous_bytes: u64,
}

/// Tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PidStats {
    /// Now.
    pub current: u64,
    /// The limit; none where unlimited.
    pub limit: Option<u64>,
}

/// Block devices, all together, since the group was made. On v1 a container without a block I/O limit has no block I/O
/// group: bytes are then those of its present processes and of the children that they waited for, and operations are
/// zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BlockStats {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub read_ops: u64,
    /// Writes.
    pub write_ops: u64,
}

pub(super) fn read(group: &Cgroup) -> Result<Stats, CgroupError> {
    let memory = match group.v1_dir(Controller::Memory) {
        Some(dir) => memory_v1(&dir)?,
        None => group.v2_dir().map_or(Ok(MemoryStats::default()), |dir| memory_v2(&dir))?,
    };
    let pids = match group.v1_dir(Controller::Pids).or(group.v2_dir()) {
        Some(dir) => PidStats { current: number(&dir, "pids.current")?.unwrap_or(0), limit: number(&dir, "pids.max")? },
        None => PidStats::default(),
    };
    let block = match group.v1_dir(Controller::Blkio) {
        Some(dir) if dir.exists() => block_v1(&dir)?,
        Some(_) => block_of_processes(group)?,
        None => group.v2_dir().map_or(Ok(BlockStats::default()), |dir| block_v2(&dir))?,
    };
    Ok(Stats { cpu: cpu(group)?, memory, pids, block, oom_kills: oom_kills(group)? })
}

pub(super) fn oom_kills(group: &Cgroup) -> Result<u64, CgroupError> {
    let path = match (group.v1_dir(Controller::Memory), group.v2_dir()) {
        (Some(dir), _) => dir.join("memory.oom_control"),
        (None, Some(dir)) => dir.join("memory.events"),
        (None, None) => return Ok(0),
    };
    let text = file::read_if_present(&path)?.unwrap_or_default();
    Ok(file::keyed(&text, "oom_kill").unwrap_or(0))
}

/// Refuses a limit below the present use where the document asks for that; otherwise the kernel would kill.
pub(super) fn check_before_update(group: &Cgroup, resources: &Resources) -> Result<(), CgroupError> {
    let Some(memory) = resources.memory.as_ref().filter(|m| m.check_before_update == Some(true)) else { return Ok(()) };
    let (Some(limit), Some(dir)) =
        (memory.limit.and_then(|l| u64::try_from(l).ok()).filter(|l| *l > 0), group.v2_dir())
    else {
        return Ok(());
    };
    match number(&dir, "memory.current")? {
        Some(used) if used > limit => {
            let reason = format!("{limit} bytes are less than the {used} bytes in use");
            Err(CgroupError::Value { what: "the memory limit", reason })
        }
        _ => Ok(()),
    }
}

/// A file of one number; none for `max` and where it is not there.
pub(super) fn number(dir: &Path, name: &str) -> Result<Option<u64>, CgroupError> {
    Ok(file::read_if_present(&dir.join(name))?.and_then(|text| text.trim().parse().ok()))
}

pub(super) fn text(dir: &Path, name: &str) -> Result<String, CgroupError> {
    Ok(file::read_if_present(&dir.join(name))?.unwrap_or_default())
}

fn cpu(group: &Cgroup) -> Result<CpuStats, CgroupError> {
    let mut stats = CpuStats::default();
    // The v2 tree counts CPU time without any controller.
    if let Some(dir) = group.v2_dir() {
        let stat = text(&dir, "cpu.stat")?;
        let us = |key| file::keyed(&stat, key).unwrap_or(0).saturating_mul(1000);
        stats.usage_ns = us("usage_usec");
        stats.user_ns = us("user_usec");
        stats.system_ns = us("system_usec");
        stats.periods = file::keyed(&stat, "nr_periods").unwrap_or(0);
        stats.throttled_periods = file::keyed(&stat, "nr_throttled").unwrap_or(0);
        stats.throttled_ns = us("throttled_usec");
    } else if let Some(dir) = group.v1_dir(Controller::Cpuacct) {
        stats.usage_ns = number(&dir, "cpuacct.usage")?.unwrap_or(0);
        let stat = text(&dir, "cpuacct.stat")?;
        stats.user_ns = file::keyed(&stat, "user").unwrap_or(0).saturating_mul(NS_PER_TICK);
        stats.system_ns = file::keyed(&stat, "system").unwrap_or(0).saturating_mul(NS_PER_TICK);
    }
    if let Some(dir) = group.v1_dir(Controller::Cpu) {
        let stat = text(&dir, "cpu.stat")?;
        stats.periods = file::keyed(&stat, "nr_periods").unwrap_or(0);
        stats.throttled_periods = file::keyed(&stat, "nr_throttled").unwrap_or(0);
        stats.throttled_ns = file::keyed(&stat, "throttled_time").unwrap_or(0);
    }
    Ok(stats)
}

fn memory_v1(dir: &Path) -> Result<MemoryStats, CgroupError> {
    let stat = text(dir, "memory.stat")?;
    let get = |key| file::keyed(&stat, key).unwrap_or(0);
    let charged_bytes = number(dir, "memory.usage_in_bytes")?.unwrap_or(0);
    Ok(MemoryStats {
        usage_bytes: charged_bytes.saturating_sub(get("total_inactive_file")),
        charged_bytes,
        limit_bytes: number(dir, "memory.limit_in_bytes")?.filter(|&limit| limit < V1_UNLIMITED),
        max_usage_bytes: number(dir, "memory.max_usage_in_bytes")?.unwrap_or(0),
        swap_bytes: get("total_swap"),
        cache_bytes: get("total_cache"),
        anonymous_bytes: get("total_rss"),
    })
}

fn memory_v2(dir: &Path) -> Result<MemoryStats, CgroupError> {
    let stat = text(dir, "memory.stat")?;
    let get = |key| file::keyed(&stat, key).unwrap_or(0);
    let charged_bytes = number(dir, "memory.current")?.unwrap_or(0);
    Ok(MemoryStats {
        usage_bytes: charged_bytes.saturating_sub(get("inactive_file")),
        charged_bytes,
        limit_bytes: number(dir, "memory.max")?,
        max_usage_bytes: number(dir, "memory.peak")?.unwrap_or(0),
        swap_bytes: number(dir, "memory.swap.current")?.unwrap_or(0),
        cache_bytes: get("file"),
        anonymous_bytes: get("anon"),
    })
}

/// `8:0 Read 4096` lines, one for each device and kind.
fn block_v1(dir: &Path) -> Result<BlockStats, CgroupError> {
    let sum = |text: &str, kind: &str| -> u64 {
        let words = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        words.filter(|w| w.len() == 3 && w[1] == kind).filter_map(|w| w[2].parse::<u64>().ok()).sum()
    };
    let bytes = text(dir, "blkio.throttle.io_service_bytes_recursive")?;
    let operations = text(dir, "blkio.throttle.io_serviced_recursive")?;
    Ok(BlockStats {
        read_bytes: sum(&bytes, "Read"),
        write_bytes: sum(&bytes, "Write"),
        read_ops: sum(&operations, "Read"),
        write_ops: sum(&operations, "Write"),
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …` lines.
fn block_v2(dir: &Path) -> Result<BlockStats, CgroupError> {
    let text = text(dir, "io.stat")?;
    let sum = |key: &str| -> u64 {
        let words = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        words.filter_map(|value| value.parse::<u64>().ok()).sum()
    };
    let (read_bytes, write_bytes) = (sum("rbytes"), sum("wbytes"));
    Ok(BlockStats { read_bytes, write_bytes, read_ops: sum("rios"), write_ops: sum("wios") })
}

/// Sums over `/proc/N/io`.
fn block_of_processes(group: &Cgroup) -> Result<BlockStats, CgroupError> {
    let mut stats = BlockStats::default();
    for pid in super::process::list(group)? {
        // One that is gone, or not ours to look at, counts nothing.
        let Ok(text) = file::read(Path::new(&format!("/proc/{pid}/io"))) else { continue };
        let get = |key| file::keyed(&text, key).unwrap_or(0);
        stats.read_bytes = stats.read_bytes.saturating_add(get("read_bytes:"));
        stats.write_bytes = stats.write_bytes.saturating_add(get("write_bytes:"));
    }
    Ok(stats)
}
