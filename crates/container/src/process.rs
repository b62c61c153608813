//! The last steps of a process before it becomes the container's program: identity, limits, capabilities, filter, exec.
//!
//! [`ProcessPlan`] is made before the fork and is pure data; [`ProcessPlan::execute`] runs in the forked process and
//! shares one order of steps between a container's first process and those that join later.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use holm_spec::oci::runtime::{IoPriority, Process};
use holm_sys::process::CStringList;
use holm_sys::title::Title;
use rustix::fs::OFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::capability::{self, CapabilityBits};
use crate::channel::Channel;
use crate::error::{Doing, FailureKind, StartError};
use crate::mount::apply::ensure_folder;
use crate::reaper;
use crate::rootfs::open_in_root;
use crate::seccomp::Program;

/// Everything about a process that is known before it exists.
pub(crate) struct ProcessPlan {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u32,
    cwd: PathBuf,
    args: CStringList,
    env: CStringList,
    candidates: Vec<CString>,
    capabilities: CapabilityBits,
    rlimits: Vec<(Resource, Rlimit, String)>,
    no_new_privileges: bool,
    io_priority: Option<i32>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) apparmor: Option<String>,
    pub(crate) selinux: Option<String>,
    pub(crate) terminal: bool,
    pub(crate) console_size: Option<(u16, u16)>,
    /// Stay as PID 1, reap, and run the program as a child.
    pub(crate) init: bool,
    title: Option<Title>,
    /// What the program finds open above the standard streams.
    files: Vec<OwnedFd>,
}

/// The first descriptor after the standard streams.
const FIRST_FILE: i32 = 3;

impl ProcessPlan {
    /// Reads the process of a bundle. *Errors*: what in it cannot be used.
    pub(crate) fn new(process: &Process, init: bool) -> Result<Self, StartError> {
        let Some(program) = process.args.first() else {
            return Err(StartError::refused("start a process without a program"));
        };
        let nul = |what: &str| StartError::refused(format!("use a NUL byte in the {what} of `{}`", shown(program)));
        let args = CStringList::new(&process.args).map_err(|_| nul("arguments"))?;
        let env = CStringList::new(&process.env).map_err(|_| nul("environment"))?;
        let candidates = candidates(program, &process.env).map_err(|_| nul("PATH"))?;
        let sets = process.capabilities.clone().unwrap_or_default();
        let bits = CapabilityBits::from_spec(&sets).map_err(|e| StartError::refused(format!("start: {e}")))?;
        let beyond = bits.permitted & !capability::all();
        if beyond != 0 {
            let names = capability::names(beyond).join(", ");
            return Err(StartError::refused(format!("give {names}: this process does not have it itself")));
        }
        let console_size = process.console_size.filter(|size| size.height > 0 || size.width > 0);
        Ok(Self {
            uid: process.user.uid,
            gid: process.user.gid,
            groups: process.user.additional_gids.clone(),
            umask: process.user.umask.unwrap_or(0o022),
            cwd: process.cwd.clone(),
            args,
            env,
            candidates,
            capabilities: bits,
            rlimits: rlimits(process)?,
            no_new_privileges: process.no_new_privileges,
            io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
            oom_score_adj: process.oom_score_adj,
            apparmor: process.apparmor_profile.clone().filter(|s| !s.is_empty()),
            selinux: process.selinux_label.clone().filter(|s| !s.is_empty()),
            terminal: process.terminal,
            console_size: console_size.map(|size| (size.height, size.width)),
            init,
            title: if init { Some(Title::find().doing(|| "find the process's arguments".into())?) } else { None },
            files: Vec::new(),
        })
    }

    /// Gives the program descriptors besides the standard streams.
    pub(crate) fn with_files(self, files: Vec<OwnedFd>) -> Self {
        Self { files, ..self }
    }

    /// The first descriptor that none of the program's is put at.
    pub(crate) fn first_free(&self) -> i32 {
        FIRST_FILE.saturating_add(i32::try_from(self.files.len()).unwrap_or(i32::MAX))
    }

    /// Puts the files in their places. They are taken aside first, since one may lie where another belongs. *Order*: no
    /// descriptor below [`ProcessPlan::first_free`] is needed any more but the standard ones.
    fn place_files(&self) -> io::Result<()> {
        let aside = |file| rustix::io::fcntl_dupfd_cloexec(file, self.first_free());
        let aside = self.files.iter().map(aside).collect::<Result<Vec<_>, _>>()?;
        for (number, file) in (FIRST_FILE..).zip(&aside) {
            holm_sys::process::dup_to(file.as_fd(), number)?;
        }
        Ok(())
    }

