//! Flags of the commands about volumes, as typed.

use clap::Args;

/// Flags of `volume create`.
#[derive(Args, Clone, Debug)]
pub struct VolumeCreate {
    /// Driver: local.
    #[arg(short, long, value_name = "DRIVER", default_value = "local", value_parser = ["local"], hide = true)]
    pub driver: String,
    /// Label.
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// type=, device= and o=, for a volume that is not a folder of Holm's, as for mount(8).
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Name; made up where absent.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Flags of `volume ls`.
#[derive(Args, Clone, Debug)]
pub struct VolumeList {
    /// Only these: name=, label= or dangling=.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
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

/// Flags of `volume inspect`.
#[derive(Args, Clone, Debug)]
pub struct VolumeInspect {
    /// Go template or json.
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form: json or yaml.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml"], hide_possible_values = true, conflicts_with = "format")]
    pub output: Option<String>,
    /// Volumes.
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<String>,
}

/// Flags of `volume rm`.
#[derive(Args, Clone, Debug)]
pub struct VolumeRemove {
    /// Do not fail if there is none.
    #[arg(short, long)]
    pub force: bool,
    /// Volumes.
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<String>,
}
