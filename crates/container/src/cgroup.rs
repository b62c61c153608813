//! Control groups of one container on v1, v2 and hybrid hosts: created, limited, joined, read, frozen, killed, removed.
//!
//! Owns the groups that it makes under the path it is given and nothing else: mounts, other groups and the parent
//! folder's life are the caller's. Starts no thread and keeps no state outside the kernel: [`Cgroup::open`] needs the
//! path alone.
//!
//! What is made where: on v2 one group. On v1 one group in each mount that accounts or limits something by default
//! (cpu, cpuacct, memory, pids, freezer, devices where rules forbid something) or that a limit asks for (cpuset, blkio,
//! hugetlb). On hybrid hosts the v2 group does for cpuacct and freezer.

mod apply;
mod controller;
mod convert;
mod device;
mod device_program;
mod entry;
mod error;
mod event;
mod file;
mod hierarchy;
mod limit_v1;
mod limit_v2;
mod plan;
mod process;
mod remove;
mod stat;
mod systemd;
mod thrash;
mod unified;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_spec::oci::runtime::Resources;

pub use controller::{Controller, ControllerSet};
pub use entry::Entry;
pub use error::CgroupError;
pub use event::OomWatch;
pub use hierarchy::{Hierarchy, V1Mount, Version};
pub use stat::{BlockStats, CpuStats, MemoryStats, PidStats, Stats};
pub use thrash::{MemoryLook, Thrash, Want};

use hierarchy::GroupPath;
use plan::Plan;

/// How long [`Cgroup::remove`] waits for dying processes.
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);

/// Who makes the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Driver {
    /// Holm, by making folders.
    #[default]
    Cgroupfs,
    /// Holm, in a transient scope that systemd makes for the calling process, which must be the container's supervisor.
    /// [`Cgroup::path`] then differs from the path asked for, and is what [`Cgroup::open`] wants later.
    Systemd,
}

/// The groups of one container.
#[derive(Debug)]
pub struct Cgroup {
    hierarchy: Hierarchy,
    path: GroupPath,
    /// v1 controllers whose groups are known to exist; unknown for an opened one.
    made_v1: Option<ControllerSet>,
    warnings: Vec<String>,
}

impl Cgroup {
    /// Makes the groups and sets the limits.
    ///
    /// *Errors*: the first that happened; no group of this container is left then, its parent folders are. A group of
    /// the same name without processes, left over by a crash, is replaced; one with processes is an error.
    /// *Privilege*: write access to the parent groups; for device rules on v2 CAP_SYS_ADMIN in the first user
    /// namespace.
    pub fn create(
        hierarchy: &Hierarchy,
        path: &str,
        resources: &Resources,
        driver: Driver,
    ) -> Result<Cgroup, CgroupError> {
        let path = GroupPath::new(path)?;
        let path = if driver == Driver::Systemd { systemd::scope(hierarchy, &path)? } else { path };
        let plan = Plan::create(hierarchy, &path, resources)?;
        let applied = apply::create(hierarchy, &path, &plan)?;
        let (made_v1, warnings) = (Some(applied.made_v1), applied.warnings);
        Ok(Cgroup { hierarchy: hierarchy.clone(), path, made_v1, warnings })
    }

    /// The groups at a path, which may be gone. Makes no system call.
    pub fn open(hierarchy: &Hierarchy, path: &str) -> Result<Cgroup, CgroupError> {
        let path = GroupPath::new(path)?;
        Ok(Cgroup { hierarchy: hierarchy.clone(), path, made_v1: None, warnings: Vec::new() })
    }

    /// What was asked for and could not be done, but does not keep the container from running.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Its path below the mounts.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// How a child gets in. A few opens; the descriptors are close-on-exec.
    pub fn entry(&self) -> Result<Entry, CgroupError> {
        entry::of_group(self)
    }

