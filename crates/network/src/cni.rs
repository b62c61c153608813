//! The Container Network Interface, from both sides: as a runtime that runs other people's plugins for a container, and as a
//! plugin that gives other runtimes' containers Holm's networks.
//!
//! ```text
//! config      the list of plugins of that name, found on disk        plugin      a plugin's invocation: environment, input
//! run         one plugin, one verb: what it is told and says         plugin/…    what each verb does
//! result      what it says, read as from a stranger
//! cache       what a container was given, so that it can be taken back by anybody later
//! runtime     ADD in order, DEL in reverse, CHECK, GC
//! ```
//! *Source*: CNI specification 1.1.0.

mod cache;
mod config;
pub mod plugin;
mod result;
mod run;
mod runtime;

use std::path::PathBuf;

pub use config::{NetworkList, read_config};
pub use result::{Dns, read_result};
pub use runtime::CniRequest;

/// Versions of the specification that are spoken to plugins, oldest first. Older ones have results of another form.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Where configurations and plugins are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Folders of configurations, searched in this order.
    pub config: Vec<PathBuf>,
    /// Folders of plugins, searched in this order.
    pub plugins: Vec<PathBuf>,
}

/// Whether a version is that one or a later one. What is no version is older than all.
fn at_least(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= least,
        _ => false,
    }
}
