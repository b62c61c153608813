//! `network create ls rm prune connect disconnect`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use holm_network::NetworkRequest;
use holm_pod::Engine;
use holm_spec::network::{AttachmentSpec, DEFAULT_NETWORK, Driver, NetworkSpec};
use ipnet::IpNet;
use serde_json::Value;

use super::context::Context;
use super::filter::{Filter, Filters, PruneFilters};
use super::{Outcome, confirmed, for_each};
use crate::args::network::{
    NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkList, NetworkPrune, NetworkRemove,
};
use crate::error::Failure;
use crate::format::list::{self, Form};
use crate::format::network::{self as format, COLUMNS, COLUMNS_WIDE, PSEUDO};
use crate::format::time;
use crate::intent::{environment, network as intent};
use crate::{output, terminal};

fn bad(flag: &str, text: &str, why: impl Into<String>) -> Failure {
    Failure::flag(flag, text, why).with_code(1)
}

/// `holm network create`
pub fn create(context: &Context, flags: &NetworkCreate) -> Outcome {
    let request = request(flags)?;
    let engine = context.engine()?;
    let name = request.name.clone();
    let network = match engine.network_create(request) {
        Err(holm_pod::Error::Network(holm_network::Error::NameTaken(_))) if flags.ignore => {
            engine.networks().find(name.as_str()).map_err(|e| holm_pod::Error::from(e).into())
        }
        other => other.map_err(Failure::from),
    }?;
    output::line(network.id.as_str())?;
    Ok(0)
}

fn request(flags: &NetworkCreate) -> Result<NetworkRequest, Failure> {
    let driver = match flags.driver.as_str() {
        "bridge" => Driver::Bridge,
        "macvlan" => Driver::Macvlan,
        other => {
            return Err(bad("--driver", other, "it must be bridge or macvlan").with_hint(match other {
                "host" | "null" | "none" => "holm run --network host or --network none",
                "ipvlan" => "-d macvlan -o mode=bridge does the same where the switch takes several hardware addresses",
                _ => "for another plugin: holm run --network cni:NAME",
            }));
        }
    };
    let subnet = |flag: &'static str| {
        move |text: &String| text.parse::<IpNet>().map_err(|_| bad(flag, text, "it must be a subnet, as 172.28.0.0/24"))
    };
    let gateway =
        |text: &String| text.parse::<IpAddr>().map_err(|_| bad("--gateway", text, "it must be an IP address"));
    let mut options = BTreeMap::new();
    for text in &flags.opt {
        let (key, value) = text.split_once('=').ok_or_else(|| bad("--opt", text, "it must be KEY=VALUE"))?;
        options.insert(key.to_owned(), value.to_owned());
    }
    let sugar = [("mtu", flags.mtu.clone()), ("bridge", flags.interface_name.clone())];
    options.extend(sugar.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    if flags.disable_dns {
        options.insert("dns".to_owned(), "false".to_owned());
    }
    Ok(NetworkRequest {
        name: flags.name.parse().map_err(|e: holm_spec::IdError| bad("NAME", &flags.name, e.to_string()))?,
        driver,
        subnets: flags.subnet.iter().map(subnet("--subnet")).collect::<Result<_, _>>()?,
        gateways: flags.gateway.iter().map(gateway).collect::<Result<_, _>>()?,
        ranges: flags.ip_range.iter().map(subnet("--ip-range")).collect::<Result<_, _>>()?,
        ipv6: flags.ipv6,
        internal: flags.internal,
        options,
        labels: environment::labels(&[], &flags.label).map_err(|failure| failure.with_code(1))?,
        now_ns: time::now_ns(),
    })
}

const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "label!", "name", "scope", "type"];

/// `holm network ls`
pub fn list(context: &Context, flags: &NetworkList) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let dangling = filters.flag("dangling")?;
    if let Some(other) = filters.values("type").find(|kind| !matches!(*kind, "builtin" | "custom")) {
        return Err(bad("--filter", &format!("type={other}"), "it must be builtin or custom"));
    }
    let engine = context.engine()?;
    let networks = engine.networks().list().map_err(holm_pod::Error::from)?;
    let wide = flags.output.as_deref() == Some("wide");
    let mut rows: Vec<Value> = Vec::new();
    for network in &networks {
        let builtin = network.name.as_str() == DEFAULT_NETWORK;
        let row = format::row(network, flags.no_trunc);
        if !fits(&filters, &row, network.id.as_str(), &network.labels, builtin) {
            continue;
        }
        if let Some(dangling) = dangling {
            let used = builtin || !engine.network_users(network.name.as_str()).map_err(Failure::from)?.is_empty();
            if used == dangling {
                continue;
            }
        }
        rows.push(row);
    }
    let none = BTreeMap::new();
    for name in PSEUDO {
        let row = format::pseudo_row(name, flags.no_trunc);
        if dangling != Some(true) && fits(&filters, &row, format::pseudo_id(name).as_str(), &none, true) {
            rows.push(row);
        }
    }
    let name_of = |row: &Value| row["Name"].as_str().unwrap_or_default().to_owned();
    rows.sort_by_key(name_of);
    let form = Form {
        format: flags.format.as_deref(),
        output: flags.output.as_deref(),
        quiet: flags.quiet.then_some("ID"),
        name: "Name",
        width: if flags.no_trunc || wide { None } else { terminal::width() },
    };
    output::print(&list::render(if wide { COLUMNS_WIDE } else { COLUMNS }, form, &rows)?)?;
    Ok(0)
}

