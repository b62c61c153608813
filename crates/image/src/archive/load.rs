//! Taking images out of docker-archives, oci-archives and OCI layouts, from a stream or a folder.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use holm_spec::Digest;
use holm_spec::oci::image::{Descriptor, ImageConfig, Index, Manifest, media_type};
use serde::Deserialize;

use super::content::{Content, blob_path};
use super::error::ArchiveError;
use super::names;
use crate::document::{self, ManifestOrIndex};
use crate::layer::{Compression, Decoder, Item, TarItems};
use crate::progress::Progress;
use crate::store::{Image, NewLayer, Store, descriptor, made_manifest};

/// Deepest folder of an archive folder; the formats need three.
const MAX_DEPTH: usize = 8;

/// Where an archive comes from.
pub enum Source<'a> {
    /// A tar stream, compressed or not: a file or a pipe.
    Stream(&'a mut dyn Read),
    /// An OCI layout or an unpacked docker-archive.
    Folder(&'a Path),
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(_) => f.write_str("Stream"),
            Self::Folder(path) => f.debug_tuple("Folder").field(path).finish(),
        }
    }
}

/// An image that is to be added.
struct Planned {
    manifest: Vec<u8>,
    media_type: String,
    config: Vec<u8>,
    layers: Vec<usize>,
    names: Vec<String>,
}

/// Loads every image of an archive: of an index of several platforms, the one for this machine.
///
/// *Errors*: nothing of the archive was added, unless the store failed between two of its images.
pub fn load(store: &Store, source: Source<'_>, progress: &dyn Progress) -> Result<Vec<Image>, ArchiveError> {
    let pin = store.pin()?;
    let mut content = Content::new(store, &pin);
    match source {
        Source::Stream(stream) => read_stream(&mut content, stream, progress)?,
        Source::Folder(path) => read_folder(&mut content, path, "", 0, progress)?,
    }
    let planned = plan(&content)?;
    add(store, content, planned)
}

fn read_stream(content: &mut Content<'_>, stream: &mut dyn Read, progress: &dyn Progress) -> Result<(), ArchiveError> {
    let decoder = Decoder::new(stream, Compression::Plain).map_err(ArchiveError::Read)?;
    let mut items = TarItems::new(BufReader::with_capacity(256 * 1024, decoder));
    while let Some(item) = items.next_item().map_err(ArchiveError::Tar)? {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match item {
            Item::File { path, size_bytes } => {
                content.add_file(&text(&path), size_bytes, &mut items.content(), progress)?;
            }
            Item::Symlink { path, target } => content.add_symlink(&text(&path), &text(&target))?,
            Item::HardLink { path, target } => content.add_hard_link(&text(&path), &text(&target))?,
            Item::Other => {}
        }
    }
    Ok(())
}

