//! The limits of a plan.

use holm_spec::container::{ContainerSpec, Limits};
use holm_spec::oci::runtime::{BlockIo, Cpu, HugepageLimit, Memory, Pids, Resources, ThrottleDevice, WeightDevice};

use super::{Facts, device};
use crate::Error;

const PERIOD_US: u64 = 100_000;

pub(super) fn resources(spec: &ContainerSpec, facts: &Facts) -> Result<Resources, Error> {
    let devices = device::rules(spec, &facts.devices)?;
    Ok(Resources { devices, ..limits(&spec.limits, facts)? })
}

/// The limits without device rules, for `update` too.
pub(crate) fn limits(limits: &Limits, facts: &Facts) -> Result<Resources, Error> {
    Ok(Resources {
        memory: memory(limits)?,
        cpu: cpu(limits)?,
        pids: limits.pids.map(|limit| Pids { limit }),
        block_io: block_io(limits, facts)?,
        hugepage_limits: limits
            .hugetlb
            .iter()
            .map(|(page_size, limit)| HugepageLimit { page_size: page_size.clone(), limit: *limit })
            .collect(),
        ..Resources::default()
    })
}

fn signed(what: &str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::invalid(format!("{what} of {value}"), format!("the limit is {}", i64::MAX)))
}

/// Docker's rules: with memory alone, swap is as much again.
fn memory(limits: &Limits) -> Result<Option<Memory>, Error> {
    let limit = limits.memory_bytes.map(|b| signed("memory", b)).transpose()?;
    let swap = match (limits.memory_swap_bytes, limit) {
        (Some(swap), Some(limit)) if swap > 0 && swap < limit => {
            return Err(Error::invalid(
                format!("memory and swap of {swap} bytes together"),
                format!("memory alone may be {limit} bytes"),
            ));
        }
        (Some(swap), None) if swap > 0 => {
            return Err(Error::invalid(format!("memory and swap of {swap} bytes"), "memory has no limit"));
        }
        (Some(0) | None, limit) => limit.map(|l| l.saturating_mul(2)),
        (swap, _) => swap,
    };
    let reservation = limits.memory_reservation_bytes.map(|b| signed("memory reservation", b)).transpose()?;
    let memory = Memory {
        limit,
        reservation,
        swap,
        swappiness: limits.memory_swappiness,
        disable_oom_killer: limits.oom_kill_disable.then_some(true),
        check_before_update: None,
    };
    Ok((memory != Memory::default()).then_some(memory))
}

fn cpu(limits: &Limits) -> Result<Option<Cpu>, Error> {
    let (mut quota, mut period) = (limits.cpu_quota_us, limits.cpu_period_us);
    if let Some(nanos) = limits.nano_cpus {
        if quota.is_some() || period.is_some() {
            return Err(Error::invalid("CPU quota or period", "a number of CPUs is set too; use one of them"));
        }
        quota = Some(signed("number of CPUs", nanos / (1_000_000_000 / PERIOD_US))?);
        period = Some(PERIOD_US);
    }
    let cpu = Cpu {
        shares: limits.cpu_shares.filter(|s| *s != 0),
        quota,
        period,
        cpus: limits.cpuset_cpus.clone(),
        mems: limits.cpuset_mems.clone(),
        ..Cpu::default()
    };
    Ok((cpu != Cpu::default()).then_some(cpu))
}

fn block_io(limits: &Limits, facts: &Facts) -> Result<Option<BlockIo>, Error> {
    let number = |path: &str| {
        let found = facts.block_devices.get(path).copied();
        found.ok_or_else(|| Error::invalid(format!("device `{}`", path.escape_default()), "it is no block device"))
    };
    let throttle = |list: &[(String, u64)]| -> Result<Vec<ThrottleDevice>, Error> {
        list.iter()
            .map(|(path, rate)| {
                let (major, minor) = number(path)?;
                Ok(ThrottleDevice { major: major.into(), minor: minor.into(), rate: *rate })
            })
            .collect()
    };
    let weight_device = limits.blkio_weight_device.iter().map(|(path, weight)| {
        let (major, minor) = number(path)?;
        let weight = u16::try_from(*weight)
            .map_err(|_| Error::invalid(format!("block weight {weight}"), "the limit is 1000"))?;
        Ok(WeightDevice { major: major.into(), minor: minor.into(), weight: Some(weight), leaf_weight: None })
    });
    let io = BlockIo {
        weight: limits.blkio_weight.filter(|w| *w != 0),
        leaf_weight: None,
        weight_device: weight_device.collect::<Result<_, Error>>()?,
        throttle_read_bps_device: throttle(&limits.device_read_bps)?,
        throttle_write_bps_device: throttle(&limits.device_write_bps)?,
        throttle_read_iops_device: throttle(&limits.device_read_iops)?,
        throttle_write_iops_device: throttle(&limits.device_write_iops)?,
    };
    Ok((io != BlockIo::default()).then_some(io))
}

/// The paths of block devices that `limits` names.
pub(crate) fn named_devices(limits: &Limits) -> impl Iterator<Item = &str> {
    let lists = [
        &limits.blkio_weight_device,
        &limits.device_read_bps,
        &limits.device_write_bps,
        &limits.device_read_iops,
        &limits.device_write_iops,
    ];
    lists.into_iter().flatten().map(|(path, _)| path.as_str())
}

/// The resources to write for a change from `old` to `new` limits: only what differs.
pub(crate) fn limits_of_update(new: &Limits, old: &Limits) -> Result<Resources, Error> {
    let facts = Facts { block_devices: crate::supervisor::block_devices(new), ..Facts::default() };
    let (mut wanted, before) = (limits(new, &facts)?, limits(old, &facts).unwrap_or_default());
    if wanted.memory == before.memory {
        wanted.memory = None;
    }
    if wanted.cpu == before.cpu {
        wanted.cpu = None;
    }
    if wanted.pids == before.pids {
        wanted.pids = None;
    }
    if wanted.block_io == before.block_io {
        wanted.block_io = None;
    }
    if wanted.hugepage_limits == before.hugepage_limits {
        wanted.hugepage_limits.clear();
    }
    Ok(wanted)
}
