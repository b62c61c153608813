//! The plugin's configuration: one of Holm's networks by name, or one described with the keys of the bridge plugin.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use holm_spec::Name;
use holm_spec::network::{Driver, MacAddress, Protocol, PublishSpec};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::{Failed, VERSIONS, code};
use crate::store::NetworkRequest;

/// What a runtime's configuration comes to.
#[derive(Clone, Debug)]
pub struct Conf {
    /// Version that is spoken.
    pub(super) version: String,
    /// The configuration's own name.
    pub(super) name: String,
    /// The network of Holm's.
    pub(super) network: Name,
    /// How it is made where it is not there.
    pub(super) inline: Option<Inline>,
    /// Whether the container's way out leads over it; as the network says where absent.
    pub(super) default_route: Option<bool>,
    /// Further routes.
    pub(super) routes: Vec<(IpNet, Option<IpAddr>)>,
    /// Addresses that are wished.
    pub(super) ips: Vec<IpAddr>,
    /// A hardware address that is wished.
    pub(super) mac: Option<MacAddress>,
    /// Ports of the host.
    pub(super) ports: Vec<PublishSpec>,
    /// What the result says of names, where the configuration does.
    pub(super) dns: Option<Value>,
    /// Attachments that are still there: container and interface.
    pub(super) valid: Option<Vec<(String, String)>>,
    /// Whether a previous result came with it, and what it says.
    pub(super) previous: Option<Value>,
    pub(super) data_root: Option<PathBuf>,
    pub(super) run_root: Option<PathBuf>,
}

