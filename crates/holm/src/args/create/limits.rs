//! Flags of `run` and `create` about resources, as typed.

use clap::Args;

/// How much a container may use.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub struct LimitFlags {
    /// Number of CPUs, as 1.5.
    #[arg(long, value_name = "N")]
    pub cpus: Option<String>,
    /// Relative CPU weight, 2 to 262144.
    #[arg(short, long, value_name = "N")]
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU in a period.
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// Length of the period.
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// CPUs it may use, as 0-3,7.
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use.
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Memory, as 512m.
    #[arg(short, long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory and swap together; -1 is unlimited swap.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Memory that is kept for it under pressure.
    #[arg(long, value_name = "SIZE")]
    pub memory_reservation: Option<String>,
    /// How readily it is swapped, 0 to 100.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub memory_swappiness: Option<i64>,
    /// Pause instead of killing when memory runs out (cgroup v1).
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// How readily it is killed when memory runs out, -1000 to 1000.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub oom_score_adj: Option<i32>,
    /// Most processes and threads; -1 is unlimited.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// Relative block I/O weight, 10 to 1000.
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// Block I/O weight of one device.
    #[arg(long, value_name = "DEVICE:N")]
    pub blkio_weight_device: Vec<String>,
    /// Bytes read from a device each second.
    #[arg(long, value_name = "DEVICE:SIZE")]
    pub device_read_bps: Vec<String>,
    /// Bytes written to a device each second.
    #[arg(long, value_name = "DEVICE:SIZE")]
    pub device_write_bps: Vec<String>,
    /// Reads from a device each second.
    #[arg(long, value_name = "DEVICE:N")]
    pub device_read_iops: Vec<String>,
    /// Writes to a device each second.
    #[arg(long, value_name = "DEVICE:N")]
    pub device_write_iops: Vec<String>,
    /// Limit of each process: NAME=SOFT[:HARD].
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<String>,
    /// Size of /dev/shm (default 64m).
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
}
