//! One tar entry as Holm understands it: owned, with its path split and its metadata checked. Pure data, no I/O.

use tar_core::{EntryType, PaxExtensions};

/// Longest path or link target, the kernel's own limit.
pub(super) const MAX_PATH_BYTES: usize = 4096;
/// Deepest folder. Keeps deleting a layer within the usual limit of open files.
pub(super) const MAX_DEPTH: usize = 512;
/// Largest extended attribute that is kept, the kernel's own limit.
const MAX_XATTR_BYTES: usize = 64 * 1024;
/// Most extended attributes that are kept of one entry.
const MAX_XATTRS: usize = 256;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// A file with holes: the regions that the stream has, and the whole size.
    Sparse {
        regions: Vec<(u64, u64)>,
        size_bytes: u64,
    },
    Folder,
    Symlink(Vec<u8>),
    HardLink(TarPath),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// A path inside a layer: components that are neither empty nor `.` nor `..`. The root has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct TarPath {
    bytes: Vec<u8>,
    name_at: usize,
}

/// A checked entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub path: TarPath,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub atime: Option<Time>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of content that follow in the stream.
    pub content_bytes: u64,
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// Why an entry is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryError {
    /// The path would leave the layer.
    #[error("its path has a `..` component")]
    Parent,
    /// The path or link target has a NUL byte.
    #[error("its path or link target has a NUL byte")]
    Nul,
    /// The path is too long.
    #[error("its path has {0} bytes, the limit is {MAX_PATH_BYTES}")]
    PathTooLong(usize),
    /// The path is too deep.
    #[error("its path has {0} components, the limit is {MAX_DEPTH}")]
    TooDeep(usize),
    /// A link without a target.
    #[error("it is a link without a target")]
    NoTarget,
    /// A type that no layer has.
    #[error("its type `{0}` is not supported")]
    Type(char),
    /// An owner beyond 32 bits.
    #[error("its owner {0} is not below 2^32 - 1")]
    Owner(u64),
    /// A device without numbers.
    #[error("it is a device without numbers")]
    Device,
    /// The list of regions of a sparse file.
    #[error("its list of data regions is inconsistent")]
    Sparse,
    /// A malformed PAX value.
    #[error("its PAX value `{0}` is malformed")]
    Pax(&'static str),
    /// A size field that does not fit 63 bits.
    #[error("its size is out of range")]
    Size,
    /// Too many extended attributes.
    #[error("it has more than {MAX_XATTRS} extended attributes")]
    TooManyXattrs,
    /// An extended attribute that is too large.
    #[error("its extended attribute has {0} bytes, the limit is {MAX_XATTR_BYTES}")]
    XattrTooLarge(usize),
}

impl TarPath {
    /// Splits and checks a path. An absolute one is relative to the root.
    pub fn parse(raw: &[u8]) -> Result<Self, EntryError> {
        if raw.len() > MAX_PATH_BYTES {
            return Err(EntryError::PathTooLong(raw.len()));
        }
        if raw.contains(&0) {
            return Err(EntryError::Nul);
        }
        let mut path = Self { bytes: Vec::with_capacity(raw.len()), name_at: 0 };
        let mut depth = 0;
        for component in raw.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".") {
            if component == b".." {
                return Err(EntryError::Parent);
            }
            depth += 1;
            if depth > 1 {
                path.bytes.push(b'/');
            }
            path.name_at = path.bytes.len();
            path.bytes.extend_from_slice(component);
        }
        if depth > MAX_DEPTH {
            return Err(EntryError::TooDeep(depth));
        }
        Ok(path)
    }

    /// True for the root itself.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The whole path, without leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        &self.bytes[self.name_at..]
    }

    /// The folder that it is in; empty for the root and what is directly in it.
    pub fn parent(&self) -> &[u8] {
        &self.bytes[..self.name_at.saturating_sub(1)]
    }

    /// The first component; empty for the root.
    pub fn first(&self) -> &[u8] {
        self.bytes.split(|b| *b == b'/').next().unwrap_or_default()
    }
}

