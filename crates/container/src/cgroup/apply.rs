//! Carrying out a [`Plan`], and undoing what was done of it when a step fails.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::controller::{Controller, ControllerSet};
use super::device::DeviceTable;
use super::error::CgroupError;
use super::file;
use super::hierarchy::{GroupPath, Hierarchy};
use super::plan::{Missing, Plan, Step, Write};
use super::{device_program, remove, unified};

/// Carries out one plan.
pub(super) struct Applier<'a> {
    hierarchy: &'a Hierarchy,
    path: &'a GroupPath,
    /// Groups made, for undoing.
    made: Vec<PathBuf>,
    /// Values found before they were overwritten, for undoing an update.
    found: Vec<(PathBuf, String)>,
    updating: bool,
    /// The file written last, still open: device rules are many writes to one file.
    open: Option<(PathBuf, OwnedFd)>,
    warnings: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Applied {
    /// Controllers whose v1 groups were made by it.
    pub made_v1: ControllerSet,
    /// What could not be done and was not fatal.
    pub warnings: Vec<String>,
}

/// Makes the groups of a new container and sets its limits. After a failure no group of it is left.
pub(super) fn create(hierarchy: &Hierarchy, path: &GroupPath, plan: &Plan) -> Result<Applied, CgroupError> {
    let mut applier = Applier::new(hierarchy, path, false);
    let result = applier.create(plan);
    applier.end(result, plan)
}

/// Changes the limits of a present container. After a failure the old limits are written back.
pub(super) fn update(hierarchy: &Hierarchy, path: &GroupPath, plan: &Plan) -> Result<Applied, CgroupError> {
    let mut applier = Applier::new(hierarchy, path, true);
    let result = applier.update(plan);
    applier.end(result, plan)
}

impl<'a> Applier<'a> {
    fn new(hierarchy: &'a Hierarchy, path: &'a GroupPath, updating: bool) -> Applier<'a> {
        let (made, found, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Applier { hierarchy, path, made, found, updating, open: None, warnings }
    }

    fn end(mut self, result: Result<ControllerSet, CgroupError>, plan: &Plan) -> Result<Applied, CgroupError> {
        match result {
            Ok(made_v1) => {
                let warnings = plan.warnings.iter().cloned().chain(self.warnings).collect();
                Ok(Applied { made_v1, warnings })
            }
            Err(e) => {
                self.undo();
                Err(e)
            }
        }
    }

    /// The first error is what the caller gets; an undo that fails too cannot add to it, and `remove` tries again
    /// later.
    fn undo(&mut self) {
        self.open = None;
        for (path, value) in self.found.drain(..).rev() {
            for line in value.lines() {
                let _ = file::write(&path, line);
            }
        }
        for dir in self.made.drain(..).rev() {
            let _ = remove::tree(&dir, Duration::from_millis(100));
        }
    }

    fn create(&mut self, plan: &Plan) -> Result<ControllerSet, CgroupError> {
        let hierarchy = self.hierarchy;
        let mut made = ControllerSet::EMPTY;
        for mount in &hierarchy.v1 {
            if !mount.controllers.intersection(plan.v1).is_empty() {
                self.make(&mount.dir)?;
                made = made.union(mount.controllers);
            }
        }
        if let Some(root) = &hierarchy.unified {
            self.make(root)?;
            unified::enable(root, self.path, &plan.required, plan.optional)?;
        }
        self.steps(&plan.steps)?;
        if let (Some(table), Some(root)) = (&plan.devices, &hierarchy.unified)
            && !table.allows_everything()
        {
            self.attach(root, table, false)?;
        }
        Ok(made)
    }

    fn update(&mut self, plan: &Plan) -> Result<ControllerSet, CgroupError> {
        let hierarchy = self.hierarchy;
        let mut made = ControllerSet::EMPTY;
        for mount in &hierarchy.v1 {
            if !mount.controllers.intersection(plan.v1).is_empty() && !self.path.under(&mount.dir).exists() {
                self.make(&mount.dir)?;
                made = made.union(mount.controllers);
            }
        }
        if let Some(root) = &hierarchy.unified {
            unified::enable(root, self.path, &plan.required, plan.optional)?;
        }
        self.steps(&plan.steps)?;
        if let (Some(table), Some(root)) = (&plan.devices, &hierarchy.unified) {
            self.attach(root, table, true)?;
        }
        Ok(made)
    }

    /// Without privilege over the first user namespace no program can be loaded, and no device node made either: what
    /// the process may open is then up to the files' modes.
    fn attach(&mut self, root: &Path, table: &DeviceTable, replace: bool) -> Result<(), CgroupError> {
        match device_program::attach(&self.path.under(root), table, replace) {
            Err(CgroupError::Device { source, .. })
                if source.raw_os_error() == Some(Errno::PERM.raw_os_error()) && in_user_namespace() =>
            {
                self.warnings.push("the device rules are not set: Holm has no privilege to load them".to_owned());
                Ok(())
            }
            result => result,
        }
    }

