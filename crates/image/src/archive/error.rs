//! What can go wrong with archives.

use std::io;
use std::path::PathBuf;

use holm_spec::Digest;

use super::change::ChangeError;
use crate::document::DocumentError;
use crate::layer::TarError;
use crate::reference::ReferenceError;
use crate::store::StoreError;

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive's stream cannot be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The archive is no tar stream.
    #[error("cannot read the archive as a tar stream")]
    Tar(#[source] TarError),
    /// A file of an archive folder cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// It has too many or too large documents.
    #[error("cannot read the archive: its documents have more than {0} bytes in all")]
    TooManyDocuments(u64),
    /// It has too many files.
    #[error("cannot read the archive: it has more than {0} files")]
    TooManyFiles(usize),
    /// It holds no image.
    #[error("cannot find an image in the archive: it has neither `manifest.json` nor `index.json`")]
    NoImage,
    /// It holds no image for this machine.
    #[error("cannot find an image for `{0}` in the archive")]
    NoPlatform(String),
    /// It is an OCI layout of another generation.
    #[error("cannot read an OCI layout of version `{}`: Holm reads version 1", .0.escape_debug())]
    LayoutVersion(String),
    /// A part that the archive refers to is not in it.
    #[error("cannot find `{}` in the archive", .0.escape_debug())]
    Missing(String),
    /// A document is malformed.
    #[error("cannot read `{}` of the archive", path.escape_debug())]
    Document {
        /// Its path in the archive.
        path: String,
        /// What is wrong.
        source: DocumentError,
    },
    /// A JSON document of the archive format itself is malformed.
    #[error("cannot read `{}` of the archive", path.escape_debug())]
    Json {
        /// Its path in the archive.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A blob's content has another digest than its name.
    #[error("cannot use blob `{expected}` of the archive: its content has the digest `{actual}`")]
    Digest {
        /// What its name says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The layers do not fit the configuration.
    #[error(
        "cannot use layer {number} of `{}`: it has the diff id `{actual}`, its configuration says `{expected}`",
        image.escape_debug()
    )]
    DiffId {
        /// The image's configuration or manifest.
        image: String,
        /// Which layer, from 1.
        number: usize,
        /// What the configuration says.
        expected: Digest,
        /// What the archive has.
        actual: Digest,
    },
    /// There are more or fewer layers than the configuration says.
    #[error("cannot use `{}`: the archive lists {layers} layers, its configuration {diff_ids}", image.escape_debug())]
    LayerCount {
        /// The image's configuration or manifest.
        image: String,
        /// Layers in the archive's list.
        layers: usize,
        /// Diff ids in the configuration.
        diff_ids: usize,
    },
    /// A name in the archive or on the command line is malformed.
    #[error("cannot use the image name `{}`", name.escape_debug())]
    Name {
        /// The name.
        name: String,
        /// What is wrong.
        source: ReferenceError,
    },
    /// A change of the configuration is malformed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}
