//! A seed disk: what cloud-init's NoCloud source reads its settings from, as a small ISO 9660 with Rock Ridge names.
//!
//! ```text
//! sector 16  volume      18, 19  path tables (little-, big-endian)      21  files, each from a sector on
//! sector 17  end         20      root folder
//! ```
//!
//! ISO 9660 rather than FAT: no table of clusters, and a disk that nobody expects to write to. The files may hold secrets: they
//! are readable to the guest's root alone. *Source*: ECMA-119; SUSP 1.10; RRIP 1.10; cloud-init's documentation of NoCloud.

#[cfg(test)]
mod tests;

use super::bytes::PutAt;
use super::error::DiskError;

/// The settings of one machine. They are not looked into.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seed<'a> {
    /// `meta-data`: YAML with `instance-id`, by whose change cloud-init knows a new machine, and `local-hostname`.
    pub meta_data: &'a [u8],
    /// `user-data`: most often `#cloud-config`; may be empty but is always there, or the seed does not count.
    pub user_data: &'a [u8],
    /// `network-config`: YAML of version 1 or 2; without it cloud-init asks for an address by DHCP.
    pub network_config: Option<&'a [u8]>,
}

/// The label by which cloud-init knows the disk.
const LABEL: &[u8] = b"cidata";
const SECTOR_BYTES: usize = 2048;
const VOLUME: usize = 16;
const END: usize = 17;
const PATHS_LITTLE: usize = 18;
const PATHS_BIG: usize = 19;
const ROOT: usize = 20;
const FIRST_FILE: usize = 21;

/// Most bytes of one file: 16 MiB, far above what cloud-init takes.
pub const MAX_FILE_BYTES: usize = 16 << 20;

/// A file of the seed: its name of level 1, by which the folder is sorted, its true name, and its content.
type SeedFile<'a> = (&'static [u8], &'static [u8], &'a [u8]);

/// The bytes of a seed disk. *Errors*: [`DiskError::Unfit`] for a file above [`MAX_FILE_BYTES`].
pub fn encode(seed: &Seed<'_>) -> Result<Vec<u8>, DiskError> {
    let network = seed.network_config.map(|content| (&b"NETWORK_.;1"[..], &b"network-config"[..], content));
    let mut files: Vec<SeedFile<'_>> = vec![(b"META_DAT.;1", b"meta-data", seed.meta_data)];
    files.extend(network);
    files.push((b"USER_DAT.;1", b"user-data", seed.user_data));

    let mut disk = vec![0; FIRST_FILE * SECTOR_BYTES];
    let mut folder = folder_records();
    for (short, name, content) in files {
        if content.len() > MAX_FILE_BYTES {
            let object = String::from_utf8_lossy(name).into_owned();
            return Err(DiskError::Unfit { object, reason: "a file of a seed disk has at most 16 MiB" });
        }
        let mut extra = mode_field(0o100_400, 1);
        extra.extend(field(b"NM", &[&[0], name].concat()));
        folder.extend(record(short, disk.len() / SECTOR_BYTES, content.len(), false, &extra));
        disk.extend_from_slice(content);
        disk.resize(disk.len().next_multiple_of(SECTOR_BYTES), 0);
    }
    disk.put(ROOT * SECTOR_BYTES, &folder);
    let sectors = disk.len() / SECTOR_BYTES;
    disk.put(VOLUME * SECTOR_BYTES, &volume(sectors));
    disk.put(END * SECTOR_BYTES, b"\xffCD001\x01");
    // One folder, the root: name of one byte, its sector, itself as its parent.
    disk.put(PATHS_LITTLE * SECTOR_BYTES, &[1, 0, ROOT as u8, 0, 0, 0, 1, 0, 0, 0]);
    disk.put(PATHS_BIG * SECTOR_BYTES, &[1, 0, 0, 0, 0, ROOT as u8, 0, 1, 0, 0]);
    Ok(disk)
}

fn volume(sectors: usize) -> Vec<u8> {
    const PATH_TABLE_BYTES: usize = 10;
    let mut volume = vec![0; SECTOR_BYTES];
    volume.put(0, b"\x01CD001\x01");
    // Texts are filled up with spaces: system and volume; from set to bibliography.
    volume[8..72].fill(b' ');
    volume.put(40, LABEL);
    volume.put(80, &both32(sectors));
    for offset in [120, 124] {
        volume.put(offset, &both16(1)); // volumes, and which one
    }
    volume.put(128, &both16(SECTOR_BYTES as u16));
    volume.put(132, &both32(PATH_TABLE_BYTES));
    volume.put32(140, PATHS_LITTLE as u32);
    volume.put(148, &(PATHS_BIG as u32).to_be_bytes());
    volume.put(156, &record(&[0], ROOT, SECTOR_BYTES, true, &[]));
    volume[190..813].fill(b' ');
    for offset in [813, 830, 847, 864] {
        volume[offset..offset + 16].fill(b'0'); // no time
    }
    volume.put(881, &[1]);
    volume
}

/// `.` and `..` of the root; the first says that Rock Ridge is in use.
fn folder_records() -> Vec<u8> {
    let mode = mode_field(0o040_500, 2);
    let mut own = field(b"SP", &[0xbe, 0xef, 0]);
    own.extend_from_slice(&mode);
    own.extend(field(b"ER", &[&[10, 0, 0, 1][..], b"RRIP_1991A"].concat()));
    let mut records = record(&[0], ROOT, SECTOR_BYTES, true, &own);
    records.extend(record(&[1], ROOT, SECTOR_BYTES, true, &mode));
    records
}

/// A folder's record of a file or folder. All are from the first second of 1980.
fn record(name: &[u8], sector: usize, bytes: usize, folder: bool, extra: &[u8]) -> Vec<u8> {
    let padded = (33 + name.len()).next_multiple_of(2);
    let length = (padded + extra.len()).next_multiple_of(2);
    let mut record = vec![0; length];
    record.put(0, &[length as u8]);
    record.put(2, &both32(sector));
    record.put(10, &both32(bytes));
    record.put(18, &[80, 1, 1]);
    record.put(25, &[if folder { 2 } else { 0 }]);
    record.put(28, &both16(1));
    record.put(32, &[name.len() as u8]);
    record.put(33, name);
    record.put(padded, extra);
    record
}

/// A field of the system use sharing protocol, version 1.
fn field(kind: &[u8; 2], content: &[u8]) -> Vec<u8> {
    [&kind[..], &[(4 + content.len()) as u8, 1], content].concat()
}

/// Mode, links and owner: root.
fn mode_field(mode: usize, links: usize) -> Vec<u8> {
    field(b"PX", &[both32(mode), both32(links), both32(0), both32(0)].concat())
}

/// A number in both orders of bytes. All that occur here fit 32 bits.
fn both32(value: usize) -> [u8; 8] {
    let value = value as u32;
    let mut bytes = [0; 8];
    bytes.put(0, &value.to_le_bytes());
    bytes.put(4, &value.to_be_bytes());
    bytes
}

fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}
