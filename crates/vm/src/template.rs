//! Templates: a machine that was booted once and is kept as its memory and its state, and machines that begin there.
//!
//! ```text
//! template   boot, agent says hello, no setup   -- stop, save -->   memory (sparse) + state + key in a folder
//! machine    planned with a copy of the memory  -- load, go on -->  the agent waits for its setup
//! ```
//! A template is of one kernel, initramfs, hypervisor and shape of machine, which its key says. The hypervisor never gets the
//! kept files: it has a file in memory, and a copy is made each way, so that one which was taken over spoils no other's
//! beginning. Disks and links of a template are placeholders that its guest has not looked at.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::io::Errno;

use crate::machine::Machine;
use crate::monitor::mux::Mux;
use crate::qmp::{self, Qmp};

/// Files of a template.
const MEMORY: &str = "memory";
const STATE: &str = "state";
const KEY: &str = "key";
/// Most bytes of a key.
const MAX_KEY_BYTES: u64 = 64 * 1024;
/// How long one step may take; the longest writes or reads some hundred KiB.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at how far QEMU is: it has no event for this that every version sends.
const PAUSE: Duration = Duration::from_millis(1);
const PIECE_BYTES: usize = 1 << 20;

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QEMU did not do it.
    #[error("cannot {what} a machine")]
    Qmp {
        /// What was being done.
        what: &'static str,
        /// What it says.
        #[source]
        source: qmp::Error,
    },
    /// It failed for a reason of its own.
    #[error("cannot {what} a machine: QEMU is in state `{state}`")]
    State {
        /// What was being done.
        what: &'static str,
        /// What it says.
        state: String,
    },
    /// A call failed.
    #[error("cannot {what} `{path}`")]
    Io {
        /// What was being done.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// What a machine begins from.
#[derive(Debug)]
pub struct Loaded {
    /// For [`crate::machine::Origin::Restore`].
    pub memory: OwnedFd,
    /// For [`resume`].
    pub state: OwnedFd,
}

/// An empty memory for [`crate::machine::Origin::Template`].
pub fn empty_memory(bytes: u64) -> Result<OwnedFd, Error> {
    let failed = |e: Errno| Error::Io { what: "make", path: "memory of a machine".into(), source: e.into() };
    let file = rustix::fs::memfd_create(c"holm-machine", MemfdFlags::CLOEXEC).map_err(failed)?;
    rustix::fs::ftruncate(&file, bytes.next_multiple_of(1 << 20)).map_err(failed)?;
    Ok(file)
}

/// What of a machine a template must have in common with it, besides the contents of the files that it boots and the identity
/// of the hypervisor, which the caller adds to the key.
pub fn shape(machine: &Machine) -> String {
    let disks: Vec<_> = machine.disks.iter().map(|d| (&d.serial, d.read_only, d.throttle.is_some())).collect();
    let links: Vec<u8> = machine.links.iter().map(|link| link.n).collect();
    let Machine { profile, accelerator, cpus, memory_bytes, .. } = machine;
    format!("{profile:?} {accelerator:?} {cpus} {memory_bytes} {disks:?} {links:?}")
}

/// Waits until the agent has said hello, and nothing else.
pub fn greeted(channel: BorrowedFd<'_>, limit: Duration) -> Result<(), Error> {
    let failed = |source| Error::Io { what: "hear", path: "agent of a new template".into(), source };
    let (start, mut mux) = (Instant::now(), Mux::new(false));
    while !mux.is_greeted() {
        let rest = limit.saturating_sub(start.elapsed());
        let mut fds = [PollFd::new(&channel, PollFlags::IN)];
        let rest = Timespec { tv_sec: rest.as_secs().cast_signed(), tv_nsec: rest.subsec_nanos().into() };
        if rustix::event::poll(&mut fds, Some(&rest)).map_err(|e| failed(e.into()))? == 0 {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(channel, &mut buffer).map_err(|e| failed(e.into()))? {
            0 => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            n => mux.feed(&buffer[..n]).map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidData, e)))?,
        }
    }
    Ok(())
}

/// Stops the machine and keeps it in the folder `into`, which appears whole or not at all; it cannot go on afterwards.
///
/// *Order*: the agent has said hello and was asked nothing.
pub fn save(qmp: &mut Qmp, memory: BorrowedFd<'_>, key: &str, into: &Path) -> Result<(), Error> {
    let new = into.with_extension(format!("new-{}", std::process::id()));
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    };
    let saved = save_into(qmp, memory, key, &new);
    let kept = saved.and_then(|()| match fs::rename(&new, into) {
        // Another has made the same meanwhile.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOTEMPTY | Errno::EXIST)) => {
            fs::remove_dir_all(&new).map_err(failed("remove", &new))
        }
        other => other.map_err(failed("keep", into)),
    });
    if kept.is_err() {
        // The first error says more than that of tidying up.
        let _ = fs::remove_dir_all(&new);
    }
    kept
}

