//! Virtual machines on networks: a tap takes the place of a container's pair of links, and records say what is set inside.
//!
//! Reserving and releasing are as for containers, in `attach`. A tap goes with the last copy of its descriptor; one that is
//! still held is deleted by its name. *Privilege*: CAP_NET_ADMIN. *Kernel*: its module `tun`.

use std::os::fd::OwnedFd;

use holm_spec::guest::Link;
use holm_spec::network::{Driver, Endpoint, NetworkSpec};
use holm_sys::netlink::{Batch, Socket};
use holm_sys::route::{self, LinkLocal};
use holm_sys::tap;
use rustix::io::Errno;

use crate::attach::{self, JoinRequest, Joined};
use crate::{Error, Networks, bridge};

/// A virtual machine's link, as the host has it.
#[derive(Debug)]
pub struct Tap {
    /// Its frames, each behind a virtio-net header of 10 bytes; does not block. The link is there as long as any copy is
    /// open: the hypervisor should have the only one.
    pub fd: OwnedFd,
    /// Its name on the host.
    pub link: String,
    /// Its number on the host.
    pub index: u32,
}

impl Networks {
    /// Makes the taps and rules of a virtual machine, in the order of its endpoints. *Errors*: a network that no tap can be
    /// on, before anything was made; the kernel's, then what was made is taken away by [`Networks::release`].
    pub fn connect_taps(&self, joined: &Joined) -> Result<Vec<Tap>, Error> {
        if let Some(network) = joined.networks().iter().find(|network| network.driver != Driver::Bridge) {
            let why = "it has links of the driver macvlan, and a virtual machine's must be ports of a bridge";
            let hint = "use a network of the driver bridge: holm network create NAME";
            return Err(Error::invalid_hint(format!("network `{}` for a virtual machine", network.name), why, hint));
        }
        self.admit(joined)?;
        let mut host = attach::open_route()?;
        joined.pairs().map(|(network, endpoint)| make_tap(&mut host, network, endpoint)).collect()
    }

    /// Joins a running virtual machine to one more network. `at` is the number of its link. What its agent must set is
    /// [`guest_links`] of what was joined. *Errors*: nothing is left.
    pub fn connect_more_taps(&self, request: &JoinRequest<'_>, at: usize) -> Result<(Joined, Vec<Tap>), Error> {
        self.join_more(request, at, |joined| self.connect_taps(joined))
    }
}

/// What the links inside a virtual machine get, in the order of its endpoints: exactly what a container's would.
pub fn guest_links(joined: &Joined) -> Vec<Link> {
    let link = |(network, endpoint): (&NetworkSpec, &Endpoint)| Link {
        name: endpoint.link.clone(),
        mac: endpoint.mac,
        mtu: network.mtu,
        addresses: endpoint.addresses.clone(),
        routes: attach::routes_of(network, endpoint),
    };
    joined.pairs().map(link).collect()
}

fn make_tap(host: &mut Socket, network: &NetworkSpec, endpoint: &Endpoint) -> Result<Tap, Error> {
    let name = endpoint.host_link.as_str();
    let bridge = attach::lower_link(host, network)?;
    let fd = match tap::open(name) {
        // That of its last run, whose holder is just ending.
        Err(e) if Errno::from_io_error(&e) == Some(Errno::BUSY) => {
            bridge::delete(host, name)?;
            tap::open(name)
        }
        other => other,
    }
    .map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            let why = "the host's kernel has no taps, which are the links of virtual machines";
            Error::invalid_hint(tap::DEVICE, why, "modprobe tun")
        }
        _ => Error::io("make tap", name, e),
    })?;
    let failed = |e| Error::io("find link", name, e);
    let index = route::link_index(host, name).map_err(failed)?.ok_or_else(|| failed(Errno::NODEV.into()))?;
    let mut batch = Batch::new();
    if let Some(mtu) = network.mtu {
        route::set_mtu(&mut batch, index, mtu);
    }
    route::set_master(&mut batch, index, bridge);
    bridge::set_port(&mut batch, network, endpoint);
    // Last: before it is up no frame passes, so none passes that its network does not allow.
    route::set_up(&mut batch, index, LinkLocal::None);
    host.send(&mut batch).map_err(|e| Error::kernel("set up link", name, e))?;
    Ok(Tap { fd, link: name.to_owned(), index })
}
