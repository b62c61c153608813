//! Flags of the commands about images and registries, as typed.

use std::path::PathBuf;

use clap::Args;

/// Flags of `pull`.
#[derive(Args, Clone, Debug)]
pub struct Pull {
    /// Every tag of the repository.
    #[arg(short, long)]
    pub all_tags: bool,
    /// Platform of the image, as linux/arm64.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Print the image's id only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Connection to the registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
    /// Images.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Flags of `push`.
#[derive(Args, Clone, Debug)]
pub struct Push {
    /// Print nothing.
    #[arg(short, long)]
    pub quiet: bool,
    /// Connection to the registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
    /// Image in the store.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Where to, if under another name.
    #[arg(value_name = "DESTINATION")]
    pub destination: Option<String>,
}

/// How a registry is reached.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryFlags {
    /// Check the registry's certificate; false also allows plain HTTP.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = super::go_bool)]
    pub tls_verify: Option<bool>,
    /// Folder of certificate authorities (*.crt).
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// User and password, instead of those of `login`.
    #[arg(long, value_name = "USER:PASSWORD")]
    pub creds: Option<String>,
    /// File of passwords, instead of Holm's own.
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
}

/// Flags of `images`.
#[derive(Args, Clone, Debug)]
pub struct Images {
    /// Those without a name that others are made of, too.
    #[arg(short, long)]
    pub all: bool,
    /// Show digests.
    #[arg(long)]
    pub digests: bool,
    /// Only these: dangling=, label=, reference=, before= or since=.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Go template, `table TEMPLATE` or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form of the list: json, yaml, wide or name.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml", "wide", "name", "table"], hide_possible_values = true)]
    pub output: Option<String>,
    /// Do not cut anything short.
    #[arg(long)]
    pub no_trunc: bool,
    /// Ids only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Only this name; * and ? match as in a shell.
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// Flags of `rmi`.
#[derive(Args, Clone, Debug)]
pub struct Rmi {
    /// Remove it under all its names; do not fail if there is none.
    #[arg(short, long)]
    pub force: bool,
    /// Accepted for docker's sake; layers are shared and go when nothing uses them.
    #[arg(long, hide = true)]
    pub no_prune: bool,
    /// Images, by name or id.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Flags of `tag`.
#[derive(Args, Clone, Debug)]
pub struct Tag {
    /// Image, by name or id.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Its further name.
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
}

/// Flags of `history`.
#[derive(Args, Clone, Debug)]
pub struct History {
    /// Go template, `table TEMPLATE` or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Sizes and times for people.
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", value_parser = super::go_bool, hide_default_value = true)]
    pub human: bool,
    /// Do not cut anything short.
    #[arg(long)]
    pub no_trunc: bool,
    /// Ids only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Image, by name or id.
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Flags of `save`.
#[derive(Args, Clone, Debug)]
pub struct Save {
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Form: docker-archive (default), oci-archive or oci-dir.
    #[arg(long, value_name = "FORM", value_parser = ["docker-archive", "oci-archive", "oci-dir"], hide_possible_values = true)]
    pub format: Option<String>,
    /// Images, by name or id.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Flags of `load`.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// Read this file or folder instead of standard input.
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Print the names only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Flags of `import`.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// Change of the configuration, as a Dockerfile line.
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Comment in the image's history.
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Platform of the image, as linux/arm64.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Tar of a root file system, or - for standard input.
    #[arg(value_name = "FILE", allow_hyphen_values = true)]
    pub file: PathBuf,
    /// Name of the image.
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// Flags of `image inspect`.
#[derive(Args, Clone, Debug)]
pub struct ImageInspect {
    /// Go template or json.
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form: json or yaml.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml"], hide_possible_values = true, conflicts_with = "format")]
    pub output: Option<String>,
    /// Images, by name or id.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Flags of `login`.
#[derive(Args, Clone, Debug)]
pub struct Login {
    /// User name.
    #[arg(short, long, value_name = "USER")]
    pub username: Option<String>,
    /// Password; better by --password-stdin.
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Read the password from standard input.
    #[arg(long)]
    pub password_stdin: bool,
    /// Connection to the registry.
    #[command(flatten)]
    pub registry: LoginFlags,
    /// Registry (default docker.io).
    #[arg(value_name = "REGISTRY")]
    pub server: Option<String>,
}

/// How `login` reaches a registry.
#[derive(Args, Clone, Debug, Default)]
pub struct LoginFlags {
    /// Check the registry's certificate; false also allows plain HTTP.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = super::go_bool)]
    pub tls_verify: Option<bool>,
    /// Folder of certificate authorities (*.crt).
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// File of passwords, instead of Holm's own.
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
}

/// Flags of `logout`.
#[derive(Args, Clone, Debug)]
pub struct Logout {
    /// All registries.
    #[arg(short, long)]
    pub all: bool,
    /// File of passwords, instead of Holm's own.
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Registry (default docker.io).
    #[arg(value_name = "REGISTRY")]
    pub server: Option<String>,
}
