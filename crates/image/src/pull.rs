//! Pulling: from a reference to an image in the store.
//!
//! Owns the order of things: candidates, mirrors, manifest, platform, layers. How bytes travel is `registry`'s, where
//! they land is `store`'s.
//!
//! ```text
//! reference -> candidates (aliases, search) -> endpoints (mirrors, registry) -> manifest by tag or digest
//!   index    -> the manifest for the platform
//!   manifest -> configuration, then layers, some at once: bytes -> blob file
//!                                                               -> bounded pipe -> unpack, at the same time
//! all there  -> add_image under the name
//! ```
//!
//! The first layer that fails stops the others, and its error is the one reported. No thread outlives a call.

mod error;
mod layer;
pub mod platform;

use holm_spec::Digest;
use holm_spec::oci::image::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};

use crate::document::{DocumentError, MAX_DOCUMENT_BYTES, ManifestOrIndex, parse_manifest};
use crate::progress::Progress;
use crate::reference::{Endpoint, Reference, ReferenceError, RegistriesError, Resolver};
use crate::registry::{Access, BlobSink, ClientOptions, RegistryError, RemoteManifest, Session};
use crate::store::{Image, Ingest, Store, StoreError};
pub use error::PullError;
use platform::{choose, host_platform, platform_text};

/// An index may point to another index, once.
const MAX_INDEX_DEPTH: usize = 2;

/// When a registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always.
    Always,
    /// Only where the store has no such image.
    #[default]
    Missing,
    /// Never.
    Never,
    /// Always, but what the store has will do where the registry cannot be reached.
    Newer,
}

impl std::str::FromStr for PullPolicy {
    type Err = PullError;

    fn from_str(text: &str) -> Result<Self, PullError> {
        match text {
            "always" | "true" | "1" => Ok(Self::Always),
            "missing" | "ifnotpresent" | "IfNotPresent" => Ok(Self::Missing),
            "never" | "false" | "0" => Ok(Self::Never),
            "newer" => Ok(Self::Newer),
            other => Err(PullError::Policy(other.escape_default().take(60).collect())),
        }
    }
}

