//! Removing, renaming and pruning containers.

use holm_spec::protocol::Request;
use holm_spec::state::Status;
use holm_spec::{ContainerId, Name};

use super::Engine;
use crate::{Container, Error, Event, PruneReport, RemoveOptions, name, removal, tree};

impl Engine {
    /// Removes it. With `force` it is killed first.
    pub fn remove(&self, id: &ContainerId, options: RemoveOptions) -> Result<(), Error> {
        let lock = self.lock(id)?;
        if options.force {
            if let Some(connection) = self.supervisor(id)? {
                let request = Request::Stop { signal: 9, timeout_s: 0 };
                connection.send(&request, &[])?;
                connection.wait_exit()?;
            }
            // With `--rm` its supervisor has removed it just now.
            if !self.roots.container(id).exists() {
                return Ok(());
            }
        }
        let run_lock = self.responsibility(id, "remove")?;
        let disposed = removal::dispose(&self.roots, id, None, options.volumes);
        drop(lock);
        if disposed.is_ok() {
            let _ = run_lock.remove_folder();
        }
        disposed
    }

    /// Gives it another name.
    pub fn rename(&self, id: &ContainerId, new: &Name) -> Result<(), Error> {
        let _lock = self.lock(id)?;
        let mut record = self.roots.read_record(id)?;
        let old = record.spec.name.clone();
        if old == *new {
            return Err(Error::invalid(format!("name `{new}`"), "the container has it already"));
        }
        self.reserve_name(new.as_str(), id)?;
        record.spec.name = new.clone();
        if let Err(e) = self.roots.write_record(id, &record) {
            name::release(&self.roots, new.as_str(), id);
            return Err(e);
        }
        name::release(&self.roots, old.as_str(), id);
        if let Some(connection) = self.supervisor(id)? {
            connection.ask("rename", old.as_str(), &Request::Reload, &[])?;
        }
        let event = Event::now("container", "rename", id.as_str());
        self.emit(&event.with("name", new.as_str()).with("oldName", old.as_str()));
        Ok(())
    }

    /// Removes the containers that do not run, but not those that fit `keep`.
    pub fn prune(&self, keep: &dyn Fn(&Container) -> bool) -> Result<PruneReport, Error> {
        let mut report = PruneReport::default();
        for container in self.list()? {
            let idle = matches!(container.state.status, Status::Created | Status::Exited | Status::Dead);
            if !idle || keep(&container) {
                continue;
            }
            let bytes = tree::usage(&container.folder).unwrap_or(0);
            match self.remove(&container.spec.id, RemoveOptions::default()) {
                Ok(()) => {
                    report.removed.push(container.spec.id.to_string());
                    report.reclaimed_bytes += bytes;
                }
                // Somebody started or removed it meanwhile.
                Err(Error::WrongState { .. } | Error::NoSuchContainer(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(report)
    }

    /// Bytes in its upper layer, and of its image's layers together.
    pub fn disk_usage(&self, id: &ContainerId) -> Result<(u64, u64), Error> {
        let container = self.get(id)?;
        let measure =
            |path: &std::path::Path| tree::usage(path).map_err(|e| Error::io("measure", path.display().to_string(), e));
        let own = measure(&self.upper(id))?;
        let mut image = 0;
        for layer in &container.layers {
            image += measure(layer)?;
        }
        Ok((own, image))
    }
}
