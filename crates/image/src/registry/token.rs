//! Answers to challenges: which `Authorization` a request carries. Credentials come from `credential`.
//!
//! *Source*: distribution, `spec/auth/token.md` and `spec/auth/oauth.md` (the Docker token protocol, which the OCI
//! distribution-spec leaves out).

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::challenge::{Challenge, parse_challenges};
use super::credential::Credential;
use super::error::{RegistryError, shown};
use super::session::{connection_error, registry_message};
use super::wire::{Call, Origin, Payload, Reply, Wire, WireError, resolve_location};

/// *Units*: bytes. Real answers have a few KiB.
const ANSWER_MAX_BYTES: u64 = 1 << 20;
/// *Units*: bytes. More than servers take in one header.
const TOKEN_MAX_BYTES: usize = 64 << 10;
/// *Source*: spec/auth/token.md: "defaults to 60 seconds".
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is renewed this long before its end.
const MARGIN: Duration = Duration::from_secs(10);
/// *Source*: common practice; no token service needs more.
const MAX_REDIRECTS: u32 = 5;
/// The name this program gives itself in the OAuth form.
const CLIENT_ID: &str = "holm";

/// Keeps the challenge of one registry and the header that answers it.
pub(super) struct Authenticator {
    registry: String,
    scopes: Vec<String>,
    credential: Option<Credential>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    header: Option<(String, Option<Instant>)>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Authenticator {
    pub fn new(registry: &str, scopes: Vec<String>, credential: Option<Credential>) -> Self {
        Self { registry: registry.to_owned(), scopes, credential, state: Mutex::default() }
    }

    /// Whether credentials are there to be sent.
    pub fn has_credential(&self) -> bool {
        self.credential.is_some()
    }

    /// Remembers what the registry asks for, from the headers of a 401. False where it asks for nothing we know.
    pub fn learn(&self, reply: &Reply) -> bool {
        let found: Vec<Challenge> = reply
            .headers
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        let bearer = found.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let Some(chosen) = bearer.or(found.first()) else { return false };
        self.lock().challenge = Some(chosen.clone());
        true
    }

    /// The header to send, made now if there is none yet or it ends soon; `None` where none was asked for.
    pub fn header(&self, wire: &Wire<'_>, verify: bool, base: &Origin) -> Result<Option<String>, RegistryError> {
        let mut state = self.lock();
        match &state.header {
            Some((header, end)) if end.is_none_or(|end| Instant::now() < end) => return Ok(Some(header.clone())),
            _ => {}
        }
        let made = match state.challenge.clone() {
            None => return Ok(None),
            Some(Challenge::Basic) => match &self.credential {
                Some(Credential::Password { username, password }) => (basic(username, password), None),
                Some(Credential::RegistryToken(token)) => (format!("Bearer {token}"), None),
                _ => return Ok(None),
            },
            Some(Challenge::Bearer { realm, service, .. }) => match &self.credential {
                Some(Credential::RegistryToken(token)) => (format!("Bearer {token}"), None),
                _ => self.fetch(wire, verify, base, &realm, service.as_deref())?,
            },
        };
        let header = made.0.clone();
        state.header = Some(made);
        Ok(Some(header))
    }

    /// Forgets `refused`, unless another thread has already put a newer one in its place. False where trying again
    /// is of no use.
    pub fn renew(&self, refused: Option<&str>) -> bool {
        let mut state = self.lock();
        match (&state.header, refused) {
            (Some((header, _)), Some(refused)) if header == refused => {
                state.header = None;
                matches!(state.challenge, Some(Challenge::Bearer { .. }))
            }
            _ => true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch(
        &self,
        wire: &Wire<'_>,
        verify: bool,
        base: &Origin,
        realm: &str,
        service: Option<&str>,
    ) -> Result<(String, Option<Instant>), RegistryError> {
        let Some(origin) = Origin::of(realm) else {
            return Err(self.protocol(format!("names a token service that is no address: `{}`", shown(realm))));
        };
        if base.https && !origin.https && verify {
            return Err(self.protocol(format!("wants a token from `{}` over plain HTTP", shown(realm))));
        }
        let started = Instant::now();
        let reply = match &self.credential {
            Some(Credential::IdentityToken(token)) => self.post_form(wire, verify, realm, service, token)?,
            _ => self.get(wire, verify, &origin, realm, service)?,
        };
        let status = reply.status;
        let body = reply.read_to_vec(ANSWER_MAX_BYTES);
        let body = body.map_err(|error| connection_error("log in to", &origin.host, &self.registry, error.into()))?;
        let Some(body) = body else {
            return Err(self.protocol(format!("has a token service that answers with over {ANSWER_MAX_BYTES} bytes")));
        };
        if status != 200 {
            return Err(self.refused(status, &body));
        }
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|error| self.protocol(format!("has a token service whose answer is malformed ({error})")))?;
        let token = answer.token.or(answer.access_token).unwrap_or_default();
        if token.is_empty() || token.len() > TOKEN_MAX_BYTES || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(self.protocol("has a token service whose answer holds no usable token".to_owned()));
        }
        let life = answer.expires_in.map_or(DEFAULT_LIFETIME, |seconds| Duration::from_secs(seconds.min(86_400)));
        let end = started + life.saturating_sub(MARGIN).max(life / 2);
        Ok((format!("Bearer {token}"), Some(end)))
    }

    /// The GET form, with the password as Basic where there is one; redirects lose it when they leave the origin.
    fn get(
        &self,
        wire: &Wire<'_>,
        verify: bool,
        origin: &Origin,
        realm: &str,
        service: Option<&str>,
    ) -> Result<Reply, RegistryError> {
        let mut query = String::new();
        if let Some(service) = service {
            push_pair(&mut query, "service", service);
        }
        for scope in &self.scopes {
            push_pair(&mut query, "scope", scope);
        }
        let mut headers = vec![("accept", "application/json".to_owned())];
        if let Some(Credential::Password { username, password }) = &self.credential {
            push_pair(&mut query, "account", username);
            headers.push(("authorization", basic(username, password)));
        }
        let joint = if realm.contains('?') { '&' } else { '?' };
        let mut address = if query.is_empty() { realm.to_owned() } else { format!("{realm}{joint}{query}") };
        for _ in 0..=MAX_REDIRECTS {
            let call = Call {
                method: "GET",
                address: &address,
                headers: &headers,
                payload: Payload::None,
                connect_timeout: None,
            };
            let reply = wire.send(&call, verify).map_err(|error| self.wire_error(&origin.host, error))?;
            if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            let next = reply.header("location").and_then(|location| resolve_location(&address, location));
            let Some(next) = next else {
                return Err(self.protocol("has a token service that redirects to nowhere".into()));
            };
            let target = Origin::of(&next);
            if target.as_ref() != Some(origin) {
                headers.retain(|(name, _)| *name != "authorization");
            }
            if origin.https && verify && target.is_some_and(|target| !target.https) {
                return Err(self.protocol("has a token service that redirects from https to http".to_owned()));
            }
            address = next;
        }
        Err(self.protocol(format!("has a token service that redirects more than {MAX_REDIRECTS} times")))
    }

    /// The POST form, for an identity (refresh) token. Redirects are not followed: the token is in the body.
    fn post_form(
        &self,
        wire: &Wire<'_>,
        verify: bool,
        realm: &str,
        service: Option<&str>,
        refresh_token: &str,
    ) -> Result<Reply, RegistryError> {
        let mut form = String::new();
        push_pair(&mut form, "grant_type", "refresh_token");
        push_pair(&mut form, "service", service.unwrap_or_default());
        push_pair(&mut form, "client_id", CLIENT_ID);
        push_pair(&mut form, "scope", &self.scopes.join(" "));
        push_pair(&mut form, "refresh_token", refresh_token);
        let headers = [("content-type", "application/x-www-form-urlencoded".to_owned())];
        let call = Call {
            method: "POST",
            address: realm,
            headers: &headers,
            payload: Payload::Bytes(form.as_bytes()),
            connect_timeout: None,
        };
        wire.send(&call, verify).map_err(|error| self.wire_error(realm, error))
    }

    fn object(&self) -> String {
        self.scopes
            .first()
            .map_or_else(|| self.registry.clone(), |scope| scope.split(':').nth(1).unwrap_or(scope.as_str()).to_owned())
    }

    fn protocol(&self, why: String) -> RegistryError {
        RegistryError::Protocol { verb: "log in to", object: self.object(), registry: self.registry.clone(), why }
    }

    fn refused(&self, status: u16, body: &[u8]) -> RegistryError {
        let (verb, object, registry) = ("get a token for", self.object(), self.registry.clone());
        let detail = registry_message(body);
        match status {
            401 | 403 => {
                let logged_in = self.has_credential();
                RegistryError::Refused { verb, object, registry, status, detail, logged_in }
            }
            _ => RegistryError::Status { verb, object, registry, status, detail },
        }
    }

    fn wire_error(&self, object: &str, error: WireError) -> RegistryError {
        super::session::wire_error("get a token from", object, &self.registry, error)
    }
}

/// The value of a Basic `Authorization` header.
pub(super) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
}

/// Appends `name=value` to a query or form, percent-encoded.
pub(super) fn push_pair(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push('&');
    }
    text.push_str(name);
    text.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}
