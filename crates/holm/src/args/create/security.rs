//! Flags of `run` and `create` about privileges, as typed.

use clap::Args;

/// What a container may do.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Security")]
pub struct SecurityFlags {
    /// Add a capability.
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_add: Vec<String>,
    /// Drop a capability.
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_drop: Vec<String>,
    /// seccomp=, apparmor=, label=, mask=, unmask= or no-new-privileges.
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// All capabilities, all devices, no filters.
    #[arg(long)]
    pub privileged: bool,
}
