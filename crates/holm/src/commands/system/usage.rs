//! `system df`: what takes space.

use holm_image::store::Image;
use holm_pod::{Container, Volume};
use serde_json::{Value, json};

use crate::args::system::SystemDf;
use crate::commands::context::Context;
use crate::commands::{Outcome, volume};
use crate::error::Failure;
use crate::format::list::{self, Columns, Form};
use crate::format::{container as rows, image, quantity, time};
use crate::output;

const COLUMNS: Columns = Columns {
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    default: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
};

/// Everything with its bytes and whether it is in use.
struct Inventory {
    images: Vec<(Image, bool)>,
    containers: Vec<(Container, u64)>,
    volumes: Vec<(Volume, u64, bool)>,
}

/// `holm system df`
pub fn usage(context: &Context, flags: &SystemDf) -> Outcome {
    let inventory = take(context)?;
    if flags.verbose && flags.format.is_none() {
        verbose(&inventory)?;
        return Ok(0);
    }
    let images: Vec<(u64, bool)> = inventory.images.iter().map(|(image, used)| (image.size_bytes, *used)).collect();
    let containers: Vec<(u64, bool)> =
        inventory.containers.iter().map(|(container, bytes)| (*bytes, container.state.status.is_live())).collect();
    let volumes: Vec<(u64, bool)> = inventory.volumes.iter().map(|(_, bytes, used)| (*bytes, *used)).collect();
    let rows = [row("Images", &images), row("Containers", &containers), row("Local Volumes", &volumes)];
    let form = Form { format: flags.format.as_deref(), name: "Type", ..Form::default() };
    output::print(&list::render(COLUMNS, form, &rows)?)?;
    Ok(0)
}

fn take(context: &Context) -> Result<Inventory, Failure> {
    let engine = context.engine()?;
    let containers = engine.list().map_err(Failure::from)?;
    let used: Vec<_> = containers.iter().map(|container| container.spec.image_id.clone()).collect();
    let images = context.store()?.list()?.into_iter().map(|image| (image.clone(), used.contains(&image.id))).collect();
    let names = volume::used(&engine)?;
    let mut volumes = Vec::new();
    for volume in engine.volume_list().map_err(Failure::from)? {
        let bytes = engine.volume_usage(volume.name.as_str()).map_err(Failure::from)?;
        let used = names.iter().any(|name| name == volume.name.as_str());
        volumes.push((volume, bytes, used));
    }
    // What is just being removed takes no space worth an error.
    let measured = |container: Container| {
        let bytes = engine.disk_usage(&container.spec.id).map_or(0, |(written, _)| written);
        (container, bytes)
    };
    Ok(Inventory { images, containers: containers.into_iter().map(measured).collect(), volumes })
}

fn row(kind: &str, items: &[(u64, bool)]) -> Value {
    let total: u64 = items.iter().map(|(bytes, _)| bytes).sum();
    let free: u64 = items.iter().filter(|(_, used)| !used).map(|(bytes, _)| bytes).sum();
    json!({
        "Type": kind,
        "TotalCount": items.len().to_string(),
        "Active": items.iter().filter(|(_, used)| *used).count().to_string(),
        "Size": quantity::decimal(total),
        "Reclaimable": format!("{} ({:.0}%)", quantity::decimal(free), quantity::percent(free, total)),
    })
}

fn verbose(inventory: &Inventory) -> Result<(), Failure> {
    let now_ns = time::now_ns();
    let mut images = vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned).to_vec()];
    for (entry, _) in &inventory.images {
        let (repository, tag) =
            entry.names.first().map_or(("<none>".to_owned(), "<none>".to_owned()), |name| image::split_name(name));
        let created = time::ago(image::created_ns(entry), now_ns);
        images.push(vec![
            repository,
            tag,
            entry.id.hex()[..12].to_owned(),
            created,
            quantity::decimal(entry.size_bytes),
        ]);
    }
    let mut containers = vec![["CONTAINER ID", "IMAGE", "STATUS", "NAMES", "SIZE"].map(str::to_owned).to_vec()];
    for (container, bytes) in &inventory.containers {
        let spec = &container.spec;
        let status = rows::status(container, now_ns);
        let size = quantity::decimal_short(*bytes);
        containers.push(vec![spec.id.short().to_owned(), spec.image.clone(), status, spec.name.to_string(), size]);
    }
    let mut volumes = vec![["VOLUME NAME", "IN USE", "SIZE"].map(str::to_owned).to_vec()];
    for (volume, bytes, used) in &inventory.volumes {
        let used = if *used { "yes" } else { "no" };
        volumes.push(vec![volume.name.to_string(), used.to_owned(), quantity::decimal(*bytes)]);
    }
    for (title, rows) in [("Images", images), ("Containers", containers), ("Local Volumes", volumes)] {
        output::print(&format!("{title} space usage:\n\n{}\n", crate::format::table::render(&rows, None)))?;
    }
    Ok(())
}
