//! Configurations of networks as administrators write them: a list of plugins, or a single one, found by name.

use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::VERSIONS;
use crate::Error;

/// Largest configuration that is read, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Most plugins of one list.
const MAX_PLUGINS: usize = 64;

/// A network of plugins that are run one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkList {
    /// Its name.
    pub name: String,
    /// The version that is spoken with its plugins.
    pub version: String,
    /// CHECK must not be asked.
    pub disable_check: bool,
    /// GC must not be asked.
    pub disable_gc: bool,
    /// What each plugin is told; `type` names its file.
    pub plugins: Vec<Map<String, Value>>,
}

impl NetworkList {
    /// Whether a plugin says that it takes this capability.
    pub fn takes(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| takes(plugin, capability))
    }
}

/// Whether this plugin says that it takes this capability.
pub(super) fn takes(plugin: &Map<String, Value>, capability: &str) -> bool {
    plugin.get("capabilities").and_then(|all| all.get(capability)) == Some(&Value::Bool(true))
}

/// The file of a plugin.
pub(super) fn kind(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Reads a configuration: a list where it has `plugins`, else a single plugin. *Errors*: why it cannot be used.
pub fn read_config(bytes: &[u8]) -> Result<NetworkList, String> {
    let value: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !is_name(&name) {
        return Err("it has no name of letters, digits and _ . -".to_owned());
    }
    let version = version(&value)?;
    // Some write a string, as the specification once said.
    let is_true =
        |key: &str| matches!(value.get(key), Some(Value::Bool(true))) || value.get(key).is_some_and(|v| v == "true");
    let (disable_check, disable_gc) = (is_true("disableCheck"), is_true("disableGC"));
    let plugins = match value.get("plugins") {
        Some(Value::Array(list)) => {
            list.iter().map(|p| p.as_object().cloned()).collect::<Option<Vec<_>>>().ok_or("a plugin is no object")?
        }
        Some(_) => return Err("`plugins` is no list".to_owned()),
        None => vec![value],
    };
    if plugins.is_empty() || plugins.len() > MAX_PLUGINS {
        return Err(format!("it has {} plugins: 1 to {MAX_PLUGINS} are allowed", plugins.len()));
    }
    // The name is that of a file in a folder of plugins, never a path.
    let is_file = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0']);
    if let Some(bad) = plugins.iter().map(kind).find(|kind| !is_file(kind)) {
        return Err(format!("`{}` is no type of a plugin", bad.escape_debug()));
    }
    Ok(NetworkList { name, version, disable_check, disable_gc, plugins })
}

/// A name as the specification has it.
pub(super) fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && name.len() <= 255 && name.bytes().all(good)
}

/// The newest version that the configuration offers and Holm speaks.
fn version(value: &Map<String, Value>) -> Result<String, String> {
    let offered =
        value.get("cniVersions").and_then(Value::as_array).into_iter().flatten().chain(value.get("cniVersion"));
    let offered: Vec<&str> = offered.filter_map(Value::as_str).collect();
    let best = VERSIONS.iter().rev().find(|version| offered.contains(version));
    best.map(|version| (*version).to_owned()).ok_or_else(|| {
        let said = if offered.is_empty() { "none".to_owned() } else { offered.join(", ").escape_debug().to_string() };
        format!("its cniVersion is {said}: {} are spoken", VERSIONS.join(", "))
    })
}

/// Finds the configuration of this name: the first one in the order of folders and file names.
pub(super) fn find(folders: &[PathBuf], name: &str) -> Result<NetworkList, Error> {
    let mut unusable = Vec::new();
    for path in folders.iter().flat_map(|folder| files(folder)) {
        match read_file(&path).and_then(|bytes| read_config(&bytes)) {
            Ok(list) if list.name == name => return Ok(list),
            Ok(_) => {}
            Err(why) => unusable.push(format!("`{}` cannot be used: {why}", path.display())),
        }
    }
    let places = folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
    let why = match unusable.is_empty() {
        true => format!("no file in {places} has that name"),
        false => format!("no file in {places} has that name; {}", unusable.join("; ")),
    };
    Err(Error::invalid_hint(format!("CNI configuration `{name}`"), why, "the setting cni-config says where they are"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let known = |path: &PathBuf| path.extension().is_some_and(|e| e == "conflist" || e == "conf" || e == "json");
    let mut found: Vec<PathBuf> = entries.filter(known).collect();
    found.sort_unstable();
    found
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    // A pipe that somebody left there must not hold anybody up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_BYTES { Err(format!("it is larger than {MAX_BYTES} bytes")) } else { Ok(bytes) }
}
