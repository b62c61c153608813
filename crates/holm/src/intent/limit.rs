//! Limits: `--memory`, `--cpus`, `--ulimit`, `--blkio-weight` and their kin, with docker's ranges.

use holm_spec::container::Limits;
use holm_spec::oci::runtime::Rlimit;
use holm_spec::quantity::{parse_nano_cpus, parse_size_bytes};

use crate::args::create::LimitFlags;
use crate::error::{CODE_HOLM, Failure};

/// Least memory of a container, docker's: below it hardly any program starts.
const MEMORY_MIN_BYTES: u64 = 6 << 20;

/// Checks a number of CPUs against those of this machine, which `online` lists as `0-3,7`.
pub fn check_cpus(limits: &Limits, online: &str) -> Result<(), Failure> {
    let count = |part: &str| match part.trim().split_once('-') {
        Some((low, high)) => Some(high.parse::<u64>().ok()?.checked_sub(low.parse().ok()?)? + 1),
        None => part.trim().parse::<u64>().ok().map(|_| 1),
    };
    let all: u64 = online.split(',').filter_map(count).sum();
    match limits.nano_cpus {
        Some(nanos) if all > 0 && nanos > all * 1_000_000_000 => {
            let asked = format!("{}.{:02}", nanos / 1_000_000_000, nanos / 10_000_000 % 100);
            Err(Failure::flag(
                "--cpus",
                &asked,
                format!("this machine has {all} CPUs, so it must be from 0.01 to {all}"),
            ))
        }
        _ => Ok(()),
    }
}

/// A size that a flag gives. *Units*: bytes.
pub fn size(flag: &str, text: &str) -> Result<u64, Failure> {
    parse_size_bytes(text).map_err(|e| Failure::flag(flag, text, e.to_string()).with_hint(format!("{flag} 512m")))
}

/// The limits of the flags; those of no effect are left out.
pub fn limits(flags: &LimitFlags) -> Result<Limits, Failure> {
    let mut limits = Limits {
        nano_cpus: flags.cpus.as_deref().map(cpus).transpose()?.flatten(),
        cpu_shares: flags.cpu_shares.filter(|n| *n != 0),
        cpu_quota_us: flags.cpu_quota.filter(|n| *n != 0),
        cpu_period_us: flags.cpu_period.filter(|n| *n != 0),
        cpuset_cpus: flags.cpuset_cpus.as_deref().map(|s| list("--cpuset-cpus", s)).transpose()?,
        cpuset_mems: flags.cpuset_mems.as_deref().map(|s| list("--cpuset-mems", s)).transpose()?,
        memory_bytes: flags.memory.as_deref().map(|s| size("--memory", s)).transpose()?.filter(|n| *n != 0),
        memory_swap_bytes: flags.memory_swap.as_deref().map(swap).transpose()?.filter(|n| *n != 0),
        memory_reservation_bytes: flags
            .memory_reservation
            .as_deref()
            .map(|s| size("--memory-reservation", s))
            .transpose()?,
        memory_swappiness: None,
        oom_kill_disable: flags.oom_kill_disable,
        oom_score_adj: flags.oom_score_adj,
        pids: flags.pids_limit.filter(|n| *n != 0),
        blkio_weight: flags.blkio_weight.filter(|n| *n != 0),
        blkio_weight_device: by_device("--blkio-weight-device", &flags.blkio_weight_device, false)?,
        device_read_bps: by_device("--device-read-bps", &flags.device_read_bps, true)?,
        device_write_bps: by_device("--device-write-bps", &flags.device_write_bps, true)?,
        device_read_iops: by_device("--device-read-iops", &flags.device_read_iops, false)?,
        device_write_iops: by_device("--device-write-iops", &flags.device_write_iops, false)?,
        hugetlb: Vec::new(),
    };
    limits.memory_swappiness = match flags.memory_swappiness {
        None | Some(-1) => None,
        Some(n @ 0..=100) => Some(n.unsigned_abs()),
        Some(n) => return Err(range("--memory-swappiness", n, 0, 100)),
    };
    check(&limits)?;
    Ok(limits)
}

fn range(flag: &str, value: impl ToString, low: i64, high: i64) -> Failure {
    Failure::flag(flag, &value.to_string(), format!("it must be from {low} to {high}"))
}

/// Checks ranges and combinations.
pub fn check(limits: &Limits) -> Result<(), Failure> {
    if let Some(n) = limits.cpu_shares.filter(|n| !(2..=262_144).contains(n)) {
        return Err(range("--cpu-shares", n, 2, 262_144));
    }
    if let Some(n) = limits.cpu_period_us.filter(|n| !(1_000..=1_000_000).contains(n)) {
        return Err(range("--cpu-period", n, 1_000, 1_000_000));
    }
    if let Some(n) = limits.cpu_quota_us.filter(|n| *n != -1 && *n < 1_000) {
        return Err(Failure::flag("--cpu-quota", &n.to_string(), "it must be 1000 or more, or -1 for no limit"));
    }
    if limits.nano_cpus.is_some() && (limits.cpu_quota_us.is_some() || limits.cpu_period_us.is_some()) {
        return Err(Failure::new("cannot use --cpus together with --cpu-quota or --cpu-period").with_code(CODE_HOLM));
    }
    if let Some(n) = limits.oom_score_adj.filter(|n| !(-1000..=1000).contains(n)) {
        return Err(range("--oom-score-adj", n, -1000, 1000));
    }
    if let Some(n) = limits.blkio_weight.filter(|n| !(10..=1000).contains(n)) {
        return Err(range("--blkio-weight", n, 10, 1000));
    }
    if let Some(n) = limits.pids.filter(|n| *n < -1) {
        return Err(Failure::flag("--pids-limit", &n.to_string(), "it must be above 0, or -1 for no limit"));
    }
    if let Some((_, n)) = limits.blkio_weight_device.iter().find(|(_, n)| !(10..=1000).contains(n)) {
        return Err(range("--blkio-weight-device", n, 10, 1000));
    }
    memory(limits)
}

