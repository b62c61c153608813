//! Where a reference is looked for: the files that say so, added up, and the answers for one reference.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::registries::{PullFromMirror, RegistriesConf, RegistriesError};
use super::{DEFAULT_DOMAIN, Reference};

/// *Units*: bytes. One more than the parser takes, so that it says so.
const READ_MAX_BYTES: u64 = (1 << 20) + 1;

/// The files that a resolver reads. Those that do not exist count as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverPaths {
    /// The main file.
    pub main: Option<PathBuf>,
    /// Folders of `*.conf` files laid over it, in order.
    pub drop_ins: Vec<PathBuf>,
}

impl ResolverPaths {
    /// The usual places: `$CONTAINERS_REGISTRIES_CONF`, else the user's file, else the system's; then the drop-in
    /// folders of the system and of the user.
    pub fn from_environment() -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let user = var("XDG_CONFIG_HOME").or_else(|| var("HOME").map(|home| home.join(".config")));
        let user = user.map(|config| config.join("containers"));
        let system = Path::new("/etc/containers");
        let mut drop_ins = vec![system.join("registries.conf.d")];
        drop_ins.extend(user.as_ref().map(|dir| dir.join("registries.conf.d")));
        let main = var("CONTAINERS_REGISTRIES_CONF")
            .or_else(|| user.map(|dir| dir.join("registries.conf")).filter(|path| path.exists()))
            .unwrap_or_else(|| system.join("registries.conf"));
        Self { main: Some(main), drop_ins }
    }
}

/// One place that may hold the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The repository there, with the tag and digest that were asked for.
    pub reference: Reference,
    /// Whether plain HTTP and unverified TLS are allowed.
    pub insecure: bool,
    /// Whether it is a mirror and not the registry itself.
    pub mirror: bool,
}

impl Endpoint {
    /// `host[:port]/path`, without tag and digest.
    pub fn location(&self) -> String {
        self.reference.repository()
    }
}

/// Answers which registries and repositories a reference may mean, in the order to try them.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    conf: RegistriesConf,
}

impl Resolver {
    /// Reads `paths`. Where none exists every short name is Docker Hub's.
    pub fn load(paths: &ResolverPaths) -> Result<Self, RegistriesError> {
        let mut conf = RegistriesConf::default();
        if let Some(later) = paths.main.as_deref().map(read_conf).transpose()?.flatten() {
            conf.merge(later);
        }
        for folder in &paths.drop_ins {
            for file in drop_in_files(folder)? {
                if let Some(later) = read_conf(&file)? {
                    conf.merge(later);
                }
            }
        }
        Ok(Self { conf })
    }

    /// Uses one file already parsed.
    pub fn from_conf(conf: RegistriesConf) -> Self {
        Self { conf }
    }

    /// What `text` may mean, best first: itself if it names a registry, else its alias, else one per search registry.
    pub fn candidates(&self, text: &str) -> Result<Vec<Reference>, RegistriesError> {
        let reference = Reference::parse(text)?;
        if Reference::is_qualified(text) {
            return Ok(vec![reference]);
        }
        let (name, rest) = split_name(text);
        if let Some(target) = self.conf.aliases.get(name).filter(|target| !target.is_empty()) {
            return Ok(vec![Reference::parse(&format!("{target}{rest}"))?]);
        }
        match self.conf.search.as_deref() {
            None => Ok(vec![reference]),
            Some([]) => Err(RegistriesError::NoSearch(reference.familiar())),
            Some(hosts) => {
                hosts.iter().map(|host| Reference::parse(&format!("{host}/{text}")).map_err(Into::into)).collect()
            }
        }
    }

    /// Where to ask for `reference`, in order: the mirrors that apply, then the registry itself.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistriesError> {
        let name = reference.to_string();
        let best = self
            .conf
            .registries
            .iter()
            .filter_map(|entry| entry.covers(&name).map(|end| (end, entry)))
            .max_by_key(|(end, entry)| (*end, !entry.prefix.starts_with('*')));
        let Some((end, entry)) = best else {
            return Ok(vec![Endpoint { reference: reference.clone(), insecure: false, mirror: false }]);
        };
        if entry.blocked {
            return Err(RegistriesError::Blocked(reference.familiar(), entry.prefix.clone()));
        }
        let mut endpoints = Vec::with_capacity(entry.mirrors.len() + 1);
        for mirror in &entry.mirrors {
            let serves = match mirror.pull_from {
                PullFromMirror::All => true,
                PullFromMirror::DigestOnly => reference.digest().is_some(),
                PullFromMirror::TagOnly => reference.digest().is_none(),
            };
            if serves {
                let reference = rewritten(&mirror.location, &name, end)?;
                endpoints.push(Endpoint { reference, insecure: mirror.insecure, mirror: true });
            }
        }
        let reference =
            if entry.location.is_empty() { reference.clone() } else { rewritten(&entry.location, &name, end)? };
        endpoints.push(Endpoint { reference, insecure: entry.insecure, mirror: false });
        Ok(endpoints)
    }

    /// Whether plain HTTP and unverified TLS are allowed for the registry `host[:port]` itself.
    pub fn is_insecure(&self, registry: &str) -> bool {
        let entries = self.conf.registries.iter().filter_map(|entry| entry.covers(registry).map(|end| (end, entry)));
        entries.max_by_key(|(end, _)| *end).is_some_and(|(_, entry)| entry.insecure)
    }
}

fn rewritten(location: &str, name: &str, end: usize) -> Result<Reference, RegistriesError> {
    // A location without a dot or port would be read as a Docker Hub name space: say `host` explicitly.
    let text = format!("{location}{}", &name[end..]);
    if !Reference::is_qualified(&text) {
        let why = "the rewritten name has no registry: write a host with a dot or a port";
        return Err(RegistriesError::Value("location", location.to_owned(), why));
    }
    Ok(Reference::parse(&text)?)
}

/// Parts a short name from its tag and digest.
fn split_name(text: &str) -> (&str, &str) {
    let at = text.find('@').unwrap_or(text.len());
    let slash = text[..at].rfind('/').map_or(0, |slash| slash + 1);
    let end = text[slash..at].find(':').map_or(at, |colon| slash + colon);
    text.split_at(end)
}

fn read_conf(path: &Path) -> Result<Option<RegistriesConf>, RegistriesError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RegistriesError::Io(path.to_owned(), error)),
    };
    let mut text = String::new();
    file.take(READ_MAX_BYTES).read_to_string(&mut text).map_err(|error| RegistriesError::Io(path.to_owned(), error))?;
    RegistriesConf::parse(&text).map(Some).map_err(|error| RegistriesError::File(path.to_owned(), Box::new(error)))
}

fn drop_in_files(folder: &Path) -> Result<Vec<PathBuf>, RegistriesError> {
    let failed = |error| RegistriesError::Io(folder.to_owned(), error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The registry that `text`, given to `login` or `logout`, means: `docker.io` for nothing and for its old names.
pub(crate) fn registry_name(text: &str) -> String {
    let text = text.trim().trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    match text {
        "" | "docker.io" | "index.docker.io" | "index.docker.io/v1" | "registry-1.docker.io" | "hub.docker.com" => {
            DEFAULT_DOMAIN.to_owned()
        }
        other => other.to_owned(),
    }
}
