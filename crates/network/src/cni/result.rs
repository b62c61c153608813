//! What plugins say: results and errors, read as from strangers. The bytes are bounded by who runs them.

use std::net::IpAddr;

use holm_spec::network::MacAddress;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most addresses, routes, links, name servers and search domains that are taken of a result.
const MAX_ITEMS: usize = 256;

/// What a result means to the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub addresses: Vec<IpNet>,
    pub gateways: Vec<IpAddr>,
    pub mac: Option<MacAddress>,
    pub dns: Dns,
}

/// What a result says of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains; each is one word.
    pub search: Vec<String>,
    /// Resolver options; each is one word.
    pub options: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    interfaces: Option<Vec<Interface>>,
    ips: Option<Vec<Ip>>,
    dns: Option<SaidDns>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Interface {
    name: String,
    mac: String,
    sandbox: String,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    interface: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SaidDns {
    nameservers: Option<Vec<String>>,
    domain: Option<String>,
    search: Option<Vec<String>>,
    options: Option<Vec<String>>,
}

/// Reads a result as far as it is used here. *Errors*: why it cannot be used.
pub fn read_result(bytes: &[u8]) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    understand(&value, "eth0").map(|_| value)
}

/// What a result gives the link `ifname` of the container.
pub(super) fn understand(value: &Value, ifname: &str) -> Result<Given, String> {
    let said = Said::deserialize(value).map_err(|e| e.to_string())?;
    let interfaces = said.interfaces.unwrap_or_default();
    let ips = said.ips.unwrap_or_default();
    if interfaces.len().max(ips.len()) > MAX_ITEMS {
        return Err(format!("it has more than {MAX_ITEMS} links or addresses"));
    }
    let own = |interface: &Interface| interface.name == ifname && !interface.sandbox.is_empty();
    let mut given =
        Given { mac: interfaces.iter().find(|i| own(i)).and_then(|i| i.mac.parse().ok()), ..Given::default() };
    for ip in &ips {
        let named = ip.interface.and_then(|at| usize::try_from(at).ok()).map(|at| interfaces.get(at));
        match named {
            Some(None) => return Err("an address is on a link that it does not list".to_owned()),
            // A link of another name, or of the host.
            Some(Some(interface)) if !own(interface) => continue,
            _ => {}
        }
        let bad = |text: &str| format!("`{}` is no address", text.chars().take(64).collect::<String>().escape_debug());
        given.addresses.push(ip.address.parse().map_err(|_| bad(&ip.address))?);
        if let Some(gateway) = ip.gateway.as_deref().filter(|gateway| !gateway.is_empty()) {
            given.gateways.push(gateway.parse().map_err(|_| bad(gateway))?);
        }
    }
    given.dns = said.dns.map(names).transpose()?.unwrap_or_default();
    Ok(given)
}

fn names(said: SaidDns) -> Result<Dns, String> {
    let servers = said.nameservers.unwrap_or_default();
    let servers = servers.iter().take(MAX_ITEMS).map(|s| s.parse()).collect::<Result<Vec<IpAddr>, _>>();
    // They become words of /etc/resolv.conf, where a line feed would begin a line of its own.
    let words = |list: Vec<String>| -> Result<Vec<String>, String> {
        let good = |word: &String| (1..=255).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic());
        match list.len() <= MAX_ITEMS && list.iter().all(good) {
            true => Ok(list),
            false => Err("its names of domains or options are no words".to_owned()),
        }
    };
    let search = said.search.filter(|s| !s.is_empty()).or(said.domain.filter(|d| !d.is_empty()).map(|d| vec![d]));
    Ok(Dns {
        servers: servers.map_err(|_| "a name server of it is no address".to_owned())?,
        search: words(search.unwrap_or_default())?,
        options: words(said.options.unwrap_or_default())?,
    })
}

/// An error as a plugin says it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Complaint {
    #[serde(default)]
    pub code: u64,
    #[serde(default)]
    pub msg: String,
    #[serde(default)]
    pub details: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_of_the_containers_own_link_are_taken_and_no_others() {
        let value = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "cni0"}, {"name": "eth0", "mac": "02:00:00:00:00:09", "sandbox": "/proc/1/fd/3"}],
            "ips": [
                {"address": "10.1.0.9/16", "gateway": "10.1.0.1", "interface": 1},
                {"address": "fd00::9/64"},
                {"address": "10.9.9.9/24", "interface": 0},
            ],
            "dns": {"nameservers": ["10.1.0.1"], "domain": "cluster.test"},
        });
        let given = understand(&value, "eth0").unwrap();
        assert_eq!(given.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.0.9/16", "fd00::9/64"]);
        assert_eq!(given.gateways.len(), 1);
        assert_eq!(given.mac.unwrap().to_string(), "02:00:00:00:00:09");
        assert_eq!((given.dns.servers.len(), given.dns.search), (1, vec!["cluster.test".to_owned()]));
    }

    #[test]
    fn what_would_mean_more_than_it_says_is_refused() {
        for (value, why) in [
            (json!({"ips": [{"address": "10.1.0.9"}]}), "is no address"),
            (json!({"ips": [{"address": "10.1.0.9/33"}]}), "is no address"),
            (json!({"ips": [{"address": "10.1.0.9/8", "interface": 7}]}), "does not list"),
            (json!({"dns": {"search": ["a\nnameserver 6.6.6.6"]}}), "no words"),
            (json!({"dns": {"options": ["a b"]}}), "no words"),
            (json!({"dns": {"nameservers": ["a"]}}), "no address"),
            (json!({"ips": vec![json!({"address": "10.0.0.1/8"}); 300]}), "more than 256"),
            (json!([1]), "invalid"),
        ] {
            let error = understand(&value, "eth0").unwrap_err();
            assert!(error.contains(why), "{value}: {error}");
        }
    }
}