    /// Goes to the working folder, making it if the image lacks it. The path is resolved inside the root and through no
    /// `/proc/PID/fd` link, which could name a folder of the host (CVE-2024-21626).
    pub(crate) fn enter_cwd(&self, root: BorrowedFd<'_>) -> Result<(), StartError> {
        let what = || format!("go to working folder `{}`", self.cwd.display());
        let path = self.cwd.strip_prefix("/").map_err(|_| StartError::refused(what() + ": it is not absolute"))?;
        let path = if path.as_os_str().is_empty() { std::path::Path::new(".") } else { path };
        let folder = match open_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => ensure_folder(root, &self.cwd),
            other => other,
        };
        rustix::process::fchdir(folder.doing(what)?).doing(what)
    }

    /// Becomes the program. Returns only with what failed. *Order*: in the forked process, with its three standard
    /// descriptors in place; every other descriptor is closed by exec.
    pub(crate) fn execute(
        &self,
        seccomp: Option<&Program>,
        channel: &Channel,
        ready: &mut dyn FnMut() -> Result<(), StartError>,
    ) -> StartError {
        match self.prepare(seccomp, channel, ready) {
            Ok(()) => self.exec(),
            Err(e) => e,
        }
    }

    fn prepare(
        &self,
        seccomp: Option<&Program>,
        channel: &Channel,
        ready: &mut dyn FnMut() -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        for (resource, limit, name) in &self.rlimits {
            rustix::process::setrlimit(*resource, *limit).doing(|| limit_text(name, limit))?;
        }
        if let Some(packed) = self.io_priority {
            holm_sys::process::set_io_priority(packed).doing(|| "set the I/O priority".into())?;
        }
        let filter = |when: bool| -> Result<(), StartError> {
            match seccomp {
                Some(program) if when => {
                    let listener = crate::seccomp::load(program).doing(|| "load the system call filter".into())?;
                    listener.map_or(Ok(()), |fd| channel.send_listener(fd.as_fd()))
                }
                _ => Ok(()),
            }
        };
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(self.umask));
        ready()?;
        // Without no_new_privs the filter needs CAP_SYS_ADMIN and so comes before that is given up.
        filter(!self.no_new_privileges)?;
        self.become_user()?;
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).doing(|| "set no_new_privs".into())?;
        }
        holm_sys::process::close_on_exec_from(3).doing(|| "close descriptors at exec".into())?;
        self.place_files().doing(|| "place the program's files".into())?;
        holm_sys::process::reset_signals().doing(|| "reset signals".into())?;
        filter(self.no_new_privileges)
    }

    fn become_user(&self) -> Result<(), StartError> {
        let bits = &self.capabilities;
        for number in 0..=capability::LAST {
            if bits.bounding >> number & 1 == 0 {
                let capability = CapabilitySet::from_bits_retain(1 << number);
                match rustix::thread::remove_capability_from_bounding_set(capability) {
                    // A kernel older than this list does not know the last ones.
                    Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                    Err(e) => return Err(StartError::setup("give up capabilities", e)),
                }
            }
        }
        rustix::thread::set_keep_capabilities(true).doing(|| "keep capabilities".into())?;
        holm_sys::process::set_groups(&self.groups).doing(|| "set the groups".into())?;
        holm_sys::process::set_ids(self.uid, self.gid).doing(|| format!("become user {}:{}", self.uid, self.gid))?;
        rustix::thread::set_keep_capabilities(false).doing(|| "keep capabilities".into())?;
        // Another user's process starts without effective capabilities unless they are ambient, as after setuid.
        let sets = CapabilitySets {
            effective: CapabilitySet::from_bits_retain(bits.effective),
            permitted: CapabilitySet::from_bits_retain(bits.permitted),
            inheritable: CapabilitySet::from_bits_retain(bits.inheritable),
        };
        rustix::thread::set_capabilities(None, sets).doing(|| "set capabilities".into())?;
        for number in 0..=capability::LAST {
            if bits.ambient >> number & 1 == 1 {
                let capability = CapabilitySet::from_bits_retain(1 << number);
                rustix::thread::configure_capability_in_ambient_set(capability, true)
                    .doing(|| "raise ambient capabilities".into())?;
            }
        }
        // Changing the user clears both of these.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie to the supervisor".into())?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hide from tracing".into())
    }

    /// Runs the first candidate that can be run.
    fn exec(&self) -> StartError {
        if self.init
            && let Err(e) = reaper::stay_as_init(self.terminal, self.title)
        {
            return StartError::setup("start an init", e);
        }
        let mut denied = None;
        for path in &self.candidates {
            let error = holm_sys::process::execve(path, &self.args, &self.env);
            match error.raw_os_error() {
                Some(libc_errno::ENOENT | libc_errno::ENOTDIR) => {}
                Some(libc_errno::EACCES) => denied = Some((path, error)),
                _ => return failed(path, error),
            }
        }
        if let Some((path, error)) = denied {
            return failed(path, error);
        }
        let name = self.args.strings().first().map_or_else(String::new, |s| shown(&s.to_string_lossy()));
        let what = if name.contains('/') {
            format!("execute `{name}`")
        } else {
            format!("execute `{name}`: it is in no folder of PATH")
        };
        let source = Some(io::Error::from_raw_os_error(libc_errno::ENOENT));
        StartError { what, kind: FailureKind::NotFound, source }
    }
}

