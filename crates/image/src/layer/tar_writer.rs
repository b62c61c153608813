//! Writing tar streams: ustar headers, with PAX records for what these cannot hold. Owns the format, opens nothing.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// Largest value of an 8-byte octal field.
const MAX_SHORT: u64 = 0o7_777_777;
/// Largest value of a 12-byte octal field.
const MAX_LONG: u64 = 0o77_777_777_777;

/// What a member is, with what only that kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind<'a> {
    File,
    Folder,
    Symlink(&'a [u8]),
    HardLink(&'a [u8]),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// The metadata of one member.
#[derive(Clone, Debug)]
pub(crate) struct Member<'a> {
    /// Relative path; a folder's gets its slash here.
    pub path: &'a [u8],
    pub kind: MemberKind<'a>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Size of the content that follows; 0 for all but files.
    pub size: u64,
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> Member<'a> {
    /// A plain file of root, as archives of images hold.
    pub fn file(path: &'a [u8], size: u64) -> Self {
        Self { path, kind: MemberKind::File, mode: 0o644, uid: 0, gid: 0, mtime: (0, 0), size, xattrs: &[] }
    }
}

/// Writes members one after the other.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes the headers of a member. *Order*: [`TarWriter::content`] follows if its size is not 0.
    pub fn member(&mut self, member: &Member<'_>) -> io::Result<()> {
        let mut path = member.path.to_vec();
        if member.kind == MemberKind::Folder && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        let (flag, link, device) = match member.kind {
            MemberKind::File => (b'0', &b""[..], (0, 0)),
            MemberKind::HardLink(target) => (b'1', target, (0, 0)),
            MemberKind::Symlink(target) => (b'2', target, (0, 0)),
            MemberKind::CharDevice(major, minor) => (b'3', &b""[..], (major, minor)),
            MemberKind::BlockDevice(major, minor) => (b'4', &b""[..], (major, minor)),
            MemberKind::Folder => (b'5', &b""[..], (0, 0)),
            MemberKind::Fifo => (b'6', &b""[..], (0, 0)),
        };
        let records = pax_records(member, &path, link);
        if !records.is_empty() {
            let size = records.len() as u64;
            self.header(b'x', b"PaxHeaders/0", b"", &Member { size, ..Member::file(b"", size) }, (0, 0))?;
            self.out.write_all(&records)?;
            self.pad(size)?;
        }
        self.header(flag, &path, link, member, device)
    }

    /// Writes `size` bytes of content. What the source lacks is filled with zeros, what it has more is left.
    pub fn content(&mut self, source: &mut dyn Read, size: u64) -> io::Result<()> {
        let copied = io::copy(&mut source.take(size), &mut self.out)?;
        io::copy(&mut io::repeat(0).take(size - copied), &mut self.out)?;
        self.pad(size)
    }

    /// Writes the end mark and gives the stream back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.out.write_all(&[0; BLOCK][..rest])
    }

    fn header(
        &mut self,
        flag: u8,
        path: &[u8],
        link: &[u8],
        member: &Member<'_>,
        device: (u32, u32),
    ) -> io::Result<()> {
        let mut block = [0_u8; BLOCK];
        put(&mut block[0..100], path);
        octal(&mut block[100..108], u64::from(member.mode & 0o7777));
        octal(&mut block[108..116], u64::from(member.uid).min(MAX_SHORT));
        octal(&mut block[116..124], u64::from(member.gid).min(MAX_SHORT));
        octal(&mut block[124..136], member.size.min(MAX_LONG));
        octal(&mut block[136..148], u64::try_from(member.mtime.0).unwrap_or(0).min(MAX_LONG));
        block[156] = flag;
        put(&mut block[157..257], link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], u64::from(device.0));
        octal(&mut block[337..345], u64::from(device.1));
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        octal(&mut block[148..155], sum);
        self.out.write_all(&block)
    }
}

/// What the ustar header of this member cannot hold.
fn pax_records(member: &Member<'_>, path: &[u8], link: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| {
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + digits(length) {
            length = rest + digits(length);
        }
        records.extend_from_slice(length.to_string().as_bytes());
        for part in [&b" "[..], key, b"=", value, b"\n"] {
            records.extend_from_slice(part);
        }
    };
    if path.len() > 100 {
        add(b"path", path);
    }
    if link.len() > 100 {
        add(b"linkpath", link);
    }
    if member.size > MAX_LONG {
        add(b"size", member.size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], member.uid), (b"gid", member.gid)] {
        if u64::from(id) > MAX_SHORT {
            add(key, id.to_string().as_bytes());
        }
    }
    let (seconds, nanoseconds) = member.mtime;
    if nanoseconds != 0 || seconds < 0 || seconds.cast_unsigned() > MAX_LONG {
        add(b"mtime", decimal_time(seconds, nanoseconds).as_bytes());
    }
    for (name, value) in member.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// `(-2, 750_000_000)` is `-1.250000000`.
fn decimal_time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (s, 0) => s.to_string(),
        (s, n) if s >= 0 => format!("{s}.{n:09}"),
        (s, n) => format!("-{}.{:09}", -(s + 1), 1_000_000_000 - n),
    }
}

fn digits(n: usize) -> usize {
    n.to_string().len()
}

fn put(field: &mut [u8], value: &[u8]) {
    let n = value.len().min(field.len());
    field[..n].copy_from_slice(&value[..n]);
}

/// Octal digits with leading zeros and a closing NUL.
fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    let text = format!("{value:0width$o}");
    field[..width].copy_from_slice(&text.as_bytes()[..width]);
}
