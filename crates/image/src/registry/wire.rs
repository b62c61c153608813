//! One request and its response: connections per origin, time-outs, body kinds, abort. Knows HTTP, not registries.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Request, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, NextTimeout, TcpConnector};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::ClientOptions;
use super::error::{Cause, RegistryError};
use super::tls::{TlsConnector, client_config};

/// *Units*: bytes. Registries' own limits are around 16 KiB.
const RESPONSE_HEADER_MAX_BYTES: usize = 64 << 10;
/// How long a registry may verify an upload before it answers.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a manifest, token or list may take to arrive, however steadily it trickles.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// *Units*: bytes, of one read of such a document.
const DOCUMENT_BUFFER_BYTES: usize = 16 << 10;

/// Scheme, host and port: what credentials belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub https: bool,
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// The origin of `address`, refusing what is not plain http or https to a host.
    pub fn of(address: &str) -> Option<Self> {
        let uri: Uri = address.parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        Some(Self { https, host: authority.host().to_ascii_lowercase(), port })
    }

    /// `host:port`, as the folders of `certs.d` are called.
    fn host_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Where a redirect or upload location leads, seen from `base`; `None` where it is no http address.
pub(super) fn resolve_location(base: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let uri: Uri = base.parse().ok()?;
    let root = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    let absolute = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", uri.scheme_str()?)
    } else if location.starts_with('/') {
        format!("{root}{location}")
    } else if location.starts_with('?') {
        format!("{root}{}{location}", uri.path())
    } else {
        let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{root}{folder}/{location}")
    };
    Origin::of(&absolute).map(|_| absolute)
}

/// What a request sends.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    /// Nothing, and no length is announced.
    None,
    /// These bytes, maybe none, with their length.
    Bytes(&'a [u8]),
    /// A part of a file, with its length; `sent` is told of every read.
    File { file: &'a File, offset: u64, len: u64, sent: &'a dyn Fn(u64) },
}

/// One HTTP request.
pub(super) struct Call<'a> {
    pub method: &'static str,
    pub address: &'a str,
    pub headers: &'a [(&'static str, String)],
    pub payload: Payload<'a>,
    /// Another limit than the options' for the TCP connection and TLS handshake.
    pub connect_timeout: Option<Duration>,
}

/// What came back. The body is not read yet.
pub(super) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
    pub address: String,
}

impl Reply {
    /// The value of a header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads the body, at most `max_bytes`; `None` where there is more.
    pub fn read_to_vec(self, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + DOCUMENT_TIMEOUT;
        let mut bytes = Vec::new();
        let mut reader = self.body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; DOCUMENT_BUFFER_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if bytes.len() as u64 > max_bytes {
                return Ok(None);
            }
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the answer takes too long to arrive"));
            }
        }
    }
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum WireError {
    /// Stopped from another thread.
    Aborted,
    /// The other side does not speak TLS.
    NotTls,
    /// The certificate is not trusted.
    Certificate(Cause),
    /// The other side speaks TLS and refuses ours, perhaps for want of a client certificate.
    TlsRefused(Cause),
    /// Nothing listens, no such name, no route: trying again at once is of no use.
    Unreachable(Cause),
    /// The connection broke, or a time-out passed.
    Broken(Cause),
    /// What was to be sent could not be read.
    Local(io::Error),
    /// The settings are wrong.
    Settings(Box<RegistryError>),
}

/// Connections to any number of origins, all stopped by one [`Wire::abort`].
pub(super) struct Wire<'o> {
    options: &'o ClientOptions,
    agents: Mutex<HashMap<(Origin, bool), Agent>>,
    aborted: Mutex<bool>,
    wake: Condvar,
}

impl<'o> Wire<'o> {
    pub fn new(options: &'o ClientOptions) -> Self {
        Self { options, agents: Mutex::default(), aborted: Mutex::new(false), wake: Condvar::new() }
    }

    /// Ends every call in progress and every later one.
    pub fn abort(&self) {
        *lock(&self.aborted) = true;
        self.wake.notify_all();
        for agent in lock(&self.agents).values() {
            agent.clone().shutdown();
        }
    }

