//! Who may open the device, since the hypervisor is not root when it does.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{Accelerator, DEVICE, Verdict};

/// Read and write, of everybody and of the group.
const ANYBODY: u32 = 0o006;
const GROUP: u32 = 0o060;

/// Who may open a file for reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Anybody,
    /// Who is in this group.
    Group(u32),
    RootOnly,
}

impl Access {
    /// By the file's mode and group. Root's group is as good as root: much is open to it.
    fn of(mode: u32, gid: u32) -> Self {
        if mode & ANYBODY == ANYBODY {
            Self::Anybody
        } else if mode & GROUP == GROUP && gid != 0 {
            Self::Group(gid)
        } else {
            Self::RootOnly
        }
    }

    fn now() -> Self {
        fs::metadata(DEVICE).map_or(Self::RootOnly, |found| Self::of(found.mode(), found.gid()))
    }
}

/// The group that a hypervisor must be in to open the device; none where any user can, or none but root.
pub fn group() -> Option<u32> {
    match Access::now() {
        Access::Group(gid) => Some(gid),
        Access::Anybody | Access::RootOnly => None,
    }
}

impl Accelerator {
    /// The same for a hypervisor without root's rights: a device that works and that it cannot open is of no use.
    #[must_use]
    pub fn without_root(self) -> Self {
        match (self.kvm.works(), Access::now()) {
            (true, Access::RootOnly) => Self { kvm: Verdict::RootOnly, ..self },
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_say_who_may_open_it() {
        assert_eq!(Access::of(0o020_666, 107), Access::Anybody, "systemd's own");
        assert_eq!(Access::of(0o020_660, 107), Access::Group(107), "Debian's");
        assert_eq!(Access::of(0o020_660, 0), Access::RootOnly);
        assert_eq!(Access::of(0o020_640, 107), Access::RootOnly, "it must be written to");
        assert_eq!(Access::of(0o020_600, 0), Access::RootOnly, "the kernel's own");
    }
}
