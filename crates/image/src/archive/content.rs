//! What an archive holds, gathered in one pass: documents in memory, layers in the store but not yet visible, links.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use holm_spec::Digest;

use super::error::ArchiveError;
use crate::document::MAX_DOCUMENT_BYTES;
use crate::layer::{Compression, is_tar_header};
use crate::progress::Progress;
use crate::store::{NewLayer, Pin, Store};

/// Most bytes of documents of one archive that are kept in memory.
const MAX_DOCUMENTS_BYTES: u64 = 64 * 1024 * 1024;
/// Most files that an archive may have.
const MAX_FILES: usize = 100_000;
/// Most links in a row that are followed.
const MAX_LINKS: usize = 16;

/// What was found under one path.
#[derive(Debug)]
pub(super) enum Part {
    /// Something small: JSON or text.
    Document(Vec<u8>),
    /// A layer; its place in [`Content::layers`].
    Layer(usize),
    /// Another path of the archive.
    Link(String),
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Content<'a> {
    store: &'a Store,
    pin: &'a Pin,
    parts: HashMap<String, Part>,
    pub layers: Vec<NewLayer>,
    documents_bytes: u64,
}

impl<'a> Content<'a> {
    pub fn new(store: &'a Store, pin: &'a Pin) -> Self {
        Self { store, pin, parts: HashMap::new(), layers: Vec::new(), documents_bytes: 0 }
    }

    /// Takes in one file. What it is, its first bytes say, not its name.
    pub fn add_file(
        &mut self,
        path: &str,
        size: u64,
        content: &mut dyn BufRead,
        progress: &dyn Progress,
    ) -> Result<(), ArchiveError> {
        let start = peek(content, 512).map_err(ArchiveError::Read)?;
        let is_layer = Compression::of_magic(&start).is_some() || (start.len() == 512 && is_tar_header(&start));
        let mut content = io::Cursor::new(start).chain(content);
        if is_layer {
            progress.start(path, path, Some(size));
            let mut counted = Counted { source: &mut content, id: path, progress };
            let layer = self.store.take_layer(self.pin, path, &mut counted);
            progress.done(path, if layer.is_ok() { "loaded" } else { "failed" });
            self.layers.push(layer?);
            return self.insert(path, Part::Layer(self.layers.len() - 1));
        }
        if size > MAX_DOCUMENT_BYTES {
            // Whatever this is, no image is made of it.
            return Ok(());
        }
        let mut bytes = Vec::new();
        content.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        self.documents_bytes += bytes.len() as u64;
        if self.documents_bytes > MAX_DOCUMENTS_BYTES {
            return Err(ArchiveError::TooManyDocuments(MAX_DOCUMENTS_BYTES));
        }
        self.insert(path, Part::Document(bytes))
    }

    /// Takes in a link. `target` is relative to the link's folder.
    pub fn add_symlink(&mut self, path: &str, target: &str) -> Result<(), ArchiveError> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.insert(path, Part::Link(join(folder, target)))
    }

    /// Takes in a hard link, whose target is relative to the archive.
    pub fn add_hard_link(&mut self, path: &str, target: &str) -> Result<(), ArchiveError> {
        self.insert(path, Part::Link(join("", target)))
    }

    fn insert(&mut self, path: &str, part: Part) -> Result<(), ArchiveError> {
        if self.parts.len() >= MAX_FILES {
            return Err(ArchiveError::TooManyFiles(MAX_FILES));
        }
        self.parts.insert(join("", path), part);
        Ok(())
    }

    fn find(&self, path: &str) -> Option<&Part> {
        let mut path = join("", path);
        for _ in 0..MAX_LINKS {
            match self.parts.get(&path)? {
                Part::Link(target) => path.clone_from(target),
                part => return Some(part),
            }
        }
        None
    }

    /// A document, if it is there.
    pub fn document(&self, path: &str) -> Option<&[u8]> {
        match self.find(path) {
            Some(Part::Document(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// A document that must be there.
    pub fn require(&self, path: &str) -> Result<&[u8], ArchiveError> {
        self.document(path).ok_or_else(|| ArchiveError::Missing(path.to_owned()))
    }

    /// The document of an OCI layout with this digest, verified.
    pub fn blob(&self, digest: &Digest) -> Result<&[u8], ArchiveError> {
        let bytes = self.require(&blob_path(digest))?;
        if crate::hash::matches(digest, bytes) {
            return Ok(bytes);
        }
        Err(ArchiveError::Digest { expected: digest.clone(), actual: crate::hash::sha256(bytes) })
    }

    /// The place of a layer that must be there.
    pub fn layer(&self, path: &str) -> Result<usize, ArchiveError> {
        match self.find(path) {
            Some(Part::Layer(at)) => Ok(*at),
            _ => Err(ArchiveError::Missing(path.to_owned())),
        }
    }
}

/// Where an OCI layout keeps a blob.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// Joins and cleans paths of an archive. They are keys of a map and never reach the file system.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Reads up to `limit` bytes.
fn peek(content: &mut dyn BufRead, limit: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    content.take(limit).read_to_end(&mut start)?;
    Ok(start)
}

/// Reports what is read.
struct Counted<'a> {
    source: &'a mut dyn Read,
    id: &'a str,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.progress.advance(self.id, n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (folder, path, joined) in
            [("", "./a//b", "a/b"), ("a/b", "../c/layer.tar", "a/c/layer.tar"), ("a", "../../..", ""), ("", "/x", "x")]
        {
            assert_eq!(join(folder, path), joined);
        }
    }
}
