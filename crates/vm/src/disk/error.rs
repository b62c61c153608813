//! Why a disk could not be made or read.

use std::io;

use super::image::ImageError;

/// Why a disk could not be made or read. What was being written may be there in part; `cache` removes it.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A call failed.
    #[error("cannot {what} `{}`", object.escape_debug())]
    Io {
        /// What was being done.
        what: &'static str,
        /// On what: a path below the tree's root, or what a file is for.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A size outside what the format is supported for.
    #[error("cannot make an ext4 of {bytes} bytes: it needs {min_bytes} to {max_bytes}")]
    Size {
        /// What was asked for.
        bytes: u64,
        /// The smallest size.
        min_bytes: u64,
        /// The largest size.
        max_bytes: u64,
    },
    /// Something that does not fit the format of a disk.
    #[error("cannot put `{}` on a disk: {reason}", object.escape_debug())]
    Unfit {
        /// Its name, or its path below the tree's root.
        object: String,
        /// What stands against it.
        reason: &'static str,
    },
    /// A file was being written while it was copied.
    #[error("cannot copy `{}`: it changes meanwhile", .0.escape_debug())]
    Changing(String),
    /// A key that cannot be the name of an image.
    #[error("cannot keep an image as `{}`: its key must be up to 200 letters, digits, `-`, `_`, `:` and `+`", .0.escape_debug())]
    Key(String),
    /// A user's image that no machine should be given.
    #[error("cannot use the disk image")]
    Image(#[from] ImageError),
    /// A label that does not fit.
    #[error("cannot label a disk `{}`: at most {max_bytes} bytes fit", label.escape_debug())]
    Label {
        /// The label.
        label: String,
        /// How many bytes fit.
        max_bytes: usize,
    },
}

/// Makes the `map_err` argument for an I/O error on `object`.
pub(super) fn io_error<E: Into<io::Error>>(what: &'static str, object: &str) -> impl FnOnce(E) -> DiskError {
    move |source| DiskError::Io { what, object: object.to_owned(), source: source.into() }
}
