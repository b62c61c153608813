//! From a stream of bytes to checked entries and their content. Drives the `tar-core` parser; writes nothing.
//!
//! `tar-core` is handed slices and does no I/O; it applies GNU long names and PAX records (a PAX size wins over the
//! header's). What it leaves to its caller is done here: feeding it within a limit, skipping padding, a missing end
//! mark.

use std::io::{self, BufRead};

use tar_core::parse::{Limits, ParseError, ParseEvent, Parser};

use super::entry::{self, Entry, EntryError, MAX_PATH_BYTES};

/// Most metadata bytes in front of one entry: long names, PAX records, extended attributes.
const MAX_METADATA_BYTES: u32 = 1024 * 1024;
/// Most regions of a sparse file.
const MAX_REGIONS: usize = 10_000;
/// Most bytes that the parser may ask for at once: metadata and a list of regions.
const MAX_HEADER_BYTES: usize = 4 * 1024 * 1024;
const BLOCK: u64 = 512;

/// Why a tar stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream broke off or could not be decoded.
    #[error("cannot read the tar stream at byte {position}")]
    Read {
        /// Where in the uncompressed stream.
        position: u64,
        /// Why.
        source: io::Error,
    },
    /// A header is malformed.
    #[error("cannot parse the tar header at byte {position}")]
    Header {
        /// Where in the uncompressed stream.
        position: u64,
        /// What is wrong.
        source: ParseError,
    },
    /// An entry is refused.
    #[error("cannot unpack `{path}`")]
    Entry {
        /// Its path, escaped.
        path: String,
        /// Why.
        source: EntryError,
    },
    /// The headers of one entry are too large.
    #[error("cannot parse the tar header at byte {position}: it has more than {MAX_HEADER_BYTES} bytes")]
    TooLarge {
        /// Where in the uncompressed stream.
        position: u64,
    },
}

/// Reads entries, and after each its content.
#[derive(Debug)]
pub(super) struct TarStream<R> {
    stream: R,
    parser: Parser,
    /// Bytes taken from the stream and not used yet.
    carry: Vec<u8>,
    carry_at: usize,
    /// Bytes of content and of padding that are still to come of the current entry.
    content: u64,
    padding: u64,
    position: u64,
}

/// What a slice of input amounted to.
enum Step {
    Need(usize),
    Entry(usize, Box<Entry>),
    Skip(usize),
    End(usize),
}

impl<R: BufRead> TarStream<R> {
    /// Starts at the beginning of a tar stream.
    pub fn new(stream: R) -> Self {
        let limits = Limits {
            max_metadata_size: MAX_METADATA_BYTES,
            max_path_len: u32::try_from(MAX_PATH_BYTES).ok(),
            max_sparse_entries: MAX_REGIONS,
            ..Limits::default()
        };
        let mut parser = Parser::new(limits);
        // Times may be negative, which the parser would refuse; `entry` reads them and checks all other numbers.
        parser.set_ignore_pax_errors(true);
        Self { stream, parser, carry: Vec::new(), carry_at: 0, content: 0, padding: 0, position: 0 }
    }

