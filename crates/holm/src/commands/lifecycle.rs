//! `stop restart kill rm wait pause unpause update rename` and `container prune`.

use holm_pod::{Engine, RemoveOptions, Update as Change, WaitFor};
use holm_spec::container::Limits;

use super::context::Context;
use super::filter::PruneFilters;
use super::{Outcome, confirmed, for_each};
use crate::args::create::LimitFlags;
use crate::args::lifecycle::{Containers, Kill, Prune, Rename, Restart, Rm, Stop, Update};
use crate::error::Failure;
use crate::format::quantity;
use crate::intent::{life, limit, signal};
use crate::output;

/// Most containers that are waited for at the same time.
const AT_ONCE_MAX: usize = 64;

fn seconds(time: Option<i64>) -> Result<Option<i64>, Failure> {
    match time {
        Some(n) if n < -1 => {
            Err(Failure::flag("--time", &n.to_string(), "it must be 0 or more, or -1 to wait for ever"))
        }
        other => Ok(other),
    }
}

/// `holm stop`
pub fn stop(context: &Context, flags: &Stop) -> Outcome {
    let signal = flags.signal.as_deref().map(|s| signal::number("--signal", s)).transpose()?;
    let time = seconds(flags.time)?;
    let engine = context.engine()?;
    let names = if flags.all { running(&engine)? } else { flags.containers.clone() };
    drop(engine);
    at_once(&names, &|name| {
        let engine = Engine::open(context.roots())?;
        let id = context.find(&engine, name)?;
        engine.stop(&id, signal, time).map(drop).map_err(Failure::from)
    })
}

/// Does `act` for all names at the same time, since each may take long; reports in their order. For what only talks to
/// supervisors: nothing that is started by it may have more than one thread.
fn at_once(names: &[String], act: &(dyn Fn(&str) -> Result<(), Failure> + Sync)) -> Outcome {
    if names.len() < 2 {
        return for_each(names, true, act);
    }
    let mut code = 0;
    for some in names.chunks(AT_ONCE_MAX) {
        let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|name| scope.spawn(move || act(name))).collect();
            let gone = || Err(Failure::new("a thread ended early"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| gone())).collect()
        });
        for (name, result) in some.iter().zip(results) {
            match result {
                Ok(()) => output::line(&crate::error::printable(name))?,
                Err(failure) => {
                    failure.report();
                    code = code.max(failure.code);
                }
            }
        }
    }
    Ok(code)
}

fn running(engine: &Engine) -> Result<Vec<String>, Failure> {
    let containers = engine.list().map_err(Failure::from)?;
    let live = containers.into_iter().filter(|container| container.state.status.is_live());
    Ok(live.map(|container| container.spec.name.to_string()).collect())
}

/// `holm restart`
pub fn restart(context: &Context, flags: &Restart) -> Outcome {
    let signal = flags.signal.as_deref().map(|s| signal::number("--signal", s)).transpose()?;
    let time = seconds(flags.time)?;
    let engine = context.engine()?;
    for_each(&flags.containers, true, &|name| {
        let id = context.find(&engine, name)?;
        engine.restart(&id, signal, time).map_err(Failure::from)
    })
}

/// `holm kill`
pub fn kill(context: &Context, flags: &Kill) -> Outcome {
    let signal = signal::number("--signal", &flags.signal)?;
    let engine = context.engine()?;
    for_each(&flags.containers, true, &|name| {
        let id = context.find(&engine, name)?;
        engine.kill(&id, signal).map_err(Failure::from)
    })
}

/// `holm rm`
pub fn remove(context: &Context, flags: &Rm) -> Outcome {
    let engine = context.engine()?;
    let options = RemoveOptions { force: flags.force, volumes: flags.volumes };
    for_each(&flags.containers, true, &|name| {
        let found = engine.find(name);
        if flags.force && matches!(found, Err(holm_pod::Error::NoSuchContainer(_))) {
            return Ok(());
        }
        match engine.remove(&found.map_err(Failure::from)?, options) {
            Err(holm_pod::Error::NoSuchContainer(_)) if flags.force => Ok(()),
            other => other.map_err(Failure::from),
        }
    })
}

