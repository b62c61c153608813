//! `vm create start stop exec snapshot restore rm ls`.

pub mod console;

use std::cell::Cell;
use std::io::{Read, Write};
use std::path::Path;

use holm_image::progress::Progress;
use holm_pod::{VM_INPUT_MAX_BYTES, VmRequest};
use holm_spec::Name;
use holm_spec::container::AcceleratorChoice;
use holm_spec::network::AttachmentSpec;
use holm_spec::vm::{FirmwareKind, SeedSpec};

use super::context::Context;
use super::create::generated;
use super::progress::Bars;
use super::{Outcome, for_each};
use crate::args::vm::{VmCreate, VmExec, VmList, VmMoment, VmRemove, VmStart, VmStop};
use crate::error::Failure;
use crate::format::list::{self, Form};
use crate::intent::environment::read_capped;
use crate::intent::{limit, network};
use crate::{log, output, terminal};

/// Most bytes of user-data and of a file with a key.
const FILE_BYTES: u64 = 1 << 20;

/// `holm vm create`
pub fn create(context: &Context, flags: &VmCreate) -> Outcome {
    let name = match &flags.name {
        Some(name) => parsed("--name", name)?,
        None => generated(false)?,
    };
    let folder = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let size = |flag: &str, text: &str| limit::size(flag, text);
    let request = VmRequest {
        image: folder.join(&flags.image),
        cpus: match flags.cpus {
            1..=64 => flags.cpus,
            other => return Err(Failure::flag("--cpus", &other.to_string(), "1 to 64 are possible")),
        },
        memory_bytes: size("--memory", &flags.memory)?,
        disk_bytes: flags.disk_size.as_deref().map(|text| size("--disk-size", text)).transpose()?,
        firmware: if flags.firmware == "uefi" { FirmwareKind::Uefi } else { FirmwareKind::Bios },
        accelerator: match flags.accel.as_str() {
            "kvm" => AcceleratorChoice::Kvm,
            "tcg" => AcceleratorChoice::Tcg,
            _ => AcceleratorChoice::Auto,
        },
        seed: seed(flags, &name)?,
        networks: networks(flags, &context.settings.network.value)?,
        ports: network::published(&flags.publish)?,
        name,
    };
    if !request.ports.is_empty() && request.networks.is_empty() {
        return Err(Failure::new("cannot publish ports of a machine without a network").with_hint("--network NAME"));
    }
    let what = flags.image.display().to_string();
    let spec =
        told(&what, &mut |progress| context.engine()?.vm_create(request.clone(), progress).map_err(Failure::from))?;
    output::line(spec.name.as_str())?;
    Ok(0)
}

fn parsed(flag: &str, text: &str) -> Result<Name, Failure> {
    text.parse().map_err(|error: holm_spec::IdError| Failure::flag(flag, text, error.to_string()))
}

