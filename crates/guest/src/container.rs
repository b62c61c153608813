//! The container: its first process, those that are added, its limits, and its end.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use holm_container::cgroup::{Cgroup, Driver, Hierarchy, OomWatch, Thrash, Want};
use holm_container::seccomp::{Arch, Program, compile, default_profile, load_profile};
use holm_container::{Create, Init, Join};
use holm_spec::container::Profile;
use holm_spec::guest::{Exec, FIRST_PROCESS, Run};
use holm_spec::oci::runtime::{Process, Resources, Spec};

use crate::error::{Doing, Error};
use crate::setup::Machine;
use crate::task::{Streams, Task};
use crate::{file, identity};

/// Name of the container here, and of its control group.
const NAME: &str = "container";
const GROUPS: &str = "/sys/fs/cgroup";
/// How long its processes may take to end when they are killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the memory of one that hits its limit.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The container from its start on.
#[derive(Debug)]
pub(crate) struct Container {
    init: Init,
    spec: Spec,
    pub(crate) group: Cgroup,
    seccomp: Option<Program>,
    /// Told when memory runs out.
    pub(crate) watch: Option<OomWatch>,
    /// Processes killed for memory, as far as the host was told.
    pub(crate) oom_kills: u64,
    /// Those of them that were killed here, not by the kernel.
    starved: u64,
    thrash: Thrash,
    /// When to look whether it gets on with the memory that it has.
    next_look: Option<Instant>,
    /// The first process is gone.
    pub(crate) ended: bool,
}

impl Container {
    /// Runs the first process. *Errors*: what failed; nothing is left.
    pub(crate) fn run(machine: &Machine, run: Run) -> Result<(Self, Task), Error> {
        let mut spec = *run.spec;
        let process = spec.process.as_mut().ok_or_else(|| Error::refused("run a container without a process"))?;
        identity::assume(process, &run.identity, &machine.rootfs)?;
        let terminal = process.terminal;
        let seccomp = filter(&run.seccomp, run.seccomp_text.as_deref(), process)?;
        file::provide(&run.files, &machine.rootfs, &mut spec)?;
        write_network_sysctls(&mut spec)?;
        let none = Resources::default();
        let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
        let hierarchy = Hierarchy::discover(Path::new(GROUPS))?;
        let group = Cgroup::create(&hierarchy, NAME, resources, Driver::Cgroupfs)?;
        let (streams, stdio) = Streams::open(terminal, run.stdin)?;
        let created = group.entry().map_err(Error::from).and_then(|entry| {
            let request = Create {
                id: NAME,
                spec: &spec,
                bundle: None,
                rootfs: &machine.rootfs,
                stdio,
                cgroup: Some(entry),
                seccomp: seccomp.as_ref(),
                start_now: true,
                init: run.init,
                hold_mounts: false,
                files: Vec::new(),
            };
            Ok(holm_container::create(request, None)?)
        });
        let mut init = match created {
            Ok(init) => init,
            Err(e) => {
                // The process is gone; an empty group is all that could be left.
                let _ = group.remove();
                return Err(e);
            }
        };
        let watch = group.oom_watch()?;
        let task = streams.task(FIRST_PROCESS, init.pid, init.console.take(), run.stdin)?;
        let container = Self {
            init,
            spec,
            group,
            seccomp,
            watch,
            oom_kills: 0,
            starved: 0,
            thrash: Thrash::default(),
            next_look: None,
            ended: false,
        };
        Ok((container, task))
    }

    /// Runs one more process. *Errors*: what failed; no process is left.
    pub(crate) fn exec(&self, machine: &Machine, exec: Exec) -> Result<Task, Error> {
        if self.ended {
            return Err(Error::refused("run a process in the container: it does not run"));
        }
        let mut process = *exec.spec;
        match (&exec.identity, &self.spec.process) {
            (Some(asked), _) => identity::assume(&mut process, asked, &machine.rootfs)?,
            (None, Some(of)) => identity::inherit(&mut process, of, exec.unfiltered),
            (None, None) => {}
        }
        // Before it runs: after that nothing may fail for a reason of this.
        let kills = self.memory_kills()?;
        let (streams, stdio) = Streams::open(process.terminal, exec.stdin)?;
        let joined = holm_container::exec(Join {
            id: NAME,
            init: self.init.pidfd.as_fd(),
            init_pid: self.init.pid,
            spec: &self.spec,
            process: &process,
            stdio,
            cgroup: Some(self.group.entry()?),
            seccomp: self.seccomp.as_ref().filter(|_| !exec.unfiltered),
        })?;
        let mut task = streams.task(exec.process, joined.pid, joined.console, exec.stdin)?;
        task.oom_kills = kills;
        Ok(task)
    }