    /// The next entry; what is left of the content of the last one is skipped. `None` at the end mark, or where the
    /// stream ends between two entries.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_content()?;
        let mut required = 0;
        loop {
            let position = self.position;
            let input = peek(&mut self.stream, &self.carry[self.carry_at..], position)?;
            if input.is_empty() || (input.len() < required && input.iter().all(|b| *b == 0)) {
                // No end mark, or half of one: what tar programs accept, Holm accepts.
                return Ok(None);
            }
            if input.len() < required {
                return Err(TarError::Read { position, source: io::ErrorKind::UnexpectedEof.into() });
            }
            let have = input.len();
            match step(&mut self.parser, input, position)? {
                Step::Need(bytes) => {
                    // More than asked for, so that long lists are not parsed again for each of their lines.
                    required = bytes.max(have + 1);
                    self.gather(required.max(have + have / 2))?;
                }
                Step::Skip(consumed) => {
                    self.consume(consumed);
                    required = 0;
                }
                Step::End(consumed) => {
                    self.consume(consumed);
                    return Ok(None);
                }
                Step::Entry(consumed, entry) => {
                    self.consume(consumed);
                    self.content = entry.content_bytes;
                    self.padding = entry.content_bytes.wrapping_neg() % BLOCK;
                    return Ok(Some(*entry));
                }
            }
        }
    }

    /// The next piece of the current entry's content; empty at its end.
    ///
    /// *Order*: call [`TarStream::consume_content`] with what was used of it.
    pub fn content(&mut self) -> Result<&[u8], TarError> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let (limit, position) = (self.content, self.position);
        let available = peek(&mut self.stream, &self.carry[self.carry_at..], position)?;
        if available.is_empty() {
            return Err(TarError::Read { position, source: io::ErrorKind::UnexpectedEof.into() });
        }
        let n = usize::try_from(limit).map_or(available.len(), |limit| limit.min(available.len()));
        Ok(&available[..n])
    }

    /// Marks bytes of the content as used.
    pub fn consume_content(&mut self, bytes: usize) {
        self.content -= bytes as u64;
        self.consume(bytes);
    }

    /// Reads the stream to its end.
    pub fn drain(mut self) -> Result<(), TarError> {
        loop {
            let n = peek(&mut self.stream, &self.carry[self.carry_at..], self.position)?.len();
            if n == 0 {
                return Ok(());
            }
            self.consume(n);
        }
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        loop {
            let n = self.content()?.len();
            if n == 0 {
                break;
            }
            self.consume_content(n);
        }
        while self.padding > 0 {
            let available = peek(&mut self.stream, &self.carry[self.carry_at..], self.position)?.len();
            if available == 0 {
                // The padding of the last entry may be missing.
                self.padding = 0;
                break;
            }
            let n = available.min(self.padding as usize);
            self.padding -= n as u64;
            self.consume(n);
        }
        Ok(())
    }

    /// Makes at least `need` bytes available in one piece, or all that the stream still has.
    fn gather(&mut self, need: usize) -> Result<(), TarError> {
        if need > MAX_HEADER_BYTES {
            return Err(TarError::TooLarge { position: self.position });
        }
        self.carry.drain(..self.carry_at);
        self.carry_at = 0;
        while self.carry.len() < need {
            let position = self.position + self.carry.len() as u64;
            let more = self.stream.fill_buf().map_err(|source| TarError::Read { position, source })?;
            if more.is_empty() {
                break;
            }
            let n = more.len().min(need - self.carry.len());
            self.carry.extend_from_slice(&more[..n]);
            self.stream.consume(n);
        }
        Ok(())
    }

    fn consume(&mut self, bytes: usize) {
        self.position += bytes as u64;
        if self.carry_at < self.carry.len() {
            self.carry_at += bytes;
            if self.carry_at >= self.carry.len() {
                self.carry.clear();
                self.carry_at = 0;
            }
        } else {
            self.stream.consume(bytes);
        }
    }
}

/// What is available without another copy: bytes carried over, else the stream's buffer. Empty at the end.
fn peek<'a>(stream: &'a mut impl BufRead, carry: &'a [u8], position: u64) -> Result<&'a [u8], TarError> {
    if !carry.is_empty() {
        return Ok(carry);
    }
    stream.fill_buf().map_err(|source| TarError::Read { position, source })
}

/// Parses one event.
fn step(parser: &mut Parser, input: &[u8], position: u64) -> Result<Step, TarError> {
    let refused = |path: &[u8], source| TarError::Entry { path: path.escape_ascii().to_string(), source };
    match parser.parse(input).map_err(|source| TarError::Header { position, source })? {
        ParseEvent::NeedData { min_bytes } => Ok(Step::Need(min_bytes)),
        ParseEvent::Entry { consumed, entry: raw } => {
            let entry = entry::convert(&raw, None).map_err(|e| refused(&raw.path, e))?;
            Ok(Step::Entry(consumed, Box::new(entry)))
        }
        ParseEvent::SparseEntry { consumed, entry: raw, sparse_map, real_size } => {
            let regions = sparse_map.iter().map(|region| (region.offset, region.length)).collect();
            let entry = entry::convert(&raw, Some((regions, real_size))).map_err(|e| refused(&raw.path, e))?;
            Ok(Step::Entry(consumed, Box::new(entry)))
        }
        // Defaults for the whole archive: neither docker nor containerd apply them to layers.
        ParseEvent::GlobalExtensions { consumed, .. } => Ok(Step::Skip(consumed)),
        ParseEvent::End { consumed } => Ok(Step::End(consumed)),
    }
}
