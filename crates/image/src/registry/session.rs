//! One repository at one registry: addresses, authentication, redirects, retries, and errors in the person's words.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use serde::Deserialize;

use super::ClientOptions;
use super::credential::Credential;
use super::error::{Cause, RegistryError, shown};
use super::proxy::is_loopback;
use super::token::Authenticator;
use super::wire::{Call, Origin, Payload, Reply, Wire, WireError, resolve_location};
use crate::reference::{DEFAULT_DOMAIN, Endpoint};

/// The host that serves Docker Hub.
const HUB_HOST: &str = "registry-1.docker.io";
/// *Units*: bytes. Of an error answer, the part that is read.
const ERROR_MAX_BYTES: u64 = 64 << 10;
/// How long a TLS handshake may take where plain HTTP may be what is spoken.
const PLAIN_PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// *Source*: as curl's and Go's usual limits, less generous.
const MAX_REDIRECTS: u32 = 6;

/// What a session may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write, and mount blobs from these other repositories of the same registry.
    Push(Vec<String>),
    /// Only log in.
    Login,
}

/// A conversation with one registry about one repository. Usable from several threads.
pub struct Session<'o> {
    options: &'o ClientOptions,
    /// As people call it.
    registry: String,
    repository: String,
    /// `scheme://host[:port]`.
    base: String,
    origin: Origin,
    verify: bool,
    wire: Wire<'o>,
    auth: Authenticator,
}

/// A request in the words of an error, and whether it may be repeated.
pub(super) struct Task<'a> {
    pub verb: &'static str,
    pub object: &'a str,
    pub method: &'static str,
    pub address: &'a str,
    pub headers: &'a [(&'static str, String)],
    pub payload: Payload<'a>,
    pub repeat: bool,
}

impl<'o> Session<'o> {
    /// Finds out how `endpoint` is spoken to: https first, then plain http for this machine itself, where
    /// registries.conf says insecure, or where the options do.
    pub fn open(options: &'o ClientOptions, endpoint: &Endpoint, access: &Access) -> Result<Self, RegistryError> {
        let registry = endpoint.reference.domain().to_owned();
        let repository = endpoint.reference.path().to_owned();
        let credential = find_credential(options, endpoint)?;
        Self::open_with(options, &registry, &repository, endpoint.insecure, access, credential)
    }

    pub(super) fn open_with(
        options: &'o ClientOptions,
        registry: &str,
        repository: &str,
        insecure: bool,
        access: &Access,
        credential: Option<Credential>,
    ) -> Result<Self, RegistryError> {
        let host_port = if registry == DEFAULT_DOMAIN { HUB_HOST } else { registry };
        let insecure = options.tls_verify.map_or(insecure, |verify| !verify);
        let bare_host = Origin::of(&format!("https://{host_port}/")).map(|origin| origin.host).unwrap_or_default();
        let plain_allowed = insecure || (options.tls_verify != Some(true) && is_loopback(&bare_host));
        let mut session = Self {
            options,
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            base: String::new(),
            origin: Origin { https: true, host: String::new(), port: 0 },
            verify: !insecure,
            wire: Wire::new(options),
            auth: Authenticator::new(registry, scopes(repository, access), credential),
        };
        session.set_base(format!("https://{host_port}"))?;
        match session.probe(plain_allowed) {
            Ok(()) => Ok(session),
            Err(ProbeError::NoTls(_)) if plain_allowed => {
                session.set_base(format!("http://{host_port}"))?;
                session.probe(false).map_err(ProbeError::into_error)?;
                Ok(session)
            }
            Err(error) => Err(error.into_error()),
        }
    }

    fn set_base(&mut self, base: String) -> Result<(), RegistryError> {
        self.origin = Origin::of(&base).ok_or_else(|| RegistryError::Protocol {
            verb: "reach",
            object: base.clone(),
            registry: self.registry.clone(),
            why: "has a malformed address".to_owned(),
        })?;
        self.base = base;
        Ok(())
    }

