//! The controllers that Holm knows, and sets of them.

/// A controller, by what it limits. `Blkio` is `io` on v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Controller {
    Cpu,
    Cpuacct,
    Cpuset,
    Memory,
    Devices,
    Freezer,
    Blkio,
    Pids,
    Hugetlb,
    /// v2 only, and on v1 where it is mounted: reached through raw `unified` entries alone.
    Rdma,
    /// v2 only, as above.
    Misc,
    /// The named hierarchy in which systemd tracks units on pure v1 hosts. Limits nothing.
    Systemd,
}

impl Controller {
    /// All, in the order in which they are looked for.
    pub const ALL: [Controller; 12] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Devices,
        Controller::Freezer,
        Controller::Blkio,
        Controller::Pids,
        Controller::Hugetlb,
        Controller::Rdma,
        Controller::Misc,
        Controller::Systemd,
    ];

    /// Its name on v1, which is its folder under the root.
    pub fn v1_name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
            Controller::Blkio => "blkio",
            Controller::Pids => "pids",
            Controller::Hugetlb => "hugetlb",
            Controller::Rdma => "rdma",
            Controller::Misc => "misc",
            Controller::Systemd => "systemd",
        }
    }

    /// Its name in `cgroup.controllers` on v2; none where v2 does without a controller.
    pub fn v2_name(self) -> Option<&'static str> {
        match self {
            Controller::Cpuacct | Controller::Devices | Controller::Freezer | Controller::Systemd => None,
            Controller::Blkio => Some("io"),
            other => Some(other.v1_name()),
        }
    }

    /// The v2 controller that a file belongs to, by the part before its first dot.
    pub fn of_v2_file(file: &str) -> Option<Controller> {
        let prefix = file.split('.').next()?;
        Controller::ALL.into_iter().find(|c| c.v2_name() == Some(prefix))
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ControllerSet(u16);

impl ControllerSet {
    /// No controller.
    pub const EMPTY: ControllerSet = ControllerSet(0);

    /// These.
    pub fn of(list: &[Controller]) -> ControllerSet {
        ControllerSet(list.iter().fold(0, |set, c| set | c.bit()))
    }

    /// The v2 controllers named in a `cgroup.controllers` or `cgroup.subtree_control` file.
    pub fn parse_v2(text: &str) -> ControllerSet {
        let mut set = ControllerSet::EMPTY;
        for word in text.split_ascii_whitespace() {
            if let Some(c) = Controller::ALL.into_iter().find(|c| c.v2_name() == Some(word)) {
                set.insert(c);
            }
        }
        set
    }

    /// Adds one.
    pub fn insert(&mut self, controller: Controller) {
        self.0 |= controller.bit();
    }

    /// Whether one is in it.
    pub fn contains(self, controller: Controller) -> bool {
        self.0 & controller.bit() != 0
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In either.
    pub fn union(self, other: ControllerSet) -> ControllerSet {
        ControllerSet(self.0 | other.0)
    }

    /// In both.
    pub fn intersection(self, other: ControllerSet) -> ControllerSet {
        ControllerSet(self.0 & other.0)
    }

    /// In this one and not in the other.
    pub fn minus(self, other: ControllerSet) -> ControllerSet {
        ControllerSet(self.0 & !other.0)
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = Controller> {
        Controller::ALL.into_iter().filter(move |c| self.contains(*c))
    }
}
