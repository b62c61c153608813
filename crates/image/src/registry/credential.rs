//! Stored credentials: which files and programs may hold them, and which entry fits a repository.
//!
//! Reads Holm's own file and, when that has none, those of podman and docker; writes only Holm's own. What a secret
//! is used for is not decided here.
//!
//! *Source*: containers-auth.json(5); docker's config file and credential-helper protocol.

mod file;
mod program;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub(super) use file::AuthFile;

use crate::reference::DEFAULT_DOMAIN;

/// How docker files name Docker Hub.
pub(super) const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What proves who asks. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password or access token.
    Password {
        /// The user.
        username: String,
        /// The secret.
        password: String,
    },
    /// A refresh token that a token service takes.
    IdentityToken(String),
    /// A token that the registry itself takes.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(…)"),
        }
    }
}

/// Why stored credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read or written.
    #[error("cannot {} credential file `{}`", .0, .1.display())]
    Io(&'static str, PathBuf, #[source] io::Error),
    /// A file is no JSON of the known shape.
    #[error("cannot parse credential file `{}`", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
    /// A file is larger than any real one.
    #[error("cannot use credential file `{}` of {} bytes: the limit is {}", .0.display(), .1, .2)]
    TooLarge(PathBuf, u64, u64),
    /// One entry is malformed.
    #[error("cannot use the entry `{}` of credential file `{}`: {}", .1, .0.display(), .2)]
    Entry(PathBuf, String, &'static str),
    /// There is no place to write to.
    #[error("cannot store credentials: neither XDG_CONFIG_HOME nor HOME is set")]
    NoHome,
    /// A credential program cannot be run.
    #[error("cannot run credential program `{0}`")]
    Program(String, #[source] io::Error),
    /// A credential program failed or answered garbage.
    #[error("cannot use credential program `{0}`: {1}")]
    ProgramAnswer(String, String),
}

/// The files that may hold credentials, in the order they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialStore {
    /// Holm's own file, asked first and the only one written.
    pub own: Option<PathBuf>,
    /// Files of others, read only.
    pub others: Vec<PathBuf>,
}

impl CredentialStore {
    /// The usual places. With `REGISTRY_AUTH_FILE` set, that file takes the place of Holm's own.
    pub fn from_environment() -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = var("HOME");
        let config = var("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        let own = var("REGISTRY_AUTH_FILE").or_else(|| config.as_ref().map(|dir| dir.join("holm/auth.json")));
        let docker = var("DOCKER_CONFIG").or_else(|| home.map(|home| home.join(".docker")));
        let others = [
            var("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            Some(PathBuf::from(format!("/run/containers/{}/auth.json", rustix::process::getuid().as_raw()))),
            config.map(|dir| dir.join("containers/auth.json")),
            docker.map(|dir| dir.join("config.json")),
        ];
        Self { own, others: others.into_iter().flatten().collect() }
    }

    /// The credential for repository `path` of `registry`; the most specific entry of the first file that has one.
    pub fn find(&self, registry: &str, path: &str) -> Result<Option<Credential>, CredentialError> {
        for path_of_file in self.own.iter().chain(&self.others) {
            let Some(file) = AuthFile::read(path_of_file)? else { continue };
            if let Some(credential) = file.find(registry, path)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    /// Stores `credential` for `key` (`registry` or `registry/path`), replacing an older one. Returns where.
    pub fn store(&self, key: &str, credential: &Credential) -> Result<PathBuf, CredentialError> {
        let path = self.own.clone().ok_or(CredentialError::NoHome)?;
        AuthFile::update(&path, |file| file.put(key, credential))?;
        Ok(path)
    }

    /// Removes what is stored for `key` in Holm's own file. False where there was nothing.
    pub fn remove(&self, key: &str) -> Result<bool, CredentialError> {
        let path = self.own.clone().ok_or(CredentialError::NoHome)?;
        if !path.exists() {
            return Ok(false);
        }
        AuthFile::update(&path, |file| file.take(key))
    }

    /// Removes everything from Holm's own file and returns the keys.
    pub fn remove_all(&self) -> Result<Vec<String>, CredentialError> {
        let path = self.own.clone().ok_or(CredentialError::NoHome)?;
        if !path.exists() {
            return Ok(Vec::new());
        }
        AuthFile::update(&path, |file| {
            let keys = file.keys();
            for key in &keys {
                file.take(key)?;
            }
            Ok(keys)
        })
    }
}

/// An entry's key in its plain form: without scheme, `/v1/`, and with Docker Hub's old names made one.
pub(super) fn plain_key(key: &str) -> String {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    match bare {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => DEFAULT_DOMAIN.to_owned(),
        other => other.to_owned(),
    }
}

/// What docker files and credential programs call `registry`.
pub(super) fn server_name(registry: &str) -> &str {
    if registry == DEFAULT_DOMAIN { HUB_KEY } else { registry }
}
