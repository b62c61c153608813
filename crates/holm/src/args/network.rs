//! Flags of the commands about networks, as typed.

use clap::Args;

/// Flags of `network create`.
#[derive(Args, Clone, Debug)]
pub struct NetworkCreate {
    /// How it joins containers: bridge or macvlan.
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge", hide_default_value = true)]
    pub driver: String,
    /// Subnet, one of each family; chosen where absent.
    #[arg(long, value_name = "SUBNET")]
    pub subnet: Vec<String>,
    /// Gateway, in a subnet; its first address where absent.
    #[arg(long, value_name = "ADDRESS")]
    pub gateway: Vec<String>,
    /// Part of a subnet from which addresses are given out.
    #[arg(long, value_name = "SUBNET")]
    pub ip_range: Vec<String>,
    /// With IPv6 too.
    #[arg(long)]
    pub ipv6: bool,
    /// No way out and no way in.
    #[arg(long)]
    pub internal: bool,
    /// Option of the driver: mtu=, isolation=l2|routed|private, bridge=LINK; parent=LINK, mode=.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Bytes of the largest packet; that of the way out where absent.
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<String>,
    /// Name of the bridge.
    #[arg(long, value_name = "LINK")]
    pub interface_name: Option<String>,
    /// Serve no names on it.
    #[arg(long)]
    pub disable_dns: bool,
    /// Label.
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Taken and without meaning: every network can be joined.
    #[arg(long, hide = true)]
    pub attachable: bool,
    /// Do not fail if there is one of that name.
    #[arg(long)]
    pub ignore: bool,
    /// Name.
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Flags of `network ls`.
#[derive(Args, Clone, Debug)]
pub struct NetworkList {
    /// Only these: name=, id=, driver=, label=, dangling=, scope= or type=.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Go template, `table TEMPLATE` or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form of the list: json, yaml, wide or name.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml", "wide", "name", "table"], hide_possible_values = true)]
    pub output: Option<String>,
    /// Do not cut ids short.
    #[arg(long)]
    pub no_trunc: bool,
    /// Ids only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Flags of `network inspect`.
#[derive(Args, Clone, Debug)]
pub struct NetworkInspect {
    /// Go template or json.
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form: json or yaml.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml"], hide_possible_values = true, conflicts_with = "format")]
    pub output: Option<String>,
    /// Taken and without meaning: nothing is left out.
    #[arg(short, long, hide = true)]
    pub verbose: bool,
    /// Networks, by name or id.
    #[arg(value_name = "NETWORK", required = true)]
    pub networks: Vec<String>,
}

/// Flags of `network rm`.
#[derive(Args, Clone, Debug)]
pub struct NetworkRemove {
    /// Also where a stopped container joins it at its start; do not fail if there is none.
    #[arg(short, long)]
    pub force: bool,
    /// Networks, by name or id.
    #[arg(value_name = "NETWORK", required = true)]
    pub networks: Vec<String>,
}

/// Flags of `network prune`.
#[derive(Args, Clone, Debug)]
pub struct NetworkPrune {
    /// Do not ask.
    #[arg(short, long)]
    pub force: bool,
    /// Only these: until=TIME, label=KEY[=VALUE].
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
}

/// Flags of `network connect`.
#[derive(Args, Clone, Debug)]
pub struct NetworkConnect {
    /// IPv4 address.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address.
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Hardware address.
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,
    /// Further name on the network.
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// Taken and without meaning.
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    pub driver_opt: Vec<String>,
    /// Network, by name or id.
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// Container, by name or id.
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Flags of `network disconnect`.
#[derive(Args, Clone, Debug)]
pub struct NetworkDisconnect {
    /// Do not fail where the container is not on it.
    #[arg(short, long)]
    pub force: bool,
    /// Network, by name or id.
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// Container, by name or id.
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Flags of `network ports`.
#[derive(Args, Clone, Debug)]
pub struct NetworkPorts {
    /// Go template, `table TEMPLATE` or json.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Form of the list: json, yaml, wide or name.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml", "wide", "name", "table"], hide_possible_values = true)]
    pub output: Option<String>,
}

/// Flags of `network repair`.
#[derive(Args, Clone, Debug)]
pub struct NetworkRepair {}

/// Flags of `port`.
#[derive(Args, Clone, Debug)]
pub struct Port {
    /// Container, by name or id.
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Port inside; all where absent.
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub port: Option<String>,
}
