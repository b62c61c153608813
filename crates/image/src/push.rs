//! Pushing: from an image in the store to a registry, byte for byte, so that its digest stays the same. Only layers that are
//! not compressed (of loaded and imported images) are, as docker does it; then the manifest is another one.
//!
//! Owns the order: layers (some at once), configuration, manifest last. How a blob travels is `registry`'s.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use holm_spec::Digest;
use holm_spec::oci::image::{Descriptor, Manifest, media_type};

use crate::progress::Progress;
use crate::reference::{Endpoint, Reference, ReferenceError, RegistriesError, Resolver};
use crate::registry::{Access, BlobSource, ClientOptions, RegistryError, Session, Uploaded};
use crate::store::{Image, Pin, Store, StoreError};

/// How many other repositories are asked for a blob before it is sent.
const MOUNTS_MAX: usize = 3;

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Where to.
    pub reference: Reference,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The size of the manifest, which docker shows behind the digest.
    pub size_bytes: u64,
}

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The destination is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The destination has a digest.
    #[error("cannot push to `{0}`: a digest is the result of a push; name a tag")]
    Digest(String),
    /// registries.conf does not allow it.
    #[error(transparent)]
    Resolve(#[from] RegistriesError),
    /// The store does not have all of the image.
    #[error("cannot read image `{0}`")]
    Store(String, #[source] Box<StoreError>),
    /// The registry did not take it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl PushError {
    /// What the person may do about it, as one line, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Store(name, error) if matches!(**error, StoreError::BlobMissing(_)) => {
                Some(format!("pull `{name}` again to have all its blobs"))
            }
            _ => None,
        }
    }
}

/// Pushes the image `source` to `destination`, or to `source` itself where that is `None`.
///
/// *Errors*: blobs that went before the failure stay at the registry, which removes them in its own time; a tag is only
/// moved when everything else is there.
pub fn push(
    store: &Store,
    resolver: &Resolver,
    options: &ClientOptions,
    source: &str,
    destination: Option<&str>,
    progress: &dyn Progress,
) -> Result<Pushed, PushError> {
    let reference = Reference::parse(destination.unwrap_or(source))?;
    let tag = match (reference.tag(), reference.digest()) {
        (Some(tag), None) => tag,
        _ => return Err(PushError::Digest(reference.familiar())),
    };
    let failed = |error| PushError::Store(source.escape_default().to_string(), Box::new(error));
    let pin = store.pin().map_err(failed)?;
    let image = find(store, source).map_err(failed)?;
    let (mut manifest, mut bytes) = store.read_manifest(&image.manifest_digest).map_err(failed)?;
    let mut digest = image.manifest_digest.clone();
    let compressed = compress_plain(store, &pin, &mut manifest).map_err(failed)?;
    if !compressed.is_empty() {
        let path = || std::path::PathBuf::from(source.escape_default().to_string());
        bytes = serde_json::to_vec(&manifest).map_err(|source| failed(StoreError::Json { path: path(), source }))?;
        digest = crate::hash::sha256(&bytes);
    }
    let endpoint = primary(resolver, &reference)?;
    let mount_from = mount_sources(&image, &reference);
    let session = Session::open(options, &endpoint, &Access::Push(mount_from.clone()))?;
    let mut seen = HashSet::new();
    let layers = manifest.layers.iter().filter(|layer| seen.insert(&layer.digest));
    let job = Job { store, session: &session, mount_from: &mount_from, progress, name: source, compressed };
    job.push_all(layers.collect(), options.parallel_layers)?;
    job.push_one(&manifest.config)?;
    let kind = manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
    session.put_manifest(tag, kind, &bytes)?;
    Ok(Pushed { digest, size_bytes: bytes.len() as u64, reference })
}

/// Compresses the layers of a manifest that are not, and makes it say so. The bytes lie in files without a name.
fn compress_plain(store: &Store, pin: &Pin, manifest: &mut Manifest) -> Result<HashMap<Digest, File>, StoreError> {
    let mut made = HashMap::new();
    for layer in &mut manifest.layers {
        let kind = match layer.media_type.as_str() {
            media_type::OCI_LAYER => media_type::OCI_LAYER_GZIP,
            media_type::DOCKER_LAYER => media_type::DOCKER_LAYER_GZIP,
            _ => continue,
        };
        let mut plain = store.open_blob(&layer.digest)?;
        let mut blob = store.new_blob(pin, true)?;
        let path = || std::path::PathBuf::from(layer.digest.to_string());
        let failed = |source| StoreError::Io { verb: "compress", path: path(), source };
        let out = BufWriter::with_capacity(256 * 1024, &mut blob);
        let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
        io::copy(&mut plain, &mut gzip).map_err(failed)?;
        gzip.finish().and_then(|mut rest| rest.flush()).map_err(failed)?;
        let (digest, size, file) = blob.read_back()?;
        layer.media_type = kind.to_owned();
        layer.digest = digest.clone();
        layer.size = size;
        made.insert(digest, file);
    }
    Ok(made)
}