/// Pulls `reference` for `platform`, whatever the store has already; what is there is not fetched again.
pub fn pull(
    store: &Store,
    resolver: &Resolver,
    options: &ClientOptions,
    reference: &str,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Image, PullError> {
    let candidates = resolver.candidates(reference)?;
    let mut attempts = Vec::new();
    for candidate in &candidates {
        match pull_candidate(store, resolver, options, candidate, platform, progress) {
            Ok(image) => return Ok(image),
            Err(error) if error.is_about_the_place() => attempts.push((candidate.to_string(), error)),
            Err(error) => return Err(error),
        }
    }
    match attempts.pop() {
        Some((_, only)) if attempts.is_empty() => Err(only),
        last => {
            attempts.extend(last);
            Err(PullError::Everywhere { reference: reference.escape_default().to_string(), attempts })
        }
    }
}

/// The image that `reference` means, pulled where `policy` says so. `platform` is `None` where the person did not ask
/// for one: then any image of that name in the store will do.
pub fn ensure(
    store: &Store,
    resolver: &Resolver,
    options: &ClientOptions,
    reference: &str,
    platform: Option<&Platform>,
    policy: PullPolicy,
    progress: &dyn Progress,
) -> Result<Image, PullError> {
    let host = host_platform();
    let fetch = || pull(store, resolver, options, reference, platform.unwrap_or(&host), progress);
    if policy == PullPolicy::Always {
        return fetch();
    }
    let present = find_local(store, resolver, reference)?.filter(|image| {
        let config = &image.config;
        platform.is_none_or(|wanted| config.os == wanted.os && config.architecture == wanted.architecture)
    });
    match (policy, present) {
        (PullPolicy::Newer, Some(image)) => match fetch() {
            Err(error) if error.is_unreachable() => Ok(image),
            other => other,
        },
        (PullPolicy::Never, None) => Err(PullError::NotPresent(reference.escape_default().to_string())),
        (_, Some(image)) => Ok(image),
        (_, None) => fetch(),
    }
}

/// Pulls every tag of a repository.
pub fn pull_all_tags(
    store: &Store,
    resolver: &Resolver,
    options: &ClientOptions,
    repository: &str,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Vec<Image>, PullError> {
    Reference::parse_repository(repository)?;
    let mut failed = None;
    for candidate in resolver.candidates(repository)? {
        let endpoints = resolver.endpoints(&candidate)?;
        let Some(endpoint) = endpoints.last() else { continue };
        let tags = Session::open(options, endpoint, &Access::Pull).and_then(|session| session.tags());
        match tags {
            Ok(tags) => {
                let pull_one = |tag: &String| {
                    let tagged = candidate.with_tag(tag)?;
                    pull_candidate(store, resolver, options, &tagged, platform, progress)
                };
                return tags.iter().map(pull_one).collect();
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or_else(|| PullError::NotPresent(repository.to_owned()), PullError::Registry))
}

/// What the store has for `reference`: any candidate's name, else an id.
fn find_local(store: &Store, resolver: &Resolver, reference: &str) -> Result<Option<Image>, PullError> {
    // Names first, so that an image called `cafe` is not taken for an id; 64 digits are no name and fall through.
    let names = match resolver.candidates(reference) {
        Ok(candidates) => candidates.iter().map(ToString::to_string).collect(),
        Err(RegistriesError::Reference(ReferenceError::LooksLikeId(_))) => Vec::new(),
        Err(RegistriesError::Reference(_)) if reference.starts_with("sha256:") => Vec::new(),
        Err(RegistriesError::NoSearch(_)) => vec![Reference::parse(reference)?.to_string()],
        Err(error) => return Err(error.into()),
    };
    for name in names.iter().map(String::as_str).chain([reference]) {
        match store.resolve(name) {
            Ok(image) => return Ok(Some(image)),
            Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(PullError::Store(reference.to_owned(), Box::new(error))),
        }
    }
    Ok(None)
}

fn pull_candidate(
    store: &Store,
    resolver: &Resolver,
    options: &ClientOptions,
    reference: &Reference,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Image, PullError> {
    let endpoints = resolver.endpoints(reference)?;
    let mut attempts = Vec::new();
    for endpoint in &endpoints {
        match (Job { store, options, reference, platform, progress }).run(endpoint) {
            Ok(image) => return Ok(image),
            // A mirror that fails is passed over; the registry's own answer counts.
            Err(error) if endpoint.mirror && error.is_about_the_place() => {
                attempts.push((endpoint.location(), error));
            }
            Err(error) if attempts.is_empty() => return Err(error),
            Err(error) => {
                attempts.push((endpoint.location(), error));
                break;
            }
        }
    }
    Err(PullError::Everywhere { reference: reference.familiar(), attempts })
}

/// One pull from one place.
struct Job<'a> {
    store: &'a Store,
    options: &'a ClientOptions,
    reference: &'a Reference,
    platform: &'a Platform,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    fn run(&self, endpoint: &Endpoint) -> Result<Image, PullError> {
        let _pin = self.store.pin().map_err(|error| self.stored(error))?;
        let session = Session::open(self.options, endpoint, &Access::Pull)?;
        let wanted = match (endpoint.reference.digest(), endpoint.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(crate::reference::DEFAULT_TAG).to_owned(),
        };
        let remote = session.manifest(&wanted)?;
        let (remote, manifest) = self.find_manifest(&session, remote)?;
        let config = self.fetch_config(&session, &manifest)?;
        layer::fetch_all(self, &session, &manifest, &config)?;
        let name = match self.reference.digest() {
            Some(digest) => self.reference.with_digest(digest).to_string(),
            None => self.reference.to_string(),
        };
        let kind = manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
        self.store.add_image(&remote.bytes, kind, Some(&name)).map_err(|error| self.stored(error))
    }

    /// Goes from what the registry gave, through an index where there is one, to the manifest for the platform.
    fn find_manifest(
        &self,
        session: &Session<'_>,
        mut remote: RemoteManifest,
    ) -> Result<(RemoteManifest, Manifest), PullError> {
        let mut announced = Some(remote.media_type.clone()).filter(|kind| is_manifest_type(kind));
        for _ in 0..=MAX_INDEX_DEPTH {
            let object = format!("{}@{}", self.reference.repository(), remote.digest);
            let document = parse_manifest(&remote.bytes, announced.as_deref())
                .map_err(|error| PullError::Document(object.clone(), error))?;
            let index = match document {
                ManifestOrIndex::Manifest(manifest) => return Ok((remote, manifest)),
                ManifestOrIndex::Index(index) => index,
            };
            let descriptor = self.choose(&index)?;
            remote = session.manifest(descriptor.digest.as_str())?;
            let size_bytes = remote.bytes.len() as u64;
            if size_bytes != descriptor.size {
                let object = format!("{}@{}", self.reference.repository(), descriptor.digest);
                return Err(PullError::Size(object, size_bytes, descriptor.size));
            }
            announced = Some(descriptor.media_type.clone());
        }
        let why = format!("nests indexes more than {MAX_INDEX_DEPTH} deep");
        let (verb, object) = ("pull", self.reference.to_string());
        Err(RegistryError::Protocol { verb, object, registry: session.registry().to_owned(), why }.into())
    }

    fn choose<'i>(&self, index: &'i Index) -> Result<&'i Descriptor, PullError> {
        choose(&index.manifests, self.platform).ok_or_else(|| {
            let mut available: Vec<String> = index
                .manifests
                .iter()
                .filter_map(|descriptor| descriptor.platform.as_ref())
                .filter(|platform| platform.os != "unknown")
                .map(platform_text)
                .take(20)
                .collect();
            available.dedup();
            let available = if available.is_empty() { "no platform".to_owned() } else { available.join(", ") };
            let wanted = platform_text(self.platform);
            PullError::NoPlatform { reference: self.reference.familiar(), wanted, available }
        })
    }

    fn fetch_config(&self, session: &Session<'_>, manifest: &Manifest) -> Result<ImageConfig, PullError> {
        let descriptor = &manifest.config;
        if descriptor.size > MAX_DOCUMENT_BYTES {
            let error = DocumentError::TooLarge { size_bytes: descriptor.size };
            return Err(PullError::Document(session_object(session, &descriptor.digest), error));
        }
        let ingest = self.store.ingest(&descriptor.digest, descriptor.size).map_err(|error| self.stored(error))?;
        if let Ingest::Writer(mut writer) = ingest {
            // Too small to be worth resuming, and so never the victim of a damaged left-over.
            writer.reset().map_err(|error| self.stored(error))?;
            let mut sink = ConfigSink(writer);
            session.fetch_blob(&descriptor.digest, descriptor.size, &mut sink)?;
            sink.0.commit().map_err(|error| self.stored(error))?;
        }
        let config = self.store.read_config(manifest).map_err(|error| self.stored(error))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            let manifest = descriptor.digest.clone();
            return Err(self.stored(StoreError::LayerCount { manifest, layers, diff_ids }));
        }
        Ok(config)
    }

    fn stored(&self, error: StoreError) -> PullError {
        PullError::Store(self.reference.familiar(), Box::new(error))
    }
}

struct ConfigSink(crate::store::BlobWriter);

impl BlobSink for ConfigSink {
    fn offset(&self) -> u64 {
        self.0.offset()
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::Write::write_all(&mut self.0, bytes)
    }
}

fn session_object(session: &Session<'_>, digest: &Digest) -> String {
    format!("{}/{}@{digest}", session.registry(), session.repository())
}

/// Registries often send `application/json`, which announces nothing; schema 1 is left to its version number.
fn is_manifest_type(kind: &str) -> bool {
    matches!(
        kind,
        media_type::OCI_INDEX | media_type::OCI_MANIFEST | media_type::DOCKER_INDEX | media_type::DOCKER_MANIFEST
    )
}
