//! One registries.conf file, version 2: its shape and checks. Which files are read and how they add up is the
//! resolver's.
//!
//! *Source*: containers-registries.conf(5).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Reference, ReferenceError, shown};

/// *Units*: bytes. Real files have a few KiB; distributions' alias lists some 10 KiB.
const FILE_MAX_BYTES: usize = 1 << 20;

/// Why a registries.conf cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// The file cannot be read.
    #[error("cannot read `{0}`")]
    Io(std::path::PathBuf, #[source] std::io::Error),
    /// The file holds something wrong.
    #[error("cannot use `{0}`")]
    File(std::path::PathBuf, #[source] Box<RegistriesError>),
    /// Larger than any real one.
    #[error("cannot use a registries.conf of {0} bytes: the limit is {FILE_MAX_BYTES}")]
    TooLarge(usize),
    /// Not TOML, or wrongly typed.
    #[error("cannot parse registries.conf: {0}")]
    Toml(String),
    /// The format before version 2.
    #[error("cannot use registries.conf: `[registries.*]` tables are format version 1, write version 2")]
    VersionOne,
    /// A value makes no sense.
    #[error("cannot use {0} `{1}` in registries.conf: {2}")]
    Value(&'static str, String, &'static str),
    /// The registry is switched off.
    #[error("cannot use `{0}`: registries.conf blocks `{1}`")]
    Blocked(String, String),
    /// Short names are switched off.
    #[error(
        "cannot resolve short name `{0}`: registries.conf has an empty `unqualified-search-registries` and no alias for it"
    )]
    NoSearch(String),
    /// The reference, or what it is rewritten to, is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

/// One file, parsed and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    /// Registries that short names are looked for in; `None` where the file does not say.
    pub search: Option<Vec<String>>,
    /// Short name to full repository; an empty value cancels an alias of an earlier file.
    pub aliases: BTreeMap<String, String>,
    /// The `[[registry]]` tables.
    pub registries: Vec<RegistryEntry>,
}

/// One `[[registry]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEntry {
    /// What a reference must begin with: `host[:port][/path]`, or `*.host…` for any sub-domain.
    pub prefix: String,
    /// What stands in place of the prefix; empty for no change.
    pub location: String,
    /// Whether plain HTTP and unverified TLS are allowed.
    pub insecure: bool,
    /// Whether it must not be used.
    pub blocked: bool,
    /// Asked before the location itself, in order.
    pub mirrors: Vec<Mirror>,
}

/// One `[[registry.mirror]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What stands in place of the prefix.
    pub location: String,
    /// Whether plain HTTP and unverified TLS are allowed.
    pub insecure: bool,
    /// Which pulls it serves.
    pub pull_from: PullFromMirror,
}

/// Which pulls a mirror serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullFromMirror {
    /// All.
    #[default]
    All,
    /// Only those by digest.
    DigestOnly,
    /// Only those by tag.
    TagOnly,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawConf {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    registry: Vec<RawRegistry>,
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawRegistry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<RawMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<PullFromMirror>,
}

impl RegistriesConf {
    /// Parses the text of one file. Pure, and takes any input.
    pub fn parse(text: &str) -> Result<Self, RegistriesError> {
        if text.len() > FILE_MAX_BYTES {
            return Err(RegistriesError::TooLarge(text.len()));
        }
        let raw: RawConf = toml::from_str(text).map_err(|error| RegistriesError::Toml(toml_line(&error, text)))?;
        if raw.registries.is_some() {
            return Err(RegistriesError::VersionOne);
        }
        for host in raw.unqualified_search_registries.iter().flatten() {
            check_location("search registry", host)?;
        }
        for (name, target) in &raw.aliases {
            check_alias(name, target)?;
        }
        let registries = raw.registry.into_iter().map(RegistryEntry::from_raw).collect::<Result<_, _>>()?;
        Ok(Self { search: raw.unqualified_search_registries, aliases: raw.aliases, registries })
    }

