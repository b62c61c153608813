//! Writing images as archives that docker, podman, skopeo and containerd read.
//!
//! Both forms are an OCI layout in a tar; a docker-archive has `manifest.json` beside it, as docker's own since 25.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use holm_spec::Digest;
use holm_spec::oci::image::{Descriptor, Index, Manifest, media_type};
use serde_json::json;

use super::content::blob_path;
use super::error::ArchiveError;
use super::names::{FULL_NAME, REF_NAME};
use crate::layer::tar_writer::{Member, MemberKind, TarWriter};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::store::{Image, Store};

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// What `docker save` writes.
    #[default]
    DockerArchive,
    /// An OCI layout.
    OciArchive,
}

/// One image with the names that were asked for.
struct Saved {
    image: Image,
    manifest: Manifest,
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

/// Writes images into one archive. A reference by name keeps that name, one by id keeps none.
pub fn save(
    store: &Store,
    references: &[String],
    format: Format,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<(), ArchiveError> {
    let _pin = store.pin()?;
    let images = collect(store, references)?;
    let mut tar = TarWriter::new(out);
    let mut written = BTreeSet::new();
    for folder in ["blobs", "blobs/sha256", "blobs/sha512"] {
        let member = Member { kind: MemberKind::Folder, mode: 0o755, ..Member::file(folder.as_bytes(), 0) };
        tar.member(&member).map_err(ArchiveError::Write)?;
    }
    for saved in &images {
        let manifest = &saved.manifest;
        let layers = manifest.layers.iter().map(|layer| &layer.digest);
        for digest in layers.chain([&manifest.config.digest, &saved.image.manifest_digest]) {
            if written.insert(digest.clone()) {
                write_blob(store, digest, &mut tar, progress)?;
            }
        }
    }
    write_file(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    write_json(&mut tar, "index.json", &index(&images, format))?;
    if format == Format::DockerArchive {
        write_json(&mut tar, "manifest.json", &docker_list(&images))?;
    }
    tar.finish().map_err(ArchiveError::Write)?;
    Ok(())
}

/// Resolves the references; one image is written once, with all names that were asked for.
fn collect(store: &Store, references: &[String]) -> Result<Vec<Saved>, ArchiveError> {
    let mut images: Vec<Saved> = Vec::new();
    for reference in references {
        let image = store.resolve(reference)?;
        let names: BTreeSet<String> = image.names.iter().filter(|name| *name == reference).cloned().collect();
        if let Some(saved) = images.iter_mut().find(|saved| saved.image.manifest_digest == image.manifest_digest) {
            saved.names.extend(names);
            continue;
        }
        let (manifest, bytes) = store.read_manifest(&image.manifest_digest)?;
        images.push(Saved { image, manifest, bytes, names });
    }
    Ok(images)
}

fn index(images: &[Saved], format: Format) -> Index {
    let mut manifests = Vec::new();
    for saved in images {
        let entry = |name: Option<&String>| {
            let mut annotations = BTreeMap::new();
            if let Some(name) = name {
                let tag = Reference::parse(name).ok().and_then(|r| r.tag().map(str::to_owned));
                let short = tag.filter(|_| format == Format::DockerArchive).unwrap_or_else(|| name.clone());
                annotations.insert(FULL_NAME.to_owned(), name.clone());
                annotations.insert(REF_NAME.to_owned(), short);
            }
            Descriptor {
                media_type: saved.manifest.media_type.clone().unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned()),
                digest: saved.image.manifest_digest.clone(),
                size: saved.bytes.len() as u64,
                platform: None,
                annotations,
                artifact_type: None,
            }
        };
        if saved.names.is_empty() {
            manifests.push(entry(None));
        }
        manifests.extend(saved.names.iter().map(|name| entry(Some(name))));
    }
    let media_type = Some(media_type::OCI_INDEX.to_owned());
    Index { schema_version: 2, media_type, manifests, annotations: BTreeMap::new() }
}

fn docker_list(images: &[Saved]) -> serde_json::Value {
    let familiar = |name: &String| Reference::parse(name).map_or_else(|_| name.clone(), |r| r.familiar());
    let entry = |saved: &Saved| {
        let tags: Vec<String> = saved.names.iter().map(familiar).collect();
        let layers: Vec<String> = saved.manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
        json!({"Config": blob_path(&saved.manifest.config.digest), "RepoTags": tags, "Layers": layers})
    };
    images.iter().map(entry).collect()
}

fn write_blob(
    store: &Store,
    digest: &Digest,
    tar: &mut TarWriter<&mut dyn Write>,
    progress: &dyn Progress,
) -> Result<(), ArchiveError> {
    let path = blob_path(digest);
    let mut file = store.open_blob(digest)?;
    let read = |source| ArchiveError::File { path: (&path).into(), source };
    let size = file.metadata().map_err(read)?.len();
    progress.start(digest.as_str(), &digest.hex()[..12], Some(size));
    tar.member(&Member::file(path.as_bytes(), size)).map_err(ArchiveError::Write)?;
    tar.content(&mut file, size).map_err(ArchiveError::Write)?;
    progress.advance(digest.as_str(), size);
    progress.done(digest.as_str(), "saved");
    Ok(())
}

fn write_json(
    tar: &mut TarWriter<&mut dyn Write>,
    path: &str,
    value: &impl serde::Serialize,
) -> Result<(), ArchiveError> {
    let bytes = serde_json::to_vec(value).map_err(|source| ArchiveError::Json { path: path.to_owned(), source })?;
    write_file(tar, path, &bytes)
}

fn write_file(tar: &mut TarWriter<&mut dyn Write>, path: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
    let size = bytes.len() as u64;
    tar.member(&Member::file(path.as_bytes(), size)).map_err(ArchiveError::Write)?;
    tar.content(&mut &bytes[..], size).map_err(ArchiveError::Write)
}
