//! `volume create ls rm prune`.

use holm_pod::Engine;
use serde_json::{Value, json};

use super::context::Context;
use super::filter::{Filter, Filters, PruneFilters};
use super::{Outcome, confirmed, for_each};
use crate::args::lifecycle::Prune;
use crate::args::volume::{VolumeCreate, VolumeList, VolumeRemove};
use crate::error::Failure;
use crate::format::list::{self, Columns, Form};
use crate::format::quantity;
use crate::intent::environment;
use crate::{output, terminal};

const COLUMNS: Columns = Columns {
    titles: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Scope", "SCOPE"),
    ],
    default: "{{.Driver}}\t{{.Name}}",
};

/// `holm volume create`
pub fn create(context: &Context, flags: &VolumeCreate) -> Outcome {
    let labels = environment::labels(&[], &flags.label)?;
    let name = flags.name.as_deref().map(str::parse).transpose()?;
    let option = |text: &String| match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Failure::flag("--opt", text, "it must be KEY=VALUE").with_code(1)),
    };
    let options = flags.opt.iter().map(option).collect::<Result<_, _>>()?;
    let volume = context.engine()?.volume_create(name.as_ref(), labels, options).map_err(Failure::from)?;
    output::line(volume.name.as_str())?;
    Ok(0)
}

/// Names of volumes that containers use.
pub fn used(engine: &Engine) -> Result<Vec<String>, Failure> {
    let containers = engine.list().map_err(Failure::from)?;
    Ok(containers.into_iter().flat_map(|container| container.spec.mounts).map(|mount| mount.source).collect())
}

/// `holm volume ls`
pub fn list(context: &Context, flags: &VolumeList) -> Outcome {
    let filters = Filters::parse(&flags.filter, &["dangling", "driver", "label", "label!", "name"])?;
    let dangling = filters.flag("dangling")?;
    let engine = context.engine()?;
    let used = if dangling.is_some() { used(&engine)? } else { Vec::new() };
    let volumes = engine.volume_list().map_err(Failure::from)?;
    let rows: Vec<Value> = volumes
        .iter()
        .filter(|volume| filters.any("name", |name| volume.name.as_str().contains(name)))
        .filter(|_| filters.any("driver", |driver| driver == "local"))
        .filter(|volume| Filter::labels_fit(&filters, &volume.labels))
        .filter(|volume| {
            dangling.is_none_or(|dangling| dangling != used.iter().any(|name| name == volume.name.as_str()))
        })
        .map(|volume| {
            let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            json!({
                "Availability": "N/A", "Driver": "local", "Group": "N/A", "Labels": labels.join(","), "Links": "N/A",
                "Mountpoint": volume.mountpoint.display().to_string(), "Name": volume.name.as_str(), "Scope": "local",
                "Size": "N/A", "Status": "N/A",
            })
        })
        .collect();
    let form = Form {
        format: flags.format.as_deref(),
        output: flags.output.as_deref(),
        quiet: flags.quiet.then_some("Name"),
        name: "Name",
        width: terminal::width(),
    };
    output::print(&list::render(COLUMNS, form, &rows)?)?;
    Ok(0)
}

/// `holm volume rm`
pub fn remove(context: &Context, flags: &VolumeRemove) -> Outcome {
    let engine = context.engine()?;
    for_each(&flags.volumes, true, &|name| match engine.volume_remove(name, flags.force) {
        Err(holm_pod::Error::NoSuchVolume(_)) if flags.force => Ok(()),
        other => other.map_err(Failure::from),
    })
}

/// `holm volume prune`
pub fn prune(context: &Context, flags: &Prune) -> Outcome {
    let filters = PruneFilters::parse(&flags.filter, &["all", "label", "label!"])?;
    let all = flags.all || filters.flag("all")?.unwrap_or(false);
    let what = if all { "all volumes" } else { "all anonymous volumes" };
    if !confirmed(flags.force, &format!("This will remove {what} not used by at least one container."))? {
        return Ok(0);
    }
    let bytes = prune_unused(&context.engine()?, all, &filters)?;
    output::line(&format!("Total reclaimed space: {}", quantity::decimal(bytes)))?;
    Ok(0)
}

/// Removes unused volumes and prints them; the bytes that became free.
pub fn prune_unused(engine: &Engine, all: bool, filters: &PruneFilters) -> Result<u64, Failure> {
    let keep = |volume: &holm_pod::Volume| !filters.fit(volume.created_at_ns, &volume.labels);
    let report = engine.volume_prune(all, &keep).map_err(Failure::from)?;
    if !report.removed.is_empty() {
        output::print(&format!("Deleted Volumes:\n{}\n\n", report.removed.join("\n")))?;
    }
    Ok(report.reclaimed_bytes)
}
