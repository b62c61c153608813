//! `images rmi tag history` and `image prune`.

use std::collections::HashSet;

use holm_image::archive;
use holm_image::store::{Image, Removed, Store, StoreError};
use holm_pod::{Engine, Event};
use serde_json::Value;

use super::context::{Context, find_image, new_name, used_images};
use super::filter::{Filter, Filters, PruneFilters};
use super::{Outcome, confirmed, for_each};
use crate::args::image::{History, Images, Rmi, Tag};
use crate::args::lifecycle::Prune;
use crate::error::Failure;
use crate::format::image::{self as rows, COLUMNS, COLUMNS_DIGESTS, HISTORY_COLUMNS, RowOptions};
use crate::format::list::{self, Form};
use crate::format::{quantity, time};
use crate::{output, terminal};

const FILTERS: &[&str] = &["dangling", "label", "label!", "reference", "before", "since", "until"];

/// `holm images`
pub fn images(context: &Context, flags: &Images) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let store = context.store()?;
    let now_ns = time::now_ns();
    let made = |key: &str| {
        filters.last(key).map(|name| find_image(context, &store, name).map(|i| rows::created_ns(&i))).transpose()
    };
    let (before, since) = (made("before")?, made("since")?);
    let until = filters.last("until").map(|text| filters.time("until", text, now_ns)).transpose()?;
    let dangling = filters.flag("dangling")?;
    let mut all = store.list()?;
    all.retain(|image| {
        let created = rows::created_ns(image);
        dangling.is_none_or(|dangling| dangling == image.names.is_empty())
            && before.is_none_or(|time| created < time)
            && since.is_none_or(|time| created > time)
            && until.is_none_or(|time| created <= time)
            && Filter::labels_fit(&filters, &labels(image))
    });
    all.sort_by_key(|image| std::cmp::Reverse(rows::created_ns(image)));
    let wide = flags.no_trunc || flags.output.as_deref() == Some("wide");
    let options = RowOptions { no_trunc: wide, now_ns };
    let fits = |name: &str| {
        filters.any("reference", |pattern| name_fits(pattern, name))
            && flags.name.as_deref().is_none_or(|pattern| name_fits(pattern, name))
    };
    let mut list: Vec<Value> = Vec::new();
    for image in &all {
        let named: Vec<&String> = image.names.iter().filter(|name| fits(name)).collect();
        let unnamed = image.names.is_empty() && flags.name.is_none() && filters.last("reference").is_none();
        if unnamed {
            list.push(rows::row(image, None, options));
        }
        list.extend(named.into_iter().map(|name| rows::row(image, Some(name), options)));
    }
    if flags.quiet {
        let mut seen = HashSet::new();
        list.retain(|row| seen.insert(row["ID"].clone()));
    }
    let form = Form {
        format: flags.format.as_deref(),
        output: flags.output.as_deref(),
        quiet: flags.quiet.then_some("ID"),
        name: "Repository",
        width: if wide { None } else { terminal::width() },
    };
    output::print(&list::render(if flags.digests { COLUMNS_DIGESTS } else { COLUMNS }, form, &list)?)?;
    Ok(0)
}

fn labels(image: &Image) -> std::collections::BTreeMap<String, String> {
    image.config.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default()
}

/// Whether `repository[:tag]`, with wildcards, means this name. Without a tag it means every tag.
fn name_fits(pattern: &str, name: &str) -> bool {
    let (repository, tag) = rows::split_name(name);
    let full = name.split_once('@').map_or(name, |(name, _)| name);
    let with_tag = format!("{repository}:{tag}");
    [repository.as_str(), with_tag.as_str(), full].iter().any(|text| Filter::wildcard(pattern, text))
        || full.rsplit_once(':').is_some_and(|(repository, _)| Filter::wildcard(pattern, repository))
}

/// `holm rmi`
pub fn remove(context: &Context, flags: &Rmi) -> Outcome {
    let store = context.store()?;
    let engine = context.engine()?;
    let used = used_images(&engine)?;
    for_each(&flags.images, false, &|text| {
        let found = match find_name(context, &store, text) {
            Err(_) if flags.force && find_image(context, &store, text).is_err() => return Ok(()),
            other => other?,
        };
        let removed = store.untag_or_remove(&found, flags.force, &|id| used.contains(id));
        for one in removed.map_err(|error| in_use_hint(error, text))? {
            report(&engine, &one)?;
        }
        Ok(())
    })
}