/// `holm wait`
pub fn wait(context: &Context, flags: &Containers) -> Outcome {
    let engine = context.engine()?;
    for_each(&flags.containers, false, &|name| {
        let id = context.find(&engine, name)?;
        let code = engine.wait(&id, WaitFor::NotRunning).map_err(Failure::from)?;
        output::line(&code.to_string())
    })
}

/// `holm pause`
pub fn pause(context: &Context, flags: &Containers) -> Outcome {
    let engine = context.engine()?;
    for_each(&flags.containers, true, &|name| {
        let id = context.find(&engine, name)?;
        engine.pause(&id).map_err(Failure::from)
    })
}

/// `holm unpause`
pub fn unpause(context: &Context, flags: &Containers) -> Outcome {
    let engine = context.engine()?;
    for_each(&flags.containers, true, &|name| {
        let id = context.find(&engine, name)?;
        engine.unpause(&id).map_err(Failure::from)
    })
}

/// `holm rename`
pub fn rename(context: &Context, flags: &Rename) -> Outcome {
    let name = flags.name.strip_prefix('/').unwrap_or(&flags.name).parse()?;
    let engine = context.engine()?;
    let id = context.find(&engine, &flags.container)?;
    engine.rename(&id, &name).map_err(Failure::from)?;
    Ok(0)
}

/// `holm update`
pub fn update(context: &Context, flags: &Update) -> Outcome {
    let asked = LimitFlags {
        cpus: flags.cpus.clone(),
        cpu_shares: flags.cpu_shares,
        cpu_quota: flags.cpu_quota,
        cpu_period: flags.cpu_period,
        cpuset_cpus: flags.cpuset_cpus.clone(),
        cpuset_mems: flags.cpuset_mems.clone(),
        memory: flags.memory.clone(),
        // Whether it fits the memory limit that is there already, only the engine knows.
        memory_swap: flags.memory_swap.clone().filter(|_| flags.memory.is_some()),
        memory_reservation: flags.memory_reservation.clone(),
        pids_limit: flags.pids_limit,
        blkio_weight: flags.blkio_weight,
        ..LimitFlags::default()
    };
    let mut limits = limit::limits(&asked)?;
    if let (Some(text), None) = (&flags.memory_swap, &flags.memory) {
        limits.memory_swap_bytes = Some(if text == "-1" {
            -1
        } else {
            i64::try_from(limit::size("--memory-swap", text)?)
                .map_err(|_| Failure::flag("--memory-swap", text, "it is too large"))?
        });
    }
    super::create::check_cpus(&limits)?;
    let restart = flags.restart.as_deref().map(|policy| life::restart(Some(policy))).transpose()?;
    if limits == Limits::default() && restart.is_none() {
        return Err(Failure::new("nothing to change was given")
            .with_code(crate::error::CODE_USAGE)
            .with_hint("holm update --memory 1g web"));
    }
    let change = Change { limits, restart };
    let engine = context.engine()?;
    for_each(&flags.containers, true, &|name| {
        let id = context.find(&engine, name)?;
        engine.update(&id, &change).map_err(Failure::from)
    })
}

/// `holm container prune`
pub fn prune(context: &Context, flags: &Prune) -> Outcome {
    let filters = PruneFilters::parse(&flags.filter, &["until", "label", "label!"])?;
    if !confirmed(flags.force, "This will remove all stopped containers.")? {
        return Ok(0);
    }
    let engine = context.engine()?;
    let (removed, bytes) = prune_stopped(&engine, &filters)?;
    if !removed.is_empty() {
        output::print(&format!("Deleted Containers:\n{}\n\n", removed.join("\n")))?;
    }
    output::line(&format!("Total reclaimed space: {}", quantity::decimal(bytes)))?;
    Ok(0)
}

/// Removes the containers that do not run and fit the filters; their ids and their bytes.
pub fn prune_stopped(engine: &Engine, filters: &PruneFilters) -> Result<(Vec<String>, u64), Failure> {
    let keep = |container: &holm_pod::Container| !filters.fit(container.spec.created_at_ns, &container.spec.labels);
    let report = engine.prune(&keep).map_err(Failure::from)?;
    Ok((report.removed, report.reclaimed_bytes))
}
