//! Talking to registries over HTTP: the distribution protocol, its authentication, and logins.
//!
//! Owns connections, trust, credentials, retries and every limit on what a registry may send. Decides nothing about
//! images: which manifest, which layer and where it is stored is for `pull` and `push`.
//!
//! ```text
//! Session::open   GET /v2/                 https, then http where that is allowed; remembers the challenge
//! request         401 -> token or Basic -> once more;  3xx -> followed, credentials only to the same origin
//!                 429, 5xx, cut -> waits, tries again;  everything else is the caller's answer
//! ```
//!
//! Every call blocks, is bounded by time-outs and leaves no thread behind. [`Session::abort`] wakes calls that other
//! threads are blocked in.

mod blob;
mod challenge;
pub mod credential;
mod error;
mod login;
mod manifest;
mod proxy;
mod session;
mod tls;
mod token;
mod upload;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

pub use blob::BlobSink;
pub use challenge::{Challenge, parse_challenges};
pub use credential::{Credential, CredentialError, CredentialStore};
pub use error::RegistryError;
pub use login::{Login, login, logout};
pub use manifest::RemoteManifest;
pub use proxy::ProxySettings;
pub use session::{Access, Session};
pub use upload::{BlobSource, Uploaded};

/// How to talk to registries. One value serves any number of pulls and pushes.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `Some(false)`: take any certificate and plain HTTP. `Some(true)`: neither, whatever registries.conf says.
    pub tls_verify: Option<bool>,
    /// A PEM file of authorities trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Folders with one sub-folder per `host[:port]`, of `*.crt` authorities and `*.cert`/`*.key` client pairs.
    pub cert_dirs: Vec<PathBuf>,
    /// Credentials given for this call; they win over stored ones and are never sent to a mirror.
    pub credential: Option<Credential>,
    /// Stored credentials.
    pub credential_store: CredentialStore,
    /// Proxies.
    pub proxy: ProxySettings,
    /// How many layers move at once.
    pub parallel_layers: usize,
    /// Longest wait for a TCP connection and TLS handshake.
    pub connect_timeout: Duration,
    /// Longest silence while a response is expected or arriving.
    pub idle_timeout: Duration,
    /// How often in a row one request may fail before it is given up.
    pub max_attempts: u32,
    /// The first wait between two attempts; it doubles from there, with jitter.
    pub backoff: Duration,
    /// The longest wait between two attempts, also where a registry asks for more.
    pub backoff_max: Duration,
}

impl Default for ClientOptions {
    /// No stored credentials, no proxies, no extra trust.
    fn default() -> Self {
        Self {
            tls_verify: None,
            ca_file: None,
            cert_dirs: Vec::new(),
            credential: None,
            credential_store: CredentialStore::default(),
            proxy: ProxySettings::default(),
            parallel_layers: 3,
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            max_attempts: 5,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
        }
    }
}

impl ClientOptions {
    /// What the environment and the usual places of the machine say: proxies, credentials, `certs.d`.
    pub fn from_environment() -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = var("XDG_CONFIG_HOME").or_else(|| var("HOME").map(|home| home.join(".config")));
        let mut cert_dirs: Vec<PathBuf> = config.map(|dir| dir.join("containers/certs.d")).into_iter().collect();
        cert_dirs.extend(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from));
        Self {
            cert_dirs,
            credential_store: CredentialStore::from_environment(),
            proxy: ProxySettings::from_environment(),
            ..Self::default()
        }
    }
}