/// The text by which the store knows what a person wrote: one of its names, or the text itself for an id.
fn find_name(context: &Context, store: &Store, text: &str) -> Result<String, Failure> {
    let image = find_image(context, store, text)?;
    let canonical = holm_image::reference::Reference::parse(text).map(|reference| reference.to_string());
    let named = canonical.ok().filter(|name| image.names.contains(name));
    let familiar =
        || image.names.iter().find(|name| rows::familiar(name) == text || name.ends_with(&format!("/{text}"))).cloned();
    Ok(named.or_else(familiar).unwrap_or_else(|| text.to_owned()))
}

fn in_use_hint(error: StoreError, text: &str) -> Failure {
    let hint = match &error {
        StoreError::InUse { .. } => Some(format!("`holm ps -a --filter ancestor={text}` lists who uses it")),
        StoreError::SeveralNames { .. } => Some(format!("holm rmi -f {text}")),
        _ => None,
    };
    Failure { hint, ..Failure::from(error) }
}

fn report(engine: &Engine, removed: &Removed) -> Result<(), Failure> {
    match removed {
        Removed::Untagged(name) => {
            emit(engine, "untag", name, name);
            output::line(&format!("Untagged: {}", rows::familiar(name)))
        }
        Removed::Deleted(id) => {
            emit(engine, "delete", id.as_str(), id.as_str());
            output::line(&format!("Deleted: {id}"))
        }
    }
}

/// Records what happened to an image.
pub fn emit(engine: &Engine, action: &str, id: &str, name: &str) {
    engine.emit(&Event {
        time_ns: time::now_ns(),
        kind: "image".to_owned(),
        action: action.to_owned(),
        id: id.to_owned(),
        attributes: [("name".to_owned(), name.to_owned())].into(),
    });
}

/// `holm tag`
pub fn tag(context: &Context, flags: &Tag) -> Outcome {
    let name = new_name(&flags.name)?;
    let store = context.store()?;
    let _pin = store.pin()?;
    let image = find_image(context, &store, &flags.image)?;
    store.tag(image.id.as_str(), &name)?;
    emit(&context.engine()?, "tag", image.id.as_str(), &name);
    Ok(0)
}

/// `holm history`
pub fn history(context: &Context, flags: &History) -> Outcome {
    let store = context.store()?;
    let image = find_image(context, &store, &flags.image)?;
    let options = RowOptions { no_trunc: flags.no_trunc, now_ns: time::now_ns() };
    let steps = archive::history(&store, &image).map_err(|error| Failure::from_error(&error))?;
    let form = Form {
        format: flags.format.as_deref(),
        output: None,
        quiet: flags.quiet.then_some("ID"),
        name: "ID",
        width: if flags.no_trunc { None } else { terminal::width() },
    };
    output::print(&list::render(HISTORY_COLUMNS, form, &rows::history_rows(&image, &steps, options, flags.human))?)?;
    Ok(0)
}

/// `holm image prune`
pub fn prune(context: &Context, flags: &Prune) -> Outcome {
    let filters = PruneFilters::parse(&flags.filter, &["until", "label", "label!"])?;
    let what = if flags.all { "all images without at least one container" } else { "all dangling images" };
    if !confirmed(flags.force, &format!("This will remove {what}."))? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let bytes = prune_unused(context, &engine, flags.all, &filters)?;
    output::line(&format!("Total reclaimed space: {}", quantity::decimal(bytes)))?;
    Ok(0)
}

/// Removes unused images and prints them; the bytes that became free.
pub fn prune_unused(context: &Context, engine: &Engine, all: bool, filters: &PruneFilters) -> Result<u64, Failure> {
    let used = used_images(engine)?;
    let store = context.store()?;
    // With a filter, what is not known to fit is kept: an image may come in at this moment.
    let fitting: Option<HashSet<_>> = match filters.is_empty() {
        true => None,
        false => {
            let fits = |image: &Image| filters.fit(rows::created_ns(image), &labels(image));
            Some(store.list()?.into_iter().filter(fits).map(|image| image.id).collect())
        }
    };
    let keep = |id: &_| used.contains(id) || fitting.as_ref().is_some_and(|fitting| !fitting.contains(id));
    let report = store.prune(all, &keep)?;
    if !report.removed.is_empty() {
        output::line("Deleted Images:")?;
    }
    for one in &report.removed {
        self::report(engine, one)?;
    }
    Ok(report.reclaimed_bytes)
}
