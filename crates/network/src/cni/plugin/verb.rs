//! What each verb does: an endpoint of Holm's is made, looked at, or taken away.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::ContainerId;
use holm_spec::network::{AttachmentSpec, Endpoint, LINK_NAME_MAX, NetworkSpec};
use holm_sys::netlink::Batch;
use holm_sys::route;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde_json::Value;

use super::owner::{Owner, internal_id};
use super::{Called, Conf, Failed, code, reply};
use crate::attach::{open_inside, open_route};
use crate::{Error, JoinRequest, Networks, bridge};

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::network(&error)
    }
}

impl Called {
    /// The container and its interface, checked. *Source*: CNI specification, section 2, "Parameters".
    fn whose(&self) -> Result<ContainerId, Failed> {
        let environment = |name: &str, value: &str, why: &str| {
            let shown: String = value.chars().take(64).collect();
            Err(Failed::new(code::ENVIRONMENT, format!("cannot use {name} `{}`", shown.escape_debug()), why))
        };
        if !super::super::config::is_name(&self.container) {
            return environment("CNI_CONTAINERID", &self.container, "it has letters, digits and _ . - only");
        }
        let good = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        let ifname = self.ifname.as_str();
        if matches!(ifname, "" | "." | "..") || ifname.len() > LINK_NAME_MAX || !ifname.chars().all(good) {
            let why = "a link's name has 1 to 15 characters, without / : and white space";
            return environment("CNI_IFNAME", ifname, why);
        }
        Ok(internal_id(&self.container, ifname))
    }

    fn open_netns(&self) -> Result<OwnedFd, Failed> {
        let what = || format!("cannot open the network namespace `{}`", self.netns.escape_debug());
        if self.netns.is_empty() {
            return Err(Failed::new(code::ENVIRONMENT, "cannot do without CNI_NETNS", "it is empty"));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::open(&self.netns, flags, Mode::empty()).map_err(|e| match e {
            Errno::NOENT => Failed::new(code::UNKNOWN_CONTAINER, what(), e.to_string()),
            e => Failed::new(code::IO, what(), e.to_string()),
        })
    }

    /// The name that the container has on the network: its pod's, or the beginning of its identifier.
    fn name(&self) -> String {
        let args = self.args.split(';').filter_map(|pair| pair.split_once('='));
        let pod = args.filter(|(key, _)| *key == "K8S_POD_NAME").map(|(_, value)| value).next();
        let good = |name: &&str| super::super::config::is_name(name) && name.len() <= 253;
        pod.filter(good).unwrap_or(self.container.get(..12).unwrap_or(&self.container)).to_owned()
    }

    /// A word of CNI_ARGS.
    fn arg<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, Failed> {
        let found = self.args.split(';').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == key);
        found
            .map(|(_, value)| value.parse())
            .transpose()
            .map_err(|_| Failed::new(code::ENVIRONMENT, format!("cannot use {key} of CNI_ARGS"), "it is no address"))
    }
}

/// Finds the network; with `make` one that is described and not there is made.
fn network(networks: &Networks, conf: &Conf, make: bool) -> Result<NetworkSpec, Failed> {
    let found = match networks.find(conf.network.as_str()) {
        Err(Error::NoSuchNetwork(_)) => None,
        other => Some(other?),
    };
    let Some(inline) = &conf.inline else {
        return found.ok_or_else(|| Error::NoSuchNetwork(conf.network.to_string()).into());
    };
    let spec = match found {
        Some(spec) => spec,
        None if make => make_network(networks, conf)?,
        None => return Err(Error::NoSuchNetwork(conf.network.to_string()).into()),
    };
    match inline.subnets.iter().find(|subnet| !spec.subnets.iter().any(|s| s.subnet == **subnet)) {
        None => Ok(spec),
        Some(subnet) => {
            let what = format!("cannot use subnet `{subnet}` for network `{}`", spec.name);
            Err(Failed::new(code::CONFIG, what, "the network is there and has another"))
        }
    }
}

fn make_network(networks: &Networks, conf: &Conf) -> Result<NetworkSpec, Failed> {
    let Some(inline) = &conf.inline else { return Err(Error::NoSuchNetwork(conf.network.to_string()).into()) };
    // A bridge that another plugin made has its containers on it; Holm's would take its place.
    if let Some(name) = inline.bridge()
        && bridge::find(&mut open_route()?, name)?.is_some()
    {
        let what = format!("cannot use `{name}` for the bridge of network `{}`", conf.network);
        return Err(Failed::new(code::CONFIG, what, "the host has a link of that name"));
    }
    match networks.create(conf.request(inline)) {
        // Another call was faster.
        Err(Error::NameTaken(name)) => Ok(networks.find(&name)?),
        other => Ok(other?),
    }
}

