//! Layers: from a compressed tar stream to a folder in overlayfs form, and back.
//!
//! ```text
//! caller's thread:  compressed bytes -> decode -> hash (diff id) -> pipe
//! scoped thread:    pipe -> tar_stream -> entry -> extract -> files
//! ```
//!
//! The stream is hostile. Parsing never touches the file system; extraction works on file descriptors only and cannot
//! leave the folder it was given, whatever names and links the stream holds.
//!
//! Does not know where layers are kept (`store`) or come from (`registry`, `archive`).

mod change;
mod decode;
mod diff;
mod entry;
mod extract;
mod folder;
mod item;
mod pipe;
mod tar_stream;
pub(crate) mod tar_writer;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use holm_spec::Digest;
use holm_spec::digest::Algorithm;

pub use change::{Change, ChangeKind, changes};
pub use decode::{Compression, Decoder};
pub use diff::{DiffError, tar_from_dir, tar_from_overlay_upper};
pub use entry::EntryError;
pub use extract::ExtractError;
pub(crate) use item::{Item, TarItems, is_tar_header};
pub use tar_stream::TarError;

use extract::Extractor;
use tar_stream::TarStream;

use crate::hash::Hasher;

/// Most entries that a layer may have.
pub const MAX_ENTRIES: u64 = 8_000_000;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The compressed stream cannot be read or decoded.
    #[error("cannot read the layer's content")]
    Read(#[source] io::Error),
    /// The folder to unpack into cannot be opened.
    #[error("cannot open the folder to unpack into")]
    Root(#[source] io::Error),
    /// The tar stream is malformed.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry cannot be created.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// There are too many entries.
    #[error("cannot unpack a layer with more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// The unpacking thread ended without a result.
    #[error("cannot unpack the layer: its thread ended early")]
    Thread,
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the uncompressed stream, every byte of it.
    pub diff_id: Digest,
    /// Sum of the sizes of its regular files.
    pub size_bytes: u64,
    /// Number of its entries.
    pub entries: u64,
}

/// Unpacks a layer into the folder `root`, which must be empty and private to the caller.
///
/// The compression is found by its magic number; `media_type` is only for content that has none. Reads `compressed` to
/// its end, also what follows the tar stream's end mark. On an error the folder is left as it is.
pub fn unpack(
    compressed: &mut dyn Read,
    media_type: &str,
    algorithm: Algorithm,
    root: &Path,
) -> Result<Unpacked, LayerError> {
    let root = folder::open_root(root).map_err(LayerError::Root)?;
    let (mut sender, receiver) = pipe::pair();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn_scoped(scope, move || extract_all(receiver, root))
            .map_err(LayerError::Root)?;
        let fed = feed(compressed, media_type, algorithm, &mut sender);
        if let Err(e) = &fed {
            sender.fail(io::Error::new(e.kind(), "the stream broke off"));
        }
        drop(sender);
        let extracted = thread.join().map_err(|_| LayerError::Thread)?;
        // A broken stream is the cause, what extraction says of it the consequence; otherwise it is the other way
        // round.
        let diff_id = match (fed, &extracted) {
            (Ok(diff_id), _) => Some(diff_id),
            (Err(e), _) if e.kind() != io::ErrorKind::BrokenPipe => return Err(LayerError::Read(e)),
            (Err(e), Ok(_)) => return Err(LayerError::Read(e)),
            (Err(_), Err(_)) => None,
        };
        let (size_bytes, entries) = extracted?;
        Ok(Unpacked { diff_id: diff_id.ok_or(LayerError::Thread)?, size_bytes, entries })
    })
}

/// Decodes and hashes the stream into the pipe, to its last byte.
fn feed(
    compressed: &mut dyn Read,
    media_type: &str,
    algorithm: Algorithm,
    sender: &mut pipe::Sender,
) -> io::Result<Digest> {
    let mut decoder = Decoder::new(compressed, Compression::of_media_type(media_type))?;
    let mut hasher = Hasher::new(algorithm);
    loop {
        let mut buffer = sender.buffer()?;
        let filled = fill(&mut decoder, &mut buffer)?;
        if filled == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..filled]);
        sender.send(buffer, filled)?;
    }
}

/// Reads until the buffer is full or the stream ends.
pub(crate) fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Extracts every entry of an uncompressed stream, then reads the stream to its end.
fn extract_all(stream: impl BufRead, root: File) -> Result<(u64, u64), LayerError> {
    let mut stream = TarStream::new(stream);
    let mut extractor = Extractor::new(root)?;
    let mut entries = 0;
    while let Some(entry) = stream.next_entry()? {
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(LayerError::TooManyEntries);
        }
        extractor.add(&entry, &mut stream)?;
    }
    let size_bytes = extractor.finish()?;
    stream.drain()?;
    Ok((size_bytes, entries))
}
