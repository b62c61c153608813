//! `info version completions man` and `system df|prune|boot`.

mod boot;
mod info;
mod usage;

use std::path::Path;

use serde_json::json;

use super::context::Context;
use super::filter::PruneFilters;
use super::{Outcome, confirmed};
use crate::args;
use crate::args::system::{Completions, Man, SystemPrune, Version};
use crate::error::Failure;
use crate::format::quantity;
use crate::format::template::Template;
use crate::output;

pub use boot::boot;
pub use info::info;
pub use usage::usage;

/// `holm version`
pub fn version(flags: &Version) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let part = json!({
        "Version": version, "ApiVersion": "", "GitCommit": "", "Os": "linux", "Arch": info::architecture(),
        "KernelVersion": kernel,
    });
    // Docker's scripts ask for the server's version, too. There is no server; it is this program.
    let value = json!({"Client": part, "Server": part});
    match flags.format.as_deref() {
        Some(format) => print_template(format, &value)?,
        None => output::print(&format!(
            "Client: Holm\n Version:    {version}\n OS/Arch:    linux/{}\n Kernel:     {kernel}\n",
            info::architecture()
        ))?,
    }
    Ok(0)
}

fn print_template(format: &str, value: &serde_json::Value) -> Result<(), Failure> {
    let text = if format == "json" { "{{json .}}" } else { format };
    let rendered = Template::parse(text).and_then(|template| template.render(value));
    output::line(&rendered.map_err(|error| error.into_failure(format))?)
}

/// `holm system prune`
pub fn prune(context: &Context, flags: &SystemPrune) -> Outcome {
    let filters = PruneFilters::parse(&flags.filter, &["until", "label", "label!"])?;
    if flags.volumes && filters.has("until") {
        return Err(Failure::new("cannot use --filter until=… with --volumes: volumes are of no age")
            .with_hint("holm system prune --filter until=… && holm volume prune"));
    }
    let mut what = String::from("This will remove all stopped containers, all unused networks, ");
    what.push_str(if flags.all { "all unused images" } else { "all dangling images" });
    if flags.volumes {
        what.push_str(" and all unused anonymous volumes");
    }
    if !confirmed(flags.force, &format!("{what}."))? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let (removed, mut bytes) = super::lifecycle::prune_stopped(&engine, &filters)?;
    if !removed.is_empty() {
        output::print(&format!("Deleted Containers:\n{}\n\n", removed.join("\n")))?;
    }
    super::network::prune_unused(&engine, &filters)?;
    if flags.volumes {
        bytes += super::volume::prune_unused(&engine, false, &filters)?;
    }
    bytes += super::image::prune_unused(context, &engine, flags.all, &filters)?;
    output::line(&format!("Total reclaimed space: {}", quantity::decimal(bytes)))?;
    Ok(0)
}

/// `holm completions`
pub fn completions(flags: &Completions) -> Outcome {
    use clap_complete::{Shell, generate};
    let shell = match flags.shell.as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        _ => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut args::full_tree(), "holm", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// `holm man`
pub fn man(flags: &Man) -> Outcome {
    let failed = |e: std::io::Error| Failure::because(format!("cannot write into `{}`", flags.folder.display()), &e);
    std::fs::create_dir_all(&flags.folder).map_err(failed)?;
    let mut tree = args::full_tree();
    tree.build();
    write_pages(&tree, "holm", &flags.folder).map_err(failed)?;
    Ok(0)
}

fn write_pages(command: &clap::Command, name: &str, folder: &Path) -> std::io::Result<()> {
    let page = clap_mangen::Man::new(command.clone()).title(name);
    let mut text = Vec::new();
    page.render(&mut text)?;
    std::fs::write(folder.join(format!("{name}.1")), text)?;
    for child in command.get_subcommands() {
        write_pages(child, &format!("{name}-{}", child.get_name()), folder)?;
    }
    Ok(())
}