/// A network described where it is used.
#[derive(Clone, Debug)]
pub(super) struct Inline {
    pub subnets: Vec<IpNet>,
    gateways: Vec<IpAddr>,
    ranges: Vec<IpNet>,
    options: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    cni_version: String,
    name: String,
    network: Option<String>,
    bridge: Option<String>,
    is_default_gateway: Option<bool>,
    ip_masq: Option<bool>,
    mtu: Option<u32>,
    promisc_mode: bool,
    vlan: u32,
    isolation: Option<String>,
    ipam: Option<Ipam>,
    dns: Option<Value>,
    args: Option<Args>,
    runtime_config: RuntimeConfig,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<Attached>>,
    #[serde(rename = "cni.dev/attachments")]
    valid_first: Option<Vec<Attached>>,
    data_root: Option<PathBuf>,
    run_root: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Attached {
    #[serde(rename = "containerID")]
    container: String,
    ifname: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ipam {
    #[serde(flatten)]
    range: Range,
    ranges: Vec<Vec<Range>>,
    routes: Vec<Route>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Range {
    subnet: Option<IpNet>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

#[derive(Deserialize)]
struct Route {
    dst: IpNet,
    gw: Option<IpAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: Wishes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wishes {
    ips: Vec<String>,
    mac: Option<MacAddress>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    port_mappings: Vec<Mapping>,
    ips: Vec<String>,
    mac: Option<MacAddress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(default)]
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: String,
    #[serde(default, rename = "hostIP")]
    host_ip: String,
}

fn invalid(message: impl Into<String>, why: impl Into<String>) -> Failed {
    Failed::new(code::CONFIG, message, why)
}

impl Conf {
    /// Reads it. *Errors*: as the runtime is told.
    pub fn read(input: &[u8]) -> Result<Self, Failed> {
        let decode = |e: serde_json::Error| Failed::new(code::DECODE, "cannot read the configuration", e.to_string());
        let file: File = serde_json::from_slice(input).map_err(decode)?;
        if !VERSIONS.contains(&file.cni_version.as_str()) {
            let shown: String = file.cni_version.chars().take(32).collect();
            let what = format!("cannot speak cniVersion `{}`", shown.escape_debug());
            return Err(Failed::new(code::VERSION, what, format!("{} are spoken", VERSIONS.join(", "))));
        }
        if !super::super::config::is_name(&file.name) {
            return Err(invalid("cannot use the configuration's name", "it has letters, digits and _ . - only"));
        }
        let inline = file.inline()?;
        let named = file.network.as_deref().unwrap_or(&file.name);
        let network = named.parse().map_err(|_| {
            let shown: String = named.chars().take(64).collect();
            invalid(format!("cannot use network `{}`", shown.escape_debug()), "that is no name of a network")
        })?;
        let listed = file.ipam.as_ref().map(|ipam| ipam.routes.as_slice()).unwrap_or_default();
        let (default, routes): (Vec<&Route>, Vec<&Route>) = listed.iter().partition(|r| r.dst.prefix_len() == 0);
        // As the bridge plugin: no way out unless it is asked for. A network of Holm's own leads out.
        let leads = file.is_default_gateway == Some(true) || !default.is_empty();
        let default_route = if inline.is_some() { Some(leads) } else { file.is_default_gateway };
        let wishes = file.args.unwrap_or_default().cni;
        let wished: Vec<&String> = file.runtime_config.ips.iter().chain(&wishes.ips).collect();
        let ips = wished.into_iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        let mappings = file.runtime_config.port_mappings.iter().filter(|m| m.host_port != 0);
        Ok(Self {
            version: file.cni_version,
            name: file.name.clone(),
            network,
            default_route,
            routes: routes.iter().map(|r| (r.dst, r.gw)).collect(),
            ips,
            mac: file.runtime_config.mac.or(wishes.mac),
            ports: mappings.map(port).collect::<Result<Vec<_>, _>>()?,
            dns: file.dns.filter(|dns| dns.as_object().is_some_and(|map| !map.is_empty())),
            valid: file
                .valid
                .or(file.valid_first)
                .map(|all| all.into_iter().map(|a| (a.container, a.ifname)).collect()),
            previous: file.prev_result,
            data_root: file.data_root.filter(|path| path.is_absolute()),
            run_root: file.run_root.filter(|path| path.is_absolute()),
            inline,
        })
    }

    /// The network as it is asked for.
    pub(super) fn request(&self, inline: &Inline) -> NetworkRequest {
        NetworkRequest {
            name: self.network.clone(),
            driver: Driver::Bridge,
            subnets: inline.subnets.clone(),
            gateways: inline.gateways.clone(),
            ranges: inline.ranges.clone(),
            ipv6: inline.subnets.iter().any(|s| s.addr().is_ipv6()),
            internal: false,
            options: inline.options.clone(),
            labels: BTreeMap::from([("cni".to_owned(), self.name.clone())]),
            now_ns: crate::store::now_ns(),
        }
    }
}

impl Inline {
    /// The bridge's name, where it is given.
    pub(super) fn bridge(&self) -> Option<&str> {
        self.options.get("bridge").map(String::as_str)
    }
}

impl File {
    /// A description of a network; none where there is no subnet. *Errors*: what Holm's networks cannot be.
    fn inline(&self) -> Result<Option<Inline>, Failed> {
        let Some(ipam) = &self.ipam else { return Ok(None) };
        let ranges: Vec<Range> = [vec![vec![ipam.range.clone()]], ipam.ranges.clone()].concat().concat();
        let ranges: Vec<&Range> = ranges.iter().filter(|range| range.subnet.is_some()).collect();
        if ranges.is_empty() {
            return Ok(None);
        }
        let unsupported =
            |key: &str, why: &str| Err(Failed::new(code::UNSUPPORTED, format!("cannot use `{key}`"), why));
        if self.promisc_mode {
            return unsupported("promiscMode", "containers of Holm's networks get no packets of others");
        }
        if self.vlan != 0 {
            return unsupported("vlan", "Holm's bridges have no VLANs");
        }
        let mut options = BTreeMap::new();
        let given = [
            ("bridge", self.bridge.clone()),
            ("mtu", self.mtu.filter(|mtu| *mtu != 0).map(|mtu| mtu.to_string())),
            ("isolation", self.isolation.clone()),
            // As the bridge plugin: no masquerading unless it is asked for.
            ("masquerade", Some(self.ip_masq.unwrap_or(false).to_string())),
        ];
        options.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(Some(Inline {
            subnets: ranges.iter().filter_map(|r| r.subnet).map(|s| s.trunc()).collect(),
            gateways: ranges.iter().filter_map(|r| r.gateway).collect(),
            ranges: ranges.iter().filter_map(|r| part(r).transpose()).collect::<Result<Vec<_>, _>>()?,
            options,
        }))
    }
}

/// The part of a subnet between two addresses, where that is one with a prefix.
fn part(range: &Range) -> Result<Option<IpNet>, Failed> {
    let (Some(subnet), true) = (range.subnet, range.range_start.or(range.range_end).is_some()) else { return Ok(None) };
    let first = range.range_start.unwrap_or(subnet.network());
    let last = range.range_end.unwrap_or(subnet.broadcast());
    let fits = (subnet.prefix_len()..=subnet.max_prefix_len())
        .filter_map(|bits| IpNet::new(first, bits).ok())
        .find(|net| net.network() == first && net.broadcast() == last);
    fits.map(Some).ok_or_else(|| {
        Failed::new(
            code::UNSUPPORTED,
            format!("cannot use the range from {first} to {last}"),
            "Holm gives addresses from a part of a subnet that has a prefix, as 10.1.0.128 to 10.1.0.255",
        )
    })
}

fn address(text: &str) -> Result<IpAddr, Failed> {
    let found = text.parse::<IpNet>().map(|net| net.addr()).or_else(|_| text.parse());
    let shown = || text.chars().take(64).collect::<String>().escape_debug().to_string();
    found.map_err(|_| invalid(format!("cannot use address `{}`", shown()), "that is none"))
}

fn port(mapping: &Mapping) -> Result<PublishSpec, Failed> {
    let what = || format!("cannot publish port {}", mapping.host_port);
    let protocol = if mapping.protocol.is_empty() { Ok(Protocol::Tcp) } else { mapping.protocol.parse() };
    let host_ip = Some(mapping.host_ip.as_str()).filter(|ip| !ip.is_empty());
    Ok(PublishSpec {
        host_ip: host_ip.map(|ip| ip.parse().map_err(|_| invalid(what(), "its hostIP is no address"))).transpose()?,
        host_ports: (mapping.host_port, mapping.host_port),
        container_port: mapping.container_port,
        protocol: protocol.map_err(|why| invalid(what(), why))?,
        interfaces: Vec::new(),
        from: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Conf, Failed> {
        Conf::read(text.as_bytes())
    }

    #[test]
    fn a_network_is_named_or_described() {
        let named = read(r#"{"cniVersion":"1.1.0","name":"pods","type":"holm","network":"web"}"#).unwrap();
        assert!(named.inline.is_none() && named.default_route.is_none() && named.network.as_str() == "web");
        let text = r#"{"cniVersion":"1.0.0","name":"pods","type":"holm","bridge":"cni7","isDefaultGateway":true,
            "ipMasq":true,"mtu":1400,"ipam":{"type":"host-local","subnet":"10.20.0.0/16","rangeStart":"10.20.1.0",
            "rangeEnd":"10.20.1.255","gateway":"10.20.0.1","routes":[{"dst":"10.0.0.0/8"}]},
            "runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],"ips":["10.20.1.7/16"]}}"#;
        let conf = read(text).unwrap();
        let request = conf.request(conf.inline.as_ref().unwrap());
        assert_eq!(
            (request.subnets[0].to_string(), request.ranges[0].to_string()),
            ("10.20.0.0/16".into(), "10.20.1.0/24".into())
        );
        assert_eq!(request.options["masquerade"], "true");
        assert_eq!((conf.default_route, conf.routes.len(), conf.ips.len(), conf.ports.len()), (Some(true), 1, 1, 1));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_specifications_code() {
        for (text, code) in [
            ("{", 6),
            (r#"{"cniVersion":"0.2.0","name":"a"}"#, 1),
            (r#"{"name":"a"}"#, 1),
            (r#"{"cniVersion":"1.0.0","name":"../a"}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a","network":"/"}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a","vlan":5,"ipam":{"subnet":"10.1.0.0/24"}}"#, 2),
            (r#"{"cniVersion":"1.0.0","name":"a","ipam":{"subnet":"10.1.0.0/24","rangeStart":"10.1.0.5"}}"#, 2),
            (r#"{"cniVersion":"1.0.0","name":"a","runtimeConfig":{"ips":["x"]}}"#, 7),
            (
                r#"{"cniVersion":"1.0.0","name":"a","runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1,"protocol":"x"}]}}"#,
                7,
            ),
        ] {
            assert_eq!(read(text).unwrap_err().code, code, "{text}");
        }
    }
}
