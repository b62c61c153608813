//! `--env`, `--env-file`, `--label`, `--label-file`: docker's rules for lists of `KEY=value`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Around;
use crate::error::{CODE_HOLM, Failure};

/// Most bytes of a file of variables or labels.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// The variables of files and flags, in this order; a later one of the same name replaces an earlier one.
pub fn variables(files: &[PathBuf], flags: &[String], around: &Around) -> Result<Vec<String>, Failure> {
    let mut list = Vec::new();
    for file in files {
        for line in lines("--env-file", file)? {
            let (name, value) = match line.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (line.as_str(), (around.variable)(&line)),
            };
            check_name("--env-file", file, &line, name)?;
            set(&mut list, name, value);
        }
    }
    for flag in flags {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag.as_str(), (around.variable)(flag)),
        };
        if name.is_empty() {
            return Err(Failure::flag("--env", flag, "a variable needs a name").with_hint("-e KEY=VALUE"));
        }
        if flag.contains('\0') {
            return Err(Failure::flag("--env", flag, "a variable cannot hold a zero byte"));
        }
        set(&mut list, name, value);
    }
    Ok(list)
}

fn set(list: &mut Vec<String>, name: &str, value: Option<String>) {
    list.retain(|old| old.split_once('=').is_none_or(|(old, _)| old != name));
    if let Some(value) = value {
        list.push(format!("{name}={value}"));
    }
}

/// The labels of files and flags.
pub fn labels(files: &[PathBuf], flags: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for file in files {
        for line in lines("--label-file", file)? {
            let (key, value) = line.split_once('=').unwrap_or((&line, ""));
            check_name("--label-file", file, &line, key)?;
            map.insert(key.to_owned(), value.to_owned());
        }
    }
    for flag in flags {
        let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
        if key.is_empty() {
            return Err(Failure::flag("--label", flag, "a label needs a name").with_hint("-l KEY=VALUE"));
        }
        map.insert(key.to_owned(), value.to_owned());
    }
    Ok(map)
}

fn check_name(flag: &str, file: &Path, line: &str, name: &str) -> Result<(), Failure> {
    let why = if name.is_empty() {
        "no name stands before the ="
    } else if name.contains(char::is_whitespace) {
        "the name contains white space"
    } else {
        return Ok(());
    };
    Err(Failure::flag(flag, &file.display().to_string(), format!("{why}: `{line}`")))
}

fn lines(flag: &str, path: &Path) -> Result<Vec<String>, Failure> {
    let shown = path.display().to_string();
    let bytes = read_capped(path, FILE_MAX_BYTES).map_err(|e| Failure::flag(flag, &shown, e))?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::flag(flag, &shown, "the file is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.contains('\0') {
        return Err(Failure::flag(flag, &shown, "the file holds a zero byte"));
    }
    let content = |line: &str| {
        let line = line.trim_start();
        (!line.is_empty() && !line.starts_with('#')).then(|| line.to_owned())
    };
    Ok(text.lines().filter_map(content).collect())
}

/// Reads a file that the user named, at most `max_bytes`.
pub fn read_capped(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    let open = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = open().map_err(|e| format!("cannot read the file: {e}"))?;
    if bytes.len() as u64 > max_bytes { Err(format!("the file is larger than {max_bytes} bytes")) } else { Ok(bytes) }
}

/// A `KEY=VALUE` flag taken apart.
pub fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key, value)),
        _ => Err(Failure::flag(flag, text, "it must be KEY=VALUE").with_code(CODE_HOLM)),
    }
}