    /// Moves a running process in. Slower than [`Cgroup::entry`]: the kernel waits for all CPUs.
    pub fn join_pid(&self, pid: i32) -> Result<(), CgroupError> {
        entry::move_in(self, pid, None)
    }

    /// The processes in it and in groups below it. Empty where the group is gone.
    pub fn procs(&self) -> Result<Vec<i32>, CgroupError> {
        process::list(self)
    }

    /// Kills all processes and waits until none is left.
    ///
    /// *Errors*: `Timeout` after `patience`. Whatever happens, the group is not left frozen.
    pub fn kill_all(&self, patience: Duration) -> Result<(), CgroupError> {
        process::kill_all(self, patience)
    }

    /// Stops all processes and waits until they stand. On failure they run again.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        process::freeze(self)
    }

    /// Lets them run again.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        process::thaw(self)
    }

    /// What they use now. Values whose files are not there are zero.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        stat::read(self)
    }

    /// How many processes the kernel killed here for want of memory. Zero where the group is gone or does not count.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        stat::oom_kills(self)
    }

    /// Something to poll for out-of-memory kills. None without a memory controller.
    pub fn oom_watch(&self) -> Result<Option<OomWatch>, CgroupError> {
        event::watch(self)
    }

    /// What its memory is like now, for [`Thrash`]. None without a limit, and on v1.
    pub fn memory_look(&self) -> Result<Option<MemoryLook>, CgroupError> {
        thrash::look(self)
    }

    /// Kills the process that the kernel would choose: the one with the highest score. Says whether there was one.
    pub fn kill_largest(&self) -> Result<bool, CgroupError> {
        process::kill_largest(self)
    }

    /// Changes limits; what is not given stays. Returns what was asked for and has no meaning here.
    ///
    /// *Errors*: the first that happened; the limits changed before it are written back.
    pub fn update(&mut self, resources: &Resources) -> Result<Vec<String>, CgroupError> {
        let plan = Plan::update(&self.hierarchy, &self.path, resources)?;
        stat::check_before_update(self, resources)?;
        let applied = apply::update(&self.hierarchy, &self.path, &plan)?;
        if !applied.made_v1.is_empty() {
            process::follow(self, applied.made_v1)?;
        }
        self.made_v1 = self.made_v1.map(|made| made.union(applied.made_v1));
        Ok(applied.warnings)
    }

    /// Removes the groups and those below them. Succeeds where they are gone. Goes on after an error and returns the
    /// first. Does not kill; processes that are dying are waited for.
    pub fn remove(self) -> Result<(), CgroupError> {
        let mut result = Ok(());
        for dir in self.dirs() {
            let removed = remove::tree(&dir, REMOVE_PATIENCE);
            if result.is_ok() {
                result = removed;
            }
        }
        result
    }

    /// Its folder in every mount, there or not.
    fn dirs(&self) -> impl Iterator<Item = PathBuf> {
        let mounts = self.hierarchy.v1.iter().map(|m| &m.dir).chain(&self.hierarchy.unified);
        mounts.map(|mount| self.path.under(mount))
    }

    /// Its folder under a v1 mount, where the controller has one.
    fn v1_dir(&self, controller: Controller) -> Option<PathBuf> {
        self.hierarchy.v1_mount(controller).map(|m| self.path.under(&m.dir))
    }

    /// Its folder in the v2 tree.
    fn v2_dir(&self) -> Option<PathBuf> {
        self.hierarchy.unified.as_deref().map(|root: &Path| self.path.under(root))
    }

    /// Where its processes can be listed: the v2 group, or a v1 group that every container has.
    fn tracking_dirs(&self) -> Vec<PathBuf> {
        if let Some(dir) = self.v2_dir() {
            return vec![dir];
        }
        let preferred = [Controller::Pids, Controller::Freezer, Controller::Memory, Controller::Cpu];
        preferred.into_iter().filter_map(|c| self.v1_dir(c)).collect()
    }
}
