//! `login` and `logout`: a credential is tried on the registry before it is kept.

use std::path::PathBuf;

use super::credential::{Credential, CredentialError};
use super::error::RegistryError;
use super::session::{Access, Session, Task};
use super::wire::Payload;
use super::{ClientOptions, CredentialStore};
use crate::reference::Reference;
use crate::reference::registry_name;

/// What a login did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The registry as people call it.
    pub registry: String,
    /// The file that now holds the credential.
    pub path: PathBuf,
}

/// Tries `credential` on `registry` (`host[:port]`, `host/path` for one repository only, or nothing for Docker Hub)
/// and stores it. `insecure` as registries.conf says for that registry.
///
/// *Errors*: where the registry refuses the credential, nothing is stored.
pub fn login(
    options: &ClientOptions,
    registry: &str,
    credential: &Credential,
    insecure: bool,
) -> Result<Login, RegistryError> {
    let key = registry_name(registry);
    let (host, path) = key.split_once('/').unwrap_or((key.as_str(), ""));
    let probe = if path.is_empty() { "holm" } else { path };
    if Reference::from_parts(host, probe, None, None).is_err() {
        let why = "is not a registry's name: write host[:port]".to_owned();
        let registry = key.escape_default().take(200).collect();
        return Err(RegistryError::Protocol { verb: "log in to", object: key.clone(), registry, why });
    }
    let session = Session::open_with(options, host, path, insecure, &Access::Login, Some(credential.clone()))?;
    let address = session.ping_address();
    let task = Task {
        verb: "log in to",
        object: host,
        method: "GET",
        address: &address,
        headers: &[],
        payload: Payload::None,
        repeat: true,
    };
    let reply = session.perform(&task)?;
    if reply.status != 200 {
        return Err(session.status_error(&task, reply));
    }
    let failed = |source: CredentialError| RegistryError::Credential { registry: host.to_owned(), source };
    let path = options.credential_store.store(&key, credential).map_err(failed)?;
    Ok(Login { registry: key, path })
}

/// Forgets the credential of `registry`. False where Holm's own file had none.
pub fn logout(store: &CredentialStore, registry: &str) -> Result<bool, CredentialError> {
    store.remove(&registry_name(registry))
}