    pub fn is_aborted(&self) -> bool {
        *lock(&self.aborted)
    }

    /// Waits, unless and until aborted.
    pub fn pause(&self, time: Duration) -> Result<(), RegistryError> {
        let guard = lock(&self.aborted);
        let (guard, _) =
            self.wake.wait_timeout_while(guard, time, |aborted| !*aborted).unwrap_or_else(PoisonError::into_inner);
        if *guard { Err(RegistryError::Aborted) } else { Ok(()) }
    }

    /// Sends one request; follows nothing, repeats nothing.
    pub fn send(&self, call: &Call<'_>, verify: bool) -> Result<Reply, WireError> {
        let broken = |why: &str| WireError::Broken(why.to_owned().into());
        let origin = Origin::of(call.address).ok_or_else(|| broken("the address is malformed"))?;
        let agent = self.agent(&origin, verify)?;
        let mut builder = Request::builder().method(call.method).uri(call.address);
        for (name, value) in call.headers {
            builder = builder.header(*name, value);
        }
        let limits = Limits {
            connect: call.connect_timeout.unwrap_or(self.options.connect_timeout),
            answer: self.options.idle_timeout,
        };
        let result = match call.payload {
            Payload::None => run(&agent, builder, (), limits),
            Payload::Bytes(bytes) => run(&agent, builder, bytes, limits),
            Payload::File { file, offset, len, sent } => {
                let failure = Cell::new(None);
                let mut reader = FilePart { file, offset, left: len, sent, failure: &failure };
                let builder = builder.header("content-length", len.to_string());
                let limits = Limits { answer: COMMIT_TIMEOUT, ..limits };
                let result = run(&agent, builder, SendBody::from_reader(&mut reader), limits);
                if let Some(error) = failure.take() {
                    return Err(WireError::Local(error));
                }
                result
            }
        };
        match result {
            Ok((status, headers, body)) => Ok(Reply { status, headers, body, address: call.address.to_owned() }),
            Err(_) if self.is_aborted() => Err(WireError::Aborted),
            Err(error) => Err(classify(error)),
        }
    }

    fn agent(&self, origin: &Origin, verify: bool) -> Result<Agent, WireError> {
        let mut agents = lock(&self.agents);
        if self.is_aborted() {
            return Err(WireError::Aborted);
        }
        let key = (origin.clone(), verify);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let agent = build_agent(self.options, origin, verify).map_err(|error| WireError::Settings(Box::new(error)))?;
        agents.insert(key, agent.clone());
        Ok(agent)
    }
}

impl Drop for Wire<'_> {
    fn drop(&mut self) {
        for agent in lock(&self.agents).values() {
            agent.clone().shutdown();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn build_agent(options: &ClientOptions, origin: &Origin, verify: bool) -> Result<Agent, RegistryError> {
    let default_port_host = (origin.https && origin.port == 443).then_some(origin.host.as_str());
    let tls = client_config(options, &origin.host_port(), default_port_host, verify)?;
    let proxy = options.proxy.proxy_for(origin.https, &origin.host, origin.port);
    let proxy = proxy.map(|address| make_proxy(address, &origin.host)).transpose()?;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .user_agent(concat!("holm/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(RESPONSE_HEADER_MAX_BYTES)
        .timeout_per_write(Some(options.idle_timeout))
        .timeout_recv_response(Some(COMMIT_TIMEOUT))
        .build();
    let connector =
        ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(TlsConnector::new(tls));
    Ok(Agent::with_parts(config, connector, BlockingResolver))
}

type Answer = (u16, HeaderMap, Body);

fn make_proxy(address: &str, registry: &str) -> Result<ureq::Proxy, RegistryError> {
    let failed = |source: Cause| RegistryError::Connection {
        verb: "use",
        object: "the proxy of the environment".to_owned(),
        registry: registry.to_owned(),
        source,
    };
    // Left to itself the client would go around a proxy that it cannot speak to.
    if address.to_ascii_lowercase().starts_with("socks") {
        return Err(failed("only HTTP proxies are supported, not SOCKS".into()));
    }
    ureq::Proxy::new(address).map_err(|error| failed(Box::new(error)))
}

#[derive(Clone, Copy)]
struct Limits {
    connect: Duration,
    answer: Duration,
}

fn run(
    agent: &Agent,
    builder: ureq::http::request::Builder,
    body: impl AsSendBody,
    limits: Limits,
) -> Result<Answer, ureq::Error> {
    let request = agent
        .configure_request(builder.body(body)?)
        .timeout_connect(Some(limits.connect))
        .timeout_per_read(Some(limits.answer))
        .build();
    let response = agent.run(request)?;
    let (parts, body) = response.into_parts();
    Ok((parts.status.as_u16(), parts.headers, body))
}

/// Looks names up in the calling thread: the client's own resolver would leave a thread behind after a time-out.
#[derive(Debug)]
struct BlockingResolver;

impl Resolver for BlockingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(ureq::Error::HostNotFound);
        };
        let address = DefaultResolver::host_and_port(scheme, authority).ok_or(ureq::Error::HostNotFound)?;
        let mut found = self.empty();
        // 16: the capacity of the client's list.
        for address in address.to_socket_addrs().map_err(|_| ureq::Error::HostNotFound)?.take(16) {
            found.push(address);
        }
        if found.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(found) }
    }
}

