//! Cleaning up after killed commands and supervisors, and after a reboot.
//!
//! The lock of a folder in the run root is held by whoever is responsible for the container. A folder whose lock is free is
//! all that a crash can leave: it is found by one folder listing. After a reboot the run root is empty and every container
//! is looked at once.

use std::path::Path;
use std::time::Duration;

use holm_container::cgroup::{Cgroup, Hierarchy};
use holm_spec::ContainerId;
use holm_spec::container::ContainerSpec;
use holm_spec::state::{ContainerState, Status};
use rustix::fs::{Mode, OFlags};

use super::Engine;
use crate::layout::{FolderLock, NotTaken, Record, boot_id, now_ns, with_parents};
use crate::{Error, Event, event, name, removal};

const BOOTED: &str = "booted";
/// How long what is left of a container may take to die.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Finishes or undoes what killed commands and supervisors left. Every command calls it first; costs one folder
    /// listing of the run root when there is nothing to do.
    pub fn recover(&self) -> Result<(), Error> {
        let folder = self.roots.run_containers();
        let failed = |e| Error::io("list", folder.display().to_string(), e);
        let mut first = Ok(());
        match std::fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(failed)?.file_name();
                    let Some(id) = name.to_str().and_then(|n| n.parse::<ContainerId>().ok()) else { continue };
                    // One that cannot be cleaned up must not keep the others from it.
                    first = first.and(self.recover_container(&id));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        first = first.and(self.recover_vms());
        first = first.and(self.recover_plugged());
        // After the containers: what they held of networks was given back by then.
        first = first.and(self.roots.networks().recover().map_err(Error::from));
        let booted = self.roots.run.join(BOOTED);
        if rustix::fs::access(&booted, rustix::fs::Access::EXISTS).is_err() {
            first = first.and(self.recover_after_boot());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            let mark = || rustix::fs::open(&booted, flags, Mode::RUSR | Mode::WUSR);
            with_parents(&self.roots.run, mark).map_err(|e| Error::io("make", booted.display().to_string(), e))?;
        }
        first
    }

    /// Tells CNI plugins once more to undo what they could not when their container ended.
    fn recover_plugged(&self) -> Result<(), Error> {
        let mut first = Ok(());
        for id in self.roots.networks().plugged()? {
            match FolderLock::make_now(&self.roots.run_container(&id)) {
                Ok(Some(lock)) => first = first.and(self.recover_held(&id, lock)),
                // Its supervisor is responsible.
                Ok(None) => {}
                Err(e) => first = first.and(Err(e)),
            }
        }
        first
    }

    /// Cleans up one container if nobody is responsible for it though somebody was.
    pub(super) fn recover_container(&self, id: &ContainerId) -> Result<(), Error> {
        match FolderLock::try_now(&self.roots.run_container(id))? {
            Ok(lock) => self.recover_held(id, lock),
            Err(NotTaken::Held | NotTaken::Gone) => Ok(()),
        }
    }

    /// As [`Engine::recover_container`], with the lock of its run folder.
    pub(super) fn recover_held(&self, id: &ContainerId, lock: FolderLock) -> Result<(), Error> {
        self.clean_up(id)?;
        lock.remove_folder().map_err(|e| Error::io("remove the run folder of", id.short(), e))
    }

    /// Brings a container without a supervisor into a state that can be told: removed, or ended.
    pub(super) fn clean_up(&self, id: &ContainerId) -> Result<(), Error> {
        // One that is on its way out keeps its record until the last.
        let hidden = || self.roots.read_hidden_record(id);
        let record = self.roots.read_record(id).or_else(|_| {
            hidden().map(|record| Record { spec: ContainerSpec { auto_remove: true, ..record.spec }, ..record })
        });
        let state = self.roots.read_state(id).unwrap_or_default();
        let parent = record.as_ref().ok().and_then(|r| r.spec.sandbox.cgroup_parent.clone());
        self.kill_group(id, parent.as_deref(), &state)?;
        self.roots.networks().release_all(id)?;
        self.roots.networks().unplug(id)?;
        match record {
            // A removal or a creation that was cut short.
            Err(_) => {
                removal::dispose(&self.roots, id, None, true)?;
                self.release_names_of(id);
                Ok(())
            }
            Ok(record) if record.spec.auto_remove => removal::dispose(&self.roots, id, Some(&record), true),
            Ok(record) if state.status.is_live() => {
                self.record_crash(id, record.spec.name.as_str(), state, 137, "its supervisor was killed")
            }
            Ok(_) => Ok(()),
        }
    }

    fn record_crash(
        &self,
        id: &ContainerId,
        name: &str,
        mut state: ContainerState,
        code: i32,
        why: &str,
    ) -> Result<(), Error> {
        state.status = Status::Exited;
        (state.pid, state.pid_start_ticks) = (0, 0);
        (state.supervisor_pid, state.supervisor_start_ticks) = (0, 0);
        state.exit_code = code;
        state.error = format!("{why} while the container ran");
        state.finished_at_ns = now_ns();
        self.roots.write_state(id, &state)?;
        let died = Event::now("container", "die", id.as_str()).with("name", name).with("exitCode", code.to_string());
        event::emit(&self.roots.run, &[died]);
        Ok(())
    }

    /// Kills what is left in the container's groups and removes them.
    pub(crate) fn kill_group(
        &self,
        id: &ContainerId,
        parent: Option<&str>,
        state: &ContainerState,
    ) -> Result<(), Error> {
        let path = if state.cgroup_path.is_empty() {
            format!("{}/{id}", parent.unwrap_or(&self.roots.cgroup_parent).trim_matches('/'))
        } else {
            state.cgroup_path.clone()
        };
        let Ok(hierarchy) = Hierarchy::discover(Path::new("/sys/fs/cgroup")) else { return Ok(()) };
        let failed = |e: holm_container::cgroup::CgroupError| {
            Error::io("remove the control groups of", id.short(), std::io::Error::other(crate::error::chain(&e)))
        };
        let group = Cgroup::open(&hierarchy, &path).map_err(failed)?;
        group.kill_all(KILL_PATIENCE).map_err(failed)?;
        group.remove().map_err(failed)
    }

    /// Looks at everything once: what ran before the reboot has ended, what was half made or half removed goes.
    fn recover_after_boot(&self) -> Result<(), Error> {
        let boot = boot_id();
        let mut first = Ok(());
        for id in super::ids(&self.roots)? {
            first = first.and(self.recover_booted(&id, &boot));
        }
        for text in list(&self.roots.data.join("names")) {
            if let Some(owner) = name::owner(&self.roots, &text) {
                let there = self.roots.read_record(&owner).is_ok_and(|r| r.spec.name.as_str() == text);
                if !there && !self.roots.run_container(&owner).exists() {
                    name::release(&self.roots, &text, &owner);
                }
            }
        }
        for (folder, prefix) in [(self.roots.trash(), ""), (self.roots.volumes(), ".new-")] {
            for name in list(&folder).into_iter().filter(|n| n.starts_with(prefix)) {
                let path = folder.join(name);
                let removed = removal::remove_tree(&path);
                first = first.and(removed.map_err(|e| Error::io("remove", path.display().to_string(), e)));
            }
        }
        first
    }

    fn recover_booted(&self, id: &ContainerId, boot: &str) -> Result<(), Error> {
        // Held: somebody is responsible for it by now.
        let Some(lock) = FolderLock::make_now(&self.roots.run_container(id))? else { return Ok(()) };
        let state = self.roots.read_state(id).unwrap_or_default();
        match self.roots.read_record(id) {
            // 255 is what docker records for it.
            Ok(record) if state.status.is_live() && state.boot_id != boot && !record.spec.auto_remove => {
                self.record_crash(id, record.spec.name.as_str(), state, 255, "the machine was restarted")?;
            }
            // One that waits to be started first is no crash, though it is to be removed at its end.
            Ok(_) if state.status == Status::Created => {}
            _ => self.clean_up(id)?,
        }
        lock.remove_folder().map_err(|e| Error::io("remove the run folder of", id.short(), e))
    }
}

/// Names in a folder; none where there is none.
fn list(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}
