//! The walk: every folder's other entries first, so that their inodes lie together, then its subfolders one by one.
//!
//! Everything is opened relative to its folder's descriptor and no link is followed. Depth costs memory but neither stack
//! nor descriptors: of the folders on the way only the innermost are kept open, the others are opened again from the root.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};

use super::super::error::{DiskError, io_error};
use super::Walked;
use super::folder::{self, Entry};
use super::image::{Image, Place, read_exact};
use super::inode::{self, Attributes, LINKS_OFFSET};
use super::xattr;

/// Folders that are kept open at once.
const OPEN_FOLDERS: usize = 32;
/// Bytes of a path that the kernel takes at once, with some to spare. *Source*: linux/limits.h, `PATH_MAX`.
const MAX_PATH_BYTES: usize = 4000;
/// Most bytes of an xattr or of a list of names. *Source*: linux/limits.h, `XATTR_SIZE_MAX`.
const XATTR_BYTES: usize = 65536;

/// A folder that was entered and not yet left.
struct Folder {
    fd: Option<OwnedFd>,
    name: Vec<u8>,
    attributes: Attributes,
    place: Place,
    size_bytes: u64,
    serial: u32,
    entries: Vec<Entry>,
    /// The entries that are folders.
    subfolders: Vec<usize>,
    /// How many of them were left.
    done: usize,
}

struct Walk<'a, 'b> {
    root: BorrowedFd<'a>,
    image: &'a mut Image<'b>,
    inodes: u64,
    /// Files with several names: place, and names found.
    links: HashMap<(u64, u64), (Place, u32)>,
    stack: Vec<Folder>,
    scratch: Vec<u8>,
}

/// Writes the tree below `root` into the image.
pub(super) fn write(root: BorrowedFd<'_>, image: &mut Image<'_>) -> Result<Walked, DiskError> {
    let scratch = vec![0; XATTR_BYTES];
    let mut walk = Walk { root, image, inodes: 0, links: HashMap::new(), stack: Vec::new(), scratch };
    let fd = open_folder(root, b".").map_err(io_error("open", "."))?;
    let root = walk.enter(fd, Vec::new(), None)?;
    while !walk.stack.is_empty() {
        walk.step()?;
    }
    for (place, links) in walk.links.values() {
        walk.image.put(place.offset + LINKS_OFFSET, &links.to_le_bytes())?;
    }
    Ok(Walked { inodes: walk.inodes, root })
}

fn open_folder(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(at, name, flags, Mode::empty(), resolve)
}

impl Walk<'_, '_> {
    /// Enters the next subfolder of the innermost folder, or leaves that.
    fn step(&mut self) -> Result<(), DiskError> {
        let Some(folder) = self.stack.last_mut() else { return Ok(()) };
        let Some(&index) = folder.subfolders.get(folder.done) else { return self.leave() };
        folder.done += 1;
        let name = folder.entries[index].name.clone();
        let parent = folder.place.number();
        let object = self.path_of(&name);
        let at = self.innermost()?;
        let fd = open_folder(at, &name).map_err(io_error("open", &object))?;
        let number = self.enter(fd, name, Some(parent))?;
        let above = self.stack.len() - 2;
        self.stack[above].entries[index].inode = number;
        Ok(())
    }

