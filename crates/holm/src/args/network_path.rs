//! Flags of `network path`, as typed.

use std::net::IpAddr;

use clap::Args;

/// Flags of `network path`.
#[derive(Args, Clone, Debug)]
pub struct NetworkPath {
    /// Only IPv4.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6.
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Seconds to wait for each answer.
    #[arg(long, value_name = "SECONDS", default_value = "3", hide_default_value = true)]
    pub timeout: f64,
    /// Address of the sender, for outside; its router's where absent.
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<IpAddr>,
    /// Form: json or yaml.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml"], hide_possible_values = true)]
    pub output: Option<String>,
    /// Who sends: a container, host, or outside[:LINK].
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Who is to be reached: a container, host, name or address, with :PORT[/udp]; an echo request without a port.
    #[arg(value_name = "TO[:PORT[/PROTOCOL]]")]
    pub to: String,
}
