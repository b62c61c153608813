//! Profiles from files: plain OCI ones, and Docker's and Podman's extended form with conditions on capabilities,
//! architectures and kernel versions. Reading has no side effect; the result is a plain OCI profile.

use holm_spec::oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use serde::Deserialize;

use super::action::shortened;
use super::arch::Arch;
use super::error::SeccompError;

/// Bytes of a profile at most; Docker's has 20 KiB.
pub const MAX_PROFILE_BYTES: usize = 1 << 20;
/// Rules at most.
const MAX_RULES: usize = 8192;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    /// Podman's name of the same.
    #[serde(default)]
    default_errno: Option<String>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<std::path::PathBuf>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<FileRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileRule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    /// Podman's name of the same, as a word.
    #[serde(default)]
    errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<FileArg>>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileArg {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Reads a profile for a process with these capabilities on this kernel (major, minor) and machine.
///
/// *Errors*: a file too large, no JSON, contradictory, or with unknown words; nothing in it is passed over.
pub fn load_profile(bytes: &[u8], caps: &[impl AsRef<str>], kernel: (u32, u32)) -> Result<Seccomp, SeccompError> {
    load_profile_for(bytes, caps, kernel, Arch::native())
}

/// The same for another architecture.
pub fn load_profile_for(
    bytes: &[u8],
    caps: &[impl AsRef<str>],
    kernel: (u32, u32),
    arch: Arch,
) -> Result<Seccomp, SeccompError> {
    if bytes.len() > MAX_PROFILE_BYTES {
        return Err(SeccompError::TooLarge { bytes: bytes.len(), max: MAX_PROFILE_BYTES });
    }
    let file: File = serde_json::from_slice(bytes).map_err(SeccompError::Parse)?;
    let rules = file.syscalls.unwrap_or_default();
    if rules.len() > MAX_RULES {
        return Err(SeccompError::TooMany { what: "rules", count: rules.len(), max: MAX_RULES });
    }
    let architectures = architectures(file.architectures.unwrap_or_default(), file.arch_map.unwrap_or_default(), arch)?;
    let mut syscalls = Vec::with_capacity(rules.len());
    for rule in rules {
        let included = match &rule.includes {
            Some(conditions) => conditions.all_hold(caps, kernel, arch)?,
            None => true,
        };
        let excluded = match &rule.excludes {
            Some(conditions) => conditions.any_holds(caps, kernel, arch)?,
            None => false,
        };
        if included && !excluded {
            syscalls.push(plain(rule)?);
        }
    }
    Ok(Seccomp {
        default_action: file.default_action,
        default_errno_ret: errno(file.default_errno_ret, file.default_errno.as_deref())?,
        architectures,
        flags: file.flags.unwrap_or_default(),
        listener_path: file.listener_path,
        listener_metadata: file.listener_metadata,
        syscalls,
    })
}

fn architectures(plain: Vec<String>, map: Vec<ArchMap>, native: Arch) -> Result<Vec<String>, SeccompError> {
    if map.is_empty() {
        return Ok(plain);
    }
    if !plain.is_empty() {
        return Err(SeccompError::Contradiction("`architectures` and `archMap` are both given"));
    }
    let own = map.into_iter().find(|entry| entry.architecture == native.oci_name());
    Ok(own.map_or(Vec::new(), |entry| {
        std::iter::once(entry.architecture).chain(entry.sub_architectures.unwrap_or_default()).collect()
    }))
}

fn plain(rule: FileRule) -> Result<SyscallRule, SeccompError> {
    let names = match (rule.name.filter(|n| !n.is_empty()), rule.names.unwrap_or_default()) {
        (Some(_), names) if !names.is_empty() => {
            return Err(SeccompError::Contradiction("a rule has both `name` and `names`"));
        }
        (Some(name), _) => vec![name],
        (None, names) => names,
    };
    let arg = |a: FileArg| SyscallArg { index: a.index, value: a.value, value_two: a.value_two, op: a.op };
    Ok(SyscallRule {
        names,
        errno_ret: errno(rule.errno_ret, rule.errno.as_deref())?,
        action: rule.action,
        args: rule.args.unwrap_or_default().into_iter().map(arg).collect(),
    })
}

/// The number wins over the word, which Podman writes beside it.
fn errno(number: Option<u32>, word: Option<&str>) -> Result<Option<u32>, SeccompError> {
    let word = match (number, word) {
        (Some(number), _) => return Ok(Some(number)),
        (None, None | Some("")) => return Ok(None),
        (None, Some(word)) => word,
    };
    // Those that make sense as an answer to a system call.
    let known = [
        ("EPERM", 1),
        ("ENOENT", 2),
        ("EINTR", 4),
        ("EIO", 5),
        ("EBADF", 9),
        ("EAGAIN", 11),
        ("ENOMEM", 12),
        ("EACCES", 13),
        ("EFAULT", 14),
        ("EBUSY", 16),
        ("ENODEV", 19),
        ("EINVAL", 22),
        ("ENOTTY", 25),
        ("EROFS", 30),
        ("ENOSYS", 38),
        ("EOPNOTSUPP", 95),
        ("EAFNOSUPPORT", 97),
    ];
    match known.iter().find(|(name, _)| *name == word) {
        Some((_, number)) => Ok(Some(*number)),
        None => Err(SeccompError::Unknown { kind: "error name", name: shortened(word) }),
    }
}

impl Conditions {
    fn all_hold(&self, caps: &[impl AsRef<str>], kernel: (u32, u32), arch: Arch) -> Result<bool, SeccompError> {
        let caps_hold = self.caps.iter().flatten().all(|wanted| has(caps, wanted));
        let arch_holds = self.arches.as_ref().is_none_or(|list| list.is_empty() || names(list, arch));
        let kernel_holds = match version(self.min_kernel.as_deref())? {
            Some(least) => kernel >= least,
            None => true,
        };
        Ok(caps_hold && arch_holds && kernel_holds)
    }

    fn any_holds(&self, caps: &[impl AsRef<str>], kernel: (u32, u32), arch: Arch) -> Result<bool, SeccompError> {
        let cap_holds = self.caps.iter().flatten().any(|wanted| has(caps, wanted));
        let arch_holds = self.arches.as_ref().is_some_and(|list| names(list, arch));
        let kernel_holds = version(self.min_kernel.as_deref())?.is_some_and(|least| kernel >= least);
        Ok(cap_holds || arch_holds || kernel_holds)
    }
}

fn has(caps: &[impl AsRef<str>], wanted: &str) -> bool {
    let bare = |name: &str| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
    caps.iter().any(|cap| bare(cap.as_ref()) == bare(wanted))
}

fn names(list: &[String], arch: Arch) -> bool {
    list.iter().any(|name| name == arch.go_name())
}

/// `4.8`.
fn version(text: Option<&str>) -> Result<Option<(u32, u32)>, SeccompError> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(None) };
    let parsed = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match parsed {
        Some(version) => Ok(Some(version)),
        None => Err(SeccompError::Unknown { kind: "kernel version", name: shortened(text) }),
    }
}