/// ADD.
pub(super) fn add(networks: &Networks, called: &Called, conf: &Conf) -> Result<Value, Failed> {
    let id = called.whose()?;
    let netns = called.open_netns()?;
    let exists = |why: &str| {
        let what = format!("cannot make interface `{}` of container `{}`", called.ifname, called.container);
        Err(Failed::new(code::EXISTS, what, why))
    };
    let made_before = "it was made and not deleted since";
    if networks.roots.cni_owner(&id)?.is_some() {
        return exists(made_before);
    }
    let failed = |e| Error::io("find link", &called.ifname, e);
    if route::link_index(&mut open_inside(netns.as_fd())?, &called.ifname).map_err(failed)?.is_some() {
        return exists("its namespace has a link of that name");
    }
    let spec = network(networks, conf, true)?;
    let owner = Owner {
        container: called.container.clone(),
        ifname: called.ifname.clone(),
        config: conf.name.clone(),
        network: spec.name.to_string(),
    };
    if !networks.roots.claim_cni_owner(&id, &owner)? {
        return exists(made_before);
    }
    let made = make(networks, called, conf, &id, netns.as_fd());
    made.inspect_err(|_| {
        // The first error is the one to report; DEL, which must follow, finds what is left.
        let _ = take_away(networks, &id);
    })
}

fn make(
    networks: &Networks,
    called: &Called,
    conf: &Conf,
    id: &ContainerId,
    netns: BorrowedFd<'_>,
) -> Result<Value, Failed> {
    let mut attachment = AttachmentSpec::to(conf.network.clone());
    let asked: Option<IpAddr> = called.arg("IP")?;
    for ip in conf.ips.iter().copied().chain(asked) {
        match ip {
            IpAddr::V4(v4) => attachment.ipv4 = Some(v4),
            IpAddr::V6(v6) => attachment.ipv6 = Some(v6),
        }
    }
    attachment.mac = conf.mac.or(called.arg("MAC")?);
    let name = called.name();
    let request = JoinRequest {
        container: id,
        name: &name,
        attachments: std::slice::from_ref(&attachment),
        ports: &conf.ports,
        dns: &[],
    };
    let mut joined = networks.reserve(&request)?;
    let Some((_, endpoint)) = joined.only() else { return Err(Error::NoSuchNetwork(name).into()) };
    endpoint.link.clone_from(&called.ifname);
    if conf.default_route == Some(false) {
        endpoint.gateways.clear();
    }
    // The way out of a container that has one already stays what it is.
    let there = route::routes(&mut open_inside(netns)?).map_err(|e| Error::io("list", "routes of the container", e))?;
    let leads = |v6: bool| there.iter().any(|r| r.to.is_none() && r.gateway.is_some_and(|g| g.is_ipv6() == v6));
    endpoint.gateways.retain(|gateway| !leads(gateway.is_ipv6()));
    networks.roots.write_endpoint(endpoint)?;
    networks.connect(&joined, netns)?;
    let Some((spec, endpoint)) = joined.only() else { return Err(Error::NoSuchNetwork(name).into()) };
    add_routes(conf, spec, endpoint, netns)?;
    let mut host = open_route()?;
    let mut mac = |name: &str| -> Result<Option<String>, Failed> {
        let found = bridge::find(&mut host, name)?.and_then(|link| link.mac);
        Ok(found.map(|mac| holm_spec::network::MacAddress(mac).to_string()))
    };
    let macs = [mac(&spec.link)?, mac(&endpoint.host_link)?];
    Ok(reply::of(conf, spec, endpoint, &called.netns, macs))
}

