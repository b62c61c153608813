//! Reading manifests, indexes and configurations from untrusted bytes. Owns their limits; does no I/O.

use holm_spec::oci::image::{Descriptor, ImageConfig, Index, Manifest, media_type};
use serde_json::{Map, Value};

/// Largest manifest, index or configuration that is read. The same limit as containerd's and docker's.
pub const MAX_DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Most layers that an image may have: what the kernel's overlayfs takes.
pub const MAX_LAYERS: usize = 500;

/// Most manifests that an index may list.
pub const MAX_MANIFESTS: usize = 10_000;

/// What a document turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum ManifestOrIndex {
    /// The manifest of one image.
    Manifest(Manifest),
    /// An index of manifests.
    Index(Index),
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is too large.
    #[error("cannot read document: it has {size_bytes} bytes, the limit is {MAX_DOCUMENT_BYTES}")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
    },
    /// It is no JSON, or lacks a field, or a field has the wrong type.
    #[error("cannot read document: it is malformed")]
    Json(#[from] serde_json::Error),
    /// It is both a manifest and an index, so two readers would see two images.
    #[error("cannot read document: it has the fields of both a manifest and an index")]
    Both,
    /// It is neither.
    #[error("cannot read document: it is neither a manifest nor an index")]
    Neither,
    /// It is not of schema version 2.
    #[error("cannot read document: schema version {0} is not supported, only version 2")]
    SchemaVersion(u64),
    /// It says another media type than whoever pointed to it, or than its content is.
    #[error("cannot read document: it is `{actual}`, announced was `{expected}`")]
    MediaType {
        /// What was announced.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// It is something else than an image, as a signature or a chart.
    #[error("cannot use document as an image: its type is `{0}`")]
    NotAnImage(String),
    /// It lists too much.
    #[error("cannot read document: it lists {count} {what}, the limit is {limit}")]
    TooMany {
        /// Layers or manifests.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Its root file system is not made of layers.
    #[error("cannot use configuration: its root file system type is `{0}`, only `layers` is supported")]
    RootFs(String),
}

/// Parses a manifest or index.
///
/// `announced` is the media type that the registry or the referring descriptor gave; `None` where nobody did. A
/// document whose fields fit both kinds is refused, whatever its media type, as is one of another kind than
/// announced.
///
/// *Source*: OCI image-spec manifest.md and image-index.md; CVE-2021-41190 for the refusals.
pub fn parse_manifest(bytes: &[u8], announced: Option<&str>) -> Result<ManifestOrIndex, DocumentError> {
    let mut fields = parse_object(bytes)?;
    let is_index = fields.contains_key("manifests");
    let is_manifest = fields.contains_key("config") || fields.contains_key("layers");
    if is_index && is_manifest {
        return Err(DocumentError::Both);
    }
    match fields.get("schemaVersion").and_then(Value::as_u64) {
        Some(2) => {}
        other => return Err(DocumentError::SchemaVersion(other.unwrap_or(0))),
    }
    if !is_index && !is_manifest {
        return Err(DocumentError::Neither);
    }
    let own = fields.get("mediaType").and_then(Value::as_str).filter(|kind| !kind.is_empty());
    for kind in [own, announced.map(base_type)].into_iter().flatten() {
        check_kind(kind, is_index)?;
    }
    if let (Some(own), Some(announced)) = (own, announced.map(base_type)) {
        let known = kind_of(announced).is_some();
        if known && own != announced {
            return Err(DocumentError::MediaType { expected: announced.to_owned(), actual: own.to_owned() });
        }
    }
    drop_nulls(&mut fields, 0);
    if is_index { parse_index(fields) } else { parse_image(fields) }
}

/// Parses an image configuration.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, DocumentError> {
    let mut fields = parse_object(bytes)?;
    drop_nulls(&mut fields, 0);
    if let Some(Value::Object(rootfs)) = fields.get_mut("rootfs") {
        rootfs.entry("type").or_insert_with(|| "layers".into());
        rootfs.entry("diff_ids").or_insert_with(|| Value::Array(Vec::new()));
    }
    let config: ImageConfig = serde_json::from_value(Value::Object(fields))?;
    if config.rootfs.kind != "layers" {
        return Err(DocumentError::RootFs(config.rootfs.kind));
    }
    check_count("layers", config.rootfs.diff_ids.len(), MAX_LAYERS)?;
    Ok(config)
}

fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, DocumentError> {
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(DocumentError::TooLarge { size_bytes: bytes.len() as u64 });
    }
    Ok(serde_json::from_slice(bytes)?)
}

fn parse_index(fields: Map<String, Value>) -> Result<ManifestOrIndex, DocumentError> {
    let index: Index = serde_json::from_value(Value::Object(fields))?;
    check_count("manifests", index.manifests.len(), MAX_MANIFESTS)?;
    Ok(ManifestOrIndex::Index(index))
}

fn parse_image(fields: Map<String, Value>) -> Result<ManifestOrIndex, DocumentError> {
    let manifest: Manifest = serde_json::from_value(Value::Object(fields))?;
    check_count("layers", manifest.layers.len(), MAX_LAYERS)?;
    let config = &manifest.config.media_type;
    let odd_layer = |layer: &&Descriptor| !is_layer(&layer.media_type);
    if !matches!(config.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
        return Err(DocumentError::NotAnImage(manifest.artifact_type.unwrap_or_else(|| config.clone())));
    }
    if let Some(layer) = manifest.layers.iter().find(odd_layer) {
        return Err(DocumentError::NotAnImage(layer.media_type.clone()));
    }
    Ok(ManifestOrIndex::Manifest(manifest))
}

/// True for the media types of layers: plain, gzip, zstd; OCI and Docker; also the old non-distributable ones.
fn is_layer(kind: &str) -> bool {
    kind.starts_with("application/vnd.oci.image.layer.") || kind.starts_with("application/vnd.docker.image.rootfs.")
}

/// `Some(true)` for an index, `Some(false)` for a manifest, `None` for a type that says nothing.
fn kind_of(media_type: &str) -> Option<bool> {
    match media_type {
        media_type::OCI_INDEX | media_type::DOCKER_INDEX => Some(true),
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => Some(false),
        _ => None,
    }
}

fn check_kind(kind: &str, is_index: bool) -> Result<(), DocumentError> {
    match kind_of(kind) {
        Some(index) if index != is_index => {
            let actual = if is_index { "an index" } else { "a manifest" };
            Err(DocumentError::MediaType { expected: kind.to_owned(), actual: actual.to_owned() })
        }
        _ => Ok(()),
    }
}

/// A media type without its parameters.
fn base_type(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), DocumentError> {
    if count > limit { Err(DocumentError::TooMany { what, count, limit }) } else { Ok(()) }
}

/// Go programs write absent lists and maps as `null`: such fields are dropped, so that defaults apply.
fn drop_nulls(fields: &mut Map<String, Value>, depth: u32) {
    fields.retain(|_, value| !value.is_null());
    if depth < 4 {
        for value in fields.values_mut() {
            match value {
                Value::Object(inner) => drop_nulls(inner, depth + 1),
                Value::Array(list) => {
                    for inner in list.iter_mut().filter_map(Value::as_object_mut) {
                        drop_nulls(inner, depth + 1);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
