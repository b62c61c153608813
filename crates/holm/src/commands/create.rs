//! `run` and `create`.
//!
//! The order of `run`: flags, settings, engine, image pinned and resolved (pulled where the policy says so), intent,
//! create, start, pump, exit code.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use holm_image::pull::PullPolicy;
use holm_image::reference::Reference;
use holm_image::registry::ClientOptions;
use holm_image::store::{Image, Pin, Store, StoreError};
use holm_pod::{Engine, ImageRoot, StartIo, new_id};
use holm_spec::container::{ContainerSpec, MountKind, MountSpec, Profile, UserNamespaceMode};

use super::context::Context;
use super::{Outcome, attach, progress};
use crate::args::create::{ContainerFlags, Create, Run};
use crate::error::{CODE_HOLM, Failure};
use crate::format::time;
use crate::intent::{self, Around, Identity, MachineDefaults, name};
use crate::log;
use crate::terminal::{self, DetachKeys};

/// Made-up names that are tried before a number is put behind them.
const NAME_ATTEMPTS: u32 = 6;

/// `holm run`
pub fn run(context: &Context, flags: &Run) -> Outcome {
    let container = &flags.container;
    if flags.detach && !container.attach.is_empty() {
        return Err(Failure::new("cannot use --attach together with --detach").with_code(CODE_HOLM));
    }
    let detach = detach_keys(context, flags.detach_keys.as_deref())?;
    let attached = !flags.detach;
    if attached && container.tty && container.interactive && !terminal::is_terminal(terminal::stdin()) {
        return Err(not_a_terminal());
    }
    let begun = Instant::now();
    let engine = context.engine()?;
    log::debug(begun, || "engine opened, leftovers looked for".to_owned());
    let spec = make(context, &engine, container, true).map_err(Failure::before_start)?;
    let size = if container.tty { terminal::size() } else { None };
    log::debug(begun, || format!("container {} made from image {}", spec.id.short(), spec.image_id));
    let started = engine.start(&spec.id, StartIo { attach: attached, size });
    let started = started.map_err(|error| not_started(&spec, error).before_start())?;
    log::debug(begun, || format!("its program runs as PID {}", started.pid));
    started.warnings.iter().for_each(|text| log::warn_administrator(text));
    if let Some(path) = &container.pidfile {
        write_new(path, &started.pid.to_string())?;
    }
    if !attached {
        crate::output::line(spec.id.as_str())?;
        return Ok(0);
    }
    let streams = attach::Streams::asked(&container.attach, container.interactive);
    attach::follow(&engine, &spec, started, streams, detach, flags.sig_proxy)
}

/// Names the file that a complaint of the runtime is about, which only knows its content.
fn not_started(spec: &ContainerSpec, error: holm_pod::Error) -> Failure {
    let mut failure = Failure::from(error);
    if let Profile::Named(path) = &spec.security.seccomp
        && failure.message.contains("seccomp")
    {
        failure.causes.push(format!("the profile is `{path}`"));
    }
    failure
}

/// `holm create`
pub fn create(context: &Context, flags: &Create) -> Outcome {
    let engine = context.engine()?;
    let spec = make(context, &engine, &flags.container, false).map_err(Failure::before_start)?;
    crate::output::line(spec.id.as_str())?;
    Ok(0)
}

/// The error of `-it` without a terminal, in docker's words, which scripts look for.
pub fn not_a_terminal() -> Failure {
    Failure::new("the input device is not a TTY").with_hint("leave -t out, or run it in a terminal")
}

/// The keys of the flag, else those of the settings.
pub fn detach_keys(context: &Context, flag: Option<&str>) -> Result<DetachKeys, Failure> {
    DetachKeys::parse(flag.unwrap_or(&context.settings.detach_keys.value))
}

/// Makes the container; with `starts`, one that [`Engine::start`] of this same engine starts next.
fn make(context: &Context, engine: &Engine, flags: &ContainerFlags, starts: bool) -> Result<ContainerSpec, Failure> {
    if let Some(path) = flags.cidfile.as_ref().filter(|path| path.symlink_metadata().is_ok()) {
        return Err(Failure::flag("--cidfile", &path.display().to_string(), "the file is there already")
            .with_hint("remove it if no other container uses it"));
    }
    let mut spec = intended(context, engine, flags)?;
    let store = context.store()?;
    let (pin, image) = image(context, &store, flags)?;
    spec.image_id = image.id.clone();
    for text in &flags.files.volumes_from {
        take_volumes(engine, text, &mut spec)?;
    }
    let root = ImageRoot { config: image.config.config.unwrap_or_default(), layers: image.layers };
    let spec = create_named(engine, spec, flags.name.is_some(), &root, starts)?;
    drop(pin);
    if let Some(path) = &flags.cidfile {
        write_new(path, spec.id.as_str())?;
    }
    Ok(spec)
}