fn fits(filters: &Filters, row: &Value, id: &str, labels: &BTreeMap<String, String>, builtin: bool) -> bool {
    let field = |name: &str| row[name].as_str().unwrap_or_default();
    filters.any("name", |name| field("Name").contains(name))
        && filters.any("id", |start| id.starts_with(start))
        && filters.any("driver", |driver| field("Driver") == driver)
        && filters.any("scope", |scope| scope == "local")
        && filters.any("type", |kind| (kind == "builtin") == builtin)
        && Filter::labels_fit(filters, labels)
}

/// `holm network rm`
pub fn remove(context: &Context, flags: &NetworkRemove) -> Outcome {
    let engine = context.engine()?;
    for_each(&flags.networks, true, &|name| {
        if PSEUDO.contains(&name) {
            return Err(Failure::new(format!("cannot remove network `{name}`: it is always there")));
        }
        match engine.network_remove(name, flags.force) {
            Err(holm_pod::Error::Network(holm_network::Error::NoSuchNetwork(_))) if flags.force => Ok(()),
            other => other.map(drop).map_err(Failure::from),
        }
    })
}

/// `holm network prune`
pub fn prune(context: &Context, flags: &NetworkPrune) -> Outcome {
    let filters = PruneFilters::parse(&flags.filter, &["until", "label", "label!"])?;
    let what = "This will remove all networks of your own that no container names.";
    if !confirmed(flags.force, what)? {
        return Ok(0);
    }
    prune_unused(&context.engine()?, &filters)?;
    Ok(0)
}

/// Removes networks that no container names and prints them.
pub fn prune_unused(engine: &Engine, filters: &PruneFilters) -> Result<(), Failure> {
    let keep = |network: &NetworkSpec| !filters.fit(network.created_at_ns, &network.labels);
    let report = engine.network_prune(&keep).map_err(Failure::from)?;
    if !report.removed.is_empty() {
        output::print(&format!("Deleted Networks:\n{}\n\n", report.removed.join("\n")))?;
    }
    Ok(())
}

/// `holm network connect`
pub fn connect(context: &Context, flags: &NetworkConnect) -> Outcome {
    refuse_pseudo(&flags.network, "connect a container to")?;
    let engine = context.engine()?;
    let id = context.find(&engine, &flags.container)?;
    let mut attachment = AttachmentSpec::to(network_name(&engine, &flags.network)?);
    if let Some(text) = &flags.ip {
        attachment.ipv4 = Some(text.parse().map_err(|_| bad("--ip", text, "it must be an IPv4 address"))?);
    }
    if let Some(text) = &flags.ip6 {
        attachment.ipv6 = Some(text.parse().map_err(|_| bad("--ip6", text, "it must be an IPv6 address"))?);
    }
    if let Some(text) = &flags.mac_address {
        attachment.mac = Some(text.parse().map_err(|why: String| bad("--mac-address", text, why))?);
    }
    for text in &flags.alias {
        attachment.aliases.push(intent::alias("--alias", text).map_err(|failure| failure.with_code(1))?);
    }
    engine.network_connect(&id, attachment).map_err(Failure::from)?;
    Ok(0)
}

fn network_name(engine: &Engine, text: &str) -> Result<holm_spec::Name, Failure> {
    let network = engine.networks().find(text).map_err(holm_pod::Error::from)?;
    Ok(network.name)
}

fn refuse_pseudo(network: &str, verb: &str) -> Result<(), Failure> {
    match PSEUDO.contains(&network) {
        true => Err(Failure::new(format!("cannot {verb} network `{network}`: it is chosen when a container is made"))
            .with_hint(format!("holm run --network {network} IMAGE"))),
        false => Ok(()),
    }
}

/// `holm network disconnect`
pub fn disconnect(context: &Context, flags: &NetworkDisconnect) -> Outcome {
    refuse_pseudo(&flags.network, "disconnect a container from")?;
    let engine = context.engine()?;
    let id = context.find(&engine, &flags.container)?;
    match engine.network_disconnect(&id, &flags.network) {
        Err(holm_pod::Error::Invalid { .. } | holm_pod::Error::Network(holm_network::Error::NoSuchNetwork(_)))
            if flags.force => {}
        other => other.map_err(Failure::from)?,
    }
    Ok(0)
}
