//! Flags of the commands about Holm itself, as typed.

use std::path::PathBuf;

use clap::Args;

/// Flags of `info`.
#[derive(Args, Clone, Debug)]
pub struct Info {
    /// Go template or json.
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
}

/// Flags of `doctor`.
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// What must work: container, or vm.
    #[arg(long, value_name = "KIND", value_parser = ["container", "vm"], hide_possible_values = true)]
    pub isolation: Option<String>,
    /// Form of the answer: table or json.
    #[arg(short, long, value_name = "FORM", value_parser = ["table", "json"], hide_possible_values = true)]
    pub output: Option<String>,
}

/// Flags of `compare`.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// How often everything is measured; medians are shown.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub runs: u16,
    /// Form of the answer: table or json.
    #[arg(short, long, value_name = "FORM", value_parser = ["table", "json"], hide_possible_values = true)]
    pub output: Option<String>,
    /// Image, by name or id.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// A program to run both ways, with its arguments.
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
}

/// Flags of `version`.
#[derive(Args, Clone, Debug)]
pub struct Version {
    /// Go template or json.
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
}

/// Flags of `system df`.
#[derive(Args, Clone, Debug)]
pub struct SystemDf {
    /// Go template, `table TEMPLATE` or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// One line for each image, container and volume.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Flags of `system prune`.
#[derive(Args, Clone, Debug)]
pub struct SystemPrune {
    /// All unused images, not only those without a name.
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub force: bool,
    /// Unused volumes too.
    #[arg(long)]
    pub volumes: bool,
    /// Only these: until=TIME, label=KEY[=VALUE].
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
}

/// Flags of `system boot`.
#[derive(Args, Clone, Debug)]
pub struct SystemBoot {
    /// Start nothing; print a systemd unit that runs this command at each boot.
    #[arg(long)]
    pub print_unit: bool,
}

/// Flags of `cni`: it is asked by environment and input.
#[derive(Args, Clone, Debug)]
pub struct Cni {}

/// Flags of `completions`.
#[derive(Args, Clone, Debug)]
pub struct Completions {
    /// Shell: bash, zsh or fish.
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    pub shell: String,
}

/// Flags of `man`.
#[derive(Args, Clone, Debug)]
pub struct Man {
    /// Folder to write the pages into.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}
