//! Images: finding, listing, adding and naming them.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use holm_spec::Digest;
use holm_spec::oci::image::{ImageConfig, Index, Manifest, media_type};

use super::error::StoreError;
use super::record::Record;
use super::{Store, index};
use crate::document::{self, ManifestOrIndex};
use crate::hash;

/// An image that is in the store and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The image id: the digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// Its names, sorted: `docker.io/library/alpine:latest`, or with `@sha256:…` where it was pulled by digest.
    pub names: Vec<String>,
    /// How to run it, and its history.
    pub config: ImageConfig,
    /// The folders of its layers, lowest first. A layer that occurs twice is kept where it is topmost.
    pub layers: Vec<PathBuf>,
    /// Sum of the sizes of its unpacked layers.
    pub size_bytes: u64,
    /// Creation time as the image states it, RFC 3339.
    pub created: Option<String>,
}

/// What a reference was found to mean.
#[derive(Debug)]
pub(super) struct Found {
    pub id: Digest,
    pub manifest: Digest,
    /// The name that was matched exactly; `None` if it was found by id or digest.
    pub name: Option<String>,
}

impl Store {
    /// Finds an image by canonical name, `name@digest`, id, manifest digest, or a prefix of an id.
    ///
    /// *Errors*: [`StoreError::NotFound`]; [`StoreError::Ambiguous`] for a prefix that fits several images.
    pub fn resolve(&self, reference: &str) -> Result<Image, StoreError> {
        let index = self.read_index()?;
        let found = find(&index, reference)?;
        self.image(&index, found.id, found.manifest)
    }

    /// All images, each once, in the order in which they came.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        let index = self.read_index()?;
        let mut seen = HashSet::new();
        let mut images = Vec::new();
        for entry in index::entries(&index) {
            let Ok(id) = entry.id.parse::<Digest>() else { continue };
            if seen.insert(id.clone()) {
                images.push(self.image(&index, id, entry.manifest.clone())?);
            }
        }
        Ok(images)
    }

    /// Adds an image whose blobs and layers are all in the store, under a name or without one.
    ///
    /// A name that another image has moves. *Errors*: what is missing or does not agree; then nothing was added.
    pub fn add_image(
        &self,
        manifest: &[u8],
        manifest_media_type: &str,
        name: Option<&str>,
    ) -> Result<Image, StoreError> {
        let _pin = self.pin()?;
        if let Some(name) = name {
            check_name(name)?;
        }
        let digest = hash::sha256(manifest);
        let parsed = document::parse_manifest(manifest, Some(manifest_media_type))
            .map_err(|source| StoreError::Document { digest: digest.clone(), source })?;
        let ManifestOrIndex::Manifest(parsed) = parsed else { return Err(StoreError::NotManifest(digest)) };
        let config = self.read_config(&parsed)?;
        let size_bytes = self.check_complete(&digest, &parsed, &config)?;

        self.put_blob(manifest)?;
        let id = parsed.config.digest;
        self.write_record(&Record { version: Record::VERSION, id: id.clone(), config, size_bytes })?;
        let kind = parsed.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
        let entry = index::entry(&digest, manifest.len() as u64, kind, &id, name);
        let index = self.change_index(|index| {
            index::insert(index, entry);
            Ok(index.clone())
        })?;
        self.image(&index, id, digest)
    }

    /// Gives an image one more name. A name that another image has moves.
    pub fn tag(&self, source: &str, name: &str) -> Result<Image, StoreError> {
        let _pin = self.pin()?;
        check_name(name)?;
        let (index, found) = self.change_index(|index| {
            let found = find(index, source)?;
            let same = |d: &&holm_spec::oci::image::Descriptor| d.digest == found.manifest;
            let old = index.manifests.iter().find(same).ok_or_else(|| StoreError::NotFound(source.to_owned()))?;
            let entry = index::entry(&found.manifest, old.size, &old.media_type, &found.id, Some(name));
            index::insert(index, entry);
            Ok((index.clone(), found))
        })?;
        self.image(&index, found.id, found.manifest)
    }

    /// Reads and parses the configuration of a manifest.
    pub fn read_config(&self, manifest: &Manifest) -> Result<ImageConfig, StoreError> {
        let digest = &manifest.config.digest;
        let bytes = self.read_blob(digest, document::MAX_DOCUMENT_BYTES)?;
        document::parse_config(&bytes).map_err(|source| StoreError::Document { digest: digest.clone(), source })
    }

    /// Reads and parses the manifest of an image, with its raw bytes.
    pub fn read_manifest(&self, digest: &Digest) -> Result<(Manifest, Vec<u8>), StoreError> {
        let bytes = self.read_blob(digest, document::MAX_DOCUMENT_BYTES)?;
        match document::parse_manifest(&bytes, None) {
            Ok(ManifestOrIndex::Manifest(manifest)) => Ok((manifest, bytes)),
            Ok(ManifestOrIndex::Index(_)) => Err(StoreError::NotManifest(digest.clone())),
            Err(source) => Err(StoreError::Document { digest: digest.clone(), source }),
        }
    }

    /// Checks that every blob and layer is there and that the documents agree. Gives the unpacked size.
    fn check_complete(&self, digest: &Digest, manifest: &Manifest, config: &ImageConfig) -> Result<u64, StoreError> {
        let diff_ids = &config.rootfs.diff_ids;
        if manifest.layers.len() != diff_ids.len() {
            let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
            return Err(StoreError::LayerCount { manifest: digest.clone(), layers, diff_ids });
        }
        if let Some(missing) = manifest.layers.iter().find(|layer| !self.has_blob(&layer.digest)) {
            return Err(StoreError::BlobMissing(missing.digest.clone()));
        }
        let mut seen = HashSet::new();
        let mut size_bytes = 0_u64;
        for diff_id in diff_ids.iter().filter(|diff_id| seen.insert(*diff_id)) {
            size_bytes = size_bytes.saturating_add(self.layer_size(diff_id)?);
        }
        Ok(size_bytes)
    }

    /// Puts an [`Image`] together from the index and its record.
    pub(super) fn image(&self, index: &Index, id: Digest, manifest_digest: Digest) -> Result<Image, StoreError> {
        let record = self.read_record(&id)?;
        let named = index::entries(index).filter(|entry| entry.id == id.as_str());
        let mut names: Vec<String> = named.filter_map(|entry| entry.name.map(str::to_owned)).collect();
        names.sort_unstable();
        let layers = self.layer_folders(&record.config.rootfs.diff_ids);
        let created = record.config.created.clone();
        Ok(Image { id, manifest_digest, names, config: record.config, layers, size_bytes: record.size_bytes, created })
    }

    fn layer_folders(&self, diff_ids: &[Digest]) -> Vec<PathBuf> {
        // The kernel refuses an overlay that has one folder twice, and only the topmost one matters.
        let mut seen = HashSet::new();
        let mut folders: Vec<PathBuf> =
            diff_ids.iter().rev().filter(|id| seen.insert(*id)).map(|id| self.layer_path(id).join("fs")).collect();
        folders.reverse();
        folders
    }
}