    /// The innermost folder's descriptor, opened again where it was closed.
    fn innermost(&mut self) -> Result<BorrowedFd<'_>, DiskError> {
        let top = self.stack.len() - 1;
        if self.stack[top].fd.is_none() {
            let fd = self.open_again().map_err(io_error("open", &self.path_of(b"")))?;
            self.stack[top].fd = Some(fd);
        }
        Ok(self.stack[top].fd.as_ref().map_or(self.root, AsFd::as_fd))
    }

    /// Opens the innermost folder from the root on, with as many names at once as the kernel takes.
    fn open_again(&self) -> rustix::io::Result<OwnedFd> {
        let mut fd = open_folder(self.root, b".")?;
        let mut path: Vec<u8> = Vec::new();
        for folder in &self.stack[1..] {
            if path.len() + 1 + folder.name.len() > MAX_PATH_BYTES {
                fd = open_folder(fd.as_fd(), &path)?;
                path.clear();
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&folder.name);
        }
        if path.is_empty() { Ok(fd) } else { open_folder(fd.as_fd(), &path) }
    }

    /// A path for errors: below the root, shortened where it is absurd.
    fn path_of(&self, name: &[u8]) -> String {
        let above = self.stack.iter().skip(1).map(|folder| &folder.name[..]);
        let names: Vec<&[u8]> = above.chain((!name.is_empty()).then_some(name)).collect();
        let skipped = names.len().saturating_sub(16);
        let text = String::from_utf8_lossy(&names[skipped..].join(&b'/')).into_owned();
        match (skipped, text.is_empty()) {
            (0, true) => ".".to_owned(),
            (0, false) => text,
            _ => format!("…/{text}"),
        }
    }

    fn serial(&mut self) -> u32 {
        self.inodes += 1;
        // Only programs that cannot take inode numbers of 64 bits see it.
        (self.inodes & 0xffff_ffff) as u32
    }

    /// Finds a folder's place and writes all of its entries that are no folders. Gives its inode's number.
    fn enter(&mut self, fd: OwnedFd, name: Vec<u8>, parent: Option<u64>) -> Result<u64, DiskError> {
        let object = self.path_of(&name);
        let stat = rustix::fs::fstat(&fd).map_err(io_error("inspect", &object))?;
        let xattrs = xattr::read(&xattr::Source::Open(fd.as_fd()), &object, &mut self.scratch)?;
        let kinds = list(fd.as_fd()).map_err(io_error("list", &object))?;
        let to_entry = |(name, kind): (Vec<u8>, FileType)| Entry { name, kind: inode::kind_number(kind), inode: 0 };
        let mut entries: Vec<Entry> = kinds.into_iter().map(to_entry).collect();
        let folder_kind = inode::kind_number(FileType::Directory);
        entries.extend([&b"."[..], b".."].map(|name| Entry { name: name.to_vec(), kind: folder_kind, inode: 0 }));
        folder::sort(&mut entries);

        let size_bytes = folder::size_bytes(&entries);
        let mut place = self.image.place(xattrs.len(), size_bytes)?;
        let blocks = (size_bytes - place.inlined as u64).div_ceil(super::BLOCK_BYTES as u64);
        if blocks > 0 {
            place.first_block = Some(self.image.take_blocks(blocks)?);
        }
        let number = place.number();
        let mut subfolders = Vec::new();
        for (index, entry) in entries.iter_mut().enumerate() {
            match &entry.name[..] {
                b"." => entry.inode = number,
                b".." => entry.inode = parent.unwrap_or(number),
                _ if entry.kind == folder_kind => subfolders.push(index),
                _ => {}
            }
        }
        let attributes = Attributes { stat, xattrs };
        let serial = self.serial();
        let (fd, done) = (Some(fd), 0);
        self.stack.push(Folder { fd, name, attributes, place, size_bytes, serial, entries, subfolders, done });
        self.others()?;
        if let Some(outer) = self.stack.len().checked_sub(OPEN_FOLDERS + 1) {
            self.stack[outer].fd = None;
        }
        Ok(number)
    }

    /// Writes the entries of the innermost folder that are no folders.
    fn others(&mut self) -> Result<(), DiskError> {
        let top = self.stack.len() - 1;
        let mut entries = std::mem::take(&mut self.stack[top].entries);
        let folder_kind = inode::kind_number(FileType::Directory);
        for entry in entries.iter_mut().filter(|entry| entry.kind != folder_kind) {
            entry.inode = self.other(entry)?;
        }
        self.stack[top].entries = entries;
        Ok(())
    }

    fn other(&mut self, entry: &Entry) -> Result<u64, DiskError> {
        let object = self.path_of(&entry.name);
        let root = self.root;
        let folder = self.stack.last().and_then(|folder| folder.fd.as_ref()).map_or(root, AsFd::as_fd);
        if entry.kind == inode::kind_number(FileType::RegularFile) {
            // A device or pipe in its place is not waited for.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            let file = rustix::fs::openat(folder, &entry.name[..], flags, Mode::empty());
            return self.file(File::from(file.map_err(io_error("open", &object))?), &object);
        }
        let stat = rustix::fs::statat(folder, &entry.name[..], AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(io_error("inspect", &object))?;
        if inode::kind_number(FileType::from_raw_mode(stat.st_mode)) != entry.kind {
            return Err(DiskError::Changing(object));
        }
        let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
        path.extend_from_slice(&entry.name);
        let path = CString::new(path).map_err(|e| io_error("inspect", &object)(std::io::Error::from(e)))?;
        let target = if entry.kind == inode::kind_number(FileType::Symlink) {
            rustix::fs::readlinkat(folder, &entry.name[..], Vec::new()).map_err(io_error("read", &object))?.into_bytes()
        } else {
            Vec::new()
        };
        let known = self.known(&stat);
        if let Some(number) = known {
            return Ok(number);
        }
        let xattrs = xattr::read(&xattr::Source::Path(&path), &object, &mut self.scratch)?;
        self.small(Attributes { stat, xattrs }, &target)
    }

    /// Counts one more name of an inode that was written already.
    fn known(&mut self, stat: &rustix::fs::Stat) -> Option<u64> {
        let (place, links) = self.links.get_mut(&(stat.st_dev, stat.st_ino))?;
        *links += 1;
        Some(place.number())
    }

    fn remember(&mut self, stat: &rustix::fs::Stat, place: Place) {
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), (place, 1));
        }
    }

    /// Writes an inode whose content is at hand: a link with its target, a device, a pipe, a socket.
    fn small(&mut self, attributes: Attributes, content: &[u8]) -> Result<u64, DiskError> {
        let size_bytes = content.len() as u64;
        let mut place = self.image.place(attributes.xattrs.len(), size_bytes)?;
        let (blocks, inlined) = content.split_at(content.len() - place.inlined);
        if !blocks.is_empty() {
            place.first_block = Some(self.image.next_block()?);
            self.image.append(blocks)?;
        }
        let serial = self.serial();
        let mut bytes = inode::encode(&attributes, 1, size_bytes, &place, serial);
        bytes.extend_from_slice(inlined);
        self.image.put(place.offset, &bytes)?;
        self.remember(&attributes.stat, place);
        Ok(place.number())
    }

    fn file(&mut self, mut file: File, object: &str) -> Result<u64, DiskError> {
        let stat = rustix::fs::fstat(&file).map_err(io_error("inspect", object))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(DiskError::Changing(object.to_owned()));
        }
        let known = self.known(&stat);
        if let Some(number) = known {
            return Ok(number);
        }
        let xattrs = xattr::read(&xattr::Source::Open(file.as_fd()), object, &mut self.scratch)?;
        let attributes = Attributes { stat, xattrs };
        let size_bytes = stat.st_size.cast_unsigned();
        let mut place = self.image.place(attributes.xattrs.len(), size_bytes)?;
        let in_blocks = size_bytes - place.inlined as u64;
        if in_blocks > 0 {
            place.first_block = Some(self.image.next_block()?);
            if stat.st_blocks.cast_unsigned().saturating_mul(512) < size_bytes {
                self.image.copy_sparse(&mut file, in_blocks, object)?;
            } else {
                self.image.copy(&mut file, in_blocks, object)?;
            }
        }
        let serial = self.serial();
        let mut bytes = inode::encode(&attributes, 1, size_bytes, &place, serial);
        let start = bytes.len();
        bytes.resize(start + place.inlined, 0);
        read_exact(&mut file, &mut bytes[start..], object)?;
        self.image.put(place.offset, &bytes)?;
        self.remember(&stat, place);
        Ok(place.number())
    }

    /// Writes the innermost folder, now that all of its entries have numbers.
    fn leave(&mut self) -> Result<(), DiskError> {
        let Some(folder) = self.stack.pop() else { return Ok(()) };
        let content = folder::encode(&folder.entries);
        debug_assert_eq!(content.len() as u64, folder.size_bytes);
        let (blocks, inlined) = content.split_at(content.len() - folder.place.inlined);
        // A folder has its own name, `.`, and the `..` of each subfolder.
        let links = 2 + folder.subfolders.len() as u32;
        let mut bytes = inode::encode(&folder.attributes, links, folder.size_bytes, &folder.place, folder.serial);
        bytes.extend_from_slice(inlined);
        self.image.put(folder.place.offset, &bytes)?;
        match folder.place.first_block {
            Some(first) => self.image.put(u64::from(first) * super::BLOCK_BYTES as u64, blocks),
            None => Ok(()),
        }
    }
}

/// The names in a folder and what they are.
fn list(folder: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut found = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 32768];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            kind => kind,
        };
        found.push((name.to_bytes().to_vec(), kind));
    }
    Ok(found)
}
