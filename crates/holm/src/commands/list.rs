//! `ps` and `top`.

use holm_pod::{Container, Engine};
use holm_spec::container::{MountKind, NetworkMode};
use holm_spec::network::{Endpoint, NetworkSpec};

use super::Outcome;
use super::context::{Context, find_image};
use super::filter::{Filter, Filters};
use crate::args::container::{Ps, Top};
use crate::error::Failure;
use crate::format::container::{COLUMNS, COLUMNS_SIZE, RowOptions, network, row};
use crate::format::list::{self, Form};
use crate::format::{port, table, time};
use crate::{output, terminal};

const FILTERS: &[&str] = &[
    "ancestor", "before", "exited", "health", "id", "label", "label!", "name", "network", "since", "status", "volume",
];

/// `holm ps`
pub fn ps(context: &Context, flags: &Ps) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let engine = context.engine()?;
    let all = engine.list().map_err(Failure::from)?;
    let limit = if flags.latest { Some(1) } else { flags.last.filter(|n| *n >= 0) };
    let everything =
        flags.all || limit.is_some() || filters.last("status").is_some() || filters.last("exited").is_some();
    let wanted = Wanted::new(context, &engine, &filters, &all)?;
    let mut chosen: Vec<&Container> =
        all.iter().filter(|c| (everything || c.state.status.is_live()) && wanted.fits(c)).collect();
    chosen.sort_by_key(|container| std::cmp::Reverse(container.spec.created_at_ns));
    chosen.truncate(limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX));
    let wide = flags.no_trunc || flags.output.as_deref() == Some("wide");
    let now_ns = time::now_ns();
    let endpoints = engine.networks().all_endpoints().map_err(holm_pod::Error::from)?;
    let sizes = flags.size || flags.format.as_deref().is_some_and(|format| format.contains(".Size"));
    let rows: Vec<_> = chosen
        .into_iter()
        .map(|container| {
            // The size of one that is just being removed is not worth failing for.
            let size = if sizes { engine.disk_usage(&container.spec.id).ok() } else { None };
            row(container, RowOptions { no_trunc: wide, now_ns, ports: ports(container, &endpoints) }, size)
        })
        .collect();
    let form = Form {
        format: flags.format.as_deref(),
        output: flags.output.as_deref(),
        quiet: flags.quiet.then_some("ID"),
        name: "Names",
        width: if wide { None } else { terminal::width() },
    };
    output::print(&list::render(if flags.size { COLUMNS_SIZE } else { COLUMNS }, form, &rows)?)?;
    Ok(0)
}

/// The ports of one that runs.
fn ports(container: &Container, endpoints: &[Endpoint]) -> String {
    if !container.state.status.is_live() {
        return String::new();
    }
    let own: Vec<Endpoint> = endpoints.iter().filter(|e| e.container == container.spec.id).cloned().collect();
    port::column(&port::bindings(&own), &port::exposed(container))
}

/// The filters of `ps`, what they refer to looked up.
struct Wanted<'a> {
    filters: &'a Filters,
    ancestors: Vec<String>,
    before_ns: Option<u64>,
    since_ns: Option<u64>,
    networks: Vec<NetworkSpec>,
}

impl<'a> Wanted<'a> {
    fn new(context: &Context, engine: &Engine, filters: &'a Filters, all: &[Container]) -> Result<Self, Failure> {
        let made = |key: &str| {
            let id = filters.last(key).map(|name| engine.find(name).map_err(Failure::from)).transpose()?;
            let found = id.and_then(|id| all.iter().find(|c| c.spec.id == id));
            Ok::<_, Failure>(found.map(|container| container.spec.created_at_ns))
        };
        let statuses = ["created", "running", "paused", "restarting", "exited", "removing", "dead"];
        if let Some(bad) = filters.values("status").find(|status| !statuses.contains(status)) {
            return Err(Failure::flag(
                "--filter",
                &format!("status={bad}"),
                format!("it must be one of {}", statuses.join(", ")),
            )
            .with_code(1));
        }
        let mut ancestors = Vec::new();
        for name in filters.values("ancestor") {
            let id =
                context.store().and_then(|store| find_image(context, &store, name)).map(|image| image.id.to_string());
            ancestors.push(id.unwrap_or_else(|_| name.to_owned()));
        }
        let networks = match filters.last("network") {
            Some(_) => engine.networks().list_made().map_err(holm_pod::Error::from)?,
            None => Vec::new(),
        };
        Ok(Self { filters, ancestors, networks, before_ns: made("before")?, since_ns: made("since")? })
    }

