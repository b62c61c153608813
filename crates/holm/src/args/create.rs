//! Flags of `run` and `create`: what a container is asked to be, as typed.

mod limits;
pub mod sandbox;
mod security;

use std::path::PathBuf;

use clap::Args;

pub use limits::LimitFlags;
pub use sandbox::SandboxFlags;
pub use security::SecurityFlags;

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, override_usage = "holm run [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub struct Run {
    /// Print this help.
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Run in the background and print the container's id.
    #[arg(short, long)]
    pub detach: bool,
    /// Keys that leave the container running and return to the shell.
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Pass signals on to the container (without a terminal).
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", value_parser = super::go_bool, hide_default_value = true)]
    pub sig_proxy: bool,
    /// What the container is.
    #[command(flatten)]
    pub container: ContainerFlags,
}

/// Flags of `create`.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, override_usage = "holm create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub struct Create {
    /// Print this help.
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// What the container is.
    #[command(flatten)]
    pub container: ContainerFlags,
}

/// What `run` and `create` share.
#[derive(Args, Clone, Debug, Default)]
pub struct ContainerFlags {
    /// Keep standard input open.
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Remove the container when it ends.
    #[arg(long)]
    pub rm: bool,
    /// Name of the container.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Attach to stdin, stdout or stderr.
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
    /// Write the container's id to this file.
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Write the PID of the container's init to this file.
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// When to pull the image: always, missing or never.
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never"], hide_possible_values = true)]
    pub pull: Option<String>,
    /// Platform of the image, as linux/arm64.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Do not show the progress of a pull.
    #[arg(short, long)]
    pub quiet: bool,
    /// Docker's notary, which is gone; of no meaning.
    #[arg(long, hide = true)]
    pub disable_content_trust: bool,
    /// The virtual machine, where it is one.
    #[command(flatten)]
    pub machine: MachineFlags,
    /// The process to run.
    #[command(flatten)]
    pub process: ProcessFlags,
    /// Files and devices.
    #[command(flatten)]
    pub files: FileFlags,
    /// Namespaces.
    #[command(flatten)]
    pub sandbox: SandboxFlags,
    /// What it may do.
    #[command(flatten)]
    pub security: SecurityFlags,
    /// How much it may use.
    #[command(flatten)]
    pub limits: LimitFlags,
    /// What happens around its life.
    #[command(flatten)]
    pub life: LifeFlags,
    /// The image, then the command to run in it.
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", required = true, trailing_var_arg = true, hide = true)]
    pub words: Vec<String>,
}

/// What stands between it and the host's kernel.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Isolation")]
pub struct MachineFlags {
    /// How it is isolated: container, or vm for a kernel of its own.
    #[arg(long, value_name = "KIND")]
    pub isolation: Option<String>,
    /// Kernel of the virtual machine: a file, or the folder of an unpacked package.
    #[arg(long, value_name = "PATH")]
    pub kernel: Option<PathBuf>,
    /// Who runs its instructions: auto, kvm or tcg.
    #[arg(long, value_name = "NAME")]
    pub accel: Option<String>,
    /// Kind of the virtual machine: auto, microvm or q35.
    #[arg(long, value_name = "KIND")]
    pub machine: Option<String>,
    /// Boot the virtual machine instead of starting it from a template.
    #[arg(long)]
    pub no_template: bool,
}

/// The process that is run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Process")]
pub struct ProcessFlags {
    /// Set a variable: KEY=VALUE, or KEY to take it from here.
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// Read variables from a file.
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Working folder.
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User and group, by name or number.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Another group, by name or number.
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Program instead of the image's; empty clears the image's.
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// Run an init that reaps processes.
    #[arg(long)]
    pub init: bool,
    /// Label.
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Read labels from a file.
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Annotation.
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
}

/// Files and devices.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Files and devices")]
pub struct FileFlags {
    /// Driver of the volumes that `-v` makes: local.
    #[arg(long, value_name = "DRIVER", value_parser = ["local"], hide = true)]
    pub volume_driver: Option<String>,
    /// Volume or bind mount: [SOURCE:]TARGET[:OPTIONS].
    #[arg(short, long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// Mount: type=bind|volume|tmpfs,source=…,target=…[,…].
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Temporary file system in memory: TARGET[:OPTIONS].
    #[arg(long, value_name = "TMPFS")]
    pub tmpfs: Vec<String>,
    /// Take over the volumes of another container.
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub volumes_from: Vec<String>,
    /// Mount the root file system read-only.
    #[arg(long)]
    pub read_only: bool,
    /// Device of the host: PATH[:PATH-INSIDE[:rwm]].
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Device rule, as 'c 10:200 rwm'.
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,
}

/// What happens around the container's life.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Life")]
pub struct LifeFlags {
    /// Start again: no, always, on-failure[:N] or unless-stopped.
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Signal that asks it to stop.
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Seconds from the stop signal to the kill; -1 waits for ever.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,
    /// Command that checks its health.
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub health_cmd: Option<String>,
    /// Time between health checks.
    #[arg(long, value_name = "DURATION")]
    pub health_interval: Option<String>,
    /// Time that one health check may take.
    #[arg(long, value_name = "DURATION")]
    pub health_timeout: Option<String>,
    /// Failures in a row that make it unhealthy.
    #[arg(long, value_name = "N")]
    pub health_retries: Option<u64>,
    /// Time after the start in which failures do not count.
    #[arg(long, value_name = "DURATION")]
    pub health_start_period: Option<String>,
    /// Time between checks in the start period.
    #[arg(long, value_name = "DURATION")]
    pub health_start_interval: Option<String>,
    /// Do not check its health.
    #[arg(long)]
    pub no_healthcheck: bool,
    /// How output is kept: json-file or none.
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// Log option: max-size=SIZE or max-file=N.
    #[arg(long, value_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,
}
