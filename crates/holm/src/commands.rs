//! The commands: each turns its flags into calls of the engine and the store, and results into output.
//!
//! Owns the order of things at the start of the program. `main` is the only place that decides the exit code.

mod attach;
mod cni;
mod commit;
mod compare;
mod context;
mod copy;
mod create;
mod doctor;
mod exec;
mod filter;
mod follow;
mod image;
mod inspect;
mod lifecycle;
mod list;
mod network;
mod network_path;
mod port;
mod progress;
mod registry;
mod stats;
mod system;
mod transfer;
mod vm;
mod volume;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::args::{self, Command, Refusal};
use crate::error::{CODE_HOLM, Failure};
use crate::{log, settings};
use context::Context;

/// What a command gives back: its exit code, or why it failed.
pub(crate) type Outcome = Result<u8, Failure>;

/// The whole program.
pub fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if cni::is_meant(std::env::args_os().next().as_deref(), &arguments) {
        arguments.insert(0, "cni".into());
    }
    // First of all, before any state: what enters a container must not run from a file that can be written.
    if args::wanted_path(&arguments).last().is_some_and(|entry| entry.enters_containers())
        && let Err(error) = holm_sys::exe::protect()
    {
        let failure = Failure::because("cannot protect the program's own file from containers", &error)
            .with_code(CODE_HOLM)
            .with_hint("containers need root, or a user with CAP_SYS_ADMIN");
        return finish(Err(failure));
    }
    match args::parse(&arguments) {
        Ok(invocation) => {
            let variable = |name: &str| std::env::var_os(name);
            let outcome = settings::load(&invocation.globals, &variable).and_then(|settings| {
                log::set_level(&settings.log_level.value);
                dispatch(&Context::new(settings), invocation.command)
            });
            finish(outcome)
        }
        Err(refusal) => refuse(&refusal),
    }
}

fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.code)
        }
    }
}

fn refuse(refusal: &Refusal) -> ExitCode {
    let written = if refusal.wanted {
        std::io::stdout().write_all(refusal.text.as_bytes())
    } else {
        std::io::stderr().write_all(refusal.text.as_bytes())
    };
    match written {
        Ok(()) => ExitCode::from(refusal.code),
        Err(error) => finish(Err(crate::output::failed(&error))),
    }
}