    fn fits(&self, container: &Container) -> bool {
        let (spec, state) = (&container.spec, &container.state);
        let health = state.health.as_ref().map_or("none", |health| health.status.as_str());
        let name_fits = |text: &str| {
            spec.name.as_str().contains(text.trim_start_matches(['^', '/']).trim_end_matches('$'))
                && (!text.ends_with('$')
                    || spec.name.as_str().ends_with(text.trim_start_matches(['^', '/']).trim_end_matches('$')))
                && (!text.starts_with('^')
                    || spec.name.as_str().starts_with(text.trim_start_matches(['^', '/']).trim_end_matches('$')))
        };
        let volume_fits = |text: &str| {
            let at = |mount: &holm_spec::container::MountSpec| mount.source == text || mount.destination == text;
            spec.mounts.iter().filter(|mount| mount.kind != MountKind::Tmpfs).any(at)
        };
        let exited = state.finished_at_ns > 0 && !state.status.is_live();
        self.filters.any("status", |status| status == state.status.word())
            && self.filters.any("name", name_fits)
            && self.filters.any("id", |id| spec.id.as_str().starts_with(id))
            && self.filters.any("exited", |code| exited && code == state.exit_code.to_string())
            && self.filters.any("health", |word| word == health)
            && self.filters.any("volume", volume_fits)
            && self.filters.any("network", |name| on_network(&spec.sandbox.network, name, &self.networks))
            && Filter::labels_fit(self.filters, &labels(container))
            && (self.ancestors.is_empty()
                || self.ancestors.iter().any(|a| *a == spec.image_id.as_str() || *a == spec.image))
            && self.before_ns.is_none_or(|time| spec.created_at_ns < time)
            && self.since_ns.is_none_or(|time| spec.created_at_ns > time)
    }
}

/// Whether a container is to be on the network of this name or identifier.
fn on_network(mode: &NetworkMode, text: &str, networks: &[NetworkSpec]) -> bool {
    let NetworkMode::Networks(list) = mode else { return network(mode) == text };
    let by_id = networks.iter().find(|n| text.len() >= 12 && n.id.as_str().starts_with(text));
    let name = by_id.map_or(text, |network| network.name.as_str());
    list.iter().any(|attachment| attachment.network.as_str() == name)
}

fn labels(container: &Container) -> std::collections::BTreeMap<String, String> {
    let mut labels = container.image_config.labels.clone().unwrap_or_default();
    labels.extend(container.spec.labels.clone());
    labels
}

/// `holm top`
pub fn top(context: &Context, flags: &Top) -> Outcome {
    let Some((name, columns)) = flags.words.split_first() else {
        return Err(Failure::new("the command needs a container"));
    };
    // `-o pid,args` and `-eo pid,args` are what docker hands to ps.
    let columns: Vec<String> = columns
        .iter()
        .filter(|word| !word.starts_with('-'))
        .flat_map(|word| word.split(',').map(str::to_ascii_lowercase))
        .filter(|word| !word.is_empty())
        .collect();
    let engine = context.engine()?;
    let id = context.find(&engine, name)?;
    let top = engine.top(&id, &columns).map_err(Failure::from)?;
    let mut rows = vec![top.titles];
    rows.extend(top.rows);
    output::print(&table::render(&rows, None))?;
    Ok(0)
}
