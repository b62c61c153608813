//! What a QEMU can do, asked of the program itself over QMP and kept by the identity of its file.
//!
//! Owns the one run of it outside a machine: no machine in it, no devices, no configuration of the host's.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use holm_sys::program::Program;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::Error;

/// Most bytes that it answers.
const MAX_OUTPUT_BYTES: u64 = 4 << 20;
/// It takes a tenth of this on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Name of the file in the cache folder.
const CACHE: &str = "qemu.json";
/// Of all that it knows, what Holm may use.
const MACHINES: [&str; 2] = ["microvm", "q35"];
const DEVICES: [&str; 4] = ["pvpanic", "pvpanic-pci", "vhost-user-fs-device", "vhost-user-fs-pci"];

/// What a QEMU can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The file that was asked: device, inode, size and times.
    pub identity: String,
    /// Its version.
    pub version: (u32, u32, u32),
    /// The machines of interest that it has.
    pub machines: Vec<String>,
    /// The devices of interest that it has.
    pub devices: Vec<String>,
}

impl Facts {
    /// Those of a program, from the cache where its file is still the same. A cache that cannot be written costs time alone.
    pub(super) fn of(program: &Path, cache: &Path) -> Result<Self, Error> {
        if let Some(kept) = Self::kept(program, cache)? {
            return Ok(kept);
        }
        let facts = ask(program, identity(program)?)?;
        let (file, new) = (cache.join(CACHE), cache.join(format!(".{CACHE}.{}", std::process::id())));
        let write = |bytes: Vec<u8>| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(cache)?;
            fs::write(&new, bytes).and_then(|()| fs::rename(&new, &file))
        };
        let _ = serde_json::to_vec(&facts).map(write);
        Ok(facts)
    }

    /// Those of a program that the cache has, if its file is still the same.
    pub(super) fn kept(program: &Path, cache: &Path) -> Result<Option<Self>, Error> {
        let identity = identity(program)?;
        let kept = fs::read(cache.join(CACHE)).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        Ok(kept.filter(|kept| kept.identity == identity))
    }

    /// Whether it has a device.
    pub fn has(&self, device: &str) -> bool {
        self.devices.iter().any(|known| known == device)
    }
}

/// By which the file of a program is known again: its path, place, size and times.
pub(crate) fn identity(program: &Path) -> Result<String, Error> {
    let kept = fs::metadata(program).map_err(Error::io("look at", program))?;
    let (modified, changed) = ((kept.mtime(), kept.mtime_nsec()), (kept.ctime(), kept.ctime_nsec()));
    let numbers = (kept.dev(), kept.ino(), kept.size());
    Ok(format!("{}:{numbers:?}{modified:?}{changed:?}", program.display()))
}

fn ask(program: &Path, identity: String) -> Result<Facts, Error> {
    let failed = |reason: String| Error::Probe { program: program.to_owned(), reason };
    let args = [
        program.to_string_lossy().as_ref(),
        "-machine",
        "none",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-chardev",
        "stdio,id=qmp",
        "-mon",
        "chardev=qmp,mode=control",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]
    .map(str::to_owned);
    let input = [
        r#"{"execute":"qmp_capabilities"}"#,
        r#"{"execute":"query-version","id":"version"}"#,
        r#"{"execute":"query-machines","id":"machines"}"#,
        r#"{"execute":"qom-list-types","arguments":{"implements":"device"},"id":"devices"}"#,
        r#"{"execute":"quit"}"#,
    ]
    .join("\n");
    let run = Program {
        path: program,
        args: &args,
        env: Vec::new(),
        input: input.as_bytes(),
        output_max_bytes: MAX_OUTPUT_BYTES,
        timeout: Some(TIMEOUT),
    };
    let ended = run.run().map_err(|e| failed(e.to_string()))?;
    let complaint = || String::from_utf8_lossy(&ended.errors).chars().take(300).collect::<String>();
    read(&ended.output, identity).ok_or_else(|| failed(format!("{:?} {}", ended.status, complaint().escape_debug())))
}

/// Takes the facts from what it answered; `None` if something is missing there.
fn read(output: &[u8], identity: String) -> Option<Facts> {
    let answers: Vec<Value> =
        output.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let answer = |id: &str| answers.iter().find(|a| a["id"] == id).map(|a| &a["return"]);
    let number = |part: &str| answer("version")?["qemu"][part].as_u64().and_then(|n| u32::try_from(n).ok());
    let names = |id: &str, wanted: &[&str]| -> Option<Vec<String>> {
        let list = answer(id)?.as_array()?;
        let known = |name: &&&str| list.iter().any(|entry| entry["name"] == **name || entry["alias"] == **name);
        Some(wanted.iter().filter(known).map(|name| (*name).to_owned()).collect())
    };
    Some(Facts {
        identity,
        version: (number("major")?, number("minor")?, number("micro")?),
        machines: names("machines", &MACHINES)?,
        devices: names("devices", &DEVICES)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_answers_and_missing_ones_are_noticed() {
        let version = r#"{"return":{"qemu":{"micro":22,"minor":2,"major":7},"package":"x"},"id":"version"}"#;
        let machines = r#"{"return":[{"name":"pc-q35-7.2","alias":"q35"},{"name":"none"}],"id":"machines"}"#;
        let devices = r#"{"return":[{"name":"pvpanic","parent":"isa-device"}],"id":"devices"}"#;
        let all = ["{\"QMP\":{}}", version, "{\"return\":{}}", machines, devices].join("\r\n");
        let facts = read(all.as_bytes(), "x".to_owned()).unwrap();
        assert_eq!((facts.version, facts.machines.as_slice()), ((7, 2, 22), &["q35".to_owned()][..]));
        assert!(facts.has("pvpanic") && !facts.has("pvpanic-pci"));
        assert!(read(version.as_bytes(), "x".to_owned()).is_none());
    }

    #[test]
    fn the_program_is_asked_once_for_a_file() {
        let path = std::env::var("PATH").unwrap();
        let Some(program) = std::env::split_paths(&path).map(|f| f.join(super::super::PROGRAM)).find(|p| p.exists())
        else {
            println!("skipped: QEMU is not installed (qemu-system-x86)");
            return;
        };
        let cache = tempfile::tempdir().unwrap();
        let facts = Facts::of(&program, cache.path()).unwrap();
        assert!(facts.version >= (5, 0, 0) && facts.machines.contains(&"q35".to_owned()), "{facts:?}");
        let kept = std::fs::read_to_string(cache.path().join(CACHE)).unwrap();
        std::fs::write(cache.path().join(CACHE), kept.replace("q35", "kept")).unwrap();
        assert!(Facts::of(&program, cache.path()).unwrap().machines.contains(&"kept".to_owned()));
    }
}
