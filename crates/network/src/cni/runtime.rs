//! The runtime's side: a container's namespace handed to the plugins of a list, and taken back from them.
//!
//! ```text
//! plug     ports held · record written · ADD of each, the result of one told to the next · record with the result
//! unplug   DEL of each in reverse, whoever fails · record removed when none has
//! ```
//! *Privilege*: what the plugins need. *Order*: the caller has one thread and keeps the namespace until it has unplugged.

use std::net::IpAddr;

use holm_spec::ContainerId;
use holm_spec::network::{CniSpec, Endpoint, MacAddress, PublishSpec};
use serde_json::{Map, Value, json};

use super::cache::Attachment;
use super::{Dns, Folders, NetworkList, at_least, config, result, run};
use crate::attach::Joined;
use crate::port::{self, Held};
use crate::{Error, Networks};

/// Name of the link that plugins make in the container.
const IFNAME: &str = "eth0";

/// What a container asks of plugins.
#[derive(Clone, Debug)]
pub struct CniRequest<'a> {
    /// The container.
    pub container: &'a ContainerId,
    /// Its name.
    pub name: &'a str,
    /// The configuration and what is wished of it.
    pub spec: &'a CniSpec,
    /// Ports of the host.
    pub ports: &'a [PublishSpec],
    /// Name servers of its own.
    pub dns: &'a [IpAddr],
    /// Search domains of its own.
    pub search: &'a [String],
    /// Resolver options of its own.
    pub options: &'a [String],
    /// Where configurations and plugins are.
    pub folders: &'a Folders,
}

impl Networks {
    /// Runs the plugins of a configuration for the namespace at the path `netns`. *Errors*: the first plugin's that failed;
    /// those before it have been told to undo.
    pub fn plug(&self, request: &CniRequest<'_>, netns: &str) -> Result<(Joined, Dns), Error> {
        // What an earlier start could not undo.
        self.unplug(request.container)?;
        let list = config::find(&request.folders.config, request.spec.name.as_str())?;
        // One that is not there could not undo either.
        run::find_all(&list, &request.folders.plugins)?;
        let held = port::hold(&self.roots, request.ports)?;
        let runtime = runtime(request, &list, &held)?;
        let mut attachment = Attachment {
            version: Attachment::VERSION,
            container: request.container.clone(),
            list,
            folders: request.folders.plugins.clone(),
            netns: netns.to_owned(),
            ifname: IFNAME.to_owned(),
            args: format!("IgnoreUnknown=1;K8S_POD_NAME={}", request.name),
            runtime,
            result: None,
            endpoint: None,
        };
        self.roots.write_cni_attachment(&attachment)?;
        let added = add_all(&attachment).and_then(|(result, given)| {
            let endpoint = endpoint(request, &given, &held);
            attachment.result = Some(result);
            attachment.endpoint = Some(endpoint.clone());
            self.roots.write_cni_attachment(&attachment)?;
            Ok((Joined::plugged(endpoint, held), given.dns))
        });
        added.inspect_err(|_| {
            // The first error is the one to report; what cannot be undone now is tried again by the next command.
            let _ = self.unplug(request.container);
        })
    }

    /// Tells a container's plugins to undo, in reverse order. Succeeds where there is nothing.
    ///
    /// *Errors*: the first; the others were told nevertheless, and the record stays for another try.
    pub fn unplug(&self, container: &ContainerId) -> Result<(), Error> {
        let Some(mut attachment) = self.roots.cni_attachment(container)? else { return Ok(()) };
        if !std::path::Path::new(&attachment.netns).exists() {
            attachment.netns.clear();
        }
        let previous = attachment.result.as_ref().filter(|_| at_least(&attachment.list.version, (0, 4)));
        let mut done = Ok(());
        for plugin in attachment.list.plugins.iter().rev() {
            done = done.and(run::one("DEL", &attachment, plugin, previous).map(|_| ()));
        }
        done.and_then(|()| self.roots.remove_cni_attachment(container))
    }

    /// Containers that have something of plugins, whether they run or a crash left it.
    pub fn plugged(&self) -> Result<Vec<ContainerId>, Error> {
        self.roots.cni_containers()
    }

    /// Asks a container's plugins whether all is as they made it. Gives whether they could be asked: not those of versions
    /// before 0.4.0, nor where the configuration forbids it.
    pub fn check_plugged(&self, container: &ContainerId) -> Result<bool, Error> {
        let Some(attachment) = self.roots.cni_attachment(container)? else { return Ok(false) };
        let Some(previous) = &attachment.result else { return Ok(false) };
        if attachment.list.disable_check || !at_least(&attachment.list.version, (0, 4)) {
            return Ok(false);
        }
        for plugin in &attachment.list.plugins {
            run::one("CHECK", &attachment, plugin, Some(previous))?;
        }
        Ok(true)
    }

