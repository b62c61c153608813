//! Decompression of layers: gzip, zstd (with skippable frames, as zstd:chunked has them) or plain, found by magic.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use holm_spec::oci::image::media_type;

/// Largest zstd window that is accepted, as a power of two: 128 MiB, what the `zstd` program accepts by default.
const MAX_WINDOW_LOG: u32 = 27;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// What a layer's media type says.
    pub fn of_media_type(kind: &str) -> Self {
        if kind == media_type::DOCKER_LAYER_GZIP || kind.ends_with("+gzip") {
            Self::Gzip
        } else if kind.ends_with("+zstd") {
            Self::Zstd
        } else {
            Self::Plain
        }
    }

    /// What the first bytes of a stream say; `None` where they say nothing.
    pub fn of_magic(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // A skippable frame, which zstd allows in front.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The OCI media type of a layer compressed so.
    pub fn layer_media_type(self) -> &'static str {
        match self {
            Self::Plain => media_type::OCI_LAYER,
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }
}

/// Reads the uncompressed content of a stream. At the end, the compressed stream has been read to its last byte.
pub struct Decoder<'a> {
    kind: Kind<'a>,
    compression: Compression,
}

type Source<'a> = BufReader<Prefixed<'a>>;

enum Kind<'a> {
    Plain(Source<'a>),
    Gzip(Box<MultiGzDecoder<Source<'a>>>),
    Zstd(Box<zstd::stream::read::Decoder<'a, Source<'a>>>),
}

impl std::fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl<'a> Decoder<'a> {
    /// Finds out the compression by the first bytes. A stream without a magic number is plain, whatever was expected;
    /// an empty stream that was expected to be compressed is an error.
    pub fn new(stream: &'a mut dyn Read, expected: Compression) -> io::Result<Self> {
        let mut start = [0; 4];
        let filled = super::fill(stream, &mut start)?;
        let compression = Compression::of_magic(&start[..filled]).unwrap_or(Compression::Plain);
        if filled == 0 && expected != Compression::Plain {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the compressed stream is empty"));
        }
        let source = Prefixed { start, filled, position: 0, stream };
        let source = BufReader::with_capacity(256 * 1024, source);
        let kind = match compression {
            Compression::Plain => Kind::Plain(source),
            Compression::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Kind::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { kind, compression })
    }

    /// What the first bytes said.
    pub fn compression(&self) -> Compression {
        self.compression
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Plain(reader) => reader.read(buffer),
            Kind::Gzip(reader) => {
                let n = reader.read(buffer)?;
                if n == 0 && !buffer.is_empty() && !reader.get_mut().fill_buf()?.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes follow the end of the gzip stream"));
                }
                Ok(n)
            }
            Kind::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// A stream with its first bytes put back.
struct Prefixed<'a> {
    start: [u8; 4],
    filled: usize,
    position: usize,
    stream: &'a mut dyn Read,
}

impl Read for Prefixed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.filled {
            return self.stream.read(buffer);
        }
        let n = buffer.len().min(self.filled - self.position);
        buffer[..n].copy_from_slice(&self.start[self.position..self.position + n]);
        self.position += n;
        Ok(n)
    }
}
