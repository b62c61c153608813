//! Tar streams for readers that extract nothing: members as data, content as a stream.

use std::io::{self, BufRead, Read};

use super::entry::Kind;
use super::tar_stream::{TarError, TarStream};

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    File { path: Vec<u8>, size_bytes: u64 },
    Symlink { path: Vec<u8>, target: Vec<u8> },
    HardLink { path: Vec<u8>, target: Vec<u8> },
    Other,
}

/// Reads members one after the other.
#[derive(Debug)]
pub(crate) struct TarItems<R> {
    stream: TarStream<R>,
}

/// The content of the current member.
#[derive(Debug)]
pub(crate) struct ItemContent<'a, R> {
    stream: &'a mut TarStream<R>,
}

impl<R: BufRead> TarItems<R> {
    pub fn new(stream: R) -> Self {
        Self { stream: TarStream::new(stream) }
    }

    /// The next member; `None` at the end.
    pub fn next_item(&mut self) -> Result<Option<Item>, TarError> {
        let Some(entry) = self.stream.next_entry()? else { return Ok(None) };
        let path = entry.path.as_bytes().to_vec();
        Ok(Some(match entry.kind {
            Kind::File => Item::File { path, size_bytes: entry.content_bytes },
            Kind::Symlink(target) => Item::Symlink { path, target },
            Kind::HardLink(target) => Item::HardLink { path, target: target.as_bytes().to_vec() },
            _ => Item::Other,
        }))
    }

    /// The content of the member that came last. What is not read of it is skipped.
    pub fn content(&mut self) -> ItemContent<'_, R> {
        ItemContent { stream: &mut self.stream }
    }
}

impl<R: BufRead> BufRead for ItemContent<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.stream.content().map_err(io::Error::other)
    }

    fn consume(&mut self, amount: usize) {
        self.stream.consume_content(amount);
    }
}

impl<R: BufRead> Read for ItemContent<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// True if a block could begin a tar stream: a header with a right checksum, or the end mark of an empty one.
pub(crate) fn is_tar_header(block: &[u8]) -> bool {
    let Some(block) = block.first_chunk::<512>() else { return false };
    block.iter().all(|b| *b == 0) || tar_core::Header::from_bytes(block).verify_checksum().is_ok()
}
