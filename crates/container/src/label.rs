//! AppArmor and SELinux labels of the next exec.
//!
//! Owns the write to `thread-self/attr`, and nothing of policy: which label is the caller's choice. The write goes
//! through a procfs root that the caller has opened and that is checked here, and never through a link or another
//! mount: an image that mounts over /proc or makes it a link must not turn the write into nothing, or into one
//! elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{FailureKind, StartError};

/// Magic of procfs in `statfs`. *Source*: linux/magic.h.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// Magic of selinuxfs in `statfs`.
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
/// Bytes of a label at most; the kernel's own bound is a page.
const MAX_LABEL: usize = 4095;

/// A label that could not be set.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The kernel does not have the module.
    #[error("cannot set {module} label `{label}`: {module} is not enabled in this kernel")]
    NotEnabled {
        /// AppArmor or SELinux.
        module: &'static str,
        /// What was asked for.
        label: String,
    },
    /// The label is no label.
    #[error("cannot set {module} label: it is empty, longer than {MAX_LABEL} bytes, or holds a control character")]
    Invalid {
        /// AppArmor or SELinux.
        module: &'static str,
    },
    /// The descriptor is not the root of a procfs.
    #[error("cannot set {module} label `{label}`: the given descriptor is not a procfs")]
    NotProc {
        /// AppArmor or SELinux.
        module: &'static str,
        /// What was asked for.
        label: String,
    },
    /// No such profile is loaded.
    #[error("cannot set {module} label `{label}`: no such profile is loaded")]
    Unknown {
        /// AppArmor.
        module: &'static str,
        /// What was asked for.
        label: String,
    },
    /// The kernel refused it.
    #[error("cannot set {module} label `{label}`")]
    Write {
        /// AppArmor or SELinux.
        module: &'static str,
        /// What was asked for.
        label: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl From<LabelError> for StartError {
    fn from(error: LabelError) -> Self {
        let text = error.to_string();
        let what = text.strip_prefix("cannot ").unwrap_or(&text).to_owned();
        let source = if let LabelError::Write { source, .. } = error { Some(source) } else { None };
        Self { what, kind: FailureKind::Setup, source }
    }
}

/// Labels the calling thread's next exec. Does nothing where neither is asked for.
///
/// `proc` is the root of a procfs that shows the caller. *Order*: in the thread that will exec, before the filter;
/// SELinux and `no_new_privs` want it before the latter. *Errors*: a label whose module the kernel lacks is an error,
/// not a no-op.
pub fn apply_exec_label(proc: BorrowedFd<'_>, apparmor: Option<&str>, selinux: Option<&str>) -> Result<(), LabelError> {
    if let Some(profile) = apparmor.filter(|p| !p.is_empty()) {
        const MODULE: &str = "AppArmor";
        check(MODULE, profile)?;
        if !apparmor_enabled() {
            return Err(LabelError::NotEnabled { module: MODULE, label: profile.to_owned() });
        }
        // The module's own file, where it has one (5.8); the shared one belongs to whichever module comes first.
        let paths = ["thread-self/attr/apparmor/exec", "thread-self/attr/exec"];
        write(proc, MODULE, profile, &paths, &format!("exec {profile}"))?;
    }
    if let Some(context) = selinux.filter(|c| !c.is_empty()) {
        const MODULE: &str = "SELinux";
        check(MODULE, context)?;
        if !selinux_enabled() {
            return Err(LabelError::NotEnabled { module: MODULE, label: context.to_owned() });
        }
        write(proc, MODULE, context, &["thread-self/attr/exec"], context)?;
    }
    Ok(())
}

/// Whether the kernel enforces AppArmor profiles.
pub fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Whether the kernel has SELinux with a policy.
pub fn selinux_enabled() -> bool {
    rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|fs| fs.f_type as u64 == SELINUX_MAGIC)
}

fn check(module: &'static str, label: &str) -> Result<(), LabelError> {
    if label.len() > MAX_LABEL || label.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(LabelError::Invalid { module });
    }
    Ok(())
}

