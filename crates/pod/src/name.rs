//! Names of containers: a second name of the owner's `config.json` each. Making that link is the reservation.
//!
//! A hard link, since making an inode is what a start on ext4 spends most of its time on (0.1 to 0.7 ms each where it was
//! measured). Where the file system has none, a symbolic link whose text is the id in base 64: 43 characters fit in the
//! inode itself, the 64 of the id would not.

use holm_spec::ContainerId;
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use serde::Deserialize;

use crate::Roots;
use crate::layout::{read_json, with_parents};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Reserves a name for a container whose record is written. *Errors*: `EXIST` where somebody has it.
pub(crate) fn reserve(roots: &Roots, name: &str, id: &ContainerId) -> Result<(), Errno> {
    let (link, record) = (roots.name_link(name), roots.container(id).join("config.json"));
    let folder = roots.data.join("names");
    match with_parents(&folder, || rustix::fs::linkat(CWD, &record, CWD, &link, AtFlags::empty())) {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => rustix::fs::symlink(encode(id), &link),
        other => other,
    }
}

/// The part of a record that says whose it is.
#[derive(Deserialize)]
struct Owned {
    spec: Owner,
}

#[derive(Deserialize)]
struct Owner {
    id: ContainerId,
}

/// Who has a name.
pub(crate) fn owner(roots: &Roots, name: &str) -> Option<ContainerId> {
    let link = roots.name_link(name);
    match rustix::fs::readlink(&link, Vec::with_capacity(64)) {
        Ok(text) => decode(text.as_bytes()),
        Err(Errno::INVAL) => read_json::<Owned>(&link).ok()?.map(|owned| owned.spec.id),
        Err(_) => None,
    }
}

/// Gives a name back if the container has it.
pub(crate) fn release(roots: &Roots, name: &str, id: &ContainerId) {
    if owner(roots, name).as_ref() == Some(id) {
        let _ = rustix::fs::unlink(roots.name_link(name));
    }
}

fn encode(id: &ContainerId) -> String {
    let mut text = String::with_capacity(43);
    let (mut bits, mut count) = (0u32, 0);
    for digit in id.as_str().bytes() {
        let value = (digit as char).to_digit(16).unwrap_or(0);
        bits = bits << 4 | value;
        count += 4;
        if count >= 6 {
            count -= 6;
            text.push(DIGITS[(bits >> count & 63) as usize] as char);
        }
    }
    // 256 bits leave four for the last digit.
    text.push(DIGITS[(bits << (6 - count) & 63) as usize] as char);
    text
}

fn decode(text: &[u8]) -> Option<ContainerId> {
    if text.len() != 43 {
        return None;
    }
    let mut hex = String::with_capacity(64);
    let (mut bits, mut count) = (0u32, 0);
    for digit in text {
        let value = DIGITS.iter().position(|d| d == digit)?;
        bits = bits << 6 | value as u32;
        count += 6;
        while count >= 4 && hex.len() < 64 {
            count -= 4;
            hex.push(char::from_digit(bits >> count & 15, 16)?);
        }
    }
    hex.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_survives_the_link_text() {
        for bytes in [[0u8; 32], [0xff; 32], std::array::from_fn(|n| (n * 37 + 5) as u8)] {
            let id = ContainerId::from_random(&bytes);
            let text = encode(&id);
            assert_eq!(text.len(), 43);
            assert_eq!(decode(text.as_bytes()), Some(id));
        }
        for bad in [&b""[..], b"short", &[b'!'; 43], &[b'A'; 44]] {
            assert_eq!(decode(bad), None);
        }
    }
}
