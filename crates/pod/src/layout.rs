//! Where records are and how they change: paths, atomic replacement, reservation of names, locks.
//!
//! ```text
//! data/containers/<id>/   config.json state.json container.log upper/ work/ hosts hostname resolv.conf
//! data/names/<name>       symbolic link to the owner: see `name`
//! data/volumes/<name>/    volume.json _data/
//! data/trash/<id>         renamed away, being deleted
//! run/containers/<id>/    control.sock; the folder's own lock is held by whoever is responsible for the container: a
//!                         command that makes it, or its supervisor. A folder without a holder is a crash to clean up.
//! run/booted              there once everything was checked after a boot
//! run/events.jsonl        events
//! ```
//! A transition (start, remove, rename, update) holds the lock of `data/containers/<id>` besides.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::ContainerId;
use holm_spec::container::ContainerSpec;
use holm_spec::oci::image::RunConfig;
use holm_spec::state::ContainerState;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Roots};

/// Largest record that is read.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// What is written about a container when it is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What was asked.
    pub spec: ContainerSpec,
    /// How its image wants to be run.
    #[serde(default)]
    pub image_config: RunConfig,
    /// Its layers, lowest first.
    #[serde(default)]
    pub layers: Vec<PathBuf>,
}

impl Roots {
    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.data.join("containers").join(id.as_str())
    }

    pub(crate) fn name_link(&self, name: &str) -> PathBuf {
        self.data.join("names").join(name)
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.data.join("trash")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    pub(crate) fn run_containers(&self) -> PathBuf {
        self.run.join("containers")
    }

    pub(crate) fn run_container(&self, id: &ContainerId) -> PathBuf {
        self.run.join("containers").join(id.as_str())
    }

    pub(crate) fn read_record(&self, id: &ContainerId) -> Result<Record, Error> {
        read_json(&self.container(id).join("config.json"))?.ok_or_else(|| Error::NoSuchContainer(id.short().to_owned()))
    }

    /// The record of a container that was renamed away and is being deleted.
    pub(crate) fn read_hidden_record(&self, id: &ContainerId) -> Result<Record, Error> {
        let path = self.trash().join(id.as_str()).join("config.json");
        read_json(&path)?.ok_or_else(|| Error::NoSuchContainer(id.short().to_owned()))
    }

    /// The state; a container without a record was never started.
    pub(crate) fn read_state(&self, id: &ContainerId) -> Result<ContainerState, Error> {
        Ok(read_json(&self.container(id).join("state.json"))?.unwrap_or_default())
    }

    pub(crate) fn write_record(&self, id: &ContainerId, record: &Record) -> Result<(), Error> {
        write_json(&self.container(id), "config.json", record)
    }

    pub(crate) fn write_state(&self, id: &ContainerId, state: &ContainerState) -> Result<(), Error> {
        write_json(&self.container(id), "state.json", state)
    }
}

/// Runs `make`; where a folder above is missing, makes the folders of `parent` and runs it again.
pub(crate) fn with_parents<T>(parent: &Path, mut make: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match make() {
        Err(Errno::NOENT) => {
            make_folders(parent)?;
            make()
        }
        other => other,
    }
}

/// Makes a folder and those above it, readable by the owner only.
pub(crate) fn make_folders(path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            let Some(parent) = path.parent() else { return Err(Errno::NOENT) };
            make_folders(parent)?;
            match rustix::fs::mkdir(path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(e) => Err(e),
            }
        }
        Err(e) => Err(e),
    }
}

/// Reads a record; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match read_limited(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::Record { path: path.to_owned(), source: Box::new(e) }),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(e) => Err(Error::Record { path: path.to_owned(), source: Box::new(e) }),
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut bytes = Vec::with_capacity(8192);
    file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces the record `name` in `folder`: readers see the old one or the new one. Not forced to the disk: after a crash of
