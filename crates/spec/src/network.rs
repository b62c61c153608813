//! Networks, what a container asks of them and what it got: plain data. How it becomes links and rules is in `network`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ContainerId, Name};

/// Name of the network that every container joins unless told otherwise.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Most characters of a link's name. *Source*: linux/if.h, `IFNAMSIZ` less the NUL.
pub const LINK_NAME_MAX: usize = 15;

/// A network as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Version of this record's form, [`NetworkSpec::VERSION`].
    pub version: u32,
    /// Identifier, 64 hex digits as a container's.
    pub id: ContainerId,
    /// Name, unique on this machine.
    pub name: Name,
    /// Nanoseconds since the Unix epoch.
    pub created_at_ns: u64,
    /// How it joins containers.
    pub driver: Driver,
    /// Its subnets, at most one of each family.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// No way out and no way in.
    #[serde(default)]
    pub internal: bool,
    /// Bytes of the largest packet; that of the host's way out where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// How its containers reach each other.
    #[serde(default)]
    pub isolation: Isolation,
    /// Name of the bridge, or of the host's link below a macvlan.
    #[serde(default)]
    pub link: String,
    /// Names are served on it.
    #[serde(default)]
    pub names: bool,
    /// Labels. Data only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver as given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl NetworkSpec {
    /// The form that this program writes.
    pub const VERSION: u32 = 1;
}

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The addresses it has.
    pub subnet: IpNet,
    /// The host's address in it; none on macvlan without a router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Part from which addresses are given out; all of it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<IpNet>,
}

/// How a network joins containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge on the host.
    Bridge,
    /// Links with addresses of their own on a link of the host.
    Macvlan,
}

/// How containers of one bridge reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// As on a switch: broadcast and multicast work, packets between containers do not cross the firewall.
    #[default]
    L2,
    /// Ports are isolated and every packet between containers is routed, so it crosses the firewall.
    Routed,
    /// Containers of the network reach the outside and never each other.
    Private,
}

/// What a container asks of one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentSpec {
    /// The network.
    pub network: Name,
    /// More names there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// This address and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// This address and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// This hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
}

impl AttachmentSpec {
    /// To a network, without wishes.
    pub fn to(network: Name) -> Self {
        Self { network, aliases: Vec::new(), ipv4: None, ipv6: None, mac: None }
    }
}

/// What a container asks of the CNI plugins that a configuration lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniSpec {
    /// Name of the configuration.
    pub name: Name,
    /// These addresses, with or without a prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// This hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Most bits per second towards it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_bits: Option<u64>,
    /// Most bits per second from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_bits: Option<u64>,
}

/// A port of the host that leads to a port of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishSpec {
    /// Address of the host; all of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// First and last of the host's ports, of which one is chosen; 0 and 0 for any free one.
    pub host_ports: (u16, u16),
    /// Port inside.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Only from packets that come in on these links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Only from these addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<IpNet>,
}

/// Protocols with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number. *Source*: IANA, Assigned Internet Protocol Numbers.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err("the protocol must be tcp, udp or sctp".to_owned()),
        }
    }
}

/// What a container got on one network: the record of its place there, kept as long as it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The container.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// The network.
    pub network: Name,
    /// More names there: aliases and the short id.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Name of its link inside.
    pub link: String,
    /// Name of its link on the host; none on macvlan.
    #[serde(default)]
    pub host_link: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its addresses, each with the prefix of its subnet.
    pub addresses: Vec<IpNet>,
    /// The ways out that it was given.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// Ports of the host that lead to it.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// Name servers for it instead of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
}

/// A port of the host that leads to a container, as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Address of the host; all of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: u16,
    /// Port inside.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Only from packets that come in on these links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Only from these addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<IpNet>,
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or("it must be six pairs of hex digits")?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| "it must be six pairs of hex digits")?;
        }
        match parts.next() {
            None if bytes[0] & 1 != 0 => Err("it is a multicast address".to_owned()),
            None if bytes == [0; 6] => Err("it is all zero".to_owned()),
            None => Ok(Self(bytes)),
            Some(_) => Err("it must be six pairs of hex digits".to_owned()),
        }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_and_refused() {
        assert_eq!("02:42:0A:59:00:02".parse::<MacAddress>().map(|m| m.to_string()), Ok("02:42:0a:59:00:02".into()));
        for bad in [
            "",
            "02:42:0a:59:00",
            "02:42:0a:59:00:02:03",
            "0242.0a59.0002",
            "01:00:5e:00:00:01",
            "zz:42:0a:59:00:02",
            "00:00:00:00:00:00",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
