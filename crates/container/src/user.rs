//! Users and groups of an image: `user[:group]` and more groups, by name or number, read from the image's own files.
//!
//! The files are hostile: opened inside the root only, regular files only, read up to a limit. A text of digits is a
//! number and never a name (CVE-2024-40635).

use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use crate::rootfs::Rootfs;

/// Most bytes read of `/etc/passwd` or `/etc/group`.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why a user could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("cannot find user `{0}` in the image's /etc/passwd")]
    UnknownUser(String),
    /// No such group.
    #[error("cannot find group `{0}` in the image's /etc/group")]
    UnknownGroup(String),
    /// A number beyond 32 bits.
    #[error("cannot use id `{0}`: ids go from 0 to 4294967294")]
    Range(String),
    /// The form is wrong.
    #[error("cannot read `{0}` as user or user:group")]
    Form(String),
    /// A file could not be read.
    #[error("cannot read the image's {0}")]
    File(&'static str, #[source] io::Error),
}

/// A user as the kernel knows it, with what the image says of it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, the primary one included where the user is in it.
    pub additional_gids: Vec<u32>,
    /// Home folder; `/` where the image names none.
    pub home: String,
    /// Name in the image's `/etc/passwd`, if any.
    pub name: Option<String>,
}

/// Resolves `user` (root where absent) and `group_add` in the image.
pub fn resolve(root: &Rootfs, user: Option<&str>, group_add: &[String]) -> Result<ResolvedUser, UserError> {
    let passwd = read(root, "/etc/passwd")?;
    let needs_groups = user.is_some_and(|u| !u.is_empty()) || !group_add.is_empty();
    // Root without more groups is what most images run as; its groups come from the group file as well.
    let group = if needs_groups || passwd.is_some() { read(root, "/etc/group")? } else { None };
    resolve_in(passwd.as_deref().unwrap_or(""), group.as_deref().unwrap_or(""), user.unwrap_or(""), group_add)
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn resolve_in(passwd: &str, group: &str, user: &str, group_add: &[String]) -> Result<ResolvedUser, UserError> {
    let (user_part, group_part) = match user.split_once(':') {
        Some((u, g)) => (u, Some(g)),
        None => (user, None),
    };
    if group_part.is_some_and(|g| g.is_empty() || g.contains(':')) {
        return Err(UserError::Form(shown(user)));
    }
    let wanted = if user_part.is_empty() { "0" } else { user_part };
    let number = number(wanted)?;
    let entry = passwd.lines().filter_map(passwd_entry).find(|e| match number {
        Some(uid) => e.uid == uid,
        None => e.name == wanted,
    });
    if entry.is_none() && number.is_none() {
        return Err(UserError::UnknownUser(shown(wanted)));
    }
    let mut resolved = ResolvedUser {
        uid: entry.as_ref().map_or(number.unwrap_or(0), |e| e.uid),
        gid: entry.as_ref().map_or(0, |e| e.gid),
        additional_gids: Vec::new(),
        home: entry.as_ref().map(|e| e.home).filter(|h| h.starts_with('/')).unwrap_or("/").to_owned(),
        name: entry.as_ref().map(|e| e.name.to_owned()),
    };
    match group_part {
        Some(name) => resolved.gid = group_id(group, name)?,
        None => {
            if let Some(name) = &resolved.name {
                resolved.additional_gids = member_of(group, name);
            }
        }
    }
    for name in group_add {
        resolved.additional_gids.push(group_id(group, name)?);
    }
    let gid = resolved.gid;
    // The primary group belongs in the list too: a process could otherwise drop it and win by a "deny group" mode.
    resolved.additional_gids.insert(0, gid);
    let mut seen = Vec::new();
    resolved.additional_gids.retain(|g| {
        !seen.contains(g) && {
            seen.push(*g);
            true
        }
    });
    Ok(resolved)
}

fn passwd_entry(line: &str) -> Option<Entry<'_>> {
    let mut fields = line.split(':');
    let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (_, home) = (fields.next(), fields.next().unwrap_or("/"));
    Some(Entry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
}

fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn group_id(group: &str, wanted: &str) -> Result<u32, UserError> {
    if let Some(gid) = number(wanted)? {
        return Ok(gid);
    }
    let found = group_entries(group).find(|(name, _, _)| *name == wanted).map(|(_, gid, _)| gid);
    found.ok_or_else(|| UserError::UnknownGroup(shown(wanted)))
}

fn member_of(group: &str, user: &str) -> Vec<u32> {
    let is_member = |members: &str| members.split(',').any(|m| m == user);
    group_entries(group).filter(|(_, _, members)| is_member(members)).map(|(_, gid, _)| gid).take(65_536).collect()
}

/// `Some` for a text of digits, an error for one that is too large, `None` for a name. The largest id, 2^32-1, means
/// "unchanged" to the kernel and is refused.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    let signed = text.strip_prefix(['-', '+']).unwrap_or(text);
    if signed.is_empty() || !signed.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX && !text.starts_with('+') => Ok(Some(id)),
        _ => Err(UserError::Range(shown(text))),
    }
}

fn shown(text: &str) -> String {
    text.escape_default().take(80).collect()
}

/// Reads a file of the image; `None` if there is none. A fifo or device is not waited for and not read.
fn read(root: &Rootfs, path: &'static str) -> Result<Option<String>, UserError> {
    let opened = root.open_in_root(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
    let fd = match opened {
        Ok(fd) => fd,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(UserError::File(path, e)),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|e| UserError::File(path, e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(UserError::File(path, io::Error::other("it is not a regular file")));
    }
    if stat.st_size.cast_unsigned() > MAX_FILE_BYTES {
        let text = format!("it has {} bytes, the limit is {MAX_FILE_BYTES}", stat.st_size);
        return Err(UserError::File(path, io::Error::other(text)));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0) + 1);
    std::fs::File::from(fd).take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|e| UserError::File(path, e))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests;
