//! `start` and `attach`: being in front of a container.

use std::os::fd::OwnedFd;

use holm_pod::{Connection, Engine, StartIo, Started};
use holm_spec::container::ContainerSpec;

use super::context::Context;
use super::create::{detach_keys, not_a_terminal};
use super::{Outcome, for_each};
use crate::args::container::Attach;
use crate::args::lifecycle::Start;
use crate::error::{CODE_HOLM, Failure};
use crate::session::{End, Output, Session};
use crate::terminal::{self, DetachKeys};

/// Which streams are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    input: bool,
    output: bool,
    error: bool,
}

impl Streams {
    /// What `--attach` asks for; everything where it is absent.
    pub fn asked(attach: &[String], interactive: bool) -> Self {
        let has = |name: &str| attach.is_empty() || attach.iter().any(|stream| stream.eq_ignore_ascii_case(name));
        Self { input: interactive && has("stdin"), output: has("stdout"), error: has("stderr") }
    }
}

/// Stays in front of a container that was just started, until it ends or is left.
pub fn follow(
    engine: &Engine,
    spec: &ContainerSpec,
    started: Started,
    streams: Streams,
    detach: DetachKeys,
    proxy: bool,
) -> Outcome {
    let stream = started.stream.ok_or_else(|| Failure::new("the supervisor gave no output").with_code(CODE_HOLM))?;
    let end = in_front(&started.control, stream, spec.tty, streams, detach, proxy)?;
    report_end(engine, spec, end)
}

fn in_front(
    control: &Connection,
    stream: OwnedFd,
    tty: bool,
    streams: Streams,
    detach: DetachKeys,
    proxy: bool,
) -> Result<End, Failure> {
    let failed = |e: std::io::Error| Failure::because("cannot attach", &e).with_code(CODE_HOLM);
    let input = streams.input.then(|| stream.try_clone()).transpose().map_err(failed)?;
    let output = if tty { Output::Raw(stream) } else { Output::Framed(stream) };
    let show = (streams.output, streams.error);
    Session { control, exec: None, output, input, tty, detach, proxy, show }.run()
}

/// The exit code; for one that the kernel killed for memory, a word about it.
fn report_end(engine: &Engine, spec: &ContainerSpec, end: End) -> Outcome {
    if end == End::Exited(137)
        && !spec.auto_remove
        && engine.get(&spec.id).is_ok_and(|container| container.state.oom_killed)
    {
        crate::error::warn(&format!("container `{}` was killed because it ran out of memory", spec.name));
    }
    Ok(end.code())
}

/// `holm start`
pub fn start(context: &Context, flags: &Start) -> Outcome {
    let engine = context.engine()?;
    if !flags.attach && !flags.interactive {
        return for_each(&flags.containers, true, &|name| {
            let id = context.find(&engine, name)?;
            match engine.start(&id, StartIo::default()) {
                // It is what was asked for.
                Err(holm_pod::Error::WrongState { status: "running", .. }) => Ok(()),
                other => {
                    let started = other.map_err(Failure::from)?;
                    started.warnings.iter().for_each(|text| crate::log::warn_administrator(text));
                    Ok(())
                }
            }
        });
    }
    let [name] = flags.containers.as_slice() else {
        return Err(Failure::new("cannot attach to several containers at once")
            .with_hint("start them one by one, or without -a"));
    };
    let detach = detach_keys(context, flags.detach_keys.as_deref())?;
    let spec = context.get(&engine, name)?.spec;
    let input = flags.interactive && spec.interactive;
    if input && spec.tty && !terminal::is_terminal(terminal::stdin()) {
        return Err(not_a_terminal());
    }
    let size = if spec.tty { terminal::size() } else { None };
    let started = engine.start(&spec.id, StartIo { attach: true, size }).map_err(Failure::from)?;
    follow(&engine, &spec, started, Streams { input, output: true, error: true }, detach, true)
}

/// `holm attach`
pub fn attach(context: &Context, flags: &Attach) -> Outcome {
    let engine = context.engine()?;
    let detach = detach_keys(context, flags.detach_keys.as_deref())?;
    let spec = context.get(&engine, &flags.container)?.spec;
    let input = spec.interactive && !flags.no_stdin;
    if input && spec.tty && !terminal::is_terminal(terminal::stdin()) {
        return Err(not_a_terminal());
    }
    let attached = engine.attach(&spec.id, input).map_err(Failure::from)?;
    let streams = Streams { input, output: true, error: true };
    let end = in_front(&attached.control, attached.stream, attached.tty, streams, detach, flags.sig_proxy)?;
    report_end(&engine, &spec, end)
}