fn seed(flags: &VmCreate, name: &Name) -> Result<Option<SeedSpec>, Failure> {
    if flags.no_seed {
        return Ok(None);
    }
    let text = |flag: &str, path: &Path| {
        let bad = |why: String| Failure::flag(flag, &path.display().to_string(), why);
        let bytes = read_capped(path, FILE_BYTES).map_err(bad)?;
        String::from_utf8(bytes).map_err(|_| bad("it is no text".to_owned()))
    };
    let mut keys = Vec::new();
    for path in &flags.ssh_key {
        let key = text("--ssh-key", path)?;
        if key.contains("PRIVATE KEY") {
            let shown = path.display().to_string();
            return Err(Failure::flag("--ssh-key", &shown, "it is a private key, and a public one is wanted"));
        }
        keys.extend(key.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Ok(Some(SeedSpec {
        host_name: match &flags.hostname {
            Some(host_name) => network::alias("--hostname", host_name)?,
            None => name.to_string(),
        },
        user_data: flags.user_data.as_deref().map(|path| text("--user-data", path)).transpose()?.unwrap_or_default(),
        ssh_keys: keys,
    }))
}

fn networks(flags: &VmCreate, default: &str) -> Result<Vec<AttachmentSpec>, Failure> {
    let names: Vec<&str> = match flags.network.is_empty() {
        true => vec![default],
        false => flags.network.iter().map(String::as_str).collect(),
    };
    if names == ["none"] {
        return Ok(Vec::new());
    }
    let mut found: Vec<AttachmentSpec> = Vec::new();
    for text in names {
        let one = network::attachment(text)?;
        if found.iter().any(|a| a.network == one.network) {
            return Err(Failure::flag("--network", text, "it is named twice"));
        }
        found.push(one);
    }
    Ok(found)
}

/// Does something that may copy a disk, and shows how far it is.
fn told<T>(what: &str, act: &mut dyn FnMut(&mut dyn FnMut(u64, u64)) -> Result<T, Failure>) -> Result<T, Failure> {
    let bars = Bars::new(!terminal::is_terminal(rustix::stdio::stderr()));
    let before = Cell::new(None);
    let result = act(&mut |done, all| {
        match before.get() {
            None => {
                bars.start(what, what, Some(all));
                bars.advance(what, done);
            }
            Some(last) => bars.advance(what, done.saturating_sub(last)),
        }
        before.set(Some(done));
    });
    if before.get().is_some() {
        bars.done(what, "copied");
    }
    bars.finish();
    result
}

/// `holm vm start`
pub fn start(context: &Context, flags: &VmStart) -> Outcome {
    let engine = context.engine()?;
    for_each(&flags.machines, true, &|name| {
        let warnings = engine.vm_start(name).map_err(Failure::from)?;
        warnings.iter().for_each(|text| log::warn_administrator(text));
        Ok(())
    })
}

/// `holm vm stop`
pub fn stop(context: &Context, flags: &VmStop) -> Outcome {
    let engine = context.engine()?;
    for_each(&flags.machines, true, &|name| engine.vm_stop(name, flags.time).map_err(Failure::from))
}

/// `holm vm exec`
pub fn exec(context: &Context, flags: &VmExec) -> Outcome {
    let mut input = Vec::new();
    if flags.interactive {
        // One byte more than it can get, so that too much is noticed.
        let read = std::io::stdin().lock().take(VM_INPUT_MAX_BYTES as u64 + 1).read_to_end(&mut input);
        read.map_err(|e| Failure::because("cannot read standard input", &e))?;
    }
    let ended = context.engine()?.vm_exec(&flags.machine, &flags.command, &flags.env, &input).map_err(Failure::from)?;
    let put = |to: &mut dyn Write, bytes: &[u8]| to.write_all(bytes).and_then(|()| to.flush());
    put(&mut std::io::stdout(), &ended.output).map_err(|e| output::failed(&e))?;
    put(&mut std::io::stderr(), &ended.errors).map_err(|e| output::failed(&e))?;
    if ended.truncated {
        crate::error::warn("the guest agent kept only a part of the output");
    }
    Ok(u8::try_from(ended.code).unwrap_or(255))
}

/// `holm vm snapshot`
pub fn snapshot(context: &Context, flags: &VmMoment) -> Outcome {
    let moment = parsed("the name", &flags.moment)?;
    told(&flags.machine, &mut |progress| {
        context.engine()?.vm_snapshot(&flags.machine, &moment, progress).map_err(Failure::from)
    })?;
    output::line(moment.as_str())?;
    Ok(0)
}

/// `holm vm restore`
pub fn restore(context: &Context, flags: &VmMoment) -> Outcome {
    let moment = parsed("the name", &flags.moment)?;
    told(&flags.machine, &mut |progress| {
        context.engine()?.vm_restore(&flags.machine, &moment, progress).map_err(Failure::from)
    })?;
    output::line(moment.as_str())?;
    Ok(0)
}

/// `holm vm rm`
pub fn remove(context: &Context, flags: &VmRemove) -> Outcome {
    let engine = context.engine()?;
    for_each(&flags.machines, true, &|name| match engine.vm_remove(name, flags.force) {
        Err(holm_pod::Error::NoSuchVm(_)) if flags.force => Ok(()),
        other => other.map_err(Failure::from),
    })
}

/// `holm vm ls`
pub fn list(context: &Context, flags: &VmList) -> Outcome {
    let machines = context.engine()?.vm_list().map_err(Failure::from)?;
    let rows: Vec<_> = machines.iter().map(crate::format::vm::row).collect();
    let form = Form {
        format: flags.format.as_deref(),
        output: flags.output.as_deref(),
        quiet: flags.quiet.then_some("Name"),
        name: "Name",
        width: terminal::width(),
    };
    output::print(&list::render(crate::format::vm::COLUMNS, form, &rows)?)?;
    Ok(0)
}
