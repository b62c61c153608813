//! `commit`: an image of what a container changed.

use holm_image::archive::apply_change;
use holm_pod::{Container, Engine};
use holm_spec::oci::image::{History, ImageConfig, RunConfig};
use holm_spec::state::Status;

use super::Outcome;
use super::context::{Context, new_name};
use crate::args::lifecycle::Commit;
use crate::error::Failure;
use crate::format::{container as rows, time};
use crate::output;

/// `holm commit`
pub fn commit(context: &Context, flags: &Commit) -> Outcome {
    let name = flags.image.as_deref().map(new_name).transpose()?;
    let engine = context.engine()?;
    let container = context.get(&engine, &flags.container)?;
    let store = context.store()?;
    let _pin = store.pin()?;
    let parent = store.resolve(container.spec.image_id.as_str())?;
    let mut run = run_config(&container);
    for change in &flags.change {
        apply_change(&mut run, change)?;
    }
    let created = Some(time::rfc3339(time::now_ns()));
    let config = ImageConfig {
        created: created.clone(),
        author: flags.author.clone(),
        config: Some(run),
        ..parent.config.clone()
    };
    let history = History {
        created,
        created_by: Some(rows::command(&container).join(" ")),
        author: flags.author.clone(),
        comment: flags.message.clone(),
        ..History::default()
    };
    // A machine's changes are fetched from its agent, which must run for that; what it gives is of one moment each file.
    engine.fetch_changes(&container.spec.id).map_err(Failure::from)?;
    let in_machine = container.spec.sandbox.isolation.machine().is_some();
    let _thaw = if flags.pause && !in_machine && container.state.status == Status::Running {
        engine.pause(&container.spec.id).map_err(Failure::from)?;
        Some(Thaw { engine: &engine, container: &container })
    } else {
        None
    };
    let (upper, owners) = (engine.upper(&container.spec.id), engine.owners(&container.spec));
    let image = store.commit(&parent, &upper, owners, config, history, name.as_deref())?;
    super::image::emit(&engine, "commit", image.id.as_str(), name.as_deref().unwrap_or_default());
    output::line(image.id.as_str())?;
    Ok(0)
}

/// Thaws a container again whatever happened meanwhile.
struct Thaw<'a> {
    engine: &'a Engine,
    container: &'a Container,
}

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.engine.unpause(&self.container.spec.id) {
            crate::error::warn(&format!("container `{}` is still paused: {error}", self.container.spec.name));
        }
    }
}

/// The image's configuration with what the container was made with over it.
fn run_config(container: &Container) -> RunConfig {
    let spec = &container.spec;
    let mut run = container.image_config.clone();
    if let Some(entrypoint) = &spec.entrypoint {
        run.entrypoint = Some(entrypoint.clone()).filter(|words| !words.is_empty());
        run.cmd = None;
    }
    if let Some(command) = &spec.command {
        run.cmd = Some(command.clone());
    }
    if !spec.env.is_empty() {
        let mut env = run.env.unwrap_or_default();
        for pair in &spec.env {
            let name = pair.split('=').next().unwrap_or(pair);
            env.retain(|old| old.split('=').next() != Some(name));
            env.push(pair.clone());
        }
        run.env = Some(env);
    }
    if !spec.labels.is_empty() {
        run.labels.get_or_insert_default().extend(spec.labels.clone());
    }
    run.user = spec.user.clone().or(run.user);
    run.working_dir = spec.working_dir.clone().or(run.working_dir);
    run.stop_signal = spec.stop_signal.clone().or(run.stop_signal);
    run.healthcheck = spec.healthcheck.clone().or(run.healthcheck);
    run
}
