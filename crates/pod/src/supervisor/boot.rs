//! Starting the container's first process: facts, plan, volumes, files, control group, process, record.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use holm_container::cgroup::Cgroup;
use holm_container::rootfs::{Rootfs, Upper};
use holm_container::seccomp::Program;
use holm_container::{Connect, Create, StartError, namespace, user};
use holm_spec::container::{MountKind, Profile, RestartPolicy, UserNamespaceMode};
use holm_spec::oci::runtime::{ConsoleSize, IdMapping, NamespaceKind, Resources, Spec};
use holm_spec::state::Status;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::pump::Pump;
use super::{Inside, Running, Supervisor, files, network, source};
use crate::error::chain;
use crate::layout::{boot_id, now_ns, start_ticks};
use crate::owner::{self, Owners};
use crate::plan::{Facts, host_name, plan};
use crate::{Error, volume};

/// Turns "a new namespace" into "this one", which is held open until the process is in it.
fn join_namespace(oci: &mut Spec, kind: NamespaceKind, fd: BorrowedFd<'_>) {
    let Some(linux) = &mut oci.linux else { return };
    for namespace in linux.namespaces.iter_mut().filter(|n| n.kind == kind) {
        namespace.path = Some(format!("/proc/self/fd/{}", fd.as_raw_fd()).into());
    }
}

impl Supervisor {
    /// Starts the container; its PID. *Errors*: nothing is left.
    pub(super) fn boot(&mut self, size: Option<ConsoleSize>) -> Result<i32, Error> {
        self.reserve_networks()?;
        let booted = match self.record.spec.sandbox.isolation.machine().cloned() {
            None => self.boot_on_networks(size),
            Some(machine) => self.boot_machine(&machine, size),
        };
        match booted {
            Ok(_) => self.attend_networks(),
            Err(_) => self.release_networks(),
        }
        booted
    }

    fn boot_on_networks(&mut self, size: Option<ConsoleSize>) -> Result<i32, Error> {
        let owners = owner::of(&self.roots, &self.record.spec);
        let users = self.user_namespace(owners)?;
        self.plug_network(users.as_ref().map(AsFd::as_fd))?;
        let rootfs = self.rootfs(users.as_ref().zip(owners.mapping()))?;
        let (mut facts, fillable) = self.facts(&rootfs)?;
        let host_name = host_name(&self.record.spec, &facts);
        let folder = self.roots.container(&self.id);
        let networks = self.attached.as_ref().map(network::Attached::files).unwrap_or_default();
        let mut provided = files::provide(&rootfs, &folder, &self.record.spec, &host_name, owners, &networks)?;
        facts.files = std::mem::take(&mut provided.mounted);
        let group_path = self.group_path();
        let mut oci = plan(&self.record.spec, &self.record.image_config, &facts, &group_path)?;
        if let Some(users) = &users {
            join_namespace(&mut oci, NamespaceKind::User, users.as_fd());
        }
        let lent = self.take_lent_network();
        let plugged = self.attached.as_ref().and_then(network::Attached::netns);
        if let Some(netns) = plugged.or(lent.as_ref().map(AsFd::as_fd)) {
            join_namespace(&mut oci, NamespaceKind::Network, netns);
        }
        if let Some(process) = &mut oci.process {
            process.console_size = size.filter(|_| process.terminal);
        }
        self.fill_volumes(&rootfs, &facts, &fillable, owners)?;
        let seccomp = self.seccomp(&oci)?;
        let group = self.group(&oci, &group_path)?;
        let connects = self.attached.as_ref().is_some_and(|a| a.netns().is_none());
        let unfinished = provided.is_unfinished();
        let mut meanwhile = |pid| {
            provided.finish().map_err(|e| StartError::refused(chain(&e)))?;
            let attached = self.attached.as_ref().filter(|_| connects);
            Self::connect_networks(&self.roots, attached, lent.as_ref().map(AsFd::as_fd), pid)
        };
        let meanwhile: Option<Connect<'_>> = if connects || unfinished { Some(&mut meanwhile) } else { None };
        let created = self.create(&oci, &rootfs, group.as_ref(), seccomp.as_ref(), meanwhile);
        let (init, pump) = match created {
            Ok(created) => created,
            Err(e) => {
                // The process is gone; an empty group is all that could be left.
                let _ = group.map(Cgroup::remove);
                return Err(e);
            }
        };
        let pid = init.pid;
        // systemd makes it elsewhere than asked.
        let made_path = group.as_ref().map_or_else(String::new, |g| g.path().to_owned());
        let inside = Inside::Shared { init, rootfs, seccomp };
        self.running = Some(Running { inside, spec: oci, cgroup: group, pump, since: Instant::now(), ended: None });
        self.begin_health();
        self.started(pid, &made_path);
        Ok(pid)
    }

