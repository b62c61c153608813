//! Options of a network's driver: which there are and what they may be.
//!
//! Docker's and podman's spellings are taken where they mean the same.

use holm_spec::network::{Driver, Isolation, LINK_NAME_MAX};

use crate::Error;
use crate::store::NetworkRequest;

/// Smallest and largest MTU. *Source*: RFC 791 (68), RFC 8200 (1280 with IPv6); the kernel's own limit for veth.
const MTU: (u32, u32) = (68, 65_535);

/// Whether what leaves the network has the host's address; true where absent.
const MASQUERADE: &str = "masquerade";
const DOCKERS_MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";

/// Whether what leaves a network gets the host's address.
pub(crate) fn masquerades(network: &holm_spec::network::NetworkSpec) -> bool {
    let asked = network.options.get(MASQUERADE).or_else(|| network.options.get(DOCKERS_MASQUERADE));
    asked.is_none_or(|value| value != "false")
}

/// What the options come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DriverOptions {
    /// Whether names are served.
    pub names: bool,
    pub mtu: Option<u32>,
    pub isolation: Isolation,
    /// Name of the bridge, or the link below a macvlan.
    pub link: Option<String>,
}

/// Reads the options of a request.
pub(crate) fn read(request: &NetworkRequest) -> Result<DriverOptions, Error> {
    let mut options = DriverOptions { names: true, mtu: None, isolation: Isolation::default(), link: None };
    for (key, value) in &request.options {
        let bad = |why: &str| Error::invalid(format!("option `{key}={value}`"), why);
        match (key.as_str(), request.driver) {
            ("mtu" | "com.docker.network.driver.mtu", _) => {
                options.mtu = Some(mtu(value, request).map_err(|w| bad(&w))?)
            }
            ("isolation", Driver::Bridge) => {
                options.isolation = match value.as_str() {
                    "l2" => Isolation::L2,
                    "routed" => Isolation::Routed,
                    "private" => Isolation::Private,
                    _ => return Err(bad("it must be l2, routed or private")),
                }
            }
            (MASQUERADE | DOCKERS_MASQUERADE, Driver::Bridge) => {
                value.parse::<bool>().map_err(|_| bad("it must be true or false"))?;
            }
            ("dns", Driver::Bridge) => {
                options.names = value.parse().map_err(|_| bad("it must be true or false"))?;
            }
            ("com.docker.network.bridge.enable_icc", Driver::Bridge) => {
                options.isolation = match value.as_str() {
                    "true" | "1" => Isolation::L2,
                    "false" | "0" => Isolation::Private,
                    _ => return Err(bad("it must be true or false")),
                }
            }
            ("com.docker.network.bridge.name" | "bridge", Driver::Bridge) | ("parent", Driver::Macvlan) => {
                options.link = Some(link_name(value).map_err(bad)?);
            }
            ("mode" | "macvlan_mode", Driver::Macvlan) => {
                macvlan_mode(value).ok_or_else(|| bad("it must be bridge, private, vepa or passthru"))?;
            }
            _ => return Err(bad("the driver has no such option")),
        }
    }
    Ok(options)
}

fn mtu(value: &str, request: &NetworkRequest) -> Result<u32, String> {
    let least = if request.ipv6 { 1280 } else { MTU.0 };
    match value.parse::<u32>() {
        Ok(mtu) if (least..=MTU.1).contains(&mtu) => Ok(mtu),
        _ => Err(format!("it must be a number from {least} to {}", MTU.1)),
    }
}

/// A name that a link may have. *Source*: net/core/dev.c, `dev_valid_name`.
fn link_name(value: &str) -> Result<String, &'static str> {
    let good = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if value.is_empty() || value.len() > LINK_NAME_MAX || matches!(value, "." | "..") || !value.chars().all(good) {
        return Err("a link's name has 1 to 15 characters, without / : and white space");
    }
    Ok(value.to_owned())
}

/// The mode of a macvlan.
pub(crate) fn macvlan_mode(value: &str) -> Option<holm_sys::route::MacvlanMode> {
    use holm_sys::route::MacvlanMode;
    Some(match value {
        "bridge" => MacvlanMode::Bridge,
        "private" => MacvlanMode::Private,
        "vepa" => MacvlanMode::Vepa,
        "passthru" => MacvlanMode::Passthru,
        _ => return None,
    })
}
