//! Copying disk images: by sharing blocks where the file system can, else what is not empty.
//!
//! Looks at no content.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::error::{DiskError, io_error};

/// Most bytes copied between two words about it.
const PIECE_BYTES: u64 = 16 << 20;
/// Most bytes read at once, where the kernel does not copy by itself.
const BUFFER_BYTES: usize = 1 << 20;
/// What is copied, in words.
const OBJECT: &str = "the disk image";

/// Copies a file or block device of `size_bytes` into an empty file; holes stay holes. `progress` hears how many bytes of
/// how many are done; holes count. *Errors*: the copy is there in part.
pub fn copy(from: &File, to: &File, size_bytes: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<(), DiskError> {
    if ioctl_ficlone(to, from).is_ok() {
        progress(size_bytes, size_bytes);
        return Ok(());
    }
    ftruncate(to, size_bytes).map_err(io_error("make room for", OBJECT))?;
    let mut at = 0;
    while at < size_bytes {
        let (start, end) = data(from, at, size_bytes).map_err(io_error("read", OBJECT))?;
        at = start;
        while at < end {
            let piece = (end - at).min(PIECE_BYTES);
            at += copy_piece(from, to, at, piece).map_err(io_error("copy", OBJECT))?;
            progress(at, size_bytes);
        }
    }
    progress(size_bytes, size_bytes);
    Ok(())
}

/// The next piece that is no hole; behind the end where none is left.
fn data(file: &File, at: u64, size_bytes: u64) -> io::Result<(u64, u64)> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => {
            let end = seek(file, SeekFrom::Hole(start)).unwrap_or(size_bytes);
            Ok((start, end.min(size_bytes)))
        }
        Err(Errno::NXIO) => Ok((size_bytes, size_bytes)),
        // What knows no holes has none: block devices, and file systems that do not tell.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((at, size_bytes)),
        Err(e) => Err(e.into()),
    }
}

/// Copies some of a piece at the same place of both; how much.
fn copy_piece(from: &File, to: &File, at: u64, bytes: u64) -> io::Result<u64> {
    let (mut source, mut target) = (at, at);
    let most = usize::try_from(bytes).unwrap_or(BUFFER_BYTES);
    match copy_file_range(from, Some(&mut source), to, Some(&mut target), most) {
        Ok(copied) if copied > 0 => return Ok(copied as u64),
        Ok(_) | Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(e) => return Err(e.into()),
    }
    let mut buffer = vec![0; most.min(BUFFER_BYTES)];
    let read = from.read_at(&mut buffer, at)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    to.write_all_at(&buffer[..read], at)?;
    Ok(read as u64)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn content_and_holes_survive_and_progress_ends_at_the_size() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let size = 64 << 20;
        from.set_len(size).unwrap();
        from.write_all_at(b"first", 0).unwrap();
        from.write_all_at(b"last", size - 4).unwrap();
        from.write_all_at(&[7; 300_000], 20 << 20).unwrap();
        let mut heard = Vec::new();
        copy(&from, &to, size, &mut |done, all| heard.push((done, all))).unwrap();
        assert_eq!(heard.last(), Some(&(size, size)));
        let bytes = |file: &File| {
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert!(bytes(&from) == bytes(&to));
        assert!(to.metadata().unwrap().blocks() * 512 < 8 << 20);
    }
}
