//! OCI hooks: programs run at fixed points of the lifecycle, with the container's state on their input.
//!
//! ```text
//! starter (the runtime's namespaces)          container's process (its own)
//!                                             namespaces made, root attached and mounted, host's root still there
//!   prestart, createRuntime    <-- 'H' --
//!                              -- 'G' -->     createContainer
//!                                             change of root
//!   start                      -- 'G' -->     startContainer, then the program
//!   poststart
//!   (ended) poststop
//! ```
//! A hook gets exactly the environment of its entry: nothing of the image's or the caller's (CVE-2025-23266). Its streams are
//! files in memory, so neither a hook that reads nothing nor one that says much, nor what it leaves running, can hold anybody
//! up. *Source*: runtime-spec config.md, POSIX-platform hooks.

use std::io;
use std::path::Path;
use std::time::Duration;

use holm_spec::oci::runtime::{Hook, Hooks, Spec};
use holm_sys::program::{Program, variable};

use crate::error::StartError;

/// Bytes of a failed hook's words that are told.
const MAX_WORDS_BYTES: usize = 1024;
/// Most bytes that a hook may say; more is refused to it.
const MAX_OUTPUT_BYTES: u64 = 16 << 20;

/// What hooks are told of the container: the state of the runtime specification.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub version: String,
    id: String,
    bundle: std::path::PathBuf,
    annotations: serde_json::Value,
}

impl Told {
    pub(crate) fn new(id: &str, spec: &Spec, bundle: Option<&Path>) -> Self {
        Self {
            version: spec.oci_version.clone(),
            id: id.to_owned(),
            bundle: bundle.unwrap_or(Path::new("/")).to_owned(),
            annotations: serde_json::json!(spec.annotations),
        }
    }

    /// The state with this status; `pid` as the reader sees it, none of a container that has ended.
    pub(crate) fn state(&self, status: &str, pid: Option<i32>) -> serde_json::Value {
        let mut state = serde_json::json!({
            "ociVersion": self.version, "id": self.id, "status": status, "bundle": self.bundle,
        });
        if let Some(pid) = pid {
            state["pid"] = pid.into();
        }
        if self.annotations.as_object().is_some_and(|map| !map.is_empty()) {
            state["annotations"] = self.annotations.clone();
        }
        state
    }
}

/// The hooks of one container, with what they are told.
#[derive(Clone, Debug)]
pub(crate) struct HookPlan {
    pub hooks: Hooks,
    told: Told,
}

impl HookPlan {
    /// None where the bundle has no hooks, so that these cost nothing.
    pub(crate) fn new(id: &str, spec: &Spec, bundle: Option<&Path>) -> Option<Self> {
        let hooks = spec.hooks.clone().filter(|hooks| *hooks != Hooks::default())?;
        Some(Self { hooks, told: Told::new(id, spec, bundle) })
    }

    /// Whether something runs before the change of root.
    pub(crate) fn before_root(&self) -> bool {
        self.in_runtime() || !self.hooks.create_container.is_empty()
    }

    /// Whether the container's process must wait for the starter's hooks.
    pub(crate) fn in_runtime(&self) -> bool {
        !self.hooks.prestart.is_empty() || !self.hooks.create_runtime.is_empty()
    }

    /// The starter's hooks before the change of root. `pid` as the starter sees it.
    pub(crate) fn run_in_runtime(&self, pid: i32) -> Result<(), StartError> {
        let state = self.told.state("creating", Some(pid));
        run_all(&self.hooks.prestart, "prestart", &state)?;
        run_all(&self.hooks.create_runtime, "createRuntime", &state)
    }

    /// The hooks in the container's namespaces, while the host's files are still in sight.
    pub(crate) fn run_create_container(&self) -> Result<(), StartError> {
        run_all(&self.hooks.create_container, "createContainer", &self.told.state("creating", Some(own_pid())))
    }

    /// The hooks inside the container, before its program.
    pub(crate) fn run_start_container(&self) -> Result<(), StartError> {
        run_all(&self.hooks.start_container, "startContainer", &self.told.state("created", Some(own_pid())))
    }

    /// The starter's hooks once the program runs.
    pub(crate) fn run_poststart(&self, pid: i32) -> Result<(), StartError> {
        run_all(&self.hooks.poststart, "poststart", &self.told.state("running", Some(pid)))
    }

    /// The starter's hooks after the end: each is run, whatever became of those before it.
    pub(crate) fn run_poststop(&self) -> Vec<StartError> {
        let state = self.told.state("stopped", None);
        self.hooks.poststop.iter().filter_map(|hook| run(hook, "poststop", &state).err()).collect()
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// Runs hooks in order; the first that fails ends it.
fn run_all(hooks: &[Hook], point: &str, state: &serde_json::Value) -> Result<(), StartError> {
    hooks.iter().try_for_each(|hook| run(hook, point, state))
}

fn run(hook: &Hook, point: &str, state: &serde_json::Value) -> Result<(), StartError> {
    let what = || format!("run {point} hook `{}`", hook.path.display());
    let fail = |e: io::Error| StartError::setup(what(), e);
    if !hook.path.is_absolute() {
        return Err(StartError::refused(what() + ": its path is not absolute"));
    }
    let input = state.to_string();
    let program = Program {
        path: &hook.path,
        args: &hook.args,
        env: hook.env.iter().filter_map(|pair| pair.split_once('=')).map(|(k, v)| variable(k, v)).collect(),
        input: input.as_bytes(),
        output_max_bytes: MAX_OUTPUT_BYTES,
        timeout: hook.timeout.map(|seconds| Duration::from_secs(seconds.into())),
    };
    let ended = program.run().map_err(fail)?;
    let Some(status) = ended.status else {
        let seconds = hook.timeout.unwrap_or_default();
        return Err(StartError::refused(format!("{}: it took more than {seconds} s", what())));
    };
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&ended.errors[..ended.errors.len().min(MAX_WORDS_BYTES)]);
    Err(StartError::refused(format!("{}: {status}: {}", what(), words.trim().escape_debug())))
}