/// Turns the parser's entry into a checked one. `sparse` is the parser's list of regions and whole size.
pub(super) fn convert(
    raw: &tar_core::parse::ParsedEntry<'_>,
    sparse: Option<(Vec<(u64, u64)>, u64)>,
) -> Result<Entry, EntryError> {
    let path = TarPath::parse(&raw.path)?;
    check_size_field(&raw.header.as_bytes()[124..136])?;
    let target = || raw.link_target.as_deref().filter(|t| !t.is_empty()).ok_or(EntryError::NoTarget);
    let device = || raw.dev_major.zip(raw.dev_minor).ok_or(EntryError::Device);
    let mut content_bytes = raw.size;
    // In the oldest form a folder is a file whose name ends in a slash.
    let old_folder = raw.header.as_bytes()[156] == 0 && raw.path.last() == Some(&b'/');
    let kind = match raw.entry_type {
        _ if sparse.is_some() => {
            let (regions, size_bytes) = sparse.unwrap_or_default();
            check_regions(&regions, size_bytes, raw.size)?;
            Kind::Sparse { regions, size_bytes }
        }
        EntryType::Regular | EntryType::Continuous if old_folder => Kind::Folder,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Symlink(symlink_target(target()?)?),
        EntryType::Link => Kind::HardLink(TarPath::parse(target()?)?),
        EntryType::Char => device().map(|(major, minor)| Kind::CharDevice(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
        EntryType::Fifo => Kind::Fifo,
        other => return Err(EntryError::Type(char::from(other.to_byte()))),
    };
    if !matches!(kind, Kind::File | Kind::Sparse { .. }) {
        // Only files have content; a size in another header means nothing (POSIX; Go and GNU tar read it so).
        content_bytes = 0;
    }
    if content_bytes > i64::MAX as u64 {
        return Err(EntryError::Size);
    }
    let mut entry = Entry {
        path,
        kind,
        mode: raw.mode & 0o7777,
        uid: owner(raw.uid)?,
        gid: owner(raw.gid)?,
        // The parser keeps the low 64 bits of a negative time.
        mtime: Time { seconds: raw.mtime.cast_signed(), nanoseconds: 0 },
        atime: None,
        xattrs: xattrs(raw)?,
        content_bytes,
    };
    if let Some(pax) = raw.pax {
        apply_pax(&mut entry, pax)?;
    }
    Ok(entry)
}

fn symlink_target(target: &[u8]) -> Result<Vec<u8>, EntryError> {
    if target.len() >= MAX_PATH_BYTES {
        return Err(EntryError::PathTooLong(target.len()));
    }
    if target.contains(&0) { Err(EntryError::Nul) } else { Ok(target.to_vec()) }
}

/// A binary size that the parser would cut to 64 bits is refused: another reader would see other entries.
fn check_size_field(field: &[u8]) -> Result<(), EntryError> {
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => {
            let high = (first & 0x7f) | rest[..3].iter().fold(0, |all, b| all | b);
            if high == 0 { Ok(()) } else { Err(EntryError::Size) }
        }
        _ => Ok(()),
    }
}

fn owner(id: u64) -> Result<u32, EntryError> {
    // The highest value means "no change" to the kernel.
    u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(EntryError::Owner(id))
}

/// Regions must be in order, inside the file, and as long as the content.
fn check_regions(regions: &[(u64, u64)], size_bytes: u64, content_bytes: u64) -> Result<(), EntryError> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for &(offset, length) in regions {
        if offset < end {
            return Err(EntryError::Sparse);
        }
        end = offset.checked_add(length).ok_or(EntryError::Sparse)?;
        sum = sum.checked_add(length).ok_or(EntryError::Sparse)?;
    }
    if end > size_bytes || sum != content_bytes || size_bytes > i64::MAX as u64 {
        return Err(EntryError::Sparse);
    }
    Ok(())
}

/// Keeps file capabilities and what users may set, drops the rest: labels of another host, and above all what would
/// steer overlayfs.
fn keep_xattr(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn xattrs(raw: &tar_core::parse::ParsedEntry<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>, EntryError> {
    let mut kept = Vec::new();
    for (name, value) in raw.xattrs.iter().filter(|(name, _)| keep_xattr(name)) {
        if value.len() > MAX_XATTR_BYTES {
            return Err(EntryError::XattrTooLarge(value.len()));
        }
        if name.contains(&0) {
            return Err(EntryError::Nul);
        }
        kept.push((name.to_vec(), value.to_vec()));
    }
    if kept.len() > MAX_XATTRS { Err(EntryError::TooManyXattrs) } else { Ok(kept) }
}

/// Reads what the parser leaves out: times with fractions; and refuses values that it would pass over.
fn apply_pax(entry: &mut Entry, pax: &[u8]) -> Result<(), EntryError> {
    let mut has_size = false;
    let mut version = None;
    for record in PaxExtensions::new(pax) {
        let record = record.map_err(|_| EntryError::Pax("record"))?;
        let value = || std::str::from_utf8(record.value_bytes()).ok();
        match record.key_bytes() {
            b"mtime" => entry.mtime = parse_time(value()).ok_or(EntryError::Pax("mtime"))?,
            b"atime" => entry.atime = Some(parse_time(value()).ok_or(EntryError::Pax("atime"))?),
            b"size" => {
                decimal(value()).ok_or(EntryError::Pax("size"))?;
                has_size = true;
            }
            b"uid" => entry.uid = owner(decimal(value()).ok_or(EntryError::Pax("uid"))?)?,
            b"gid" => entry.gid = owner(decimal(value()).ok_or(EntryError::Pax("gid"))?)?,
            b"GNU.sparse.major" => version = decimal(value()),
            _ => {}
        }
    }
    if has_size && version == Some(1) {
        // The size then includes the list of regions, which the parser does not subtract.
        return Err(EntryError::Sparse);
    }
    Ok(())
}

fn decimal(text: Option<&str>) -> Option<u64> {
    text.filter(|t| t.bytes().all(|b| b.is_ascii_digit())).and_then(|t| t.parse().ok())
}

/// `-1.25` is a second and a quarter before 1970.
pub(super) fn parse_time(text: Option<&str>) -> Option<Time> {
    let text = text?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, n) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - n },
    })
}
