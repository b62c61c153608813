//! Containers in virtual machines as commands see them: what the agent is asked instead of this kernel.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use holm_container::archive;
use holm_container::cgroup::Stats;
use holm_spec::ContainerId;
use holm_spec::guest::{ToGuest, ToHost};
use holm_spec::protocol::{Reply, Request};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::Engine;
use crate::{Connection, Error, PathStat};

/// Folder of changes as it was fetched from a machine, beside the one of a container on the host's kernel.
const FETCHED: &str = "upper";

impl Engine {
    /// Whether a container has a kernel of its own.
    pub(super) fn in_machine(&self, id: &ContainerId) -> Result<bool, Error> {
        Ok(self.roots.read_record(id)?.spec.sandbox.isolation.machine().is_some())
    }

    /// Asks the agent of a running container. *Errors*: it does not run; the agent's refusal.
    fn ask_guest(
        &self,
        verb: &'static str,
        id: &ContainerId,
        ask: ToGuest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<ToHost, Error> {
        let connection = self.send_to_guest(verb, id, ask, fds)?;
        self.told_by_guest(verb, id, &connection)
    }

    pub(super) fn send_to_guest(
        &self,
        verb: &'static str,
        id: &ContainerId,
        ask: ToGuest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Connection, Error> {
        let name = self.roots.read_record(id)?.spec.name.to_string();
        let connection = self.supervisor(id)?.ok_or_else(|| self.not_running(id, verb, name))?;
        connection.send(&Request::Guest { ask: Box::new(ask) }, fds)?;
        Ok(connection)
    }

    pub(super) fn told_by_guest(
        &self,
        verb: &'static str,
        id: &ContainerId,
        connection: &Connection,
    ) -> Result<ToHost, Error> {
        let name = || id.short().to_owned();
        match connection.receive()? {
            Some((Reply::Guest { tell }, _)) => Ok(*tell),
            Some((Reply::Failed { message, code, .. }, _)) => Err(Error::Refused { verb, name: name(), message, code }),
            _ => Err(self.not_running(id, verb, name())),
        }
    }

    /// What it uses, as its own kernel counts it; bytes of its links besides.
    pub(super) fn guest_stats(&self, id: &ContainerId) -> Result<(Stats, (u64, u64)), Error> {
        let told = self.ask_guest("measure", id, ToGuest::Stats { id: 0 }, &[])?;
        let ToHost::Stats { stats: told, .. } = told else { return Err(unexpected("measure", id)) };
        let mut stats = Stats::default();
        stats.cpu.usage_ns = told.cpu_ns;
        (stats.memory.usage_bytes, stats.memory.charged_bytes) = (told.memory_bytes, told.memory_bytes);
        stats.memory.limit_bytes = Some(told.memory_limit_bytes);
        stats.pids.current = told.pids;
        (stats.block.read_bytes, stats.block.write_bytes) = (told.read_bytes, told.written_bytes);
        let sum = |of: fn(&(String, u64, u64)) -> u64| told.links.iter().fold(0u64, |all, l| all.saturating_add(of(l)));
        Ok((stats, (sum(|l| l.1), sum(|l| l.2))))
    }

    /// Bytes that the links of a virtual machine received and sent.
    pub fn machine_network_bytes(&self, id: &ContainerId) -> Result<(u64, u64), Error> {
        self.guest_stats(id).map(|(_, bytes)| bytes)
    }

    /// Its processes: PID, content of `stat`, owner and arguments of each.
    pub(super) fn guest_processes(&self, id: &ContainerId) -> Result<Vec<holm_spec::guest::ProcessRow>, Error> {
        match self.ask_guest("list the processes of", id, ToGuest::Processes { id: 0 }, &[])? {
            ToHost::Processes { rows, .. } => Ok(rows),
            _ => Err(unexpected("list the processes of", id)),
        }
    }

    pub(super) fn guest_stat_path(&self, id: &ContainerId, path: &OsStr) -> Result<PathStat, Error> {
        let at = absolute(path);
        let name = at.file_name().unwrap_or(OsStr::new("/")).to_owned();
        match self.ask_guest("find", id, ToGuest::Stat { id: 0, path: at.clone() }, &[]) {
            Ok(ToHost::Stat { size, mode, link_target, .. }) => Ok(PathStat { name, size, mode, link_target }),
            Ok(_) => Err(unexpected("find", id)),
            Err(Error::Refused { name, message, .. }) => {
                let path = at.to_string_lossy().escape_default().to_string();
                Err(Error::Path { verb: "find", path, name, why: message })
            }
            Err(e) => Err(e),
        }
    }

    /// Writes the tar that the agent makes for a request with this end of a pipe.
    fn tar_from_guest(
        &self,
        verb: &'static str,
        id: &ContainerId,
        ask: ToGuest,
        out: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let failed = |e: io::Error| Error::io(verb, id.short(), e);
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let connection = self.send_to_guest(verb, id, ask, &[write.as_fd()])?;
        drop(write);
        let moved = out(&mut File::from(read));
        // The agent's reason tells more than a tar that ends in its middle.
        self.told_by_guest(verb, id, &connection)?;
        moved.map_err(failed)
    }

    pub(super) fn guest_copy_from(
        &self,
        id: &ContainerId,
        path: &OsStr,
        follow: bool,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let path = PathBuf::from("/").join(path);
        let ask = ToGuest::TarOut { id: 0, stream: 0, path, follow, one_mount: false };
        self.tar_from_guest("copy from", id, ask, &mut |tar| io::copy(tar, out).map(drop))
    }

    pub(super) fn guest_export(&self, id: &ContainerId, out: &mut dyn Write) -> Result<(), Error> {
        let ask = ToGuest::TarOut { id: 0, stream: 0, path: "/.".into(), follow: false, one_mount: true };
        self.tar_from_guest("export", id, ask, &mut |tar| io::copy(tar, out).map(drop))
    }

    pub(super) fn guest_copy_to(
        &self,
        id: &ContainerId,
        path: &OsStr,
        keep_owner: bool,
        tar: &mut dyn Read,
    ) -> Result<(), Error> {
        let verb = "copy into";
        let failed = |e: io::Error| Error::io(verb, id.short(), e);
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let ask = ToGuest::TarIn { id: 0, stream: 0, path: absolute(path), keep_owner };
        let connection = self.send_to_guest(verb, id, ask, &[read.as_fd()])?;
        drop(read);
        let moved = io::copy(tar, &mut File::from(write)).map(drop);
        self.told_by_guest(verb, id, &connection)?;
        moved.map_err(failed)
    }

    /// Fetches the changes of a container into a folder of overlayfs's form, where `diff` and `commit` look for them. What the
    /// guest says is unpacked like any stranger's tar, and nothing of it is ever mounted or run.
    pub fn fetch_changes(&self, id: &ContainerId) -> Result<(), Error> {
        if !self.in_machine(id)? {
            return Ok(());
        }
        let folder = self.roots.container(id);
        let (fresh, kept) = (folder.join("upper.new"), folder.join(FETCHED));
        let failed = |e: io::Error| Error::io("fetch the changes of", id.short(), e);
        remove_all(&fresh).map_err(failed)?;
        std::fs::create_dir(&fresh).map_err(failed)?;
        let ask = ToGuest::TarChanges { id: 0, stream: 0 };
        let unpacked = self.tar_from_guest("fetch the changes of", id, ask, &mut |tar| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let into: OwnedFd = rustix::fs::open(&fresh, flags, Mode::empty())?;
            archive::unpack_changes(&into, tar)
        });
        unpacked.and_then(|()| {
            remove_all(&kept).map_err(failed)?;
            std::fs::rename(&fresh, &kept).map_err(failed)
        })
    }
}

fn remove_all(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The path from the root; the agent takes links and `..` in it inside the container.
fn absolute(path: &OsStr) -> PathBuf {
    if path.as_bytes().starts_with(b"/") { PathBuf::from(path) } else { Path::new("/").join(path) }
}

fn unexpected(verb: &'static str, id: &ContainerId) -> Error {
    let message = "its machine's agent answered something else".to_owned();
    Error::Refused { verb, name: id.short().to_owned(), message, code: 1 }
}