    /// How many processes were killed for memory, by the kernel or by [`Container::look_at_memory`].
    pub(crate) fn memory_kills(&self) -> Result<u64, Error> {
        Ok(self.group.oom_kills()? + self.starved)
    }

    /// How long until the next look at its memory is due. None while nothing gives reason to.
    pub(crate) fn until_look(&self) -> Option<Duration> {
        self.next_look.filter(|_| !self.ended).map(|next| next.saturating_duration_since(Instant::now()))
    }

    /// Ends the largest process where all of them only read their programs again and again for want of memory.
    pub(crate) fn look_at_memory(&mut self) -> Result<(), Error> {
        if self.until_look().is_some_and(|left| !left.is_zero()) {
            return Ok(());
        }
        self.next_look = None;
        let Some(look) = self.group.memory_look()? else { return Ok(()) };
        match self.thrash.judge(look) {
            Want::None => return Ok(()),
            Want::Perhaps => {}
            Want::Memory if self.group.kill_largest()? => self.starved += 1,
            Want::Memory => {}
        }
        self.next_look = Some(Instant::now() + LOOK_AGAIN);
        Ok(())
    }

    /// PID of the first process.
    pub(crate) fn pid(&self) -> i32 {
        self.init.pid
    }

    /// The first process is gone: what it leaves running goes too.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        self.ended = true;
        Ok(self.group.kill_all(PATIENCE)?)
    }

    /// Takes the groups of a container away that has ended.
    pub(crate) fn remove(self) -> Result<(), Error> {
        Ok(self.group.remove()?)
    }
}

/// The system call filter, compiled for what the process may do.
fn filter(profile: &Profile, text: Option<&str>, process: &Process) -> Result<Option<Program>, Error> {
    let none = Vec::new();
    let bounding = process.capabilities.as_ref().map_or(&none, |sets| &sets.bounding);
    let profile = match (profile, text) {
        (Profile::Unconfined, _) => return Ok(None),
        (Profile::Default, _) => default_profile(bounding),
        (Profile::Named(_), Some(text)) => load_profile(text.as_bytes(), bounding, kernel())?,
        (Profile::Named(name), None) => {
            return Err(Error::refused(format!("use seccomp profile `{}`: its text is missing", name.escape_debug())));
        }
    };
    Ok(Some(compile(&profile, Arch::native())?))
}

/// Major and minor version of the running kernel.
fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Sets what the document wants of the network. The machine's network namespace is the container's, so this is done here, not
/// in a namespace of the container's own, which it would otherwise be refused for.
fn write_network_sysctls(spec: &mut Spec) -> Result<(), Error> {
    let Some(linux) = &mut spec.linux else { return Ok(()) };
    let (network, others) = std::mem::take(&mut linux.sysctl)
        .into_iter()
        .partition(|(name, _)| name.starts_with("net.") || name.starts_with("net/"));
    linux.sysctl = others;
    let network: std::collections::BTreeMap<String, String> = network;
    for (name, value) in &network {
        let shown = name.escape_debug();
        let path = sysctl_path(name).ok_or_else(|| Error::refused(format!("set sysctl `{shown}`: no such name")))?;
        fs::write(path, value).doing(|| format!("set sysctl `{shown}` to `{}`", value.escape_debug()))?;
    }
    Ok(())
}

/// `net/ipv4/conf/eth0.1/x` is written with slashes so that dots can stand in names.
fn sysctl_path(name: &str) -> Option<std::path::PathBuf> {
    let below = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let path = Path::new(&below);
    let is_plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (is_plain && path.iter().next() == Some(OsStr::new("net"))).then(|| Path::new("/proc/sys").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_of_the_network_have_a_path_and_others_none() {
        let path = |name| sysctl_path(name).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(path("net.core.somaxconn").as_deref(), Some("/proc/sys/net/core/somaxconn"));
        assert_eq!(path("net/ipv4/conf/eth0.1/rp_filter").as_deref(), Some("/proc/sys/net/ipv4/conf/eth0.1/rp_filter"));
        for bad in ["net/../kernel/core_pattern", "kernel.core_pattern", "/net/x", ""] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_filter_is_there_unless_it_is_not_wanted() {
        let process = Process::default();
        assert!(filter(&Profile::Default, None, &process).unwrap().is_some());
        assert!(filter(&Profile::Unconfined, None, &process).unwrap().is_none());
        let named = Profile::Named("x.json".into());
        assert!(filter(&named, Some(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), &process).unwrap().is_some());
        assert!(filter(&named, None, &process).is_err());
    }
}
