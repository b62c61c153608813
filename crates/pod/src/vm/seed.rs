//! The seed disk of a whole machine: its name, its users' keys and its addresses, as cloud-init takes them.
//!
//! JSON is YAML, so the documents are written as JSON. *Source*: cloud-init, NoCloud and networking config version 2.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use holm_network::{Joined, guest_links};
use holm_spec::guest::Link;
use holm_spec::vm::{SeedSpec, VmSpec};
use holm_vm::disk::seed::{self, Seed};
use rustix::fs::MemfdFlags;
use serde_json::{Value, json};

use crate::Error;

/// A seed disk in memory, with the addresses of this start.
pub(super) fn disk(spec: &VmSpec, settings: &SeedSpec, joined: Option<&Joined>) -> Result<OwnedFd, Error> {
    let failed = |e: std::io::Error| Error::io("make", "a seed disk", e);
    let meta = json!({
        "instance-id": format!("holm-{}", spec.id.short()),
        "local-hostname": settings.host_name,
        "public-keys": settings.ssh_keys,
    });
    let network = joined.map(|joined| {
        let servers: Vec<String> = joined.name_servers().iter().map(ToString::to_string).collect();
        network_config(&guest_links(joined), &servers).to_string()
    });
    // Without it the seed does not count.
    let user = if settings.user_data.is_empty() { "#cloud-config\n" } else { settings.user_data.as_str() };
    let bytes = seed::encode(&Seed {
        meta_data: meta.to_string().as_bytes(),
        user_data: user.as_bytes(),
        network_config: network.as_deref().map(str::as_bytes),
    })?;
    let mut file = File::from(rustix::fs::memfd_create("seed", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?);
    file.write_all(&bytes).map_err(failed)?;
    Ok(file.into())
}

fn network_config(links: &[Link], servers: &[String]) -> Value {
    let mut ethernets = serde_json::Map::new();
    for link in links {
        let addresses: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
        let routes: Vec<Value> = link
            .routes
            .iter()
            .map(|route| match route.via {
                Some(via) => json!({ "to": route.to.to_string(), "via": via.to_string() }),
                None => json!({ "to": route.to.to_string(), "scope": "link" }),
            })
            .collect();
        let mut one = json!({
            "match": { "macaddress": link.mac.to_string() },
            "set-name": link.name,
            "addresses": addresses,
            "routes": routes,
            "nameservers": { "addresses": servers },
        });
        if let Some(mtu) = link.mtu {
            one["mtu"] = mtu.into();
        }
        ethernets.insert(link.name.clone(), one);
    }
    json!({ "version": 2, "ethernets": ethernets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_by_their_hardware_address() {
        let link = Link {
            name: "eth0".to_owned(),
            mac: "02:42:0a:01:02:03".parse().unwrap(),
            mtu: Some(1400),
            addresses: vec!["10.1.2.3/24".parse().unwrap()],
            routes: vec![holm_spec::guest::Route {
                to: "0.0.0.0/0".parse().unwrap(),
                via: Some("10.1.2.1".parse().unwrap()),
            }],
        };
        let config = network_config(&[link], &["10.1.2.1".to_owned()]);
        let one = &config["ethernets"]["eth0"];
        assert_eq!(one["match"]["macaddress"], "02:42:0a:01:02:03");
        assert_eq!(one["routes"][0], json!({ "to": "0.0.0.0/0", "via": "10.1.2.1" }));
        assert_eq!((one["addresses"][0].as_str(), one["mtu"].as_u64()), (Some("10.1.2.3/24"), Some(1400)));
    }
}