fn intended(context: &Context, engine: &Engine, flags: &ContainerFlags) -> Result<ContainerSpec, Failure> {
    let identity = Identity {
        id: new_id()?,
        name: match &flags.name {
            Some(name) => name.strip_prefix('/').unwrap_or(name).parse().map_err(|error: holm_spec::IdError| {
                Failure::flag("--name", name, error.to_string()).with_hint("--name web-1")
            })?,
            None => generated(false)?,
        },
        created_at_ns: time::now_ns(),
    };
    let around = Around {
        default_network: &context.settings.network.value,
        machine: MachineDefaults {
            isolation: &context.settings.isolation.value,
            kernel: &context.settings.kernel.value,
            accel: &context.settings.accel.value,
        },
        variable: &|name| std::env::var(name).ok(),
        folder: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        container: &|name| engine.find(name).map_err(|e| Failure::from(e).with_code(CODE_HOLM)),
        used_ids: &|| used_ids(engine),
        subuid: Path::new("/etc/subuid"),
    };
    let spec = intent::container_spec(flags, identity, &around)?;
    check_cpus(&spec.limits)?;
    if let Some(warning) = intent::network::discarded(&spec.sandbox.network, &spec.sandbox.ports) {
        crate::error::warn(&warning);
    }
    Ok(spec)
}

/// Checks a number of CPUs against those of this machine.
pub fn check_cpus(limits: &holm_spec::container::Limits) -> Result<(), Failure> {
    if limits.nano_cpus.is_none() {
        return Ok(());
    }
    // Where the kernel does not tell, it is for the control group to refuse.
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    intent::limit::check_cpus(limits, &online)
}

fn used_ids(engine: &Engine) -> Result<Vec<(u32, u32)>, Failure> {
    let containers = engine.list().map_err(Failure::from)?;
    let range = |mode: &UserNamespaceMode| match mode {
        UserNamespaceMode::Mapped { host_id, size } => Some((*host_id, *size)),
        _ => None,
    };
    Ok(containers.iter().filter_map(|container| range(&container.spec.sandbox.userns)).collect())
}

pub(super) fn generated(number: bool) -> Result<holm_spec::Name, Failure> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Failure::because("cannot read random bytes", &std::io::Error::from(e)).with_code(CODE_HOLM))?;
    Ok(name::generate(random, number).parse()?)
}

/// Creates it; a made-up name that is taken is made up again.
fn create_named(
    engine: &Engine,
    mut spec: ContainerSpec,
    chosen: bool,
    image: &ImageRoot,
    starts: bool,
) -> Result<ContainerSpec, Failure> {
    let create = |spec| if starts { engine.create_for_start(spec, image) } else { engine.create(spec, image) };
    let mut attempt = 0;
    loop {
        match create(spec.clone()) {
            Err(holm_pod::Error::NameTaken { .. }) if !chosen && attempt < NAME_ATTEMPTS * 2 => {
                attempt += 1;
                spec.name = generated(attempt > NAME_ATTEMPTS)?;
            }
            other => return other.map_err(Failure::from),
        }
    }
}

/// The image, pinned, so that nothing removes it before the container refers to it.
fn image(context: &Context, store: &Store, flags: &ContainerFlags) -> Result<(Pin, Image), Failure> {
    let text = &flags.words[0];
    let policy: PullPolicy = flags.pull.as_deref().unwrap_or(&context.settings.pull.value).parse()?;
    let pin = store.pin()?;
    if policy != PullPolicy::Always && flags.platform.is_none() {
        // The usual case needs no registries.conf.
        let name = Reference::parse(text).map_or_else(|_| text.clone(), |reference| reference.to_string());
        match store.resolve(&name) {
            Ok(image) => return Ok((pin, image)),
            Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let resolver = context.resolver()?;
    let options = ClientOptions::from_environment();
    let platform = flags.platform.as_deref().map(holm_image::pull::platform::parse_platform).transpose()?;
    let bars = progress::Bars::new(flags.quiet);
    let image = holm_image::pull::ensure(store, &resolver, &options, text, platform.as_ref(), policy, &bars);
    bars.finish();
    Ok((pin, image?))
}

/// `--volumes-from CONTAINER[:ro|rw]`: its binds and volumes, where nothing else is mounted.
fn take_volumes(engine: &Engine, text: &str, spec: &mut ContainerSpec) -> Result<(), Failure> {
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    let read_only = match mode {
        "" | "rw" | "z" | "Z" => false,
        "ro" => true,
        _ => return Err(Failure::flag("--volumes-from", text, "the mode must be ro or rw")),
    };
    let id = engine.find(name).map_err(|e| Failure::from(e).with_code(CODE_HOLM))?;
    let other = engine.get(&id).map_err(Failure::from)?;
    for mount in other.spec.mounts.into_iter().filter(|mount| mount.kind != MountKind::Tmpfs) {
        if spec.mounts.iter().all(|own| own.destination != mount.destination) {
            spec.mounts.push(MountSpec { read_only: read_only || mount.read_only, ..mount });
        }
    }
    Ok(())
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
    };
    write().map_err(|e| Failure::because(format!("cannot write `{}`", path.display()), &e).with_code(CODE_HOLM))
}
