//! `compare`: one image as a container and as a virtual machine on this host, measured the same way and shown side by side.
//!
//! Everything is done by commands of this same program, as a person would type them, so that times are those that a person
//! sees. The container and the machine take turns. Whatever was made is removed, also after an error or an interrupt.

mod child;
mod echo;
mod measure;
mod memory;
mod report;
mod workload;

use super::Outcome;
use super::context::Context;
use crate::args::system::Compare;
use crate::error::Failure;
use crate::output;
use child::Commands;
use measure::{Comparison, Side};
use workload::{Kind, Workload};

/// `holm compare`
pub fn compare(context: &Context, flags: &Compare) -> Outcome {
    let commands = Commands::new(&context.settings)?;
    let probe = workload::probe_file()?;
    let workload =
        Workload { context, commands: &commands, image: &flags.image, command: &flags.command, probe: probe.path() };
    let mut sides = [Side::default(), Side::default()];
    let kinds = [Kind::Container, Kind::Vm];
    for kind in kinds {
        // Pulls the image, unpacks a kernel, makes disks: what is made once is nobody's measurement.
        workload.warm_up(kind)?;
    }
    for _ in 0..flags.runs {
        for (kind, side) in kinds.into_iter().zip(&mut sides) {
            let sample = workload.measure(kind)?;
            side.machine = sample.machine;
            side.samples.push(sample.values);
        }
    }
    let [container, vm] = sides;
    let host = report::Host::look();
    let comparison = Comparison { image: &flags.image, command: &flags.command, runs: flags.runs, container, vm };
    match flags.output.as_deref() {
        Some("json") => {
            let text = serde_json::to_string_pretty(&report::document(&comparison, &host));
            output::line(&text.map_err(|e| Failure::because("cannot write the comparison", &e))?)?;
        }
        _ => output::print(&report::text(&comparison, &host))?,
    }
    Ok(0)
}
