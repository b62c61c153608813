//! `port`, `network ports` and `network repair`: published ports, who may reach them, and whether they work.

use holm_network::{Published, Standing};
use holm_spec::network::{Protocol, PublishedPort};
use serde_json::{Value, json};

use super::Outcome;
use super::context::Context;
use crate::args::network::{NetworkPorts, Port};
use crate::error::{Failure, printable};
use crate::format::list::{self, Columns, Form};
use crate::format::port;
use crate::{output, terminal};

const COLUMNS: Columns = Columns {
    titles: &[
        ("HostAddress", "HOST ADDRESS"),
        ("Port", "PORT"),
        ("Protocol", "PROTOCOL"),
        ("Container", "CONTAINER"),
        ("Target", "TARGET"),
        ("Network", "NETWORK"),
        ("OpenTo", "OPEN TO"),
        ("State", "STATE"),
        ("ContainerID", "CONTAINER ID"),
    ],
    default: "{{.HostAddress}}\t{{.Port}}\t{{.Protocol}}\t{{.Container}}\t{{.Target}}\t{{.Network}}\t{{.OpenTo}}\t{{.State}}",
};

/// `holm port`
pub fn port(context: &Context, flags: &Port) -> Outcome {
    let wanted = flags.port.as_deref().map(wanted).transpose()?;
    let engine = context.engine()?;
    let id = context.find(&engine, &flags.container)?;
    let container = engine.get(&id).map_err(Failure::from)?;
    let endpoints = engine.networks().endpoints_of(&id).map_err(holm_pod::Error::from)?;
    let bindings = port::bindings(&endpoints);
    let mut found = false;
    for binding in &bindings {
        match wanted {
            Some(port) if (binding.inside, binding.protocol) != port => continue,
            Some(_) => output::line(&binding.host())?,
            None => output::line(&format!("{}/{} -> {}", binding.inside, binding.protocol, binding.host()))?,
        }
        found = true;
    }
    match wanted {
        Some((number, protocol)) if !found => {
            let name = &container.spec.name;
            let failure =
                Failure::new(format!("cannot find a published port {number}/{protocol} of container `{name}`"));
            Err(if container.state.status.is_live() {
                failure.with_hint(format!("holm port {name} lists those that there are"))
            } else {
                failure.with_hint(format!("holm start {name}: ports are published while it runs"))
            })
        }
        _ => Ok(0),
    }
}

fn wanted(text: &str) -> Result<(u16, Protocol), Failure> {
    let bad = |why: String| Failure::new(format!("cannot use port `{}`: {why}", printable(text)));
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = number.parse::<u16>().ok().filter(|n| *n > 0);
    let number = number.ok_or_else(|| bad("ports go from 1 to 65535".to_owned()))?;
    Ok((number, protocol.parse().map_err(bad)?))
}

/// `holm network ports`
pub fn ports(context: &Context, flags: &NetworkPorts) -> Outcome {
    let engine = context.engine()?;
    let published = engine.networks().published().map_err(holm_pod::Error::from)?;
    let rows: Vec<Value> = published.iter().flat_map(rows).collect();
    let form = Form {
        format: flags.format.as_deref(),
        output: flags.output.as_deref(),
        quiet: None,
        name: "Name",
        width: if flags.output.as_deref() == Some("wide") { None } else { terminal::width() },
    };
    output::print(&list::render(COLUMNS, form, &rows)?)?;
    Ok(0)
}

fn rows(published: &Published) -> Vec<Value> {
    let port = &published.port;
    let one = |address: std::net::IpAddr| {
        let targets = || published.targets.iter().map(ipnet::IpNet::addr);
        // Through the relay the other family leads there too.
        let target = targets().find(|t| t.is_ipv4() == address.is_ipv4()).or_else(|| targets().next());
        let target = target.map(|t| std::net::SocketAddr::new(t, port.container_port).to_string());
        let host = std::net::SocketAddr::new(address, port.host_port);
        json!({
            "HostAddress": address.to_string(), "Port": port.host_port.to_string(), "Protocol": port.protocol.word(),
            "Container": published.name, "ContainerID": published.container.as_str(), "Target": target,
            "Network": published.network, "OpenTo": open_to(port, address), "State": state(published.standing),
            "Name": format!("{host}/{}", port.protocol),
        })
    };
    port::addresses(port).into_iter().map(one).collect()
}

fn state(standing: Standing) -> &'static str {
    match standing {
        Standing::Kernel => "ok",
        Standing::Relay => "ok (passed on)",
        Standing::Missing => "missing: holm network repair",
    }
}

/// Who may reach a port.
fn open_to(port: &PublishedPort, address: std::net::IpAddr) -> String {
    if address.is_loopback() {
        return "this host only".to_owned();
    }
    let links = match port.interfaces.as_slice() {
        [] => "any link".to_owned(),
        links => format!("link {}", links.join(", ")),
    };
    let sources: Vec<String> =
        port.from.iter().filter(|net| net.addr().is_ipv4() == address.is_ipv4()).map(ToString::to_string).collect();
    match sources.as_slice() {
        [] if port.from.is_empty() => format!("everybody on {links}"),
        [] => "nobody".to_owned(),
        sources => format!("{} on {links}", sources.join(", ")),
    }
}

/// `holm network repair`
pub fn repair(context: &Context) -> Outcome {
    let engine = context.engine()?;
    let notes = engine.networks().repair_all().map_err(holm_pod::Error::from)?;
    if notes.is_empty() {
        output::line("nothing was amiss")?;
    }
    for note in notes {
        output::line(&note)?;
    }
    Ok(0)
}
