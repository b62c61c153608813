//! Connections that outlive a container: UDP has no end that the kernel could see, so what it remembers is forgotten here.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Error;

/// Forgets the tracked connections of these addresses.
pub(crate) fn forget(addresses: &[IpNet]) -> Result<(), Error> {
    let of: Vec<IpAddr> = addresses.iter().map(IpNet::addr).collect();
    match holm_sys::conntrack::forget(&of) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::io("forget", "the tracked connections of a container", e)),
    }
}