fn read_folder(
    content: &mut Content<'_>,
    folder: &Path,
    prefix: &str,
    depth: usize,
    progress: &dyn Progress,
) -> Result<(), ArchiveError> {
    let failed = |path: &Path, source: io::Error| ArchiveError::File { path: path.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(|e| failed(folder, e))? {
        let entry = entry.map_err(|e| failed(folder, e))?;
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(|e| failed(&path, e))?;
        if kind.is_dir() && depth < MAX_DEPTH {
            read_folder(content, &path, &format!("{name}/"), depth + 1, progress)?;
        } else if kind.is_symlink() {
            // A link inside the archive; it is looked up there and never followed here.
            let target = fs::read_link(&path).map_err(|e| failed(&path, e))?;
            content.add_symlink(&name, &target.to_string_lossy())?;
        } else if kind.is_file() {
            let nofollow = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
            let mut options = fs::OpenOptions::new();
            let file = options.read(true).custom_flags(nofollow).open(&path).map_err(|e| failed(&path, e))?;
            let size = file.metadata().map_err(|e| failed(&path, e))?.len();
            let mut reader = BufReader::with_capacity(256 * 1024, file);
            content.add_file(&name, size, &mut reader as &mut dyn BufRead, progress)?;
        }
    }
    Ok(())
}

/// Finds out which images the archive holds, and verifies that it holds them whole.
fn plan(content: &Content<'_>) -> Result<Vec<Planned>, ArchiveError> {
    if let Some(list) = content.document("manifest.json") {
        return plan_docker(content, list);
    }
    let Some(bytes) = content.document("index.json") else { return Err(ArchiveError::NoImage) };
    check_layout(content)?;
    let index = parse_index(bytes)?;
    let mut planned = Vec::new();
    for entry in &index.manifests {
        let (kind, manifest) = match content.blob(&entry.digest) {
            Ok(bytes) => (entry.media_type.as_str(), bytes),
            // A partial layout, as `docker save --platform` makes it.
            Err(ArchiveError::Missing(_)) if index.manifests.len() > 1 => continue,
            Err(e) => return Err(e),
        };
        let names = names::of_annotations(&entry.annotations);
        plan_oci(content, kind, manifest, names, 0, &mut planned)?;
    }
    if planned.is_empty() { Err(ArchiveError::NoPlatform(names::platform())) } else { Ok(planned) }
}

/// Refuses a layout of a later generation. One without `oci-layout` is taken: some tools leave it out.
fn check_layout(content: &Content<'_>) -> Result<(), ArchiveError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let Some(bytes) = content.document("oci-layout") else { return Ok(()) };
    let failed = |source| ArchiveError::Json { path: "oci-layout".to_owned(), source };
    let layout: Layout = serde_json::from_slice(bytes).map_err(failed)?;
    match layout.image_layout_version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(ArchiveError::LayoutVersion(layout.image_layout_version)),
    }
}

fn parse_index(bytes: &[u8]) -> Result<Index, ArchiveError> {
    let path = || "index.json".to_owned();
    match document::parse_manifest(bytes, Some(media_type::OCI_INDEX)) {
        Ok(ManifestOrIndex::Index(index)) => Ok(index),
        Ok(ManifestOrIndex::Manifest(_)) => Err(ArchiveError::NoImage),
        Err(source) => Err(ArchiveError::Document { path: path(), source }),
    }
}

