//! Flags of the commands about whole machines, as typed.

use std::path::PathBuf;

use clap::Args;

/// Flags of `vm create`.
#[derive(Args, Clone, Debug)]
pub struct VmCreate {
    /// Name; made up where absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Processors.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    pub cpus: u32,
    /// Memory.
    #[arg(short, long, value_name = "SIZE", default_value = "1g")]
    pub memory: String,
    /// Grow the disk to this.
    #[arg(long, value_name = "SIZE")]
    pub disk_size: Option<String>,
    /// What loads what the disk boots: bios or uefi.
    #[arg(long, value_name = "KIND", default_value = "bios", value_parser = ["bios", "uefi"], hide_possible_values = true)]
    pub firmware: String,
    /// Who runs its instructions: auto, kvm (refuses to fall back) or tcg (emulation).
    #[arg(long, value_name = "KIND", default_value = "auto", value_parser = ["auto", "kvm", "tcg"], hide_possible_values = true)]
    pub accel: String,
    /// cloud-init's user-data.
    #[arg(long, value_name = "FILE")]
    pub user_data: Option<PathBuf>,
    /// Public key for the default user, in a file.
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Vec<PathBuf>,
    /// Host name that cloud-init sets; its name where absent.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Without a seed disk for cloud-init.
    #[arg(long, conflicts_with_all = ["user_data", "ssh_key", "hostname"])]
    pub no_seed: bool,
    /// Network, or none; NAME:ip=,ip6=,mac=,alias= to choose.
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Port: [IP:][HOST:]PORT[/PROTOCOL].
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Disk image: qcow2 or raw. It is copied.
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
}

/// Flags of `vm start`.
#[derive(Args, Clone, Debug)]
pub struct VmStart {
    /// Machines.
    #[arg(value_name = "MACHINE", required = true)]
    pub machines: Vec<String>,
}

/// Flags of `vm stop`.
#[derive(Args, Clone, Debug)]
pub struct VmStop {
    /// Seconds until it is switched off; -1 for never.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    pub time: i64,
    /// Machines.
    #[arg(value_name = "MACHINE", required = true)]
    pub machines: Vec<String>,
}

/// Flags of `vm console`.
#[derive(Args, Clone, Debug)]
pub struct VmConsole {
    /// Keys that leave it.
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Machine.
    #[arg(value_name = "MACHINE")]
    pub machine: String,
}

/// Flags of `vm exec`.
#[derive(Args, Clone, Debug)]
pub struct VmExec {
    /// Give it all of standard input.
    #[arg(short, long)]
    pub interactive: bool,
    /// Variable for it.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Machine.
    #[arg(value_name = "MACHINE")]
    pub machine: String,
    /// Program and arguments.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Flags of `vm snapshot` and `vm restore`.
#[derive(Args, Clone, Debug)]
pub struct VmMoment {
    /// Machine.
    #[arg(value_name = "MACHINE")]
    pub machine: String,
    /// Name of the moment.
    #[arg(value_name = "MOMENT")]
    pub moment: String,
}

/// Flags of `vm rm`.
#[derive(Args, Clone, Debug)]
pub struct VmRemove {
    /// Kill it if it runs; do not fail if there is none.
    #[arg(short, long)]
    pub force: bool,
    /// Machines.
    #[arg(value_name = "MACHINE", required = true)]
    pub machines: Vec<String>,
}

/// Flags of `vm ls`.
#[derive(Args, Clone, Debug)]
pub struct VmList {
    /// Go template, `table TEMPLATE` or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form of the list: json, yaml, wide or name.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml", "wide", "name", "table"], hide_possible_values = true)]
    pub output: Option<String>,
    /// Names only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Flags of `vm inspect`.
#[derive(Args, Clone, Debug)]
pub struct VmInspect {
    /// Go template or json.
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form: json or yaml.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml"], hide_possible_values = true, conflicts_with = "format")]
    pub output: Option<String>,
    /// Machines.
    #[arg(value_name = "MACHINE", required = true)]
    pub machines: Vec<String>,
}
