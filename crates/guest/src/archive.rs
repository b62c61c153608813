//! Files of the container for the host: what a path is, and trees as tar streams both ways.
//!
//! Packing and unpacking take their time and wait for the stream, so each is a job: a fork of the agent with a pipe for the
//! stream and one for what it has to say in the end. The container's links are taken inside the container.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use holm_container::archive::{self, Owners, Scope};
use holm_container::rootfs::open_in_root;
use holm_spec::guest::ToHost;
use holm_sys::process::{Fork, exit_now, fork};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::agent::Agent;
use crate::error::{Doing, Error};
use crate::setup::Machine;
use crate::stream::{Inlet, Outlet};
use crate::task::{Gives, Job, MAX_SAID_BYTES, Purpose, Task};

/// What a job does with its end of the stream.
pub(crate) enum Work {
    /// Packs what is at a path.
    Out { path: PathBuf, follow: bool, one_mount: bool },
    /// Unpacks into a folder.
    In { path: PathBuf, keep_owner: bool },
    /// Packs the folder of changes.
    Changes,
}

/// A container's root as it is now: the process's where one runs, with all its mounts, else the bare file system.
fn root(machine: &Machine, pid: Option<i32>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let running = pid.and_then(|pid| rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok());
    running.map_or_else(|| machine.rootfs.as_fd().try_clone_to_owned(), Ok)
}

impl Agent {
    fn root(&self) -> Result<OwnedFd, Error> {
        let machine = self.machine.as_ref().ok_or_else(|| Error::refused("look for files: no machine is set up"))?;
        let pid = self.container.as_ref().filter(|container| !container.ended).map(|container| container.pid());
        root(machine, pid).doing(|| "open the container's root".into())
    }

    /// What a path of the container is.
    pub(crate) fn stat(&self, id: u32, path: &Path) -> Result<ToHost, Error> {
        let root = self.root()?;
        let what = || format!("find `{}`", path.display());
        let node = open_in_root(root.as_fd(), relative(path), OFlags::PATH | OFlags::NOFOLLOW).doing(what)?;
        let stat = rustix::fs::fstat(&node).doing(what)?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let target = |node| rustix::fs::readlinkat(node, "", Vec::new());
        let link_target = if is_link { Some(target(node).doing(what)?) } else { None };
        let link_target = link_target.map(|text| Path::new(std::ffi::OsStr::from_bytes(text.as_bytes())).to_owned());
        Ok(ToHost::Stat { id, size: stat.st_size.cast_unsigned(), mode: stat.st_mode, link_target })
    }

    /// Begins a job, which answers when it is done.
    pub(crate) fn begin(&mut self, id: u32, stream: u32, work: Work) -> Result<(), Error> {
        if self.tasks.len() > crate::request::MAX_TASKS {
            return Err(Error::refused("do more at one time"));
        }
        let what = || "begin to pack".to_owned();
        // What the path means is settled before the job begins, so that it fails at once where there is nothing.
        let source = self.source(&work)?;
        let is_in = matches!(work, Work::In { .. });
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(what)?;
        let (said, say) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(what)?;
        let (ours, theirs) = if is_in { (write, read) } else { (read, write) };
        let child = match fork().doing(what)? {
            Fork::Child => {
                drop((ours, said));
                // The other ends of processes' pipes: as long as they are open here, their streams have no end.
                self.tasks.clear();
                exit_now(finish(run(&work, &source, File::from(theirs)), File::from(say)))
            }
            Fork::Parent(child) => child,
        };
        drop((theirs, say));
        rustix::io::ioctl_fionbio(&ours, true).doing(what)?;
        let mut task = Task::new(Purpose::Job(Job { id, said: File::from(said), gives: Gives::Nothing }), child.pid);
        if is_in {
            task.input = Some(Inlet::new(stream, ours, false));
        } else {
            task.outputs.push(Outlet::new(stream, ours));
        }
        self.tasks.push(task);
        Ok(())
    }

    fn source(&self, work: &Work) -> Result<OwnedFd, Error> {
        let (path, flags) = match work {
            Work::Out { path, follow, .. } => {
                (path, if *follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW })
            }
            Work::In { path, .. } => (path, OFlags::RDONLY | OFlags::DIRECTORY),
            Work::Changes => {
                let (folder, flags) = (Machine::changes(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
                return rustix::fs::open(&folder, flags, Mode::empty())
                    .doing(|| format!("open `{}`", folder.display()));
            }
        };
        let root = self.root()?;
        open_in_root(root.as_fd(), relative(path), flags).doing(|| format!("find `{}`", path.display()))
    }
}

/// In the job: packs or unpacks.
fn run(work: &Work, source: &OwnedFd, mut stream: File) -> io::Result<()> {
    match work {
        Work::Out { path, one_mount, .. } => {
            let scope = if *one_mount { Scope::OneMount } else { Scope::Everything };
            let mut buffered = io::BufWriter::with_capacity(64 * 1024, stream);
            archive::write_tree(source, Path::new(name(path)), scope, Owners::SAME, &mut buffered)?;
            buffered.flush()
        }
        Work::Changes => {
            let mut buffered = io::BufWriter::with_capacity(64 * 1024, stream);
            archive::write_changes(source, &mut buffered)?;
            buffered.flush()
        }
        Work::In { keep_owner, .. } => {
            archive::unpack(source, &mut stream, *keep_owner, Owners::SAME)?;
            // What stands behind the end of the tar is none of its business, but whoever sends it waits for it to be taken.
            io::copy(&mut stream, &mut io::sink()).map(|_| ())
        }
    }
}

fn finish(done: io::Result<()>, mut say: File) -> i32 {
    let Err(e) = done else { return 0 };
    // Nobody takes more than this much at once.
    let text: String = format!("cannot pack or unpack: {e}").chars().take(MAX_SAID_BYTES / 4).collect();
    let _ = say.write_all(text.as_bytes());
    1
}

/// What the entries of a stream are named after: the end of a path, or nothing for `/` and `/path/.`, which stand for what is
/// in a folder.
fn name(path: &Path) -> &std::ffi::OsStr {
    if path.as_os_str().as_bytes().ends_with(b"/.") {
        return std::ffi::OsStr::new("");
    }
    match path.components().next_back() {
        Some(Component::Normal(name)) => name,
        _ => std::ffi::OsStr::new(""),
    }
}

/// Below the root.
fn relative(path: &Path) -> &Path {
    let below = path.strip_prefix("/").unwrap_or(path);
    if below.as_os_str().is_empty() { Path::new(".") } else { below }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_after_the_end_of_the_path() {
        for (path, expected) in
            [("/etc/hosts", "hosts"), ("/etc", "etc"), ("/etc/", "etc"), ("/etc/.", ""), ("/", ""), ("/.", "")]
        {
            assert_eq!(name(Path::new(path)), expected, "{path}");
        }
        assert_eq!((relative(Path::new("/")), relative(Path::new("/a/b"))), (Path::new("."), Path::new("a/b")));
    }
}
