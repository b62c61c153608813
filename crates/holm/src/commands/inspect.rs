//! `inspect` in all its forms.

use holm_pod::Engine;
use serde::Serialize;
use serde_json::Value;

use super::Outcome;
use super::context::{Context, find_image, run_folder};
use crate::args::container::Inspect;
use crate::args::image::ImageInspect;
use crate::args::network::NetworkInspect;
use crate::args::vm::VmInspect;
use crate::args::volume::VolumeInspect;
use crate::error::Failure;
use crate::format::inspect::{self, Facts};
use crate::format::network;
use crate::format::template::Template;
use crate::output;

/// `holm inspect`
pub fn inspect(context: &Context, flags: &Inspect) -> Outcome {
    let engine = context.engine()?;
    let kind = flags.kind.as_deref();
    let is = |wanted: &str| kind.is_none_or(|kind| kind == wanted);
    show(&flags.names, Form::of(&flags.format, &flags.output), &|name| {
        let mut missing = None;
        if is("container") {
            match engine.find(name) {
                Ok(id) => return describe(&engine, &id, flags.size),
                Err(error @ holm_pod::Error::NoSuchContainer(_)) => missing = Some(Failure::from(error)),
                Err(error) => return Err(error.into()),
            }
        }
        if is("image") {
            match context.store().and_then(|store| find_image(context, &store, name)) {
                Ok(image) => return Ok(crate::format::image::inspect(&image)),
                Err(failure) => missing = missing.or(Some(failure)),
            }
        }
        if is("volume") {
            match engine.volume_get(name) {
                Ok(volume) => return Ok(inspect::volume(&volume)),
                Err(error) => missing = missing.or(Some(error.into())),
            }
        }
        if is("network") {
            match describe_network(&engine, name) {
                Ok(value) => return Ok(value),
                Err(error) => missing = missing.or(Some(error)),
            }
        }
        match kind {
            None => Err(Failure::new(format!(
                "cannot find `{name}`: there is no container, image, volume or network of that name"
            ))),
            Some(_) => Err(missing.unwrap_or_else(|| Failure::new(format!("cannot find `{name}`")))),
        }
    })
}

/// `holm container inspect`
pub fn container(context: &Context, flags: &Inspect) -> Outcome {
    let engine = context.engine()?;
    show(&flags.names, Form::of(&flags.format, &flags.output), &|name| {
        let id = context.find(&engine, name)?;
        describe(&engine, &id, flags.size)
    })
}

/// `holm image inspect`
pub fn image(context: &Context, flags: &ImageInspect) -> Outcome {
    let store = context.store()?;
    show(&flags.images, Form::of(&flags.format, &flags.output), &|name| {
        find_image(context, &store, name).map(|image| crate::format::image::inspect(&image))
    })
}

/// `holm volume inspect`
pub fn volume(context: &Context, flags: &VolumeInspect) -> Outcome {
    let engine = context.engine()?;
    show(&flags.volumes, Form::of(&flags.format, &flags.output), &|name| {
        engine.volume_get(name).map(|volume| inspect::volume(&volume)).map_err(Failure::from)
    })
}

/// `holm network inspect`
pub fn network(context: &Context, flags: &NetworkInspect) -> Outcome {
    let engine = context.engine()?;
    show(&flags.networks, Form::of(&flags.format, &flags.output), &|name| describe_network(&engine, name))
}

/// `holm vm inspect`
pub fn vm(context: &Context, flags: &VmInspect) -> Outcome {
    let engine = context.engine()?;
    show(&flags.machines, Form::of(&flags.format, &flags.output), &|name| {
        engine.vm_get(name).map(|vm| crate::format::vm::inspect(&vm)).map_err(Failure::from)
    })
}

fn describe_network(engine: &Engine, name: &str) -> Result<Value, Failure> {
    let pseudo =
        |word: &&str| name == *word || (name.len() >= 2 && network::pseudo_id(word).as_str().starts_with(name));
    if let Some(word) = network::PSEUDO.iter().find(|word| pseudo(word)) {
        return Ok(network::pseudo_inspect(word));
    }
    let networks = engine.networks();
    let spec = networks.find(name).map_err(holm_pod::Error::from)?;
    let endpoints = engine.network_members(spec.name.as_str()).map_err(Failure::from)?;
    Ok(network::inspect(&spec, &endpoints))
}

fn describe(engine: &Engine, id: &holm_spec::ContainerId, size: bool) -> Result<Value, Failure> {
    let container = engine.get(id).map_err(Failure::from)?;
    let sizes = if size { Some(engine.disk_usage(id).map_err(Failure::from)?) } else { None };
    let volume_path = |name: &str| engine.volume_get(name).map(|volume| volume.mountpoint).unwrap_or_default();
    let networks = engine.networks();
    let endpoints = networks.endpoints_of(id).map_err(holm_pod::Error::from)?;
    let network = |name: &str| networks.find(name).ok();
    let run_folder = run_folder(engine, id);
    let facts = Facts { sizes, volume_path: &volume_path, run_folder, endpoints: &endpoints, network: &network };
    Ok(inspect::container(&container, &facts))
}

/// How objects were asked for.
#[derive(Clone, Copy)]
struct Form<'a> {
    format: Option<&'a str>,
    yaml: bool,
}

impl<'a> Form<'a> {
    fn of(format: &'a Option<String>, output: &'a Option<String>) -> Self {
        Self { format: format.as_deref(), yaml: output.as_deref() == Some("yaml") }
    }
}

/// Shows each object: all in one list of JSON or YAML, or one line of template each. What is missing is reported at the end.
fn show(names: &[String], form: Form, find: &dyn Fn(&str) -> Result<Value, Failure>) -> Outcome {
    let format = form.format.map(|format| if format == "json" { "{{json .}}" } else { format });
    let template = match format {
        Some(text) => Some((Template::parse(text).map_err(|e| e.into_failure(text))?, text)),
        None => None,
    };
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match find(name) {
            Ok(value) => found.push(value),
            Err(failure) => failures.push(failure),
        }
    }
    match template {
        Some((template, text)) => {
            for value in &found {
                output::line(&template.render(value).map_err(|e| e.into_failure(text))?)?;
            }
        }
        None if form.yaml => output::print(&crate::format::yaml(&found)?)?,
        None => output::line(&indented(&Value::Array(found))?)?,
    }
    failures.iter().for_each(Failure::report);
    Ok(u8::from(!failures.is_empty()))
}

/// JSON with docker's indent of four.
pub fn indented(value: &Value) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).map_err(|e| Failure::because("cannot write JSON", &e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