fn dispatch(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Run(flags) => create::run(context, &flags),
        Command::Create(flags) => create::create(context, &flags),
        Command::Start(flags) => attach::start(context, &flags),
        Command::Attach(flags) => attach::attach(context, &flags),
        Command::Exec(flags) => exec::exec(context, &flags),
        Command::Stop(flags) => lifecycle::stop(context, &flags),
        Command::Restart(flags) => lifecycle::restart(context, &flags),
        Command::Kill(flags) => lifecycle::kill(context, &flags),
        Command::Rm(flags) => lifecycle::remove(context, &flags),
        Command::Wait(flags) => lifecycle::wait(context, &flags),
        Command::Pause(flags) => lifecycle::pause(context, &flags),
        Command::Unpause(flags) => lifecycle::unpause(context, &flags),
        Command::Update(flags) => lifecycle::update(context, &flags),
        Command::Rename(flags) => lifecycle::rename(context, &flags),
        Command::ContainerPrune(flags) => lifecycle::prune(context, &flags),
        Command::Ps(flags) => list::ps(context, &flags),
        Command::Top(flags) => list::top(context, &flags),
        Command::Diff(flags) => copy::diff(context, &flags),
        Command::Logs(flags) => follow::logs(context, &flags),
        Command::Events(flags) => follow::events(context, &flags),
        Command::Stats(flags) => stats::stats(context, &flags),
        Command::Inspect(flags) => inspect::inspect(context, &flags),
        Command::ContainerInspect(flags) => inspect::container(context, &flags),
        Command::ImageInspect(flags) => inspect::image(context, &flags),
        Command::VolumeInspect(flags) => inspect::volume(context, &flags),
        Command::Cp(flags) => copy::copy(context, &flags),
        Command::Export(flags) => copy::export(context, &flags),
        Command::Commit(flags) => commit::commit(context, &flags),
        Command::Info(flags) => system::info(context, &flags),
        Command::Doctor(flags) => doctor::doctor(context, &flags),
        Command::Compare(flags) => compare::compare(context, &flags),
        Command::Version(flags) => system::version(&flags),
        Command::SystemDf(flags) => system::usage(context, &flags),
        Command::SystemPrune(flags) => system::prune(context, &flags),
        Command::SystemBoot(flags) => system::boot(context, &flags),
        Command::Cni(_) => cni::cni(context),
        Command::Completions(flags) => system::completions(&flags),
        Command::Man(flags) => system::man(&flags),
        Command::VolumeCreate(flags) => volume::create(context, &flags),
        Command::VolumeList(flags) => volume::list(context, &flags),
        Command::VolumeRemove(flags) => volume::remove(context, &flags),
        Command::VolumePrune(flags) => volume::prune(context, &flags),
        Command::NetworkCreate(flags) => network::create(context, &flags),
        Command::NetworkList(flags) => network::list(context, &flags),
        Command::NetworkInspect(flags) => inspect::network(context, &flags),
        Command::NetworkRemove(flags) => network::remove(context, &flags),
        Command::NetworkPrune(flags) => network::prune(context, &flags),
        Command::NetworkConnect(flags) => network::connect(context, &flags),
        Command::NetworkDisconnect(flags) => network::disconnect(context, &flags),
        Command::NetworkPorts(flags) => port::ports(context, &flags),
        Command::NetworkRepair(_) => port::repair(context),
        Command::Port(flags) => port::port(context, &flags),
        Command::NetworkPath(flags) => network_path::path(context, &flags),
        Command::VmCreate(flags) => vm::create(context, &flags),
        Command::VmStart(flags) => vm::start(context, &flags),
        Command::VmStop(flags) => vm::stop(context, &flags),
        Command::VmConsole(flags) => vm::console::console(context, &flags),
        Command::VmExec(flags) => vm::exec(context, &flags),
        Command::VmSnapshot(flags) => vm::snapshot(context, &flags),
        Command::VmRestore(flags) => vm::restore(context, &flags),
        Command::VmRemove(flags) => vm::remove(context, &flags),
        Command::VmList(flags) => vm::list(context, &flags),
        Command::VmInspect(flags) => inspect::vm(context, &flags),
        Command::Pull(flags) => registry::pull(context, &flags),
        Command::Push(flags) => registry::push(context, &flags),
        Command::Login(flags) => registry::login(&flags),
        Command::Logout(flags) => registry::logout(&flags),
        Command::Images(flags) => image::images(context, &flags),
        Command::Rmi(flags) => image::remove(context, &flags),
        Command::Tag(flags) => image::tag(context, &flags),
        Command::History(flags) => image::history(context, &flags),
        Command::ImagePrune(flags) => image::prune(context, &flags),
        Command::Save(flags) => transfer::save(context, &flags),
        Command::Load(flags) => transfer::load(context, &flags),
        Command::Import(flags) => transfer::import(context, &flags),
    }
}

/// Does `act` for each name; prints the name where `echo` says so. One that fails does not keep the others from it.
pub(crate) fn for_each(names: &[String], echo: bool, act: &dyn Fn(&str) -> Result<(), Failure>) -> Outcome {
    let mut code = 0;
    for name in names {
        match act(name) {
            Ok(()) if echo => crate::output::line(&crate::error::printable(name))?,
            Ok(()) => {}
            Err(failure) => {
                failure.report();
                code = code.max(failure.code);
            }
        }
    }
    Ok(code)
}

/// Asks before something that cannot be undone. Without a terminal the answer is no.
pub(crate) fn confirmed(force: bool, warning: &str) -> Result<bool, Failure> {
    if force {
        return Ok(true);
    }
    if !crate::terminal::is_terminal(crate::terminal::stdin()) {
        return Err(Failure::new("cannot ask: standard input is no terminal").with_hint("--force does not ask"));
    }
    let ask = format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stderr().write_all(ask.as_bytes()).map_err(|e| crate::output::failed(&e))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|e| Failure::because("cannot read the answer", &e))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