fn classify(error: ureq::Error) -> WireError {
    let error = match error {
        ureq::Error::Io(error) => error,
        ureq::Error::HostNotFound | ureq::Error::ConnectProxyFailed(_) => {
            return WireError::Unreachable(Box::new(error));
        }
        ureq::Error::Timeout(ureq::Timeout::Connect) => return WireError::Unreachable(Box::new(error)),
        ureq::Error::Tls(_) => return WireError::NotTls,
        other => return WireError::Broken(Box::new(other)),
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => {
            WireError::Certificate(Box::new(error))
        }
        Some(rustls::Error::InvalidMessage(_)) => WireError::NotTls,
        Some(rustls::Error::AlertReceived(_)) => WireError::TlsRefused(Box::new(error)),
        Some(_) => WireError::Broken(Box::new(error)),
        None => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => WireError::Unreachable(Box::new(error)),
            _ => WireError::Broken(Box::new(error)),
        },
    }
}

/// Reads a part of a file without moving its position, so that a request can be sent again.
struct FilePart<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
    sent: &'a dyn Fn(u64),
    failure: &'a Cell<Option<io::Error>>,
}

impl Read for FilePart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let result = match self.file.read_at(&mut buffer[..want], self.offset) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            other => other,
        };
        match result {
            Ok(n) => {
                self.offset += n as u64;
                self.left -= n as u64;
                (self.sent)(n as u64);
                Ok(n)
            }
            Err(error) => {
                self.failure.set(Some(io::Error::new(error.kind(), error.to_string())));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_resolve_against_their_base() {
        let base = "https://q.io:5000/v2/a/blobs/uploads/?x=1";
        for (location, expected) in [
            ("/v2/a/u/1?s=2", Some("https://q.io:5000/v2/a/u/1?s=2")),
            ("https://other.io/x#frag", Some("https://other.io/x")),
            ("//other.io/x", Some("https://other.io/x")),
            ("?s=2", Some("https://q.io:5000/v2/a/blobs/uploads/?s=2")),
            ("one", Some("https://q.io:5000/v2/a/blobs/uploads/one")),
            ("ftp://x/y", Some("https://q.io:5000/v2/a/blobs/uploads/ftp://x/y")),
            ("https://user:pw@other.io/x", None),
            ("https://", None),
            ("http://a b/", None),
        ] {
            assert_eq!(resolve_location(base, location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        assert_eq!(Origin::of("https://Q.io/x"), Origin::of("https://q.io:443/y?z"));
        assert_ne!(Origin::of("https://q.io/"), Origin::of("http://q.io/"));
        assert_ne!(Origin::of("https://q.io/"), Origin::of("https://q.io:444/"));
        assert_ne!(Origin::of("https://q.io/"), Origin::of("https://q.io.evil/"));
        for bad in ["", "q.io", "file:///etc", "https:///x", "https://a@q.io/"] {
            assert_eq!(Origin::of(bad), None, "{bad}");
        }
    }
}