fn save_into(qmp: &mut Qmp, memory: BorrowedFd<'_>, key: &str, new: &Path) -> Result<(), Error> {
    let what = "save";
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    };
    fs::create_dir_all(new).map_err(failed("make folder", new))?;
    let create = |name: &str| File::create(new.join(name)).map_err(failed("make", &new.join(name)));
    let state = create(STATE)?;
    execute(qmp, what, "stop", None, &[])?;
    ignore_shared(qmp, what)?;
    execute(qmp, what, "getfd", Some(serde_json::json!({ "fdname": "state" })), &[state.as_fd()])?;
    execute(qmp, what, "migrate", Some(serde_json::json!({ "uri": "fd:state" })), &[])?;
    wait_for(qmp, what, "query-migrate", "completed", &["setup", "active", "device", "none"])?;
    let kept = create(MEMORY)?;
    copy_data(memory, kept.as_fd()).map_err(failed("write", &new.join(MEMORY)))?;
    for file in [&state, &kept] {
        file.sync_all().map_err(failed("write", new))?;
    }
    let mut file = create(KEY)?;
    file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write", &new.join(KEY)))
}

/// The memory and state of a template, if one with this key is there.
pub fn load(from: &Path, key: &str) -> Result<Option<Loaded>, Error> {
    let failed = |name: &str| {
        let path = from.join(name);
        move |source| Error::Io { what: "read", path, source }
    };
    let mut kept = String::new();
    match File::open(from.join(KEY)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.and_then(|f| f.take(MAX_KEY_BYTES).read_to_string(&mut kept)).map_err(failed(KEY))?,
    };
    if kept != key {
        return Ok(None);
    }
    let file = File::open(from.join(MEMORY)).map_err(failed(MEMORY))?;
    let memory = empty_memory(file.metadata().map_err(failed(MEMORY))?.len())?;
    copy_data(file.as_fd(), memory.as_fd()).map_err(failed(MEMORY))?;
    let state = File::open(from.join(STATE)).map_err(failed(STATE))?;
    Ok(Some(Loaded { memory, state: state.into() }))
}

/// Lets a machine that was planned with the memory of a template go on from its state.
pub fn resume(qmp: &mut Qmp, state: BorrowedFd<'_>) -> Result<(), Error> {
    let what = "restore";
    ignore_shared(qmp, what)?;
    execute(qmp, what, "getfd", Some(serde_json::json!({ "fdname": "state" })), &[state])?;
    execute(qmp, what, "migrate-incoming", Some(serde_json::json!({ "uri": "fd:state" })), &[])?;
    wait_for(qmp, what, "query-migrate", "completed", &["setup", "active", "none"])?;
    execute(qmp, what, "cont", None, &[]).map(|_| ())
}

/// Memory that is a file need not go into the state.
fn ignore_shared(qmp: &mut Qmp, what: &'static str) -> Result<(), Error> {
    let capability = serde_json::json!([{ "capability": "x-ignore-shared", "state": true }]);
    let arguments = serde_json::json!({ "capabilities": capability });
    execute(qmp, what, "migrate-set-capabilities", Some(arguments), &[]).map(|_| ())
}

fn execute(
    qmp: &mut Qmp,
    what: &'static str,
    command: &str,
    arguments: Option<serde_json::Value>,
    fds: &[BorrowedFd<'_>],
) -> Result<serde_json::Value, Error> {
    qmp.execute(command, arguments, fds, LIMIT).map_err(|source| Error::Qmp { what, source })
}

fn wait_for(qmp: &mut Qmp, what: &'static str, query: &str, end: &str, on_the_way: &[&str]) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        let answer = execute(qmp, what, query, None, &[])?;
        let state = answer["status"].as_str().unwrap_or("none");
        if state == end {
            return Ok(());
        }
        if !on_the_way.contains(&state) || start.elapsed() > LIMIT {
            return Err(Error::State { what, state: state.escape_debug().take(60).collect() });
        }
        std::thread::sleep(PAUSE);
    }
}

/// Copies what a sparse file holds into another, which gets the same length.
fn copy_data(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let length = u64::try_from(rustix::fs::fstat(from)?.st_size).unwrap_or(0);
    rustix::fs::ftruncate(to, length)?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            other => other?,
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(data))?;
        at = data;
        while at < hole {
            let most = usize::try_from(hole - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let n = rustix::io::pread(from, &mut buffer[..most], at)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut written = 0;
            while written < n {
                written += rustix::io::pwrite(to, &buffer[written..n], at + written as u64)?;
            }
            at += n as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_copied_with_its_holes_and_only_for_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let memory = empty_memory(64 << 20).unwrap();
        for at in [0, 5 << 20, (64 << 20) - 4096] {
            rustix::io::pwrite(&memory, &[at as u8 | 1; 4096], at).unwrap();
        }
        let file = File::create(folder.path().join(MEMORY)).unwrap();
        copy_data(memory.as_fd(), file.as_fd()).unwrap();
        let kept = rustix::fs::fstat(&file).unwrap();
        assert!(kept.st_size == 64 << 20 && kept.st_blocks * 512 < 1 << 20, "{kept:?}");
        File::create(folder.path().join(STATE)).unwrap();
        assert!(load(folder.path(), "k").unwrap().is_none());
        fs::write(folder.path().join(KEY), "k").unwrap();
        assert!(load(folder.path(), "other").unwrap().is_none());
        let loaded = load(folder.path(), "k").unwrap().unwrap();
        for at in [0, 1 << 20, 5 << 20, (64 << 20) - 4096] {
            let (mut a, mut b) = ([0; 4096], [1; 4096]);
            rustix::io::pread(&memory, &mut a[..], at).unwrap();
            rustix::io::pread(&loaded.memory, &mut b[..], at).unwrap();
            assert_eq!(a, b, "{at}");
        }
    }
}