fn memory(limits: &Limits) -> Result<(), Failure> {
    if let Some(n) = limits.memory_bytes.filter(|n| *n < MEMORY_MIN_BYTES) {
        return Err(Failure::flag(
            "--memory",
            &n.to_string(),
            format!("it must be at least {MEMORY_MIN_BYTES} bytes (6m)"),
        ));
    }
    if let Some(n) = limits.memory_bytes.filter(|n| *n > i64::MAX as u64) {
        return Err(Failure::flag("--memory", &n.to_string(), format!("it must be at most {} bytes", i64::MAX)));
    }
    match (limits.memory_swap_bytes, limits.memory_bytes) {
        (Some(n), None) if n > 0 => Err(Failure::new("cannot use --memory-swap without --memory").with_code(CODE_HOLM)),
        (Some(n), Some(memory)) if n > 0 && n.unsigned_abs() < memory => Err(Failure::flag(
            "--memory-swap",
            &n.to_string(),
            format!("it counts memory and swap together, so it must be at least the {memory} bytes of --memory"),
        )),
        _ => match (limits.memory_reservation_bytes, limits.memory_bytes) {
            (Some(reserved), Some(memory)) if reserved > memory => Err(Failure::flag(
                "--memory-reservation",
                &reserved.to_string(),
                format!("it must be at most the {memory} bytes of --memory"),
            )),
            _ => Ok(()),
        },
    }
}

fn cpus(text: &str) -> Result<Option<u64>, Failure> {
    // Docker takes 0 as no limit.
    if !text.is_empty() && text.contains('0') && text.bytes().all(|b| matches!(b, b'0' | b'.')) {
        return Ok(None);
    }
    let failure =
        |e: holm_spec::quantity::QuantityError| Failure::flag("--cpus", text, e.to_string()).with_hint("--cpus 1.5");
    let nanos = parse_nano_cpus(text).map_err(failure)?;
    // The kernel's least quota is 1 ms in the default period of 100 ms.
    if nanos < 10_000_000 {
        return Err(Failure::flag("--cpus", text, "it must be 0.01 or more"));
    }
    Ok(Some(nanos))
}

fn swap(text: &str) -> Result<i64, Failure> {
    if text == "-1" {
        return Ok(-1);
    }
    let bytes = size("--memory-swap", text)?;
    i64::try_from(bytes).map_err(|_| Failure::flag("--memory-swap", text, "it is too large"))
}

/// A list of CPUs or memory nodes: `0-3,7`.
fn list(flag: &str, text: &str) -> Result<String, Failure> {
    let number = |s: &str| s.parse::<u32>().ok().filter(|n| *n < 8192 && s.bytes().all(|b| b.is_ascii_digit()));
    let good = |part: &str| match part.split_once('-') {
        Some((low, high)) => number(low).zip(number(high)).is_some_and(|(low, high)| low <= high),
        None => number(part).is_some(),
    };
    if text.split(',').all(good) {
        return Ok(text.to_owned());
    }
    Err(Failure::flag(flag, text, "it must be numbers and ranges, as 0-3,7"))
}

fn by_device(flag: &str, texts: &[String], is_size: bool) -> Result<Vec<(String, u64)>, Failure> {
    let one = |text: &String| {
        let form = if is_size { "it must be /dev/NAME:SIZE, as /dev/sda:1mb" } else { "it must be /dev/NAME:NUMBER" };
        let (path, value) = text.rsplit_once(':').ok_or_else(|| Failure::flag(flag, text, form))?;
        let value = if is_size { parse_size_bytes(value).ok() } else { value.parse().ok() };
        match value {
            Some(value) if path.starts_with("/dev/") => Ok((path.to_owned(), value)),
            _ => Err(Failure::flag(flag, text, form)),
        }
    };
    texts.iter().map(one).collect()
}

/// The names of resource limits of processes.
const ULIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The resource limits of processes; a later one of the same name replaces an earlier one.
pub fn ulimits(texts: &[String]) -> Result<Vec<Rlimit>, Failure> {
    let mut list: Vec<Rlimit> = Vec::new();
    for text in texts {
        let limit = ulimit(text)?;
        list.retain(|other| other.kind != limit.kind);
        list.push(limit);
    }
    Ok(list)
}

fn ulimit(text: &str) -> Result<Rlimit, Failure> {
    let bad = |why: &str| Failure::flag("--ulimit", text, why).with_hint("--ulimit nofile=1024:4096");
    let (name, values) = text.split_once('=').ok_or_else(|| bad("it must be NAME=SOFT[:HARD]"))?;
    let name = name.trim().to_ascii_lowercase();
    if !ULIMITS.contains(&name.as_str()) {
        return Err(Failure::flag("--ulimit", text, format!("there is no limit `{name}`"))
            .with_hint(format!("limits are {}", ULIMITS.join(", "))));
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text.parse::<u64>().map_err(|_| bad("a limit must be a number, or -1 for none")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(bad("the soft limit must not be above the hard limit"));
    }
    Ok(Rlimit { kind: format!("RLIMIT_{}", name.to_ascii_uppercase()), soft, hard })
}