    /// Lays `later` over this file: lists replace, tables of the same prefix replace, aliases add up.
    pub fn merge(&mut self, later: RegistriesConf) {
        if later.search.is_some() {
            self.search = later.search;
        }
        self.aliases.extend(later.aliases);
        for entry in later.registries {
            match self.registries.iter_mut().find(|known| known.prefix == entry.prefix) {
                Some(known) => *known = entry,
                None => self.registries.push(entry),
            }
        }
    }
}

impl RegistryEntry {
    fn from_raw(raw: RawRegistry) -> Result<Self, RegistriesError> {
        let prefix = if raw.prefix.is_empty() { raw.location.clone() } else { raw.prefix };
        let plain = prefix.strip_prefix("*.").unwrap_or(&prefix);
        check_location("prefix", plain)?;
        let wildcard = plain.len() != prefix.len();
        let location = if raw.location.is_empty() && !wildcard { prefix.clone() } else { raw.location };
        if !location.is_empty() {
            check_location("location", &location)?;
        }
        let mut mirrors = Vec::with_capacity(raw.mirror.len());
        for mirror in raw.mirror {
            check_location("mirror", &mirror.location)?;
            let all = if raw.mirror_by_digest_only { PullFromMirror::DigestOnly } else { PullFromMirror::All };
            let pull_from = mirror.pull_from_mirror.unwrap_or(all);
            mirrors.push(Mirror { location: mirror.location, insecure: mirror.insecure, pull_from });
        }
        Ok(Self { prefix, location, insecure: raw.insecure, blocked: raw.blocked, mirrors })
    }

    /// How many bytes of `name` (`host[:port]/path[:tag][@digest]`) this entry's prefix covers, if it does.
    pub(super) fn covers(&self, name: &str) -> Option<usize> {
        let end = match self.prefix.strip_prefix('*') {
            Some(suffix) => {
                let host_end = name.find('/').unwrap_or(name.len());
                let (host, path) = suffix.split_once('/').map_or((suffix, None), |(h, p)| (h, Some(p)));
                let bare_end =
                    if host.contains(':') { host_end } else { name[..host_end].find(':').unwrap_or(host_end) };
                if bare_end <= host.len() || !name[..bare_end].ends_with(host) {
                    return None;
                }
                match path {
                    None => bare_end,
                    Some(path) => {
                        let rest = name.get(host_end + 1..)?;
                        if bare_end != host_end || !rest.starts_with(path) {
                            return None;
                        }
                        host_end + 1 + path.len()
                    }
                }
            }
            None if name.starts_with(&self.prefix) => self.prefix.len(),
            None => return None,
        };
        matches!(name.as_bytes().get(end), None | Some(b'/' | b':' | b'@')).then_some(end)
    }
}

fn check_location(what: &'static str, text: &str) -> Result<(), RegistriesError> {
    let bad = |why| Err(RegistriesError::Value(what, shown(text), why));
    if text.is_empty() {
        return bad("it is empty");
    }
    if text.contains("://") {
        return bad("write host[:port][/path] without a scheme");
    }
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'/' | b'_' | b'-' | b'[' | b']' | b'@');
    if !text.bytes().all(ok) || text.starts_with('/') || text.ends_with('/') || text.contains("//") {
        return bad("it is no host[:port][/path]");
    }
    Ok(())
}

fn check_alias(name: &str, target: &str) -> Result<(), RegistriesError> {
    if Reference::parse_repository(name).is_err() || Reference::is_qualified(name) {
        return Err(RegistriesError::Value("alias", shown(name), "an alias is a short name without registry or tag"));
    }
    if target.is_empty() {
        return Ok(());
    }
    if Reference::parse_repository(target).is_err() || !Reference::is_qualified(target) {
        return Err(RegistriesError::Value(
            "alias target",
            shown(target),
            "it must be registry/repository without tag",
        ));
    }
    Ok(())
}

/// The parser's message with its line number, on one line.
fn toml_line(error: &toml::de::Error, text: &str) -> String {
    let message: String = error.message().escape_default().take(300).collect();
    match error.span() {
        Some(span) => {
            let before = text.as_bytes().get(..span.start).unwrap_or_default();
            format!("line {}: {message}", before.iter().filter(|b| **b == b'\n').count() + 1)
        }
        None => message,
    }
}