/// The few error numbers that decide an exit code. *Source*: asm-generic/errno-base.h.
mod libc_errno {
    pub const ENOENT: i32 = 2;
    pub const EACCES: i32 = 13;
    pub const ENOTDIR: i32 = 20;
}

fn failed(path: &CStr, error: io::Error) -> StartError {
    StartError {
        what: format!("execute `{}`", shown(&path.to_string_lossy())),
        kind: FailureKind::NotExecutable,
        source: Some(error),
    }
}

fn shown(text: &str) -> String {
    text.escape_debug().take(200).collect()
}

/// Where the program may be: itself if it has a slash, else in each folder of the container's PATH.
fn candidates(program: &str, env: &[String]) -> Result<Vec<CString>, std::ffi::NulError> {
    if program.contains('/') {
        return Ok(vec![CString::new(program)?]);
    }
    if program.is_empty() {
        return Ok(Vec::new());
    }
    let path = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or("");
    let in_folder =
        |folder: &str| if folder.is_empty() { format!("./{program}") } else { format!("{folder}/{program}") };
    path.split(':').map(|folder| CString::new(in_folder(folder))).collect()
}

fn rlimits(process: &Process) -> Result<Vec<(Resource, Rlimit, String)>, StartError> {
    let number = |n: u64| (n != u64::MAX).then_some(n);
    process
        .rlimits
        .iter()
        .map(|r| {
            let resource = resource(&r.kind)
                .ok_or_else(|| StartError::refused(format!("set limit `{}`: no such limit", shown(&r.kind))))?;
            Ok((resource, Rlimit { current: number(r.soft), maximum: number(r.hard) }, r.kind.clone()))
        })
        .collect()
}

fn limit_text(name: &str, limit: &Rlimit) -> String {
    let text = |n: Option<u64>| n.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
    format!("set limit {name} to {}:{}", text(limit.current), text(limit.maximum))
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_STACK" => Resource::Stack,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        _ => return None,
    })
}

/// *Source*: linux/ioprio.h: the class stands 13 bits above the priority.
fn io_priority(priority: &IoPriority) -> Result<i32, StartError> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(StartError::refused(format!("use I/O class `{}`", shown(other)))),
    };
    if !(0..8).contains(&priority.priority) {
        return Err(StartError::refused(format!("use I/O priority {}: it goes from 0 to 7", priority.priority)));
    }
    Ok(class << 13 | priority.priority)
}

/// Puts three descriptors in the standard places. They must lie above them.
pub(crate) fn set_stdio(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>) -> io::Result<()> {
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    Ok(())
}

impl ProcessPlan {
    /// Lets the process's user open `/dev/stdout` and its like anew: pipes are made over to it; files and terminals of
    /// the caller's are left as they are.
    pub(crate) fn own_pipes(&self) -> Result<(), StartError> {
        if self.uid == 0 {
            return Ok(());
        }
        for fd in [rustix::stdio::stdin().as_fd(), rustix::stdio::stdout().as_fd(), rustix::stdio::stderr().as_fd()] {
            let stat = rustix::fs::fstat(fd).doing(|| "look at standard descriptors".into())?;
            if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo {
                let owner = Some(rustix::fs::Uid::from_raw(self.uid));
                rustix::fs::fchown(fd, owner, None).doing(|| "make over standard descriptors".into())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(program: &str, env: &[&str]) -> Vec<String> {
        let env: Vec<String> = env.iter().map(|s| (*s).to_owned()).collect();
        candidates(program, &env).unwrap().iter().map(|c| c.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn programs_are_searched_in_the_containers_path() {
        assert_eq!(paths("sh", &["PATH=/a:/b", "X=1"]), ["/a/sh", "/b/sh"]);
        assert_eq!(paths("./sh", &["PATH=/a"]), ["./sh"]);
        assert_eq!(paths("sh", &["PATH=/a", "PATH=/z"]), ["/z/sh"]);
        assert!(paths("", &["PATH=/a"]).is_empty());
    }

    #[test]
    fn unknown_limits_and_classes_are_refused() {
        let limit = holm_spec::oci::runtime::Rlimit { kind: "RLIMIT_X".into(), soft: 1, hard: 1 };
        assert!(rlimits(&Process { rlimits: vec![limit], ..Process::default() }).is_err());
        assert!(io_priority(&IoPriority { class: "IOPRIO_CLASS_BE".into(), priority: 8 }).is_err());
        assert_eq!(io_priority(&IoPriority { class: "IOPRIO_CLASS_BE".into(), priority: 4 }).unwrap(), 2 << 13 | 4);
    }

    #[test]
    fn a_process_without_program_or_with_nul_is_refused() {
        assert!(ProcessPlan::new(&Process::default(), false).is_err());
        let process = Process { args: vec!["a\0b".into()], ..Process::default() };
        assert!(ProcessPlan::new(&process, false).is_err());
    }
}
