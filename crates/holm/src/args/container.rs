//! Flags of the commands that look at a container or run something in it, as typed.

use std::path::PathBuf;

use clap::Args;

/// Flags of `ps`.
#[derive(Args, Clone, Debug)]
pub struct Ps {
    /// Those that do not run, too.
    #[arg(short, long)]
    pub all: bool,
    /// Only these: status=, name=, id=, label=, ancestor=, exited=, health=, volume=, before= or since=.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Go template, `table TEMPLATE` or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form of the list: json, yaml, wide or name.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml", "wide", "name", "table"], hide_possible_values = true)]
    pub output: Option<String>,
    /// The last N made, whatever their state.
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub last: Option<i64>,
    /// The last one made.
    #[arg(short, long)]
    pub latest: bool,
    /// Do not cut anything short.
    #[arg(long)]
    pub no_trunc: bool,
    /// Ids only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Size of what each has written.
    #[arg(short, long)]
    pub size: bool,
}

/// Flags of `logs`.
#[derive(Args, Clone, Debug)]
pub struct Logs {
    /// What the log driver adds to lines; Holm's adds nothing.
    #[arg(long, hide = true)]
    pub details: bool,
    /// Go on as long as the container runs.
    #[arg(short, long)]
    pub follow: bool,
    /// From this time on: RFC 3339, Unix seconds, or a duration ago as 10m.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Until this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only the last N lines, or all.
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub tail: Option<String>,
    /// Write the time before each line.
    #[arg(short, long)]
    pub timestamps: bool,
    /// Container, by name or id.
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Flags of `exec`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "holm exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub struct Exec {
    /// Do not wait for its end.
    #[arg(short, long)]
    pub detach: bool,
    /// Keys that leave it running and return to the shell.
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Set a variable: KEY=VALUE, or KEY to take it from here.
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// Read variables from a file.
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Keep standard input open.
    #[arg(short, long)]
    pub interactive: bool,
    /// All capabilities, no filters.
    #[arg(long)]
    pub privileged: bool,
    /// Give it a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// User and group, by name or number.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Working folder.
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// The container, then the command to run in it.
    #[arg(value_name = "CONTAINER COMMAND [ARG...]", required = true, trailing_var_arg = true, hide = true)]
    pub words: Vec<String>,
}

/// Flags of `attach`.
#[derive(Args, Clone, Debug)]
pub struct Attach {
    /// Keys that leave the container running and return to the shell.
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Do not attach standard input.
    #[arg(long)]
    pub no_stdin: bool,
    /// Pass signals on to the container (without a terminal).
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", value_parser = super::go_bool, hide_default_value = true)]
    pub sig_proxy: bool,
    /// Container, by name or id.
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Flags of `inspect`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// Go template or json.
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form: json or yaml.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml"], hide_possible_values = true, conflicts_with = "format")]
    pub output: Option<String>,
    /// Sizes of containers.
    #[arg(short, long)]
    pub size: bool,
    /// What it is: container, image, volume or network.
    #[arg(long = "type", value_name = "KIND", value_parser = ["container", "image", "volume", "network"], hide_possible_values = true)]
    pub kind: Option<String>,
    /// Names or ids.
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// Flags of `stats`.
#[derive(Args, Clone, Debug)]
pub struct Stats {
    /// Those that do not run, too.
    #[arg(short, long)]
    pub all: bool,
    /// Go template, `table TEMPLATE` or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// One reading instead of a stream.
    #[arg(long)]
    pub no_stream: bool,
    /// Do not cut anything short.
    #[arg(long)]
    pub no_trunc: bool,
    /// Containers, by name or id; all where none is named.
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Flags of `top`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "holm top CONTAINER [COLUMN...]")]
pub struct Top {
    /// The container, then the columns to show: user, pid, ppid, pcpu, stime, tty, time, args, comm, rss, vsz, stat.
    #[arg(value_name = "CONTAINER [COLUMN...]", required = true, trailing_var_arg = true)]
    pub words: Vec<String>,
}

/// Flags of `events`.
#[derive(Args, Clone, Debug)]
pub struct Events {
    /// Only these: container=, event=, image=, label= or type=.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Go template or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// From this time on.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Until this time, then end.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}
