//! Tars for tests, honest ones and malicious ones, made header by header.

/// A tar that is being put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tar(Vec<u8>);

/// The fields of one header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub size: u64,
    pub link: &'a [u8],
    pub device: (u32, u32),
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Fields {
            name: b"",
            kind: b'0',
            mode: 0o644,
            owner: (0, 0),
            mtime: 1_000_000_000,
            size: 0,
            link: b"",
            device: (0, 0),
        }
    }
}

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// A header of any kind.
    pub fn header(mut self, fields: Fields<'_>) -> Self {
        let mut block = [0_u8; 512];
        block[..fields.name.len()].copy_from_slice(fields.name);
        let mut octal = |at: usize, width: usize, value: u64| {
            let text = format!("{value:0width$o}", width = width - 1);
            block[at..at + width - 1].copy_from_slice(text.as_bytes());
        };
        octal(100, 8, fields.mode.into());
        octal(108, 8, fields.owner.0);
        octal(116, 8, fields.owner.1);
        octal(124, 12, fields.size);
        octal(136, 12, fields.mtime);
        octal(329, 8, fields.device.0.into());
        octal(337, 8, fields.device.1.into());
        block[156] = fields.kind;
        block[157..157 + fields.link.len()].copy_from_slice(fields.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        self.0.extend(with_checksum(block));
        self
    }

    /// Content, padded to whole blocks.
    pub fn content(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        let fields = Fields { name: name.as_bytes(), size: content.len() as u64, ..Fields::default() };
        self.header(fields).content(content)
    }

    pub fn folder(self, name: &str, mode: u32) -> Self {
        self.header(Fields { name: name.as_bytes(), kind: b'5', mode, ..Fields::default() })
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.header(Fields {
            name: name.as_bytes(),
            kind: b'2',
            mode: 0o777,
            link: target.as_bytes(),
            ..Fields::default()
        })
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.header(Fields { name: name.as_bytes(), kind: b'1', link: target.as_bytes(), ..Fields::default() })
    }

    /// PAX records for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        let size = body.len() as u64;
        self.header(Fields { name: b"PaxHeaders/x", kind: b'x', size, ..Fields::default() }).content(&body)
    }

    /// The stream, with its end mark.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The stream without an end mark.
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}

/// Writes the checksum into a header block.
pub(crate) fn with_checksum(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Compresses with gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
