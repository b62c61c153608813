//! The little of ELF that kernels and modules need: machine, sections by name, notes. 64-bit, little-endian.
//!
//! *Source*: System V ABI, ELF-64; elf(5).

use super::Fault;
use super::bytes::{stretch, u16_at, u32_at, u64_at};

const HEADER_BYTES: usize = 64;
const SECTION_BYTES: u16 = 64;
const SEGMENT_BYTES: u16 = 56;
const PT_NOTE: u32 = 4;
const SHT_NOBITS: u32 = 8;

/// A file whose header is in order; everything else is checked when it is read.
#[derive(Clone, Copy, Debug)]
pub struct Elf<'a> {
    bytes: &'a [u8],
    machine: u16,
    segments: Table<'a>,
    sections: Table<'a>,
    names: u16,
}

/// Headers of one kind, in a stretch of the file.
#[derive(Clone, Copy, Debug)]
struct Table<'a> {
    bytes: &'a [u8],
    entry_bytes: usize,
}

impl<'a> Table<'a> {
    fn read(file: &'a [u8], offset: u64, entry_bytes: u16, smallest: u16, count: u16) -> Result<Self, Fault> {
        if count == 0 {
            return Ok(Self { bytes: &[], entry_bytes: smallest.into() });
        }
        let length = u64::from(entry_bytes) * u64::from(count);
        let bytes = stretch(file, offset, length).filter(|_| entry_bytes >= smallest);
        let bytes = bytes.ok_or(Fault::Damaged("an ELF table lies outside the file"))?;
        Ok(Self { bytes, entry_bytes: entry_bytes.into() })
    }

    fn entries(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks_exact(self.entry_bytes)
    }
}

/// One note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Who defines its kind, without the NUL.
    pub name: &'a [u8],
    /// What it is.
    pub kind: u32,
    /// Its content.
    pub content: &'a [u8],
}

impl<'a> Elf<'a> {
    /// Whether the file begins as ELF files do.
    pub fn is_elf(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\x7fELF")
    }

    /// Reads the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        if !Self::is_elf(bytes) || bytes.len() < HEADER_BYTES {
            return Err(Fault::Damaged("the ELF header is incomplete"));
        }
        if bytes[4] != 2 || bytes[5] != 1 {
            return Err(Fault::Architecture("a 32-bit or big-endian processor"));
        }
        let half = |offset| u16_at(bytes, offset).unwrap_or(0);
        let long = |offset| u64_at(bytes, offset).unwrap_or(0);
        Ok(Self {
            bytes,
            machine: half(18),
            segments: Table::read(bytes, long(32), half(54), SEGMENT_BYTES, half(56))?,
            sections: Table::read(bytes, long(40), half(58), SECTION_BYTES, half(60))?,
            names: half(62),
        })
    }

    /// `e_machine`.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// The content of the first section of that name that has one.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let names = self.content(self.sections.entries().nth(self.names.into())?)?;
        let named = |header: &&[u8]| {
            let text = u32_at(header, 0).and_then(|at| names.get(usize::try_from(at).ok()?..));
            text.and_then(|text| text.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
        };
        self.sections.entries().filter(named).find_map(|header| self.content(header))
    }

    fn content(&self, header: &[u8]) -> Option<&'a [u8]> {
        let here = u32_at(header, 4)? != SHT_NOBITS;
        stretch(self.bytes, u64_at(header, 24)?, u64_at(header, 32)?).filter(|_| here)
    }

    /// All notes of all note segments; a damaged one ends its segment.
    pub fn notes(&self) -> impl Iterator<Item = Note<'a>> + use<'a> {
        let file = self.bytes;
        let segments = self.segments.entries().filter(|header| u32_at(header, 0) == Some(PT_NOTE));
        let contents = segments.filter_map(move |header| stretch(file, u64_at(header, 8)?, u64_at(header, 32)?));
        contents.flat_map(|mut rest| {
            std::iter::from_fn(move || {
                let (note, length) = read_note(rest)?;
                rest = rest.get(length..).unwrap_or(&[]);
                Some(note)
            })
        })
    }
}

/// The note at the start, and where the next one begins. Kernels align notes to four bytes.
fn read_note(bytes: &[u8]) -> Option<(Note<'_>, usize)> {
    const HEAD: usize = 12;
    let size = |offset| u32_at(bytes, offset).and_then(|n| usize::try_from(n).ok());
    let (name_bytes, content_bytes, kind) = (size(0)?, size(4)?, u32_at(bytes, 8)?);
    let name = bytes.get(HEAD..HEAD.checked_add(name_bytes)?)?;
    let start = HEAD.checked_add(name_bytes.checked_next_multiple_of(4)?)?;
    let content = bytes.get(start..start.checked_add(content_bytes)?)?;
    let next = start.checked_add(content_bytes.checked_next_multiple_of(4)?)?;
    Some((Note { name: name.strip_suffix(b"\0").unwrap_or(name), kind, content }, next))
}
