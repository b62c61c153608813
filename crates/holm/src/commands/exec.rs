//! `exec`: one more program in a running container.

use std::os::fd::OwnedFd;

use holm_pod::{Exec as Request, StdioFds};
use holm_spec::oci::runtime::ConsoleSize;
use rustix::pipe::{PipeFlags, pipe_with};

use super::Outcome;
use super::context::Context;
use super::create::{detach_keys, not_a_terminal};
use crate::args::container::Exec;
use crate::error::{CODE_HOLM, Failure};
use crate::intent::{self, Around, environment};
use crate::session::{Output, Session};
use crate::terminal;

/// `holm exec`
pub fn exec(context: &Context, flags: &Exec) -> Outcome {
    let (container, args) = flags.words.split_first().filter(|(_, args)| !args.is_empty()).ok_or_else(|| {
        Failure::new("the command needs a container and a program").with_code(CODE_HOLM).with_hint("holm exec web ls")
    })?;
    let detach = detach_keys(context, flags.detach_keys.as_deref())?;
    if flags.tty && flags.interactive && !flags.detach && !terminal::is_terminal(terminal::stdin()) {
        return Err(not_a_terminal());
    }
    let around = Around {
        default_network: "none",
        machine: crate::intent::MachineDefaults::NONE,
        variable: &|name| std::env::var(name).ok(),
        folder: "/".into(),
        container: &|_| Err(Failure::new("no container can be named here")),
        used_ids: &|| Ok(Vec::new()),
        subuid: std::path::Path::new("/dev/null"),
    };
    let mut request = Request {
        args: args.to_vec(),
        env: environment::variables(&flags.env_file, &flags.env, &around)?,
        cwd: flags.workdir.clone(),
        user: flags.user.as_deref().map(intent::user).transpose()?,
        tty: flags.tty.then(|| terminal::size().unwrap_or(ConsoleSize { height: 24, width: 80 })),
        privileged: flags.privileged,
        detach: flags.detach,
        stdio: None,
    };
    let engine = context.engine()?;
    let id = context.find(&engine, container)?;
    if flags.detach {
        engine.exec(&id, request).map_err(Failure::from)?;
        return Ok(0);
    }
    let pipes = if flags.tty { None } else { Some(pipes(flags.interactive)?) };
    let (ours, stdio) = pipes.map_or((None, None), |(ours, stdio)| (Some(ours), Some(stdio)));
    request.stdio = stdio;
    let started = engine.exec(&id, request).map_err(Failure::from)?;
    let (output, input) = match (ours, started.console) {
        (Some(ours), _) => (Output::Pipes(ours.out, ours.error), ours.input),
        (None, Some(console)) => {
            let input = flags.interactive.then(|| console.try_clone()).transpose();
            (Output::Raw(console), input.map_err(|e| Failure::because("cannot attach", &e).with_code(CODE_HOLM))?)
        }
        (None, None) => return Err(Failure::new("the supervisor gave no terminal").with_code(CODE_HOLM)),
    };
    let session = Session {
        control: &started.control,
        exec: Some(started.exec),
        output,
        input,
        tty: flags.tty,
        detach,
        proxy: false,
        show: (true, true),
    };
    session.run().map(crate::session::End::code)
}

/// Our ends of the pipes.
struct Ours {
    input: Option<OwnedFd>,
    out: OwnedFd,
    error: OwnedFd,
}

/// Pipes for the three standard descriptors. Our own descriptors are never given away: they may be terminals or files of
/// the host, and what holds them can do more with them than write.
fn pipes(interactive: bool) -> Result<(Ours, StdioFds), Failure> {
    let failed =
        |e: rustix::io::Errno| Failure::because("cannot make a pipe", &std::io::Error::from(e)).with_code(CODE_HOLM);
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(failed);
    let (stdin, input) = pipe()?;
    let (out, stdout) = pipe()?;
    let (error, stderr) = pipe()?;
    // Without -i our end is closed at once: the program finds its input at the end.
    Ok((Ours { input: interactive.then_some(input), out, error }, StdioFds { stdin, stdout, stderr }))
}