/// The registry itself: mirrors are for reading.
fn primary(resolver: &Resolver, reference: &Reference) -> Result<Endpoint, PushError> {
    let found = resolver.endpoints(reference)?.into_iter().find(|endpoint| !endpoint.mirror);
    Ok(found.unwrap_or(Endpoint { reference: reference.clone(), insecure: false, mirror: false }))
}

fn find(store: &Store, source: &str) -> Result<Image, StoreError> {
    let name = Reference::parse(source).map_or_else(|_| source.to_owned(), |reference| reference.to_string());
    match store.resolve(&name) {
        Err(StoreError::NotFound(_)) => store.resolve(source),
        other => other,
    }
}

/// Other repositories of the same registry that this image is known by.
fn mount_sources(image: &Image, destination: &Reference) -> Vec<String> {
    let mut sources = Vec::new();
    for name in image.names.iter().filter_map(|name| Reference::parse(name).ok()) {
        let other = name.domain() == destination.domain() && name.path() != destination.path();
        if other && !sources.contains(&name.path().to_owned()) {
            sources.push(name.path().to_owned());
        }
    }
    sources.truncate(MOUNTS_MAX);
    sources
}

struct Job<'a> {
    store: &'a Store,
    session: &'a Session<'a>,
    mount_from: &'a [String],
    progress: &'a dyn Progress,
    name: &'a str,
    /// Layers that are not in the store as they are sent.
    compressed: HashMap<Digest, File>,
}

impl Job<'_> {
    /// Pushes `layers`, some at once; the first that fails stops the others.
    fn push_all(&self, layers: VecDeque<&Descriptor>, parallel: usize) -> Result<(), PushError> {
        let threads = parallel.clamp(1, 16).min(layers.len());
        let queue = Mutex::new(layers);
        let failure: Mutex<Option<PushError>> = Mutex::new(None);
        // The lock must not be held while the work is done.
        let next = || lock(&queue).pop_front();
        let worker = || {
            while let Some(layer) = next() {
                if let Err(error) = self.push_one(layer) {
                    let mut first = lock(&failure);
                    if first.is_none() {
                        *first = Some(error);
                    }
                    drop(first);
                    lock(&queue).clear();
                    self.session.abort();
                }
            }
        };
        thread::scope(|scope| {
            // Where no thread can be had, those that there are do the work.
            let start = |_| thread::Builder::new().name("push".to_owned()).spawn_scoped(scope, worker).ok();
            let others: Vec<_> = (1..threads).filter_map(start).collect();
            worker();
            // The scope alone would return a moment before the threads are gone from the process.
            for other in others {
                if let Err(panic) = other.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn push_one(&self, descriptor: &Descriptor) -> Result<(), PushError> {
        let id = &descriptor.digest.hex()[..12];
        self.progress.start(id, "layer", Some(descriptor.size));
        let result = self.send(descriptor, id);
        let status = match &result {
            Ok(Uploaded::AlreadyThere) => "already there".to_owned(),
            Ok(Uploaded::Mounted(from)) => format!("mounted from {from}"),
            Ok(Uploaded::Sent) => "done".to_owned(),
            Err(_) => "failed".to_owned(),
        };
        self.progress.done(id, &status);
        result.map(|_| ())
    }

    fn send(&self, descriptor: &Descriptor, id: &str) -> Result<Uploaded, PushError> {
        let opened;
        let file = match self.compressed.get(&descriptor.digest) {
            Some(file) => file,
            None => {
                let failed = |error| PushError::Store(self.name.escape_default().to_string(), Box::new(error));
                opened = self.store.open_blob(&descriptor.digest).map_err(failed)?;
                &opened
            }
        };
        let source = BlobSource { digest: &descriptor.digest, size_bytes: descriptor.size, file };
        let sent = |n| self.progress.advance(id, n);
        Ok(self.session.push_blob(&source, self.mount_from, &sent)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