/// the machine the scan at boot throws away what is unreadable. On a full disk the old one is written over, so that an end can be
/// recorded and what fills the disk be removed.
pub(crate) fn write_json<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<(), Error> {
    let path = folder.join(name);
    let failed = |e: io::Error| Error::io("write", path.display().to_string(), e);
    let bytes = serde_json::to_vec(value).map_err(|e| failed(e.into()))?;
    let temporary = folder.join(format!(".{name}.new"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(e.into()))?;
    let written = write_all(&file, &bytes).and_then(|()| Ok(rustix::fs::rename(&temporary, &path)?));
    written.or_else(|e| {
        let _ = rustix::fs::unlink(&temporary);
        let full = e.kind() == io::ErrorKind::StorageFull;
        if full && write_over(&path, bytes).is_ok() { Ok(()) } else { Err(failed(e)) }
    })
}

/// Writes a document over an old one, in one call and in the room that it has. *Errors*: there is none; the old one stays.
fn write_over(path: &Path, mut bytes: Vec<u8>) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let old = rustix::fs::fstat(&file)?;
    let (length, room) = (old.st_size.cast_unsigned(), old.st_blocks.cast_unsigned() * 512);
    if bytes.len() as u64 > room.max(length) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    // What was longer ends in blanks, which JSON may.
    bytes.resize(bytes.len().max(usize::try_from(length).unwrap_or(0)), b' ');
    write_all(&file, &bytes)
}

/// Writes all of it.
pub(crate) fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// A held lock of a folder. Children made by fork hold it too; it is free when the last copy is closed.
#[derive(Debug)]
pub(crate) struct FolderLock {
    fd: OwnedFd,
    path: PathBuf,
}

impl FolderLock {
    /// Waits for the lock of an existing folder; `None` if the folder is gone.
    pub(crate) fn wait(path: &Path) -> Result<Option<Self>, Error> {
        Self::take(path, FlockOperation::LockExclusive).map(|lock| lock.ok())
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn try_now(path: &Path) -> Result<Result<Self, NotTaken>, Error> {
        Self::take(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Makes the folder if needed and waits for its lock.
    pub(crate) fn make(path: &Path) -> Result<Self, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        loop {
            match with_parents(parent, || rustix::fs::mkdir(path, Mode::RWXU)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io("make folder", path.display().to_string(), e)),
            }
            if let Some(lock) = Self::wait(path)? {
                return Ok(lock);
            }
        }
    }

    /// Makes the folder if needed and takes its lock; `None` if somebody holds it.
    pub(crate) fn make_now(path: &Path) -> Result<Option<Self>, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        loop {
            match with_parents(parent, || rustix::fs::mkdir(path, Mode::RWXU)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io("make folder", path.display().to_string(), e)),
            }
            match Self::try_now(path)? {
                Ok(lock) => return Ok(Some(lock)),
                Err(NotTaken::Held) => return Ok(None),
                Err(NotTaken::Gone) => {}
            }
        }
    }

    fn take(path: &Path, how: FlockOperation) -> Result<Result<Self, NotTaken>, Error> {
        let failed = |e: Errno| Error::io("lock", path.display().to_string(), e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Err(NotTaken::Gone)),
            Err(e) => return Err(failed(e)),
        };
        loop {
            match rustix::fs::flock(&fd, how) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => return Ok(Err(NotTaken::Held)),
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed(e)),
            }
        }
        // Who held it before may have removed or renamed the folder.
        let held = rustix::fs::fstat(&fd).map_err(failed)?;
        let there = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW);
        match there {
            Ok(there) if (there.st_ino, there.st_dev) == (held.st_ino, held.st_dev) => {
                Ok(Ok(Self { fd, path: path.to_owned() }))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(Err(NotTaken::Gone)),
            Err(e) => Err(failed(e)),
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Removes the folder with the files in it (it has no folders) and lets go of the lock.
    pub(crate) fn remove_folder(self) -> io::Result<()> {
        match rustix::fs::rmdir(&self.path) {
            Err(Errno::NOTEMPTY) => {
                for entry in std::fs::read_dir(&self.path)? {
                    rustix::fs::unlink(entry?.path())?;
                }
                Ok(rustix::fs::rmdir(&self.path)?)
            }
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Somebody holds it.
    Held,
    /// The folder is not there.
    Gone,
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The present boot.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// Start time of a process in clock ticks since boot; `None` if there is none. *Source*: proc_pid_stat(5), field 22.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    std::str::from_utf8(&stat[after..]).ok()?.split_ascii_whitespace().nth(19)?.parse().ok()
}

impl FolderLock {
    /// A lock that came over a fork.
    pub(crate) fn from_parts(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }
}