    /// Tells the plugins of a configuration which attachments are still there, so that they free what others left. Gives
    /// whether they could be told: they know it from version 1.1 on, and the configuration may forbid it.
    ///
    /// *Order*: only where no other runtime uses the configuration: its containers are unknown here.
    pub fn collect_plugged(&self, name: &str, folders: &Folders) -> Result<bool, Error> {
        let list = config::find(&folders.config, name)?;
        if list.disable_gc || !at_least(&list.version, (1, 1)) {
            return Ok(false);
        }
        let mut valid = Vec::new();
        for container in self.roots.cni_containers()? {
            let found = self.roots.cni_attachment(&container)?.filter(|a| a.list.name == name);
            valid.extend(found.map(|a| json!({"containerID": a.container, "ifname": a.ifname})));
        }
        for plugin in &list.plugins {
            let mut config = plugin.clone();
            config.remove("capabilities");
            config.insert("cni.dev/valid-attachments".to_owned(), valid.clone().into());
            // The key of the first release of that version's library.
            config.insert("cni.dev/attachments".to_owned(), valid.clone().into());
            run::call("GC", &list.name, &list.version, &folders.plugins, config, &[])?;
        }
        Ok(true)
    }
}

/// Runs ADD of each plugin. Gives the last result and what it means.
fn add_all(attachment: &Attachment) -> Result<(Value, result::Given), Error> {
    let mut previous: Option<Value> = None;
    let mut last = "";
    for plugin in &attachment.list.plugins {
        previous = Some(run::one("ADD", attachment, plugin, previous.as_ref())?);
        last = config::kind(plugin);
    }
    let value = previous.unwrap_or(Value::Null);
    match result::understand(&value, &attachment.ifname) {
        Ok(given) => Ok((value, given)),
        Err(why) => Err(Error::Plugin {
            verb: "ADD",
            plugin: last.to_owned(),
            network: attachment.list.name.clone(),
            why: format!("its result cannot be used: {why}"),
        }),
    }
}

fn endpoint(request: &CniRequest<'_>, given: &result::Given, held: &[Held]) -> Endpoint {
    Endpoint {
        container: request.container.clone(),
        name: request.name.to_owned(),
        network: request.spec.name.clone(),
        aliases: vec![request.container.short().to_owned()],
        link: IFNAME.to_owned(),
        host_link: String::new(),
        // Plugins need not say it.
        mac: given.mac.or(request.spec.mac).unwrap_or(MacAddress([2, 0, 0, 0, 0, 0])),
        addresses: given.addresses.clone(),
        gateways: given.gateways.clone(),
        ports: held.iter().map(|h| h.port.clone()).collect(),
        dns: request.dns.to_vec(),
    }
}

/// Values of capabilities. *Errors*: something is wished that no plugin of the list takes. *Source*: CNI conventions.
fn runtime(request: &CniRequest<'_>, list: &NetworkList, held: &[Held]) -> Result<Map<String, Value>, Error> {
    let spec = request.spec;
    let mut all = Map::new();
    let mut wish = |capability: &str, what: &str, value: Value| match list.takes(capability) {
        true => {
            all.insert(capability.to_owned(), value);
            Ok(())
        }
        false => {
            let why = format!("no plugin of CNI configuration `{}` takes `{capability}`", list.name);
            Err(Error::invalid_hint(what, why, format!("\"capabilities\": {{\"{capability}\": true}} in its plugin")))
        }
    };
    if !held.is_empty() {
        if request.ports.iter().any(|p| !p.from.is_empty() || !p.interfaces.is_empty()) {
            return Err(Error::invalid(
                "published ports with `from` or `interface`",
                "CNI plugins have no such limits",
            ));
        }
        wish("portMappings", "published ports", held.iter().map(mapping).collect())?;
    }
    if !spec.ips.is_empty() {
        wish("ips", "a wished address", json!(spec.ips))?;
    }
    if let Some(mac) = spec.mac {
        wish("mac", "a wished hardware address", json!(mac))?;
    }
    if spec.ingress_bits.or(spec.egress_bits).is_some() {
        wish("bandwidth", "a wished bandwidth", bandwidth(spec))?;
    }
    if list.takes("dns") && !(request.dns.is_empty() && request.search.is_empty() && request.options.is_empty()) {
        let names = json!({"servers": request.dns, "searches": request.search, "options": request.options});
        all.insert("dns".to_owned(), names);
    }
    Ok(all)
}

fn mapping(held: &Held) -> Value {
    let port = &held.port;
    json!({
        "hostPort": port.host_port, "containerPort": port.container_port, "protocol": port.protocol,
        "hostIP": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    })
}

/// A burst as long as a second's worth, within the 32 bits that the plugin's bytes have.
fn bandwidth(spec: &CniSpec) -> Value {
    let burst = |rate: u64| rate.min(u64::from(u32::MAX));
    let mut value = Map::new();
    for (name, rate) in [("ingress", spec.ingress_bits), ("egress", spec.egress_bits)] {
        if let Some(rate) = rate {
            value.insert(format!("{name}Rate"), rate.into());
            value.insert(format!("{name}Burst"), burst(rate).into());
        }
    }
    value.into()
}

#[cfg(test)]
mod tests;