    pub(super) fn failed(&self, message: String, code: i32) -> Error {
        Error::Start { name: self.record.spec.name.to_string(), message, hint: None, code }
    }

    /// The user namespace of a container that has one: made or opened first, for its root file system is seen through it.
    fn user_namespace(&self, owners: Owners) -> Result<Option<OwnedFd>, Error> {
        let Some(map) = owners.mapping() else { return Ok(None) };
        if let UserNamespaceMode::Container(id) = &self.record.spec.sandbox.userns {
            let pid = source::pids(&self.roots, &self.record.spec).get(id.as_str()).copied();
            // One that does not run is found out, and told, by the plan.
            return Ok(pid.and_then(|pid| std::fs::File::open(format!("/proc/{pid}/ns/user")).ok()).map(OwnedFd::from));
        }
        let made = namespace::user_namespace(&[map], &[map]);
        made.map(Some).map_err(|e| self.failed(format!("cannot make a user namespace: {e}"), 125))
    }

    fn rootfs(&self, users: Option<(&OwnedFd, IdMapping)>) -> Result<Rootfs, Error> {
        let folder = self.roots.container(&self.id);
        let (upper, work) = (folder.join("upper"), folder.join("work"));
        // What is removed at its end needs no syncing; a volatile overlay cannot be mounted a second time, though.
        let volatile = self.record.spec.auto_remove && self.record.spec.restart == RestartPolicy::No;
        let upper = Upper { upper: &upper, work: &work, volatile };
        let made = match users {
            Some((users, map)) => {
                Rootfs::overlay_mapped(&self.record.layers, upper, users.as_fd(), (map.host_id, map.host_id))
            }
            None => Rootfs::overlay(&self.record.layers, Some(upper)),
        };
        made.map_err(|e| self.failed(chain(&e), 125))
    }

    fn facts(&mut self, rootfs: &Rootfs) -> Result<(Facts, Vec<usize>), Error> {
        let found = source::mounts(&self.roots, &self.record.spec)?;
        self.held = found.held;
        let spec = &self.record.spec;
        let user = spec.user.as_deref().or(self.record.image_config.user.as_deref());
        let user = user::resolve(rootfs, user, &spec.group_add).map_err(|e| self.failed(chain(&e), 125))?;
        let facts = Facts {
            user,
            sources: found.paths,
            folder: self.roots.container(&self.id),
            files: Vec::new(),
            pids: source::pids(&self.roots, spec),
            devices: source::devices(spec)?,
            block_devices: source::block_devices(&spec.limits),
            thermal_throttle: if spec.security.privileged { Vec::new() } else { source::thermal_throttle() },
            host_name: source::host_name(&self.roots, spec),
            selinux: !spec.security.selinux.is_empty() && std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        };
        Ok((facts, found.fillable))
    }

    pub(super) fn group_path(&self) -> String {
        let parent = self.record.spec.sandbox.cgroup_parent.as_deref().unwrap_or(&self.roots.cgroup_parent);
        format!("{}/{}", parent.trim_matches('/'), self.id)
    }

