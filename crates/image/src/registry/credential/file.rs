//! One credential file: its JSON, reading and atomic rewriting. Fields it does not know are kept.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};

use super::{Credential, CredentialError, plain_key, program, server_name};

/// *Units*: bytes. Real files have a few KiB.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Takes padded and unpadded text: both are found in real files.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A credential file in memory.
pub(in crate::registry) struct AuthFile {
    path: PathBuf,
    root: Map<String, Value>,
}

impl AuthFile {
    /// Reads `path`; `None` where there is no such file or it may not be read by this user.
    pub fn read(path: &Path) -> Result<Option<Self>, CredentialError> {
        let failed = |error| CredentialError::Io("read", path.to_owned(), error);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > FILE_MAX_BYTES {
            return Err(CredentialError::TooLarge(path.to_owned(), bytes.len() as u64, FILE_MAX_BYTES));
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Self { path: path.to_owned(), root: Map::new() }));
        }
        let root = serde_json::from_slice(&bytes).map_err(|error| CredentialError::Json(path.to_owned(), error))?;
        Ok(Some(Self { path: path.to_owned(), root }))
    }

    /// Reads `path`, or starts it empty, changes it under a lock, and writes it back whole.
    pub fn update<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, CredentialError>,
    ) -> Result<T, CredentialError> {
        let failed = |error| CredentialError::Io("write", path.to_owned(), error);
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let lock = File::open(dir).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let mut file = Self::read(path)?.unwrap_or_else(|| Self { path: path.to_owned(), root: Map::new() });
        let result = change(&mut file)?;
        let mut text = serde_json::to_vec_pretty(&file.root).map_err(|e| CredentialError::Json(path.to_owned(), e))?;
        text.push(b'\n');
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = dir.join(name);
        let written = write_private(&temporary, &text).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(failed)?;
        Ok(result)
    }

    /// The credential for repository `path` of `registry`, from a program where the file names one, else from itself.
    pub fn find(&self, registry: &str, path: &str) -> Result<Option<Credential>, CredentialError> {
        if let Some(name) = self.program_for(registry)
            && let Some(credential) = program::get(name, server_name(registry))?
        {
            return Ok(Some(credential));
        }
        let Some(auths) = self.root.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let full = format!("{registry}/{path}");
        let mut wanted = Some(full.trim_end_matches('/'));
        while let Some(key) = wanted {
            for (entry_key, entry) in auths.iter().filter(|(entry_key, _)| plain_key(entry_key) == key) {
                if let Some(credential) = self.entry(entry_key, entry)? {
                    return Ok(Some(credential));
                }
            }
            wanted = key.rsplit_once('/').map(|(parent, _)| parent);
        }
        Ok(None)
    }

    fn program_for(&self, registry: &str) -> Option<&str> {
        let helpers = self.root.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|helpers| helpers.iter().find(|(key, _)| plain_key(key) == registry));
        let name = own.map(|(_, name)| name).or_else(|| self.root.get("credsStore"));
        name.and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    fn entry(&self, key: &str, entry: &Value) -> Result<Option<Credential>, CredentialError> {
        let bad = |why| CredentialError::Entry(self.path.clone(), key.escape_default().take(200).collect(), why);
        let text = |name| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credential::IdentityToken(token.to_owned())));
        }
        if let Some(token) = text("registrytoken") {
            return Ok(Some(Credential::RegistryToken(token.to_owned())));
        }
        if let Some(auth) = text("auth") {
            let bytes = BASE64.decode(auth.trim()).map_err(|_| bad("`auth` is no base64"))?;
            let pair = String::from_utf8(bytes).map_err(|_| bad("`auth` is no text"))?;
            let (username, password) = pair.split_once(':').ok_or_else(|| bad("`auth` holds no `user:password`"))?;
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credential::Password { username: username.to_owned(), password }));
        }
        match (text("username"), text("password")) {
            (Some(username), Some(password)) => {
                Ok(Some(Credential::Password { username: username.to_owned(), password: password.to_owned() }))
            }
            _ => Ok(None),
        }
    }

    /// Puts `credential` in for `key`.
    pub fn put(&mut self, key: &str, credential: &Credential) -> Result<(), CredentialError> {
        let plain = plain_key(key);
        let registry = plain.split('/').next().unwrap_or(&plain);
        if let Some(name) = self.program_for(registry).map(str::to_owned) {
            program::store(&name, server_name(registry), credential)?;
            self.auths()?.insert(server_name(registry).to_owned(), json!({}));
            return Ok(());
        }
        let value = match credential {
            Credential::Password { username, password } => {
                json!({ "auth": BASE64_STANDARD.encode(format!("{username}:{password}")) })
            }
            Credential::IdentityToken(token) => json!({ "identitytoken": token }),
            Credential::RegistryToken(token) => json!({ "registrytoken": token }),
        };
        let auths = self.auths()?;
        auths.retain(|entry_key, _| plain_key(entry_key) != plain_key(key));
        auths.insert(server_name(key).to_owned(), value);
        Ok(())
    }

    /// Removes the entry for `key`. False where there was none.
    pub fn take(&mut self, key: &str) -> Result<bool, CredentialError> {
        let plain = plain_key(key);
        let registry = plain.split('/').next().unwrap_or(&plain);
        if let Some(name) = self.program_for(registry).map(str::to_owned) {
            program::erase(&name, server_name(registry))?;
        }
        let auths = self.auths()?;
        let before = auths.len();
        auths.retain(|entry_key, _| plain_key(entry_key) != plain_key(key));
        Ok(auths.len() < before)
    }

    /// The keys of all entries.
    pub fn keys(&self) -> Vec<String> {
        let auths = self.root.get("auths").and_then(Value::as_object);
        auths.map(|auths| auths.keys().cloned().collect()).unwrap_or_default()
    }

    fn auths(&mut self) -> Result<&mut Map<String, Value>, CredentialError> {
        let bad = CredentialError::Entry(self.path.clone(), "auths".to_owned(), "it is no object");
        self.root.entry("auths").or_insert_with(|| json!({})).as_object_mut().ok_or(bad)
    }
}

fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