    /// Asks `/v2/` once to learn the scheme and the challenge.
    fn probe(&self, plain_follows: bool) -> Result<(), ProbeError> {
        let address = format!("{}/v2/", self.base);
        // A server without TLS may wait for the rest of a TLS greeting for ever.
        let connect_timeout = plain_follows.then_some(PLAIN_PROBE_TIMEOUT.min(self.options.connect_timeout));
        let call = Call { method: "GET", address: &address, headers: &[], payload: Payload::None, connect_timeout };
        let mut failures = 0;
        loop {
            let error = match self.wire.send(&call, self.verify) {
                Ok(reply) if reply.status == 401 => {
                    self.auth.learn(&reply);
                    return Ok(());
                }
                // Whatever else it says, the request that matters will say it better.
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            failures += 1;
            let final_error = match error {
                WireError::NotTls => true,
                // A server without TLS may also just hang up on a TLS greeting.
                WireError::Broken(_) => plain_follows || failures >= self.options.max_attempts,
                _ => true,
            };
            if final_error {
                let no_tls = matches!(error, WireError::NotTls | WireError::Broken(_) | WireError::Unreachable(_));
                let error = wire_error("reach", &self.base, &self.registry, error);
                return Err(if no_tls && self.origin.https {
                    ProbeError::NoTls(error)
                } else {
                    ProbeError::Final(error)
                });
            }
            self.wire.pause(self.backoff(failures, None)).map_err(ProbeError::Final)?;
        }
    }

    /// Wakes every call that other threads are blocked in; they and all later calls fail with
    /// [`RegistryError::Aborted`].
    pub fn abort(&self) {
        self.wire.abort();
    }

    /// Whether the session was aborted.
    pub fn is_aborted(&self) -> bool {
        self.wire.is_aborted()
    }

    /// The registry as people call it.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository at the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn options(&self) -> &ClientOptions {
        self.options
    }

    pub(super) fn address(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.base, self.repository)
    }

    pub(super) fn ping_address(&self) -> String {
        format!("{}/v2/", self.base)
    }

    /// Where a `Location` of `reply` leads, refused where it would leave https.
    pub(super) fn location(&self, verb: &'static str, object: &str, reply: &Reply) -> Result<String, RegistryError> {
        let found = reply.header("location").and_then(|location| resolve_location(&reply.address, location));
        let Some(found) = found else {
            return Err(self.protocol(verb, object, format!("answered {} without a usable Location", reply.status)));
        };
        let https = Origin::of(&found).is_some_and(|origin| origin.https);
        if self.origin.https && !https && self.verify {
            return Err(self.protocol(verb, object, "redirects from https to plain HTTP".to_owned()));
        }
        Ok(found)
    }

    /// Does `task`: authenticates, follows redirects and, where it may be repeated, tries again. Any status that is
    /// not about these is the caller's.
    pub(super) fn perform(&self, task: &Task<'_>) -> Result<Reply, RegistryError> {
        let mut failures = 0;
        loop {
            let (error, asked) = match self.perform_once(task) {
                Ok(reply) if is_transient(reply.status) && task.repeat => {
                    let asked = retry_after(&reply);
                    (self.status_error(task, reply), asked)
                }
                Ok(reply) => return Ok(reply),
                Err(Failure::Transient(error)) if task.repeat => (error, None),
                Err(Failure::Transient(error) | Failure::Final(error)) => return Err(error),
            };
            failures += 1;
            if failures >= self.options.max_attempts {
                return Err(error);
            }
            self.wire.pause(self.backoff(failures, asked))?;
        }
    }

    /// One attempt, with at most one renewal of the token and a bounded number of redirects.
    fn perform_once(&self, task: &Task<'_>) -> Result<Reply, Failure> {
        let mut address = task.address.to_owned();
        let mut redirects = 0;
        let mut renewed = false;
        loop {
            let mut headers = task.headers.to_vec();
            let own = Origin::of(&address).as_ref() == Some(&self.origin);
            let authorization = match own {
                true => self.auth.header(&self.wire, self.verify, &self.origin).map_err(Failure::Final)?,
                false => None,
            };
            headers.extend(authorization.clone().map(|value| ("authorization", value)));
            let call = Call {
                method: task.method,
                address: &address,
                headers: &headers,
                payload: task.payload,
                connect_timeout: None,
            };
            let reply = self.wire.send(&call, self.verify).map_err(|error| self.wire_failure(task, error))?;
            match reply.status {
                401 if own && !renewed => {
                    renewed = true;
                    let known = self.auth.learn(&reply);
                    if !(known && self.auth.renew(authorization.as_deref())) {
                        return Ok(reply);
                    }
                }
                301 | 302 | 303 | 307 | 308 if follows(task, reply.status) => {
                    redirects += 1;
                    if redirects > MAX_REDIRECTS {
                        let why = format!("redirects more than {MAX_REDIRECTS} times");
                        return Err(Failure::Final(self.protocol(task.verb, task.object, why)));
                    }
                    address = self.location(task.verb, task.object, &reply).map_err(Failure::Final)?;
                }
                _ => return Ok(reply),
            }
        }
    }

    fn wire_failure(&self, task: &Task<'_>, error: WireError) -> Failure {
        // The registry was reached when the session was opened: that it cannot be now may pass.
        let transient = matches!(error, WireError::Broken(_) | WireError::Unreachable(_));
        let error = wire_error(task.verb, task.object, &self.registry, error);
        if transient { Failure::Transient(error) } else { Failure::Final(error) }
    }

    /// The wait before attempt `failures + 1`: doubled each time, with up to half of it in jitter, never above the
    /// limit.
    pub(super) fn backoff(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.options.backoff.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let random = std::hash::RandomState::new().build_hasher().finish() % 512;
        let jittered = doubled.saturating_add(doubled.mul_f64(random as f64 / 1024.0));
        jittered.max(asked.unwrap_or_default()).min(self.options.backoff_max)
    }

    pub(super) fn pause(&self, time: Duration) -> Result<(), RegistryError> {
        self.wire.pause(time)
    }

    /// The error for a status that the caller did not expect.
    pub(super) fn status_error(&self, task: &Task<'_>, reply: Reply) -> RegistryError {
        let status = reply.status;
        let body = reply.read_to_vec(ERROR_MAX_BYTES).ok().flatten().unwrap_or_default();
        let (verb, object, registry) = (task.verb, task.object.to_owned(), self.registry.clone());
        let detail = registry_message(&body);
        match status {
            401 | 403 => {
                let logged_in = self.auth.has_credential();
                RegistryError::Refused { verb, object, registry, status, detail, logged_in }
            }
            404 => RegistryError::NotFound { verb, object, registry, detail },
            _ => RegistryError::Status { verb, object, registry, status, detail },
        }
    }

    pub(super) fn protocol(&self, verb: &'static str, object: &str, why: String) -> RegistryError {
        RegistryError::Protocol { verb, object: object.to_owned(), registry: self.registry.clone(), why }
    }

    /// The error for a connection that broke while a body was read.
    pub(super) fn broken(&self, verb: &'static str, object: &str, error: std::io::Error) -> RegistryError {
        if self.is_aborted() {
            return RegistryError::Aborted;
        }
        connection_error(verb, object, &self.registry, Box::new(error))
    }
}

