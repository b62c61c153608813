//! Writing tar streams, well-formed and hostile ones. Owns the byte form; says nothing of images.
//!
//! Written by hand because libraries refuse to write what attacks are made of. *Source*: POSIX.1-2017 pax, "ustar
//! Interchange Format" and "pax Header Block".

/// A tar stream in the making.
#[derive(Clone, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

/// One entry: header fields and content.
#[derive(Clone)]
pub struct Entry {
    name: Vec<u8>,
    kind: u8,
    mode: u32,
    owner: (u64, u64),
    modified_s: u64,
    link: Vec<u8>,
    device: (u32, u32),
    pax: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
}

impl Entry {
    fn new(name: impl AsRef<[u8]>, kind: u8, mode: u32) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            kind,
            mode,
            owner: (0, 0),
            modified_s: 1_700_000_000,
            link: Vec::new(),
            device: (0, 0),
            pax: Vec::new(),
            content: Vec::new(),
        }
    }

    /// A regular file.
    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self { content: content.as_ref().to_vec(), ..Self::new(name, b'0', 0o644) }
    }

    /// A folder.
    pub fn folder(name: impl AsRef<[u8]>) -> Self {
        Self::new(name, b'5', 0o755)
    }

    /// A symbolic link.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::new(name, b'2', 0o777) }
    }

    /// A hard link.
    pub fn hardlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::new(name, b'1', 0o644) }
    }

    /// A character device.
    pub fn device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self { device: (major, minor), ..Self::new(name, b'3', 0o666) }
    }

    /// A fifo.
    pub fn fifo(name: impl AsRef<[u8]>) -> Self {
        Self::new(name, b'6', 0o644)
    }

    /// An entry of any type flag.
    pub fn other(name: impl AsRef<[u8]>, kind: u8, content: impl AsRef<[u8]>) -> Self {
        Self { content: content.as_ref().to_vec(), ..Self::new(name, kind, 0o644) }
    }

    /// Sets the permissions.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the owner.
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// Adds a pax record, as it is.
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Adds an extended attribute.
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut pax = Vec::new();
        if self.name.len() > 100 {
            pax_record(&mut pax, "path", &self.name);
        }
        if self.link.len() > 100 {
            pax_record(&mut pax, "linkpath", &self.link);
        }
        for (key, value) in &self.pax {
            pax_record(&mut pax, key, value);
        }
        if !pax.is_empty() {
            Entry::other("pax", b'x', &pax).write_plain(out);
        }
        self.write_plain(out);
    }

    fn write_plain(&self, out: &mut Vec<u8>) {
        let mut header = [0_u8; 512];
        put(&mut header[..100], &self.name);
        put_octal(&mut header[100..108], u64::from(self.mode));
        put_octal(&mut header[108..116], self.owner.0);
        put_octal(&mut header[116..124], self.owner.1);
        put_octal(&mut header[124..136], self.content.len() as u64);
        put_octal(&mut header[136..148], self.modified_s);
        header[148..156].fill(b' ');
        header[156] = self.kind;
        put(&mut header[157..257], &self.link);
        header[257..265].copy_from_slice(b"ustar\x0000");
        put_octal(&mut header[329..337], u64::from(self.device.0));
        put_octal(&mut header[337..345], u64::from(self.device.1));
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        put(&mut header[148..156], format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(&self.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

/// Writes as many bytes as fit.
fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Writes an octal number with a closing zero, or GNU's binary form where it does not fit.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    if text.len() == digits {
        put(field, text.as_bytes());
    } else {
        let start = field.len() - 8;
        field[0] = 0x80;
        field[start..].copy_from_slice(&value.to_be_bytes());
        field[0] |= 0x80;
    }
}

fn pax_record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    out.extend(format!("{length} {key}=").as_bytes());
    out.extend(value);
    out.push(b'\n');
}

impl Tar {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry.
    pub fn with(mut self, entry: Entry) -> Self {
        entry.write(&mut self.bytes);
        self
    }

    /// Adds entries.
    pub fn with_all(self, entries: impl IntoIterator<Item = Entry>) -> Self {
        entries.into_iter().fold(self, Self::with)
    }

    /// The bytes so far, without the end.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    /// The whole stream.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn written_tar_is_read_by_gnu_tar_with_its_long_names() {
        let long = "d/".repeat(80) + "file";
        let bytes = Tar::new()
            .with(Entry::folder("a").mode(0o1777))
            .with(Entry::file("a/b", "hello").owner(3_000_000, 1))
            .with(Entry::symlink("a/c", "b"))
            .with(Entry::file(&long, "x"))
            .finish();
        let mut child =
            Command::new("tar").args(["-tvf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert!(text.contains("drwxrwxrwt") && text.contains("3000000/1") && text.contains("a/c -> b"), "{text}");
        assert!(text.contains(&long), "{text}");
    }
}
