//! `index.json`: which manifests the store has, and under which names.
//!
//! One entry per name; an image without a name has one entry without a name annotation.

use holm_spec::Digest;
use holm_spec::oci::image::{Descriptor, Index, media_type};

use super::error::StoreError;
use super::{Store, file};

/// Annotation that holds a full canonical name, as other tools look for it.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The same name for containerd's tools.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Annotation that holds the image id, so that finding an image needs no read of its manifest.
pub(super) const IMAGE_ID: &str = "io.holm.image.id";

/// The index of a store without images.
pub(super) const EMPTY: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// An index of some 100 000 names.
const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// One entry of the index that Holm made: a manifest, its image and perhaps a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub manifest: &'a Digest,
    pub id: &'a str,
    pub name: Option<&'a str>,
}

/// The entries that Holm made. Others' entries have no image id and are left alone.
pub(super) fn entries(index: &Index) -> impl Iterator<Item = Entry<'_>> {
    index.manifests.iter().filter_map(|descriptor| {
        let id = descriptor.annotations.get(IMAGE_ID)?;
        let name = descriptor.annotations.get(REF_NAME).map(String::as_str);
        Some(Entry { manifest: &descriptor.digest, id, name })
    })
}

/// Makes the entry for a manifest.
pub(super) fn entry(manifest: &Digest, size: u64, kind: &str, id: &Digest, name: Option<&str>) -> Descriptor {
    let mut annotations = std::collections::BTreeMap::new();
    annotations.insert(IMAGE_ID.to_owned(), id.to_string());
    if let Some(name) = name {
        annotations.insert(REF_NAME.to_owned(), name.to_owned());
        annotations.insert(CONTAINERD_NAME.to_owned(), name.to_owned());
    }
    let (media_type, digest) = (kind.to_owned(), manifest.clone());
    Descriptor { media_type, digest, size, platform: None, annotations, artifact_type: None }
}

/// Puts an entry into the index. Its name leaves the image that had it, which stays as a nameless one.
pub(super) fn insert(index: &mut Index, new: Descriptor) {
    let same_image = |a: &Descriptor, b: &Descriptor| a.annotations.get(IMAGE_ID) == b.annotations.get(IMAGE_ID);
    match new.annotations.get(REF_NAME).cloned() {
        None if index.manifests.iter().any(|d| d.digest == new.digest && d.annotations.contains_key(IMAGE_ID)) => {}
        None => index.manifests.push(new),
        Some(name) => {
            remove_name(index, &name);
            index.manifests.retain(|d| d.annotations.contains_key(REF_NAME) || !same_image(d, &new));
            index.manifests.push(new);
        }
    }
}

/// Takes a name away. The image stays, nameless if it was its last one. False if there is no such name.
pub(super) fn remove_name(index: &mut Index, name: &str) -> bool {
    let named = |d: &Descriptor| {
        d.annotations.contains_key(IMAGE_ID) && d.annotations.get(REF_NAME).is_some_and(|known| known == name)
    };
    let Some(at) = index.manifests.iter().position(named) else { return false };
    let mut old = index.manifests.remove(at);
    let id = old.annotations.get(IMAGE_ID).cloned();
    if !index.manifests.iter().any(|d| d.annotations.get(IMAGE_ID) == id.as_ref()) {
        old.annotations.remove(REF_NAME);
        old.annotations.remove(CONTAINERD_NAME);
        index.manifests.push(old);
    }
    true
}

impl Store {
    /// Reads `index.json`. It is replaced by rename, so no lock is needed for reading.
    pub(super) fn read_index(&self) -> Result<Index, StoreError> {
        let path = self.index_path();
        let bytes = match file::read(&path, MAX_INDEX_BYTES)? {
            Some(bytes) => bytes,
            None => EMPTY.as_bytes().to_vec(),
        };
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Json { path, source })
    }

    /// Changes `index.json` under its lock. What `change` refuses is not written.
    pub(super) fn change_index<T>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _lock = self.lock_index()?;
        let mut index = self.read_index()?;
        let before = index.clone();
        let result = change(&mut index)?;
        if index != before {
            index.schema_version = 2;
            index.media_type = Some(media_type::OCI_INDEX.to_owned());
            let path = self.index_path();
            let bytes = serde_json::to_vec(&index).map_err(|source| StoreError::Json { path: path.clone(), source })?;
            file::replace(&path, &bytes)?;
        }
        Ok(result)
    }
}