fn add_routes(conf: &Conf, spec: &NetworkSpec, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<(), Failed> {
    if conf.routes.is_empty() {
        return Ok(());
    }
    let mut inside = open_inside(netns)?;
    let failed = |e| Error::io("find link", &endpoint.link, e);
    let index = route::link_index(&mut inside, &endpoint.link).map_err(failed)?;
    let index = index.ok_or_else(|| failed(Errno::NODEV.into()))?;
    for (to, gateway) in &conf.routes {
        let v6 = to.addr().is_ipv6();
        let own = spec.subnets.iter().filter_map(|s| s.gateway).find(|g| g.is_ipv6() == v6);
        let to = to.trunc();
        let mut batch = Batch::new();
        route::add_route(&mut batch, index, Some((to.addr(), to.prefix_len())), gateway.or(own), v6);
        match inside.send(&mut batch) {
            Err(refusal) if !refusal.is(Errno::EXIST) => {
                return Err(Error::kernel("add routes over", &endpoint.link, refusal).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// DEL. Succeeds where there is nothing, and needs neither the namespace nor the network.
pub(super) fn delete(networks: &Networks, called: &Called) -> Result<Value, Failed> {
    take_away(networks, &called.whose()?)?;
    Ok(Value::Null)
}

fn take_away(networks: &Networks, id: &ContainerId) -> Result<(), Error> {
    networks.release_all(id)?;
    networks.roots.remove_cni_owner(id)
}

/// CHECK.
pub(super) fn check(networks: &Networks, called: &Called, conf: &Conf) -> Result<Value, Failed> {
    let id = called.whose()?;
    let netns = called.open_netns()?;
    let broken = |why: String| {
        let what = format!("cannot find interface `{}` of container `{}` whole", called.ifname, called.container);
        Failed::new(code::BROKEN, what, why)
    };
    let Some(previous) = &conf.previous else {
        return Err(Failed::new(code::CONFIG, "cannot check without `prevResult`", "the runtime must send it"));
    };
    let unknown = || Failed::new(code::UNKNOWN_CONTAINER, format!("cannot find container `{}`", called.container), "");
    let owner = networks.roots.cni_owner(&id)?.ok_or_else(unknown)?;
    let endpoint = networks.roots.endpoint(&owner.network, &id)?.ok_or_else(unknown)?;
    let given = super::super::result::understand(previous, &called.ifname)
        .map_err(|why| Failed::new(code::DECODE, "cannot read `prevResult`", why))?;
    let mut inside = open_inside(netns.as_fd())?;
    let failed = |e| Error::io("list", "links and addresses of the container", e);
    let index = route::link_index(&mut inside, &endpoint.link).map_err(failed)?;
    let index = index.ok_or_else(|| broken("the link is gone".to_owned()))?;
    let there = route::addresses(&mut inside).map_err(failed)?;
    for address in &endpoint.addresses {
        if !given.addresses.iter().any(|a| a.addr() == address.addr()) {
            return Err(broken(format!("`prevResult` does not have its address {}", address.addr())));
        }
        if !there.iter().any(|a| a.index == index && a.address == address.addr()) {
            return Err(broken(format!("the link has lost its address {}", address.addr())));
        }
    }
    if !endpoint.host_link.is_empty() && bridge::find(&mut open_route()?, &endpoint.host_link)?.is_none() {
        return Err(broken(format!("link `{}` of the host is gone", endpoint.host_link)));
    }
    // Rules that somebody flushed are put back: that is no reason to throw a container away.
    networks.verify()?;
    Ok(Value::Null)
}

/// GC. Interfaces of this configuration that the runtime does not list go; others', and those of Holm's own containers, stay.
pub(super) fn collect(networks: &Networks, conf: &Conf) -> Result<Value, Failed> {
    let Some(valid) = &conf.valid else {
        let what = "cannot collect without `cni.dev/valid-attachments`";
        return Err(Failed::new(code::CONFIG, what, "the runtime must send it"));
    };
    let mut first = Ok(());
    for (id, owner) in networks.roots.all_cni_owners()? {
        let listed = valid.iter().any(|(container, ifname)| *container == owner.container && *ifname == owner.ifname);
        if owner.config == conf.name && !listed {
            first = first.and(take_away(networks, &id));
        }
    }
    first?;
    Ok(Value::Null)
}

/// STATUS: whether ADD could be done now.
pub(super) fn status(networks: &Networks, conf: &Conf) -> Result<Value, Failed> {
    match network(networks, conf, false) {
        Ok(_) => Ok(Value::Null),
        // It is made with the first ADD.
        Err(_)
            if conf.inline.is_some()
                && matches!(networks.find(conf.network.as_str()), Err(Error::NoSuchNetwork(_))) =>
        {
            Ok(Value::Null)
        }
        Err(failed) => Err(Failed { code: code::NOT_AVAILABLE, ..failed }),
    }
}