/// Finds what a reference means: an exact name first, then digests, then a prefix of an id.
pub(super) fn find(index: &Index, reference: &str) -> Result<Found, StoreError> {
    let found = |entry: index::Entry<'_>, name: Option<&str>| {
        let id = entry.id.parse().map_err(|_| StoreError::NotFound(reference.to_owned()))?;
        Ok(Found { id, manifest: entry.manifest.clone(), name: name.map(str::to_owned) })
    };
    if let Some(entry) = index::entries(index).find(|entry| entry.name == Some(reference)) {
        return found(entry, Some(reference));
    }
    if let Some((name, digest)) = reference.split_once('@') {
        let repository = repository(name);
        let fits = |entry: &index::Entry<'_>| {
            entry.manifest.as_str() == digest && entry.name.is_some_and(|known| self::repository(known) == repository)
        };
        return match index::entries(index).find(fits) {
            Some(entry) => found(entry, None),
            None => Err(StoreError::NotFound(reference.to_owned())),
        };
    }
    let by_digest = |entry: &index::Entry<'_>| entry.id == reference || entry.manifest.as_str() == reference;
    if let Some(entry) = index::entries(index).find(by_digest) {
        return found(entry, None);
    }
    let prefix = reference.strip_prefix("sha256:").unwrap_or(reference);
    if prefix.len() < 2 || !prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(StoreError::NotFound(reference.to_owned()));
    }
    let fits = |entry: &index::Entry<'_>| entry.id.split_once(':').is_some_and(|(_, hex)| hex.starts_with(prefix));
    let images: BTreeMap<&str, index::Entry<'_>> =
        index::entries(index).filter(fits).map(|entry| (entry.id, entry)).collect();
    match (images.len(), images.into_values().next()) {
        (1, Some(entry)) => found(entry, None),
        (0, _) | (_, None) => Err(StoreError::NotFound(reference.to_owned())),
        (count, _) => Err(StoreError::Ambiguous { prefix: reference.to_owned(), count }),
    }
}

/// A name without its tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let last = name.rfind('/').map_or(0, |at| at + 1);
    name[last..].find(':').map_or(name, |at| &name[..last + at])
}

/// Names are data from archives and command lines: printable, short, and never mistaken for an id.
fn check_name(name: &str) -> Result<(), StoreError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > 512 {
        "it has more than 512 bytes"
    } else if !name.bytes().all(|b| b.is_ascii_graphic()) {
        "it has characters that no image name may have"
    } else if name.parse::<Digest>().is_ok() {
        "it is a digest"
    } else {
        return Ok(());
    };
    Err(StoreError::BadName { name: name.to_owned(), reason })
}
