//! Flags of `run` and `create` about namespaces, names and addresses, as typed.

use clap::Args;

/// Namespaces and what lives in them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Namespaces and network")]
pub struct SandboxFlags {
    /// Network: NAME (default bridge), none, host, container:NAME, ns:PATH or cni:NAME; several by repeating it.
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Publish a port: [IP:][HOST:]PORT[/PROTOCOL][,from=SUBNET][,interface=LINK].
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Expose a port: for -P and for those who read it.
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<String>,
    /// Publish every port that the image or --expose exposes, each to a free one.
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// IPv4 address on the first network.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address on the first network.
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Link (not in this version).
    #[arg(long, value_name = "CONTAINER", hide = true)]
    pub link: Vec<String>,
    /// Further name on the first network.
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// Hardware address on the first network.
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,
    /// Host name inside.
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// NIS domain name inside.
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Name server.
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// DNS search domain.
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Resolver option.
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Line of /etc/hosts: NAME:ADDRESS.
    #[arg(long, value_name = "HOST")]
    pub add_host: Vec<String>,
    /// User namespace: host (default), auto or container:NAME.
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// PID namespace: private (default), host, container:NAME or ns:PATH.
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// IPC namespace: private (default), shareable, host, container:NAME.
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// UTS namespace: private (default) or host.
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// Cgroup namespace: private (default) or host.
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// Control group under which its own is made.
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Kernel parameter of the namespace.
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
}
