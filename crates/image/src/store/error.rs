//! What can go wrong in the image store.

use std::io;
use std::path::{Path, PathBuf};

use holm_spec::Digest;

use crate::document::DocumentError;
use crate::layer::{DiffError, LayerError};

/// Why an operation of the image store failed. The store is as it was before, unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file system operation failed.
    #[error("cannot {verb} `{}`", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No image has this name or id.
    #[error("cannot find image `{0}`")]
    NotFound(String),
    /// An id prefix fits several images.
    #[error("cannot choose an image by `{prefix}`: it fits {count} images")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// A blob is not in the store.
    #[error("cannot find blob `{0}`")]
    BlobMissing(Digest),
    /// A layer of an image is not unpacked.
    #[error("cannot use layer `{0}`: it is not unpacked")]
    LayerMissing(Digest),
    /// A blob is larger than its reader allows.
    #[error("cannot read blob `{digest}`: it has {size_bytes} bytes, the limit is {limit_bytes}")]
    BlobTooLarge {
        /// Which blob.
        digest: Digest,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A blob has another size than announced.
    #[error("cannot store blob `{digest}`: it has {actual_bytes} bytes, announced were {expected_bytes}")]
    SizeMismatch {
        /// Which blob.
        digest: Digest,
        /// What came.
        actual_bytes: u64,
        /// What was announced.
        expected_bytes: u64,
    },
    /// A blob has another digest than announced. What was received is deleted.
    #[error("cannot store blob `{expected}`: its content has the digest `{actual}`")]
    DigestMismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A layer could not be unpacked. What was unpacked is deleted.
    #[error("cannot unpack layer `{layer}`")]
    Layer {
        /// The layer: its diff id, or what it is called in an archive.
        layer: String,
        /// Why it failed.
        source: LayerError,
    },
    /// A layer's content has another digest than the image says. What was unpacked is deleted.
    #[error("cannot unpack layer `{expected}`: its content has the diff id `{actual}`")]
    DiffIdMismatch {
        /// What the image says.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A manifest or configuration is malformed.
    #[error("cannot use document `{digest}`")]
    Document {
        /// Digest of its bytes.
        digest: Digest,
        /// What is wrong.
        source: DocumentError,
    },
    /// A manifest and its configuration do not agree on the layers.
    #[error("cannot use manifest `{manifest}`: it has {layers} layers, its configuration has {diff_ids}")]
    LayerCount {
        /// The manifest.
        manifest: Digest,
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the configuration.
        diff_ids: usize,
    },
    /// A manifest was expected and something else came.
    #[error("cannot use `{0}` as an image: it is an index, not a manifest")]
    NotManifest(Digest),
    /// A name cannot be used for an image.
    #[error("cannot name an image `{}`: {reason}", name.escape_debug())]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A stored JSON file is malformed.
    #[error("cannot read `{}`", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The image is used by a container.
    #[error("cannot remove image `{0}`: a container uses it")]
    InUse(String),
    /// The image has several names.
    #[error("cannot remove image `{id}`: it has {count} names")]
    SeveralNames {
        /// The image.
        id: Digest,
        /// How many names it has.
        count: usize,
    },
    /// A changed file system cannot be turned into a layer.
    #[error("cannot make a layer of `{}`", path.display())]
    Diff {
        /// The folder.
        path: PathBuf,
        /// Why it failed.
        source: DiffError,
    },
}

/// Makes the `map_err` argument for an I/O error on `path`.
pub(super) fn io_error(verb: &'static str, path: &Path, source: impl Into<io::Error>) -> StoreError {
    StoreError::Io { verb, path: path.to_owned(), source: source.into() }
}
