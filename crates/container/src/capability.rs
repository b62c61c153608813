//! Capability names and sets: docker's defaults, additions and removals, and the bits that the kernel takes.

use holm_spec::oci::runtime::Capabilities;

/// Every capability, its position being its number. *Source*: linux/capability.h, 6.18.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise: docker's list.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A name that is no capability.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot use capability `{0}`: no such capability")]
pub struct UnknownCapability(String);

/// The sets as the kernel takes them, one bit a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilityBits {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Ambient set.
    pub ambient: u64,
}

/// Number of the highest capability that this program knows.
pub const LAST: u32 = NAMES.len() as u32 - 1;

/// The bit of a capability by name, in any case, with or without `CAP_`.
pub fn bit(name: &str) -> Result<u64, UnknownCapability> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let found = NAMES.iter().position(|known| &known[4..] == bare);
    found.map(|n| 1 << n).ok_or_else(|| UnknownCapability(name.escape_default().take(60).collect()))
}

/// The names of the capabilities in `bits`, in the kernel's order.
pub fn names(bits: u64) -> Vec<String> {
    NAMES.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, name)| (*name).to_owned()).collect()
}

/// The bits of every capability that can be given: those that are known and that this process has itself. Under another
/// container manager or a confined service that may be fewer than the kernel's.
pub fn all() -> u64 {
    let known = (1 << NAMES.len()) - 1;
    rustix::thread::capabilities(None).map_or(known, |own| own.permitted.bits() & known)
}

/// The set that `--cap-add`, `--cap-drop` and `--privileged` ask for, as docker reads them: `ALL` in `add` starts from
/// all, `ALL` in `drop` starts from none, and what is named in both is kept.
pub fn resolve(add: &[String], drop: &[String], privileged: bool) -> Result<u64, UnknownCapability> {
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL");
    let mask = |list: &[String]| {
        list.iter().filter(|name| !is_all(name)).try_fold(0, |bits, name| bit(name).map(|b| bits | b))
    };
    let (added, dropped) = (mask(add)?, mask(drop)?);
    if privileged {
        return Ok(all());
    }
    let base = if add.iter().any(is_all) {
        all()
    } else if drop.iter().any(is_all) {
        0
    } else {
        DEFAULT.iter().try_fold(0, |bits, name| bit(name).map(|b| bits | b))?
    };
    Ok((base & !dropped) | added)
}

/// The sets for a process that may use `bits`. The inheritable and ambient sets stay empty, so that a program of
/// another user gains nothing by exec (CVE-2022-24769 and its kin).
pub fn sets(bits: u64) -> Capabilities {
    let list = names(bits);
    Capabilities {
        bounding: list.clone(),
        effective: list.clone(),
        permitted: list,
        inheritable: Vec::new(),
        ambient: Vec::new(),
    }
}

impl CapabilityBits {
    /// Reads the names of a bundle. Names that are not known are errors, as in the runtime-spec.
    pub fn from_spec(sets: &Capabilities) -> Result<Self, UnknownCapability> {
        let mask = |list: &[String]| list.iter().try_fold(0, |bits, name| bit(name).map(|b| bits | b));
        Ok(Self {
            bounding: mask(&sets.bounding)?,
            effective: mask(&sets.effective)?,
            permitted: mask(&sets.permitted)?,
            inheritable: mask(&sets.inheritable)?,
            ambient: mask(&sets.ambient)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(add: &[&str], drop: &[&str]) -> Vec<String> {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        names(resolve(&owned(add), &owned(drop), false).unwrap())
    }

    #[test]
    fn add_and_drop_follow_docker() {
        assert_eq!(resolved(&[], &[]).len(), 14);
        assert_eq!(resolved(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
        let all_but_one = all() & !bit("CAP_SYS_ADMIN").unwrap();
        assert_eq!(resolved(&["ALL"], &["CAP_SYS_ADMIN"]), names(all_but_one));
        assert!(!resolved(&[], &["MKNOD"]).contains(&"CAP_MKNOD".to_owned()));
        assert!(resolve(&["bogus".into()], &[], false).is_err());
        assert_eq!(resolve(&[], &[], true), Ok(all()));
    }

    #[test]
    fn names_and_bits_agree() {
        assert_eq!(bit("CAP_CHOWN"), Ok(1));
        assert_eq!(bit("sys_admin"), Ok(1 << 21));
        assert_eq!(bit("CAP_CHECKPOINT_RESTORE"), Ok(1 << LAST));
    }

    #[test]
    fn process_sets_never_have_inheritable() {
        let bits = CapabilityBits::from_spec(&sets(all())).unwrap();
        assert_eq!((bits.inheritable, bits.ambient), (0, 0));
        assert_eq!(bits.permitted, all());
    }
}
