//! One plugin, one verb: the environment and the input that it gets, and what its output means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_sys::program::{Ended, Program, variable};
use serde_json::{Map, Value};

use super::NetworkList;
use super::cache::Attachment;
use super::config::{kind, takes};
use super::result::Complaint;
use crate::Error;

/// How long a plugin may take: longer than any lock or DHCP server makes them wait by design.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes that a plugin may say.
const OUTPUT_MAX_BYTES: u64 = 1 << 20;
/// Most characters of a plugin's words that are told.
const WORDS_MAX: usize = 1024;
/// Where plugins find the programs that they run.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs one plugin of a container's list. Gives what it said; empty output is `Null`.
pub(super) fn one(
    verb: &'static str,
    attachment: &Attachment,
    plugin: &Map<String, Value>,
    previous: Option<&Value>,
) -> Result<Value, Error> {
    let mut config = plugin.clone();
    let runtime: Map<String, Value> =
        attachment.runtime.iter().filter(|(key, _)| takes(plugin, key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    config.remove("capabilities");
    if !runtime.is_empty() {
        config.insert("runtimeConfig".to_owned(), runtime.into());
    }
    if let Some(previous) = previous {
        config.insert("prevResult".to_owned(), previous.clone());
    }
    let env = [
        ("CNI_CONTAINERID", attachment.container.as_str()),
        ("CNI_NETNS", attachment.netns.as_str()),
        ("CNI_IFNAME", attachment.ifname.as_str()),
        ("CNI_ARGS", attachment.args.as_str()),
    ];
    call(verb, &attachment.list.name, &attachment.list.version, &attachment.folders, config, &env)
}

/// Runs one plugin with this configuration, to which name and version are added, and these variables.
pub(super) fn call(
    verb: &'static str,
    name: &str,
    version: &str,
    folders: &[PathBuf],
    mut config: Map<String, Value>,
    variables: &[(&str, &str)],
) -> Result<Value, Error> {
    let file = kind(&config).to_owned();
    config.insert("name".to_owned(), name.into());
    config.insert("cniVersion".to_owned(), version.into());
    let failed = |why: String| Error::Plugin { verb, plugin: file.clone(), network: name.to_owned(), why };
    let path = find(folders, &file).map_err(failed)?;
    let joined = std::env::join_paths(folders).unwrap_or_default();
    let mut env = vec![variable("CNI_COMMAND", verb), variable("CNI_PATH", joined), variable("PATH", PATH)];
    env.extend(variables.iter().map(|(key, value)| variable(key, value)));
    let input = Value::Object(config).to_string();
    let program = Program {
        path: &path,
        args: &[],
        env,
        input: input.as_bytes(),
        output_max_bytes: OUTPUT_MAX_BYTES,
        timeout: Some(PATIENCE),
    };
    let ended = program.run().map_err(|e| Error::io("run CNI plugin", path.display().to_string(), e))?;
    read(&ended).map_err(failed)
}

/// Looks whether all plugins of a list are there.
pub(super) fn find_all(list: &NetworkList, folders: &[PathBuf]) -> Result<(), Error> {
    for plugin in list.plugins.iter().map(kind) {
        find(folders, plugin).map_err(|why| Error::Plugin {
            verb: "ADD",
            plugin: plugin.to_owned(),
            network: list.name.clone(),
            why,
        })?;
    }
    Ok(())
}

fn find(folders: &[PathBuf], file: &str) -> Result<PathBuf, String> {
    folders.iter().map(|folder| folder.join(file)).find(|path| is_program(path)).ok_or_else(|| {
        let places = folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
        format!("there is no such program in {places}")
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// What a plugin that has ended means by its output. *Errors*: its own words, or what there is instead.
fn read(ended: &Ended) -> Result<Value, String> {
    let Some(status) = ended.status else {
        return Err(format!("it took more than {} s", PATIENCE.as_secs()));
    };
    let words = |bytes: &[u8]| -> String { String::from_utf8_lossy(bytes).trim().chars().take(WORDS_MAX).collect() };
    if !status.success() {
        let complaint = serde_json::from_slice::<Complaint>(&ended.output).ok().filter(|c| !c.msg.is_empty());
        return Err(match complaint {
            Some(c) if c.details.is_empty() => format!("{} (code {})", words(c.msg.as_bytes()), c.code),
            Some(c) => format!("{} (code {}): {}", words(c.msg.as_bytes()), c.code, words(c.details.as_bytes())),
            None if ended.errors.is_empty() => format!("{status}: {}", words(&ended.output)),
            None => format!("{status}: {}", words(&ended.errors)),
        });
    }
    if ended.output.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&ended.output).map_err(|e| format!("what it says is no JSON: {e}"))
}