    /// Makes the group below one mount, with its parents. One of the same name that is left over without processes is
    /// replaced.
    fn make(&mut self, mount: &Path) -> Result<(), CgroupError> {
        let dir = self.path.under(mount);
        let failed = |path: &Path, e: Errno| CgroupError::Create { path: path.to_owned(), source: e.into() };
        // Another process may remove the empty parent in between; a few rounds are plenty.
        for _ in 0..8 {
            match rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    self.made.push(dir);
                    return Ok(());
                }
                Err(Errno::NOENT) => {
                    for parent in &self.path.ancestors_under(mount)[1..] {
                        match rustix::fs::mkdir(parent, Mode::from_raw_mode(0o755)) {
                            Ok(()) | Err(Errno::EXIST) => {}
                            Err(Errno::NOENT) => break,
                            Err(e) => return Err(failed(parent, e)),
                        }
                    }
                }
                Err(Errno::EXIST) => {
                    remove::tree(&dir, Duration::ZERO).map_err(|_| CgroupError::Exists { path: dir.clone() })?;
                }
                Err(e) => return Err(failed(&dir, e)),
            }
        }
        Err(failed(&dir, Errno::AGAIN))
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), CgroupError> {
        let mut again: Vec<&Write> = Vec::new();
        for step in steps {
            match step {
                Step::Inherit { mount, file } => self.inherit(mount, file)?,
                Step::Period { path, period } => self.period(path, *period)?,
                Step::Write(write) => match self.write(write) {
                    Ok(()) => {}
                    Err(Errno::INVAL) if write.retried => again.push(write),
                    Err(e) => return Err(refused(write, e)),
                },
            }
        }
        for write in again {
            self.write(write).map_err(|e| refused(write, e))?;
        }
        self.open = None;
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<(), Errno> {
        match self.write_file(&write.path, &write.value) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        if let Some((path, value)) = &write.otherwise {
            match self.write_file(path, value) {
                Err(Errno::NOENT) => {}
                other => return other,
            }
        }
        match write.missing {
            Missing::Fatal => Err(Errno::NOENT),
            Missing::Ignore => Ok(()),
            Missing::Warn => {
                self.warnings.push(format!("{} is not set: the kernel has no `{}`", write.what, write.path.display()));
                Ok(())
            }
        }
    }

    fn write_file(&mut self, path: &Path, value: &str) -> Result<(), Errno> {
        if self.updating
            && let Ok(found) = file::read(path)
        {
            self.found.push((path.to_owned(), found));
        }
        if let Some((open, fd)) = &self.open
            && open == path
        {
            return file::put(fd, value);
        }
        let fd = file::open_write(path)?;
        file::put(&fd, value)?;
        self.open = Some((path.to_owned(), fd));
        Ok(())
    }

    /// Nothing can run in a v1 cpuset whose CPUs or memory nodes are empty, and new ones are.
    fn inherit(&mut self, mount: &Path, name: &'static str) -> Result<(), CgroupError> {
        let read = |dir: &Path| {
            let path = dir.join(name);
            file::read(&path).map_err(|source| CgroupError::Read { path, source })
        };
        let mut above = read(mount)?;
        for dir in self.path.ancestors_under(mount)[1..].iter().chain([&self.path.under(mount)]) {
            let present = read(dir)?;
            if present.trim().is_empty() {
                let write = Write::new(dir.join(name), above.trim(), "the parent's CPU or memory node set");
                self.write(&write).map_err(|e| refused(&write, e))?;
            } else {
                above = present;
            }
        }
        Ok(())
    }

    fn period(&mut self, path: &Path, period: u64) -> Result<(), CgroupError> {
        let text = file::read(path).map_err(|source| CgroupError::Read { path: path.to_owned(), source })?;
        let quota = text.split_ascii_whitespace().next().unwrap_or("max");
        let write = Write::new(path.to_owned(), format!("{quota} {period}"), "the CPU period");
        self.write(&write).map_err(|e| refused(&write, e))
    }
}

fn refused(write: &Write, errno: Errno) -> CgroupError {
    let memory = write.what.contains("memory");
    let hint = match errno {
        Errno::BUSY if memory => "the container uses more than that now",
        Errno::INVAL if memory => "memory and swap together may not be less than memory alone",
        Errno::NOENT => "the kernel has no such setting",
        Errno::NODEV => "there is no such device, or the group is gone",
        Errno::PERM if write.what.contains("device") => "the parent group does not have the device",
        _ => "",
    };
    let (value, path) = (write.value.clone(), write.path.clone());
    CgroupError::Write { what: write.what, value, path, hint, source: errno.into() }
}

/// Whether this process is outside the first user namespace, or does not run as its root. An answer that cannot be had
/// is no: the error stays one.
fn in_user_namespace() -> bool {
    let whole = |map: String| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    let inner = file::read(Path::new("/proc/self/uid_map")).is_ok_and(|map| !whole(map));
    inner || !rustix::process::geteuid().is_root()
}

/// The first name of a set's member that is not in another, for messages.
pub(super) fn first_missing(
    wanted: &[(Controller, &'static str)],
    have: ControllerSet,
) -> Option<(Controller, &'static str)> {
    wanted.iter().copied().find(|(c, _)| !have.contains(*c))
}
