//! Records on disk: read whole, replaced whole.

use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Largest record that is read, bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a record; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Record { path: path.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(failed(io::Error::from(e).into())),
    };
    let mut bytes = Vec::with_capacity(2048);
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|e| failed(e.into()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| failed(e.into()))
}

/// Replaces the record `name` in `folder`: readers see the old one or the new one.
pub(crate) fn write<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<(), Error> {
    let path = folder.join(name);
    let failed = |e: io::Error| Error::io("write", path.display().to_string(), e);
    let bytes = serde_json::to_vec(value).map_err(|e| failed(e.into()))?;
    let temporary = folder.join(format!(".{name}.new"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(e.into()))?;
    let mut file = std::fs::File::from(file);
    let written = file.write_all(&bytes).and_then(|()| Ok(rustix::fs::rename(&temporary, &path)?));
    written.map_err(|e| {
        let _ = rustix::fs::unlink(&temporary);
        failed(e)
    })
}

/// Makes a folder and those above it, for its owner only.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fn make(path: &Path) -> Result<(), Errno> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(Errno::NOENT) => {
                make(path.parent().ok_or(Errno::NOENT)?)?;
                match rustix::fs::mkdir(path, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => Ok(()),
                    Err(e) => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }
    make(path).map_err(|e| Error::io("make folder", path.display().to_string(), e))
}

/// Names in a folder that are no temporary ones; none where there is no folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |e: io::Error| Error::io("list", folder.display().to_string(), e);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        found.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
    }
    Ok(found)
}
