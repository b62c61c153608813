//! Image references: what people type, the canonical form, and where a reference is looked for.
//!
//! Owns the grammar (`Reference`), the search order, aliases and mirrors of registries.conf (`Resolver`). Talks to no
//! registry.
//!
//! ```text
//! reference := name [":" tag] ["@" digest]      name := [domain "/"] path
//! alpine -> docker.io/library/alpine:latest     user/app:1 -> docker.io/user/app:1
//! ```

mod registries;
mod resolver;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use holm_spec::{Digest, DigestError};

pub use registries::{Mirror, PullFromMirror, RegistriesConf, RegistriesError, RegistryEntry};
pub(crate) use resolver::registry_name;
pub use resolver::{Endpoint, Resolver, ResolverPaths};

/// The registry that a name without one means.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag that a name without one means.
pub const DEFAULT_TAG: &str = "latest";
/// *Units*: bytes. *Source*: distribution/reference, `RepositoryNameTotalLengthMax`.
pub const NAME_MAX: usize = 255;
/// *Units*: bytes. *Source*: distribution/reference, tag grammar.
pub const TAG_MAX: usize = 128;

/// The domain that very old clients wrote for Docker Hub.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// The name space of Docker Hub's own images, left out when typing.
const OFFICIAL_PREFIX: &str = "library/";

/// Why a text is not a reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Empty text.
    #[error("cannot use an empty image reference")]
    Empty,
    /// The grammar does not hold.
    #[error("cannot use image reference `{0}`: {1}")]
    Grammar(String, &'static str),
    /// The repository has upper-case letters.
    #[error("cannot use image reference `{0}`: the repository name must be lower case")]
    UpperCase(String),
    /// A part is too long.
    #[error("cannot use image reference `{0}`: the {1} has {2} characters, the limit is {3}")]
    TooLong(String, &'static str, usize, usize),
    /// 64 hex digits, which would be taken for an image id.
    #[error("cannot use image reference `{0}`: 64 hex digits are an image id, not a name")]
    LooksLikeId(String),
    /// The digest is malformed.
    #[error("cannot use image reference `{0}`")]
    Digest(String, #[source] DigestError),
    /// A tag or digest where only a repository is allowed.
    #[error("cannot use image reference `{0}`: only a repository without tag or digest is allowed here")]
    NotARepository(String),
}

/// A normalised reference: registry, repository, and a tag, a digest or both.
///
/// Without a tag and a digest in the text the tag is `latest`. `Display` is the canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises `text` as docker does. Pure: looks at no file and takes any input.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let mut reference = Self::parse_raw(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(reference)
    }

    /// Parses the name of a repository: a reference without tag or digest, which then stands for no tag at all.
    pub fn parse_repository(text: &str) -> Result<Self, ReferenceError> {
        let reference = Self::parse_raw(text)?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(ReferenceError::NotARepository(shown(text)));
        }
        Ok(reference)
    }

    fn parse_raw(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|error| ReferenceError::Digest(shown(text), error))?))
            }
            None => (text, None),
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_none() && digest.is_none() && is_hex_id(name) {
            return Err(ReferenceError::LooksLikeId(shown(text)));
        }
        let (domain, path) = split_domain(name);
        check_domain(&domain, text)?;
        check_path(&path, text)?;
        if let Some(tag) = tag {
            check_tag(tag, text)?;
        }
        Ok(Self { domain, path, tag: tag.map(str::to_owned), digest })
    }

    /// Puts a reference together from checked parts.
    pub fn from_parts(
        domain: &str,
        path: &str,
        tag: Option<&str>,
        digest: Option<&Digest>,
    ) -> Result<Self, ReferenceError> {
        let mut text = format!("{domain}/{path}");
        if let Some(tag) = tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        Self::parse(&text)
    }

    /// The registry as named, `docker.io` or `host[:port]`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository inside the registry, `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository without tag and digest, `docker.io/library/alpine`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same repository with `tag` and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag, tag)?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository at `digest`, without a tag.
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Self { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// The short form that people type: without `docker.io/` and `library/`; the tag is kept.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(hub) = full.strip_prefix("docker.io/") else { return full };
        match hub.strip_prefix(OFFICIAL_PREFIX) {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => hub.to_owned(),
        }
    }

    /// Whether `text` names its registry, so that no alias or search applies.
    pub fn is_qualified(text: &str) -> bool {
        text.split_once('/').is_some_and(|(first, _)| first_is_domain(first))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// `text` made fit for an error line: escaped and at most some 200 characters.
fn shown(text: &str) -> String {
    text.escape_default().take(200).collect()
}

fn is_hex_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn first_is_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if first == LEGACY_DOMAIN => (DEFAULT_DOMAIN, rest),
        Some((first, rest)) if first_is_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    let official = domain == DEFAULT_DOMAIN && !path.contains('/');
    (domain.to_owned(), if official { format!("{OFFICIAL_PREFIX}{path}") } else { path.to_owned() })
}

/// Checks `host[:port]`: a DNS-like name, an IPv4 address or an IPv6 address in brackets.
fn check_domain(domain: &str, text: &str) -> Result<(), ReferenceError> {
    let bad = |why| Err(ReferenceError::Grammar(shown(text), why));
    if domain.len() > NAME_MAX {
        return Err(ReferenceError::TooLong(shown(text), "registry name", domain.len(), NAME_MAX));
    }
    let (host, port) = match domain.strip_prefix('[') {
        Some(inner) => {
            let Some((address, after)) = inner.split_once(']') else { return bad("an IPv6 address needs its `]`") };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return bad("what stands in brackets is no IPv6 address");
            }
            match after.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if after.is_empty() => (None, None),
                None => return bad("only a port may follow the IPv6 address"),
            }
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    if let Some(host) = host {
        let label_ok = |label: &str| {
            let bytes = label.as_bytes();
            let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
            edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        };
        if !host.split('.').all(label_ok) {
            return bad("the registry name is malformed");
        }
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() || !port.bytes().all(|b| b.is_ascii_digit()) => {
            bad("the registry's port is no number from 0 to 65535")
        }
        _ => Ok(()),
    }
}

fn check_path(path: &str, text: &str) -> Result<(), ReferenceError> {
    if path.len() > NAME_MAX {
        return Err(ReferenceError::TooLong(shown(text), "repository name", path.len(), NAME_MAX));
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase(shown(text)));
    }
    if path.split('/').all(is_path_component) {
        return Ok(());
    }
    let why = "a repository is made of a-z, 0-9 and single `.`, `_`, `__` or `-` between them, parted by `/`";
    Err(ReferenceError::Grammar(shown(text), why))
}

/// `[a-z0-9]+ ((\.|_|__|-+) [a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let word = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(|b| word(*b)) || !bytes.last().is_some_and(|b| word(*b)) {
        return false;
    }
    bytes
        .split(|b| word(*b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn check_tag(tag: &str, text: &str) -> Result<(), ReferenceError> {
    if tag.len() > TAG_MAX {
        return Err(ReferenceError::TooLong(shown(text), "tag", tag.len(), TAG_MAX));
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    if bytes.first().is_some_and(|b| word(*b)) && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-')) {
        return Ok(());
    }
    Err(ReferenceError::Grammar(shown(text), "a tag is made of letters, digits, `_`, `.` and `-`"))
}