enum Failure {
    Transient(RegistryError),
    Final(RegistryError),
}

enum ProbeError {
    /// No TLS there: plain HTTP may be tried where allowed.
    NoTls(RegistryError),
    Final(RegistryError),
}

impl ProbeError {
    fn into_error(self) -> RegistryError {
        match self {
            Self::NoTls(error) | Self::Final(error) => error,
        }
    }
}

fn find_credential(options: &ClientOptions, endpoint: &Endpoint) -> Result<Option<Credential>, RegistryError> {
    if let Some(credential) = options.credential.as_ref().filter(|_| !endpoint.mirror) {
        return Ok(Some(credential.clone()));
    }
    let (registry, path) = (endpoint.reference.domain(), endpoint.reference.path());
    options
        .credential_store
        .find(registry, path)
        .map_err(|source| RegistryError::Credential { registry: registry.to_owned(), source })
}

fn scopes(repository: &str, access: &Access) -> Vec<String> {
    match access {
        Access::Login => Vec::new(),
        Access::Pull => vec![format!("repository:{repository}:pull")],
        Access::Push(mount_from) => {
            let mut scopes = vec![format!("repository:{repository}:pull,push")];
            scopes.extend(mount_from.iter().map(|other| format!("repository:{other}:pull")));
            scopes
        }
    }
}

fn follows(task: &Task<'_>, status: u16) -> bool {
    matches!(task.method, "GET" | "HEAD") || matches!(status, 307 | 308)
}

pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After` in seconds; the form with a date is rare and treated as absent.
pub(super) fn retry_after(reply: &Reply) -> Option<Duration> {
    reply.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

pub(super) fn connection_error(verb: &'static str, object: &str, registry: &str, source: Cause) -> RegistryError {
    RegistryError::Connection { verb, object: object.to_owned(), registry: registry.to_owned(), source }
}

pub(super) fn wire_error(verb: &'static str, object: &str, registry: &str, error: WireError) -> RegistryError {
    match error {
        WireError::Aborted => RegistryError::Aborted,
        WireError::NotTls => {
            connection_error(verb, object, registry, "the other side speaks plain HTTP, not TLS".into())
        }
        WireError::Certificate(source) => RegistryError::Certificate { registry: registry.to_owned(), source },
        WireError::Unreachable(source) | WireError::Broken(source) | WireError::TlsRefused(source) => {
            connection_error(verb, object, registry, source)
        }
        WireError::Local(source) => RegistryError::Local { verb, object: object.to_owned(), source },
        WireError::Settings(error) => *error,
    }
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The registry's own words in an error answer, with `: ` before them; empty where there are none.
pub(super) fn registry_message(body: &[u8]) -> String {
    let Ok(answer) = serde_json::from_slice::<ErrorAnswer>(body) else { return String::new() };
    let mut words: Vec<String> = Vec::new();
    for entry in answer.errors.iter().take(3) {
        words.push(match (entry.code.is_empty(), entry.message.is_empty()) {
            (true, true) => continue,
            (false, true) => shown(&entry.code),
            (true, false) => shown(&entry.message),
            (false, false) => format!("{} ({})", shown(&entry.message), shown(&entry.code)),
        });
    }
    if let Some(details) = answer.details.filter(|_| words.is_empty()) {
        words.push(shown(&details));
    }
    if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
}
