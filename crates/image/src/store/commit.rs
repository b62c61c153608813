//! New images from changed file systems: one more layer on top of a parent, or one layer from a root tar.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use holm_spec::Digest;
use holm_spec::digest::Algorithm;
use holm_spec::oci::image::{Descriptor, History, ImageConfig, Manifest, media_type};
use holm_spec::oci::runtime::IdMapping;

use super::error::{StoreError, io_error};
use super::{Image, NewBlob, Pin, StagedLayer, Store};
use crate::hash::Hasher;
use crate::layer::{self, Compression, DiffError};

/// A layer that is complete on disk but not visible: its blob and its folder.
#[derive(Debug)]
pub(crate) struct NewLayer {
    pub blob: NewBlob,
    pub folder: StagedLayer,
    /// The blob, as a manifest refers to it.
    pub descriptor: Descriptor,
}

impl NewLayer {
    pub fn diff_id(&self) -> &Digest {
        self.folder.diff_id()
    }
}

impl Store {
    /// Makes an image of a parent and an overlay's upper folder on top of it.
    ///
    /// `config` is the new configuration; its layers and history are set here: the parent's, and `history` for the new
    /// layer. `owners` is the mapping of the user namespace in which `upper` was written. *Order*: nothing may write to `upper` meanwhile.
    pub fn commit(
        &self,
        parent: &Image,
        upper: &Path,
        owners: Option<IdMapping>,
        config: ImageConfig,
        history: History,
        name: Option<&str>,
    ) -> Result<Image, StoreError> {
        let pin = self.pin()?;
        let (below, _) = self.read_manifest(&parent.manifest_digest)?;
        let diff_error = |source: DiffError| StoreError::Diff { path: upper.to_owned(), source };
        let mut blob = self.new_blob(&pin, true)?;
        let diff_id = compress_upper(upper, owners, &mut blob).map_err(diff_error)?;
        let (digest, size) = blob.finish();
        let digest = digest.ok_or_else(|| StoreError::LayerMissing(diff_id.clone()))?;
        self.sync()?;
        self.publish_blob(blob, &digest)?;
        let kind = media_type::OCI_LAYER_GZIP;
        self.unpack_layer(&diff_id, kind, &mut self.open_blob(&digest)?)?;

        let mut config = config;
        config.rootfs.diff_ids.clone_from(&parent.config.rootfs.diff_ids);
        config.rootfs.diff_ids.push(diff_id);
        config.history.clone_from(&parent.config.history);
        config.history.push(history);
        let mut layers: Vec<Descriptor> = below.layers;
        layers.push(descriptor(kind, digest, size));
        self.add_made_image(&config, layers, name)
    }

    /// Takes a layer in while it is being read: its bytes become a blob, its content a folder. Neither is visible yet.
    pub(crate) fn take_layer(&self, pin: &Pin, label: &str, compressed: &mut dyn Read) -> Result<NewLayer, StoreError> {
        let mut start = [0; 4];
        let filled = layer::fill(compressed, &mut start).map_err(|e| io_error("read", Path::new(label), e))?;
        let compression = Compression::of_magic(&start[..filled]).unwrap_or(Compression::Plain);
        // The digest of plain content is its diff id, which unpacking computes anyway.
        let mut blob = self.new_blob(pin, compression != Compression::Plain)?;
        let mut stream = Tee { source: (&start[..filled]).chain(compressed), copy: &mut blob };
        let folder = self.stage_layer(pin, label, "", &mut stream)?;
        let (digest, size) = blob.finish();
        let digest = digest.unwrap_or_else(|| folder.diff_id().clone());
        Ok(NewLayer { blob, folder, descriptor: descriptor(compression.layer_media_type(), digest, size) })
    }

    /// Makes layers visible that were taken in, after one sync for all of them.
    pub(crate) fn publish_layers(&self, layers: Vec<NewLayer>) -> Result<(), StoreError> {
        if layers.is_empty() {
            return Ok(());
        }
        self.sync()?;
        for layer in layers {
            self.publish_blob(layer.blob, &layer.descriptor.digest)?;
            layer.folder.publish()?;
        }
        Ok(())
    }

    /// Writes configuration and manifest of an image whose layers are in the store, and adds it.
    pub(crate) fn add_made_image(
        &self,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
        name: Option<&str>,
    ) -> Result<Image, StoreError> {
        let json = |source| StoreError::Json { path: self.images.join("blobs"), source };
        let bytes = serde_json::to_vec(config).map_err(json)?;
        let digest = self.put_blob(&bytes)?;
        let manifest = made_manifest(descriptor(media_type::OCI_CONFIG, digest, bytes.len() as u64), layers);
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        self.add_image(&manifest, media_type::OCI_MANIFEST, name)
    }
}

/// A manifest that Holm makes itself.
pub(crate) fn made_manifest(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    }
}

/// A descriptor with nothing but the three fields that all have.
pub(crate) fn descriptor(kind: &str, digest: Digest, size: u64) -> Descriptor {
    let annotations = std::collections::BTreeMap::new();
    Descriptor { media_type: kind.to_owned(), digest, size, platform: None, annotations, artifact_type: None }
}

/// Writes an upper folder as gzip. Gives the diff id.
fn compress_upper(upper: &Path, owners: Option<IdMapping>, out: &mut dyn Write) -> Result<Digest, DiffError> {
    let gzip = flate2::write::GzEncoder::new(BufWriter::with_capacity(256 * 1024, out), flate2::Compression::fast());
    let mut stream = HashingWriter { inner: gzip, hasher: Hasher::new(Algorithm::Sha256) };
    layer::tar_from_overlay_upper(upper, owners, &mut stream)?;
    let mut rest = stream.inner.finish().map_err(DiffError::Write)?;
    rest.flush().map_err(DiffError::Write)?;
    Ok(stream.hasher.finish())
}

struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a copy of all that is read.
struct Tee<'a, R> {
    source: R,
    copy: &'a mut NewBlob,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.copy.write_all(&buffer[..n])?;
        Ok(n)
    }
}
