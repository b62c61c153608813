//! Flags of the commands that change a container that exists, as typed.

use std::path::PathBuf;

use clap::Args;

/// Flags of `start`.
#[derive(Args, Clone, Debug)]
pub struct Start {
    /// Attach to its output, pass signals on, and end with its exit code.
    #[arg(short, long)]
    pub attach: bool,
    /// Attach standard input too.
    #[arg(short, long)]
    pub interactive: bool,
    /// Keys that leave the container running and return to the shell.
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Containers, by name or id.
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Flags of `stop`.
#[derive(Args, Clone, Debug)]
pub struct Stop {
    /// Signal that asks it to stop.
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Seconds until it is killed; -1 waits for ever.
    #[arg(short, long, alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true)]
    pub time: Option<i64>,
    /// All running containers.
    #[arg(long)]
    pub all: bool,
    /// Containers, by name or id.
    #[arg(value_name = "CONTAINER", required_unless_present = "all")]
    pub containers: Vec<String>,
}

/// Flags of `restart`.
#[derive(Args, Clone, Debug)]
pub struct Restart {
    /// Signal that asks it to stop.
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Seconds until it is killed; -1 waits for ever.
    #[arg(short, long, alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true)]
    pub time: Option<i64>,
    /// Containers, by name or id.
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Flags of `kill`.
#[derive(Args, Clone, Debug)]
pub struct Kill {
    /// Signal to send.
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,
    /// Containers, by name or id.
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Flags of `rm`.
#[derive(Args, Clone, Debug)]
pub struct Rm {
    /// Kill it first if it runs; do not fail if there is none.
    #[arg(short, long)]
    pub force: bool,
    /// Remove its anonymous volumes too.
    #[arg(short, long)]
    pub volumes: bool,
    /// Containers, by name or id.
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Flags of the commands that take containers and nothing else.
#[derive(Args, Clone, Debug)]
pub struct Containers {
    /// Containers, by name or id.
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Flags of `rename`.
#[derive(Args, Clone, Debug)]
pub struct Rename {
    /// Container, by name or id.
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Its new name.
    #[arg(value_name = "NEW-NAME")]
    pub name: String,
}

/// Flags of `update`.
#[derive(Args, Clone, Debug)]
pub struct Update {
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
    /// Most processes and threads; -1 is unlimited.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// Relative block I/O weight, 10 to 1000.
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// Start again: no, always, on-failure[:N] or unless-stopped.
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Containers, by name or id.
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Flags of `commit`.
#[derive(Args, Clone, Debug)]
pub struct Commit {
    /// Author of the image.
    #[arg(short, long, value_name = "AUTHOR")]
    pub author: Option<String>,
    /// Change of the configuration, as a Dockerfile line.
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Comment in the image's history.
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Pause the container meanwhile.
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", value_parser = super::go_bool, hide_default_value = true)]
    pub pause: bool,
    /// Container, by name or id.
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Name of the image.
    #[arg(value_name = "IMAGE[:TAG]")]
    pub image: Option<String>,
}

/// Flags of `cp`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "holm cp [OPTIONS] CONTAINER:PATH PATH|-\n       holm cp [OPTIONS] PATH|- CONTAINER:PATH")]
pub struct Cp {
    /// Keep owners and groups.
    #[arg(short, long)]
    pub archive: bool,
    /// Follow a symbolic link that is the source.
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Say nothing.
    #[arg(short, long)]
    pub quiet: bool,
    /// What to copy: a path, CONTAINER:PATH, or - for a tar on standard input.
    #[arg(value_name = "SOURCE", allow_hyphen_values = true)]
    pub source: String,
    /// Where to: a path, CONTAINER:PATH, or - for a tar on standard output.
    #[arg(value_name = "TARGET", allow_hyphen_values = true)]
    pub target: String,
}

/// Flags of `export`.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Container, by name or id.
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Flags of every `prune`.
#[derive(Args, Clone, Debug)]
pub struct Prune {
    /// Everything that is unused, not only what has no name.
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub force: bool,
    /// Only these: until=TIME, label=KEY[=VALUE].
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
}
