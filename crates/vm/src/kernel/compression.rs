//! Unpacking what kernels and modules are packed with, within a limit. Which crates do it is in
//! `docs/decisions/0009-guest-kernel.md`.

use std::io::Read;

use super::Fault;
use super::bytes::u32_at;

/// A dictionary of the largest size that kernels are packed with (128 MiB), and what the decoder adds.
const XZ_MEMORY_KIB: u32 = 160 * 1024;
/// Every block of LZ4's older frame holds this much but the last.
const LZ4_BLOCK_BYTES: usize = 8 << 20;

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// XZ, with the filters for machine code.
    Xz,
    /// LZ4 in the older frame, as `lz4 -l` writes it.
    Lz4,
    /// Known by name only.
    Other(&'static str),
}

impl Packing {
    /// The packing by its first bytes.
    pub fn recognise(bytes: &[u8]) -> Option<Self> {
        const KNOWN: [(&[u8], Packing); 7] = [
            (b"\x1f\x8b", Packing::Gzip),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x02\x21\x4c\x18", Packing::Lz4),
            (b"BZh", Packing::Other("bzip2")),
            (b"\x5d\0\0", Packing::Other("LZMA")),
            (b"\x89LZO", Packing::Other("LZO")),
        ];
        KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, packing)| *packing)
    }

    /// Unpacks one stream; what follows it, such as the length that kernels append, is not looked at.
    pub fn unpack(self, bytes: &[u8], limit_bytes: usize) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Gzip => read_all("gzip", flate2::bufread::GzDecoder::new(bytes), limit_bytes),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
                let decoder = decoder.map_err(|error| Fault::Unpack { packing: "zstd", why: error.to_string() })?;
                read_all("zstd", decoder.single_frame(), limit_bytes)
            }
            Self::Xz => read_all("xz", lzma_rust2::XzReader::new_mem_limit(bytes, false, XZ_MEMORY_KIB), limit_bytes),
            Self::Lz4 => unpack_lz4(bytes, limit_bytes),
            Self::Other(name) => Err(Fault::Packing(name)),
        }
    }
}

fn read_all(packing: &'static str, reader: impl Read, limit_bytes: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let read = reader.take(limit_bytes as u64 + 1).read_to_end(&mut out);
    read.map_err(|error| Fault::Unpack { packing, why: error.to_string() })?;
    within(out, limit_bytes)
}

fn within(out: Vec<u8>, limit_bytes: usize) -> Result<Vec<u8>, Fault> {
    if out.len() > limit_bytes { Err(Fault::TooLarge { limit_mib: limit_bytes >> 20 }) } else { Ok(out) }
}

/// *Source*: lz4_Frame_format.md, "Legacy frame": a length and a block, again and again.
fn unpack_lz4(bytes: &[u8], limit_bytes: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let mut rest = bytes.get(4..).unwrap_or(&[]);
    // A block cannot be that short: what is left then is the length that the kernel's build appends.
    while rest.len() > 4 {
        let length = u32_at(rest, 0).and_then(|n| usize::try_from(n).ok());
        let block = length.and_then(|n| rest.get(4..n.checked_add(4)?));
        let block = block.filter(|block| !block.is_empty() && out.len() % LZ4_BLOCK_BYTES == 0);
        let block = block.ok_or(Fault::Damaged("an LZ4 block lies outside the file"))?;
        let start = out.len();
        if start > limit_bytes {
            break;
        }
        out.resize(start + LZ4_BLOCK_BYTES, 0);
        let length = lz4_flex::block::decompress_into(block, &mut out[start..]);
        let length = length.map_err(|error| Fault::Unpack { packing: "lz4", why: error.to_string() })?;
        out.truncate(start + length);
        rest = &rest[4 + block.len()..];
    }
    within(out, limit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn packed(line: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut child =
            Command::new(line[0]).args(&line[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || input.write_all(bytes));
            child.wait_with_output().unwrap().stdout
        })
    }

    /// Machine code for the filters, noise and zeros.
    fn sample() -> Vec<u8> {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut bytes = own[..own.len().min(3 << 20)].to_vec();
        bytes.resize(18 << 20, 0);
        bytes
    }

    fn check(line: &[&str], packing: Packing) {
        let bytes = sample();
        let mut packed = packed(line, &bytes);
        packed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        assert_eq!(Packing::recognise(&packed), Some(packing));
        assert!(packing.unpack(&packed, bytes.len()).unwrap() == bytes, "{line:?}");
        assert_eq!(packing.unpack(&packed, 17 << 20), Err(Fault::TooLarge { limit_mib: 17 }), "{line:?}");
        assert!(packing.unpack(&packed[..packed.len() / 2], bytes.len()).is_err(), "{line:?}");
    }

    #[test]
    fn what_the_kernels_build_packs_is_unpacked_within_the_limit() {
        check(&["gzip", "-n", "-9"], Packing::Gzip);
        check(&["zstd", "-q", "-19", "--long=27"], Packing::Zstd);
        check(&["xz", "--check=crc32", "--x86", "--lzma2=,dict=32MiB"], Packing::Xz);
        check(&["lz4", "-l", "-9"], Packing::Lz4);
    }

    #[test]
    fn a_packing_known_by_name_is_named() {
        for (bytes, name) in [(&b"BZh9"[..], "bzip2"), (b"\x5d\0\0\x80", "LZMA"), (b"\x89LZO\0", "LZO")] {
            let packing = Packing::recognise(bytes).unwrap();
            assert_eq!(packing.unpack(bytes, 1), Err(Fault::Packing(name)));
        }
        assert_eq!(Packing::recognise(b"\x7fELF"), None);
    }
}
