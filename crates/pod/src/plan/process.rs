//! The process of a plan: program, environment, identity, rights.

use std::path::PathBuf;

use holm_container::capability;
use holm_container::user::ResolvedUser;
use holm_spec::container::{ContainerSpec, Profile};
use holm_spec::oci::image::RunConfig;
use holm_spec::oci::runtime::{Capabilities, Process, Spec, User};
use holm_spec::signal;

use super::{Facts, host_name};
use crate::Error;

/// Docker's.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The container's first process.
pub(super) fn process(spec: &ContainerSpec, image: &RunConfig, facts: &Facts) -> Result<Process, Error> {
    let args = arguments(spec, image);
    if args.first().is_none_or(String::is_empty) {
        let hint = Some("give one after the image, or --entrypoint".to_owned());
        let message = "neither the command nor the image names a program".to_owned();
        return Err(Error::Start { name: spec.name.to_string(), message, hint, code: 125 });
    }
    Ok(Process {
        terminal: spec.tty,
        console_size: None,
        user: user_of(&facts.user),
        args,
        env: environment(spec, image, facts),
        cwd: working_dir(spec.working_dir.as_deref().or(image.working_dir.as_deref())),
        capabilities: Some(capabilities(spec, facts.user.uid, spec.security.privileged)?),
        rlimits: spec.ulimits.clone(),
        no_new_privileges: no_new_privileges(spec),
        apparmor_profile: match &spec.security.apparmor {
            Profile::Named(name) => Some(name.clone()),
            Profile::Unconfined | Profile::Default => None,
        },
        oom_score_adj: spec.limits.oom_score_adj,
        selinux_label: selinux_label(spec, facts, false),
        ..Process::default()
    })
}

/// One more process in a running container: `asked` holds arguments, additions to the environment and folder.
pub(crate) fn exec_process(
    spec: &ContainerSpec,
    running: &Spec,
    asked: &Process,
    user: Option<&ResolvedUser>,
    privileged: bool,
) -> Result<Process, Error> {
    let main = running.process.clone().unwrap_or_default();
    let identity = user.map_or_else(|| main.user.clone(), user_of);
    let mut env = Environment::default();
    main.env.iter().for_each(|entry| env.set(entry));
    if asked.terminal && !env.has("TERM") {
        env.set("TERM=xterm");
    }
    if let Some(user) = user {
        env.set(&format!("HOME={}", user.home));
    }
    asked.env.iter().for_each(|entry| env.set(entry));
    Ok(Process {
        terminal: asked.terminal,
        console_size: asked.console_size,
        args: asked.args.clone(),
        env: env.entries,
        cwd: if asked.cwd.as_os_str().is_empty() { main.cwd } else { working_dir(asked.cwd.to_str()) },
        capabilities: Some(capabilities(spec, identity.uid, privileged || spec.security.privileged)?),
        user: identity,
        ..main
    })
}

/// Docker's rules: an entrypoint that was asked for drops the image's command too.
fn arguments(spec: &ContainerSpec, image: &RunConfig) -> Vec<String> {
    let asked = spec.command.clone().filter(|c| !c.is_empty());
    let (entrypoint, command) = match &spec.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), asked.unwrap_or_default()),
        None => (image.entrypoint.clone().unwrap_or_default(), asked.or_else(|| image.cmd.clone()).unwrap_or_default()),
    };
    // `--entrypoint ""` arrives as one empty word.
    let entrypoint = if entrypoint.iter().all(String::is_empty) { Vec::new() } else { entrypoint };
    entrypoint.into_iter().chain(command).collect()
}

/// Entries by key, the last one winning, in the order in which keys first came.
#[derive(Default)]
struct Environment {
    entries: Vec<String>,
}

impl Environment {
    fn position(&self, key: &str) -> Option<usize> {
        self.entries.iter().position(|e| e.split_once('=').is_some_and(|(k, _)| k == key))
    }

    fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|e| e.split_once('=').is_some_and(|(k, v)| k == key && !v.is_empty()))
    }

    /// Sets `KEY=value`; a bare `KEY` takes the key away.
    fn set(&mut self, entry: &str) {
        if entry.contains('\0') {
            return;
        }
        match entry.split_once('=') {
            Some(("", _)) => {}
            Some((key, _)) => match self.position(key) {
                Some(at) => entry.clone_into(&mut self.entries[at]),
                None => self.entries.push(entry.to_owned()),
            },
            None => {
                if let Some(at) = self.position(entry) {
                    self.entries.remove(at);
                }
            }
        }
    }
}

fn environment(spec: &ContainerSpec, image: &RunConfig, facts: &Facts) -> Vec<String> {
    let mut env = Environment::default();
    env.set(DEFAULT_PATH);
    env.set(&format!("HOSTNAME={}", host_name(spec, facts)));
    if spec.tty {
        env.set("TERM=xterm");
    }
    // An image's entry without `=` must not pull in a variable of this process: it is dropped (CVE-2026-57231).
    for entry in image.env.iter().flatten().filter(|entry| entry.contains('=')) {
        env.set(entry);
    }
    spec.env.iter().for_each(|entry| env.set(entry));
    if !env.has("HOME") {
        env.set(&format!("HOME={}", facts.user.home));
    }
    env.entries
}

/// An absolute, clean path; `..` cannot climb above the root.
fn working_dir(text: Option<&str>) -> PathBuf {
    let mut clean: Vec<&str> = Vec::new();
    for part in text.unwrap_or("/").split('/') {
        match part {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    PathBuf::from(format!("/{}", clean.join("/")))
}

fn user_of(user: &ResolvedUser) -> User {
    User { uid: user.uid, gid: user.gid, umask: None, additional_gids: user.additional_gids.clone() }
}

/// Docker's 14 capabilities, since programs that people run rely on ping and mknod. Users other than root get
/// a bounding set only, which is what execve would leave them.
fn capabilities(spec: &ContainerSpec, uid: u32, privileged: bool) -> Result<Capabilities, Error> {
    let security = &spec.security;
    let bits = capability::resolve(&security.cap_add, &security.cap_drop, privileged)
        .map_err(|e| Error::invalid("the capabilities", e.to_string()))?;
    let sets = capability::sets(bits);
    Ok(if uid == 0 { sets } else { Capabilities { bounding: sets.bounding, ..Capabilities::default() } })
}

/// Off unless asked for, as docker: set-uid programs in images (sudo, su) are expected to work.
fn no_new_privileges(spec: &ContainerSpec) -> bool {
    spec.security.no_new_privileges.unwrap_or(false)
}

/// The SELinux label of processes or of files; none where the kernel has no SELinux or it was switched off.
pub(super) fn selinux_label(spec: &ContainerSpec, facts: &Facts, of_files: bool) -> Option<String> {
    let parts = &spec.security.selinux;
    if !facts.selinux || spec.security.privileged || parts.iter().any(|p| p == "disable") {
        return None;
    }
    let part = |key: &str, default: &str| {
        let found = parts.iter().find_map(|p| p.strip_prefix(key)?.strip_prefix(':'));
        found.unwrap_or(default).to_owned()
    };
    let (role, kind) = if of_files {
        ("object_r", part("filetype", "container_file_t"))
    } else {
        ("system_r", part("type", "container_t"))
    };
    Some(format!("{}:{}:{kind}:{}", part("user", "system_u"), part("role", role), part("level", "s0")))
}

/// The signal that asks the container to stop: by name or number, SIGTERM where it is neither.
pub(crate) fn stop_signal(spec: &ContainerSpec, image: &RunConfig) -> i32 {
    let text = spec.stop_signal.as_deref().or(image.stop_signal.as_deref()).unwrap_or("SIGTERM");
    signal::parse(text).unwrap_or(signal::TERM)
}