fn write(
    proc: BorrowedFd<'_>,
    module: &'static str,
    label: &str,
    paths: &[&str],
    value: &str,
) -> Result<(), LabelError> {
    let fs = rustix::fs::fstatfs(proc);
    if !fs.is_ok_and(|fs| fs.f_type as u64 == PROC_SUPER_MAGIC) {
        return Err(LabelError::NotProc { module, label: label.to_owned() });
    }
    let failed = |e: Errno| LabelError::Write { module, label: label.to_owned(), source: e.into() };
    let mut result = Err(Errno::NOENT);
    for path in paths {
        result = open_beneath(proc, path);
        if !matches!(result, Err(Errno::NOENT)) {
            break;
        }
    }
    let file = result.map_err(failed)?;
    match rustix::io::write(&file, value.as_bytes()) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => Err(LabelError::Unknown { module, label: label.to_owned() }),
        Err(e) => Err(failed(e)),
    }
}

/// `thread-self` is itself a link of procfs; it is read and its target walked without links.
fn open_beneath(proc: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let target = rustix::fs::readlinkat(proc, "thread-self", Vec::new())?;
    let target = target.to_str().map_err(|_| Errno::INVAL)?;
    let inner = path.strip_prefix("thread-self").ok_or(Errno::INVAL)?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat2(proc.as_fd(), format!("{target}{inner}"), flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_dir(path: &str) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    #[test]
    fn label_not_asked_for_is_a_no_op() {
        let wrong = open_dir("/tmp");
        assert!(apply_exec_label(wrong.as_fd(), None, Some("")).is_ok());
    }

    #[test]
    fn label_without_the_module_is_an_error() {
        let proc = open_dir("/proc");
        if !apparmor_enabled() {
            let error = apply_exec_label(proc.as_fd(), Some("holm-default"), None);
            assert!(matches!(error, Err(LabelError::NotEnabled { module: "AppArmor", .. })), "{error:?}");
        }
        if !selinux_enabled() {
            let error = apply_exec_label(proc.as_fd(), None, Some("system_u:system_r:container_t:s0"));
            assert!(matches!(error, Err(LabelError::NotEnabled { module: "SELinux", .. })), "{error:?}");
        }
    }

    #[test]
    fn failure_tells_the_label_and_the_reason() {
        let (module, label) = ("AppArmor", "strict".to_owned());
        let unknown = StartError::from(LabelError::Unknown { module, label: label.clone() });
        assert_eq!(unknown.to_string(), "cannot set AppArmor label `strict`: no such profile is loaded");
        let refused = StartError::from(LabelError::Write { module, label, source: Errno::ACCESS.into() });
        assert_eq!(refused.to_string(), "cannot set AppArmor label `strict`");
        assert_eq!(refused.source.and_then(|e| e.raw_os_error()), Some(Errno::ACCESS.raw_os_error()));
    }

    #[test]
    fn label_with_a_line_break_is_refused() {
        let proc = open_dir("/proc");
        let error = apply_exec_label(proc.as_fd(), Some("a\nb"), None);
        assert!(matches!(error, Err(LabelError::Invalid { .. })), "{error:?}");
    }

    #[test]
    fn write_outside_procfs_is_refused() {
        let wrong = open_dir("/tmp");
        let error = write(wrong.as_fd(), "AppArmor", "x", &["thread-self/attr/exec"], "exec x");
        assert!(matches!(error, Err(LabelError::NotProc { .. })), "{error:?}");
    }

    #[test]
    fn attr_file_opens_beneath_a_procfs_and_not_through_links() {
        let proc = open_dir("/proc");
        let opened = open_beneath(proc.as_fd(), "thread-self/comm");
        assert!(opened.is_ok(), "{opened:?}");
        let link = open_beneath(proc.as_fd(), "thread-self/cwd");
        assert!(matches!(link, Err(Errno::LOOP)), "{link:?}");
    }
}