    fn fill_volumes(&self, rootfs: &Rootfs, facts: &Facts, fillable: &[usize], owners: Owners) -> Result<(), Error> {
        for n in fillable {
            volume::fill(rootfs, &self.record.spec.mounts[*n].destination, &facts.sources[*n], owners)?;
        }
        Ok(())
    }

    /// The control groups with their limits. A host without any can still run what asks for no limit.
    fn group(&self, oci: &Spec, path: &str) -> Result<Option<Cgroup>, Error> {
        let none = Resources::default();
        self.group_of(oci.linux.as_ref().and_then(|l| l.resources.as_ref()).unwrap_or(&none), path)
    }

    /// The control groups with these limits.
    pub(super) fn group_of(&self, resources: &Resources, path: &str) -> Result<Option<Cgroup>, Error> {
        let Some(hierarchy) = &self.hierarchy else {
            return match self.record.spec.limits == Default::default() {
                true => Ok(None),
                false => Err(self.failed("limits need control groups, and none are mounted".to_owned(), 125)),
            };
        };
        let group = Cgroup::create(hierarchy, path, resources, self.roots.cgroup_driver);
        group.map(Some).map_err(|e| self.failed(chain(&e), 125))
    }

    /// The system call filter: docker's default unless something else was asked for.
    fn seccomp(&self, oci: &Spec) -> Result<Option<Program>, Error> {
        let security = &self.record.spec.security;
        match &security.seccomp {
            Profile::Unconfined => Ok(None),
            Profile::Default if security.privileged => Ok(None),
            profile => crate::filter::program(profile, oci).map(Some).map_err(|message| self.failed(message, 125)),
        }
    }

    fn create(
        &self,
        oci: &Spec,
        rootfs: &Rootfs,
        group: Option<&Cgroup>,
        seccomp: Option<&Program>,
        meanwhile: Option<Connect<'_>>,
    ) -> Result<(holm_container::Init, Pump), Error> {
        let spec = &self.record.spec;
        let open = Pump::open(spec.tty, spec.interactive);
        let (mut pump, stdio) = open.map_err(|e| self.failed(format!("cannot make pipes: {e}"), 125))?;
        let entry = group.map(Cgroup::entry).transpose().map_err(|e| self.failed(chain(&e), 125))?;
        let mut init = holm_container::create(
            Create {
                id: self.id.as_str(),
                spec: oci,
                bundle: None,
                rootfs,
                stdio,
                cgroup: entry,
                seccomp,
                start_now: true,
                init: spec.init,
                // Not where a folder of the host's is among them: it is free by the time the end is told.
                hold_mounts: spec.auto_remove && spec.mounts.iter().all(|m| m.kind == MountKind::Tmpfs),
                files: Vec::new(),
            },
            meanwhile,
        )
        .map_err(|e: StartError| self.failed(chain(&e), e.exit_code()))?;
        if let Some(master) = init.console.take() {
            pump.set_terminal(master).map_err(|e| self.failed(format!("cannot use the terminal: {e}"), 125))?;
        }
        Ok((init, pump))
    }

    pub(super) fn started(&mut self, pid: i32, group_path: &str) {
        self.become_status(Status::Running);
        self.state.pid = pid;
        self.state.supervisor_pid = rustix::process::getpid().as_raw_pid();
        self.state.exit_code = 0;
        self.state.oom_killed = false;
        self.state.error.clear();
        self.state.started_at_ns = now_ns();
        group_path.clone_into(&mut self.state.cgroup_path);
        if let Some(attached) = &self.attached {
            self.emit_networks("connect", &attached.joined);
        }
        self.emit("start", &[]);
    }

    /// Writes the record of a start.
    pub(super) fn record_start(&mut self) {
        self.state.pid_start_ticks = start_ticks(self.state.pid).unwrap_or(0);
        self.state.boot_id = boot_id();
        self.save();
        self.held.clear();
    }

    pub(super) fn init_has_ended(&self) -> bool {
        let Some(running) = &self.running else { return false };
        let mut poll = [PollFd::from_borrowed_fd(running.pidfd(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|n| n > 0)
    }
}
