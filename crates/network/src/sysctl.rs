//! Kernel parameters of networks, in this process's network namespace.

use std::io;
use std::path::PathBuf;

use crate::Error;

fn path(name: &str) -> PathBuf {
    // A link's name may hold dots; the parts of `name` are separated by slashes for that reason.
    PathBuf::from("/proc/sys/net").join(name)
}

/// Reads one; `None` where this kernel has no such parameter.
pub(crate) fn get(name: &str) -> Option<String> {
    std::fs::read_to_string(path(name)).ok().map(|text| text.trim().to_owned())
}

/// Sets one.
pub(crate) fn set(name: &str, value: &str) -> Result<(), Error> {
    std::fs::write(path(name), value).map_err(|e| Error::io("set", format!("net/{name}"), e))
}

/// Sets one that this kernel may lack.
pub(crate) fn set_if_there(name: &str, value: &str) -> Result<(), Error> {
    match std::fs::write(path(name), value) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("set", format!("net/{name}"), e)),
        _ => Ok(()),
    }
}

/// Turns forwarding on where it is off. Gives what was turned on, for the administrator.
///
/// With IPv6, a host that forwards stops listening to routers; links that listened go on doing so (`accept_ra` 2).
pub(crate) fn forward(v4: bool, v6: bool) -> Result<Vec<String>, Error> {
    let mut changed = Vec::new();
    if v4 && get("ipv4/ip_forward").as_deref() == Some("0") {
        set("ipv4/ip_forward", "1")?;
        changed.push("net.ipv4.ip_forward".to_owned());
    }
    if v6 && get("ipv6/conf/all/forwarding").as_deref() == Some("0") {
        for link in crate::record::names(&path("ipv6/conf"))? {
            let name = format!("ipv6/conf/{link}/accept_ra");
            if get(&name).as_deref() == Some("1") {
                set(&name, "2")?;
            }
        }
        set("ipv6/conf/all/forwarding", "1")?;
        changed.push("net.ipv6.conf.all.forwarding".to_owned());
    }
    Ok(changed)
}

/// Lets a link's own word count on whether the host tells senders of shorter ways. Gives what was turned off.
///
/// The kernel tells where either the parameter of the link or that of all links is on, and pays with a second look at its routes
/// for every packet that leaves by the link it came by. All links that told go on telling, and those to come.
///
/// *Source*: Documentation/networking/ip-sysctl.rst, `send_redirects`.
pub(crate) fn redirects_by_link() -> Result<Option<String>, Error> {
    const ALL: &str = "ipv4/conf/all/send_redirects";
    if get(ALL).as_deref() != Some("1") {
        return Ok(None);
    }
    for link in crate::record::names(&path("ipv4/conf"))? {
        if link != "all" {
            set_if_there(&format!("ipv4/conf/{link}/send_redirects"), "1")?;
        }
    }
    set(ALL, "0")?;
    Ok(Some("net.ipv4.conf.all.send_redirects".to_owned()))
}
