//! The machine's links: which device is which, its name, addresses and routes.

use holm_spec::guest::{Link, placeholder_mac};
use holm_sys::netlink::{Batch, Protocol, Socket};
use holm_sys::route::{self, LinkLocal};

use crate::error::{Doing, Error};
use crate::virtio;

/// Sets up the links, in the order of the network devices.
pub(crate) fn set_up(links: &[Link]) -> Result<(), Error> {
    holm_sys::net::loopback_up().doing(|| "bring loopback up".into())?;
    if links.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::open(Protocol::Route).doing(|| "open an rtnetlink socket".into())?;
    let shown = |link: &Link| link.name.escape_debug().to_string();
    let mut found = Vec::new();
    for (n, link) in links.iter().enumerate() {
        let too_many = || Error::refused(format!("set up link `{}`: there are too many", shown(link)));
        let index = find(&mut socket, u8::try_from(n).map_err(|_| too_many())?)?;
        found.push(index.ok_or_else(|| Error::refused(format!("find the device of link `{}`", shown(link))))?);
    }
    // The kernel names devices as they come, so the name of one may be another's for now.
    let mut batch = Batch::new();
    found.iter().enumerate().for_each(|(n, index)| route::rename(&mut batch, *index, &format!("holm{n}"), None, None));
    socket.send(&mut batch).map_err(|e| Error::refused(format!("rename links: {e}")))?;
    for (index, link) in found.into_iter().zip(links) {
        let mut batch = Batch::new();
        describe(&mut batch, index, link);
        socket.send(&mut batch).map_err(|e| Error::refused(format!("set up link `{}`: {e}", shown(link))))?;
    }
    Ok(())
}

/// Waits for the device that the machine was given with this number; its index.
fn find(socket: &mut Socket, n: u8) -> Result<Option<u32>, Error> {
    let wanted = Some(placeholder_mac(n).0);
    virtio::wait_binding(|| {
        let links = route::links(socket).doing(|| "list the links".into())?;
        Ok(links.into_iter().find(|link| link.mac == wanted).map(|link| link.index))
    })
}

fn describe(batch: &mut Batch, index: u32, link: &Link) {
    route::rename(batch, index, &link.name, Some(link.mac.0), link.mtu);
    let v6 = link.addresses.iter().any(|address| address.addr().is_ipv6());
    route::set_up(batch, index, if v6 { LinkLocal::FromHardware } else { LinkLocal::None });
    for address in &link.addresses {
        route::add_address(batch, index, address.addr(), address.prefix_len());
    }
    for to in &link.routes {
        let everything = to.to.prefix_len() == 0;
        let target = (to.to.network(), to.to.prefix_len());
        route::add_route(batch, index, (!everything).then_some(target), to.via, to.to.addr().is_ipv6());
    }
}
