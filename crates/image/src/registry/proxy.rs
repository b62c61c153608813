//! Which proxy a connection goes through. Speaking to it is the transport's.

/// Proxies as the usual environment variables name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `https` addresses.
    pub https: Option<String>,
    /// For `http` addresses.
    pub http: Option<String>,
    /// Hosts reached directly: `host`, `.domain`, `*.domain`, `host:port`, an address, `network/bits`, or `*`.
    pub no_proxy: String,
}

impl ProxySettings {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
    pub fn from_environment() -> Self {
        let var = |upper: &str| {
            let set = std::env::var(upper).or_else(|_| std::env::var(upper.to_ascii_lowercase()));
            set.ok().filter(|value| !value.is_empty())
        };
        let all = var("ALL_PROXY");
        Self {
            https: var("HTTPS_PROXY").or_else(|| all.clone()),
            http: var("HTTP_PROXY").or(all),
            no_proxy: var("NO_PROXY").unwrap_or_default(),
        }
    }

    /// The proxy for a connection, if any. The machine itself is always reached directly.
    pub fn proxy_for(&self, https: bool, host: &str, port: u16) -> Option<&str> {
        let proxy = if https { self.https.as_deref() } else { self.http.as_deref() }?;
        if is_loopback(host) || self.no_proxy.split(',').any(|entry| covers(entry.trim(), host, port)) {
            return None;
        }
        Some(proxy)
    }
}

/// Whether `host` (a name, or an address with or without brackets) is this machine by its spelling alone.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn covers(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<std::net::IpAddr>() {
        return network_covers(entry.trim_start_matches('[').trim_end_matches(']'), address);
    }
    let (name, entry_port) = match entry.rsplit_once(':') {
        Some((name, digits)) => match digits.parse::<u16>() {
            Ok(entry_port) => (name, Some(entry_port)),
            Err(_) => return false,
        },
        None => (entry, None),
    };
    if name.is_empty() || entry_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let domain = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    let below = host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
    below || (host == domain && !name.starts_with(['.', '*']))
}

fn network_covers(entry: &str, address: std::net::IpAddr) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => (network, bits.parse::<u32>().ok()),
        None => (entry, Some(128)),
    };
    let (Ok(network), Some(bits)) = (network.parse::<std::net::IpAddr>(), bits) else { return false };
    let (a, b, width) = match (network, address) {
        (std::net::IpAddr::V4(a), std::net::IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (std::net::IpAddr::V6(a), std::net::IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let shift = u32::saturating_sub(width, bits);
    shift >= width || (a >> shift) == (b >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_exceptions_follow_the_usual_meanings() {
        for (no_proxy, host, direct) in [
            ("", "q.io", false),
            ("*", "q.io", true),
            ("q.io", "q.io", true),
            ("q.io", "sub.q.io", true),
            ("q.io", "xq.io", false),
            (".q.io", "q.io", false),
            (".q.io", "sub.Q.io", true),
            ("*.q.io", "sub.q.io", true),
            ("a, q.io:443 ,b", "q.io", true),
            ("q.io:5000", "q.io", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("0.0.0.0/0", "10.1.2.3", true),
            ("fd00::/8", "[fd00::1]", true),
            ("10.0.0.0/zz", "10.1.2.3", false),
            ("", "localhost", true),
            ("", "127.0.0.9", true),
            ("", "[::1]", true),
        ] {
            let settings =
                ProxySettings { https: Some("http://p:1".to_owned()), http: None, no_proxy: no_proxy.to_owned() };
            assert_eq!(settings.proxy_for(true, host, 443).is_none(), direct, "{no_proxy} {host}");
            assert_eq!(settings.proxy_for(false, host, 80), None);
        }
    }
}