/// Plans what one entry of an index stands for.
fn plan_oci(
    content: &Content<'_>,
    kind: &str,
    bytes: &[u8],
    names: Vec<String>,
    depth: u32,
    planned: &mut Vec<Planned>,
) -> Result<(), ArchiveError> {
    let failed = |source| ArchiveError::Document { path: "manifest".to_owned(), source };
    match document::parse_manifest(bytes, Some(kind)) {
        Ok(ManifestOrIndex::Manifest(manifest)) => {
            let config = content.blob(&manifest.config.digest)?;
            let parsed = document::parse_config(config).map_err(failed)?;
            let paths: Vec<String> = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
            let layers = check_layers(content, "the manifest", &paths, &parsed)?;
            check_digests(content, &manifest, &layers)?;
            let (manifest, config, media_type) = (bytes.to_vec(), config.to_vec(), kind.to_owned());
            planned.push(Planned { manifest, media_type, config, layers, names });
            Ok(())
        }
        Ok(ManifestOrIndex::Index(index)) if depth < 3 => {
            for entry in index.manifests.iter().filter(|entry| names::fits_this_machine(entry)) {
                if let Some(bytes) = content.document(&blob_path(&entry.digest))
                    && crate::hash::matches(&entry.digest, bytes)
                {
                    return plan_oci(content, &entry.media_type, bytes, names, depth + 1, planned);
                }
            }
            Ok(())
        }
        Ok(ManifestOrIndex::Index(_)) => Ok(()),
        // Signatures and attestations stand beside images.
        Err(document::DocumentError::NotAnImage(_)) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

/// One image of a docker-archive.
///
/// *Source*: moby image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format".
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

fn plan_docker(content: &Content<'_>, list: &[u8]) -> Result<Vec<Planned>, ArchiveError> {
    let json = |source| ArchiveError::Json { path: "manifest.json".to_owned(), source };
    let images: Vec<DockerImage> = serde_json::from_slice(list).map_err(json)?;
    let originals = original_manifests(content);
    let mut planned = Vec::new();
    for image in images {
        let config = content.require(&image.config)?;
        let parsed = document::parse_config(config)
            .map_err(|source| ArchiveError::Document { path: image.config.clone(), source })?;
        let layers = check_layers(content, &image.config, &image.layers.unwrap_or_default(), &parsed)?;
        let names = names::of_tags(&image.repo_tags.unwrap_or_default())?;
        let id = crate::hash::sha256(config);
        // The manifest that the image was pulled with, if the archive has it; else one is made.
        let original = originals.iter().find(|(manifest, _, _)| {
            let same = |(layer, at): (&Descriptor, &usize)| layer.digest == content.layers[*at].descriptor.digest;
            manifest.config.digest == id
                && manifest.layers.len() == layers.len()
                && manifest.layers.iter().zip(&layers).all(same)
        });
        let (manifest, media_type) = match original {
            Some((_, bytes, kind)) => (bytes.clone(), kind.clone()),
            None => {
                let descriptors = layers.iter().map(|at| content.layers[*at].descriptor.clone()).collect();
                let config = descriptor(media_type::OCI_CONFIG, id, config.len() as u64);
                let made = made_manifest(config, descriptors);
                (serde_json::to_vec(&made).map_err(json)?, media_type::OCI_MANIFEST.to_owned())
            }
        };
        planned.push(Planned { manifest, media_type, config: config.to_vec(), layers, names });
    }
    if planned.is_empty() { Err(ArchiveError::NoImage) } else { Ok(planned) }
}

/// The manifests that `index.json` of a docker-archive lists, which newer programs add.
fn original_manifests(content: &Content<'_>) -> Vec<(Manifest, Vec<u8>, String)> {
    let index = content.document("index.json").and_then(|bytes| parse_index(bytes).ok());
    let mut found = Vec::new();
    for entry in index.iter().flat_map(|index| &index.manifests) {
        let Ok(bytes) = content.blob(&entry.digest) else { continue };
        if let Ok(ManifestOrIndex::Manifest(manifest)) = document::parse_manifest(bytes, Some(&entry.media_type)) {
            found.push((manifest, bytes.to_vec(), entry.media_type.clone()));
        }
    }
    found
}

/// Finds the layers and compares them with the configuration.
fn check_layers(
    content: &Content<'_>,
    image: &str,
    paths: &[String],
    config: &ImageConfig,
) -> Result<Vec<usize>, ArchiveError> {
    let diff_ids = &config.rootfs.diff_ids;
    let image = image.to_owned();
    if paths.len() != diff_ids.len() {
        return Err(ArchiveError::LayerCount { image, layers: paths.len(), diff_ids: diff_ids.len() });
    }
    let mut layers = Vec::new();
    for (number, (path, expected)) in paths.iter().zip(diff_ids).enumerate() {
        let at = content.layer(path)?;
        let actual = content.layers[at].diff_id().clone();
        if actual != *expected {
            return Err(ArchiveError::DiffId { image, number: number + 1, expected: expected.clone(), actual });
        }
        layers.push(at);
    }
    Ok(layers)
}

/// Compares the layers' own digests with a manifest.
fn check_digests(content: &Content<'_>, manifest: &Manifest, layers: &[usize]) -> Result<(), ArchiveError> {
    for (layer, at) in manifest.layers.iter().zip(layers) {
        let actual: &Digest = &content.layers[*at].descriptor.digest;
        if *actual != layer.digest {
            return Err(ArchiveError::Digest { expected: layer.digest.clone(), actual: actual.clone() });
        }
    }
    Ok(())
}

/// Makes the layers visible that are needed, then adds the images.
fn add(store: &Store, content: Content<'_>, planned: Vec<Planned>) -> Result<Vec<Image>, ArchiveError> {
    let needed: Vec<NewLayer> = content
        .layers
        .into_iter()
        .enumerate()
        .filter(|(at, _)| planned.iter().any(|image| image.layers.contains(at)))
        .map(|(_, layer)| layer)
        .collect();
    store.publish_layers(needed)?;
    let mut images = Vec::new();
    for image in planned {
        store.put_blob(&image.config)?;
        let mut names = image.names.iter();
        let mut added = store.add_image(&image.manifest, &image.media_type, names.next().map(String::as_str))?;
        for name in names {
            added = store.add_image(&image.manifest, &image.media_type, Some(name))?;
        }
        images.push(added);
    }
    Ok(images)
}
