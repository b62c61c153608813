//! `cni`: the plugin that other runtimes run. What it does is `holm_network::cni::plugin`; here are its streams.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;

use holm_network::cni::plugin;

use super::Outcome;
use super::context::Context;
use crate::error::Failure;
use crate::output;

/// Whether the program is run as a plugin: by the name `holm-cni`, or without any word where a runtime has set its verb, which
/// runs `holm` from its folder of plugins.
pub fn is_meant(name: Option<&OsStr>, arguments: &[OsString]) -> bool {
    let file = name.map(Path::new).and_then(Path::file_name);
    let verb = || std::env::var_os("CNI_COMMAND").is_some();
    arguments.is_empty() && (file == Some(OsStr::new("holm-cni")) || verb())
}

/// `holm cni`
pub fn cni(context: &Context) -> Outcome {
    let mut input = Vec::new();
    let limit = plugin::INPUT_MAX_BYTES;
    let read = std::io::stdin().lock().take(limit).read_to_end(&mut input);
    read.map_err(|e| Failure::because("cannot read the configuration", &e))?;
    let roots = holm_network::Roots {
        data: context.settings.data_root.value.clone(),
        run: context.settings.run_root.value.clone(),
    };
    let variable = |name: &str| std::env::var(name).ok();
    let answer = plugin::run(&variable, &input, &roots);
    output::print(&answer.text)?;
    Ok(u8::from(!answer.well))
}
