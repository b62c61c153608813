//! What is to be done for one container's groups, as data: folders, writes, the device table. Pure; applying is
//! [`super::apply`]'s.

use std::path::PathBuf;

use holm_spec::oci::runtime::Resources;

use super::controller::{Controller, ControllerSet};
use super::device::DeviceTable;
use super::error::CgroupError;
use super::hierarchy::{GroupPath, Hierarchy};
use super::{limit_v1, limit_v2};

/// What to do where a file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Fail.
    Fatal,
    /// Go on and say so.
    Warn,
    /// Go on.
    Ignore,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The file.
    pub path: PathBuf,
    /// What goes in.
    pub value: String,
    /// What it is, in the user's words.
    pub what: &'static str,
    /// Where the file is not there.
    pub missing: Missing,
    /// Tried where the file is not there.
    pub otherwise: Option<(PathBuf, String)>,
    /// Refused with `EINVAL`, it is tried again after the others: files that bound each other can change in one order
    /// only, which depends on their present values.
    pub retried: bool,
}

impl Write {
    /// A write that must succeed.
    pub fn new(path: PathBuf, value: impl ToString, what: &'static str) -> Write {
        let value = value.to_string();
        Write { path, value, what, missing: Missing::Fatal, otherwise: None, retried: false }
    }

    /// Sets what happens where the file is missing.
    pub fn when_missing(mut self, missing: Missing) -> Write {
        self.missing = missing;
        self
    }

    /// Sets another file to try.
    pub fn or(mut self, path: PathBuf, value: impl ToString) -> Write {
        self.otherwise = Some((path, value.to_string()));
        self
    }

    /// Lets it be tried again.
    pub fn retried(mut self) -> Write {
        self.retried = true;
        self
    }
}

/// One step, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fill an empty cpuset file in each group from the mount down with its parent's value.
    Inherit {
        /// The v1 mount.
        mount: PathBuf,
        /// The file name.
        file: &'static str,
    },
    /// Write.
    Write(Write),
    /// Change the period in a v2 `cpu.max` and keep its quota.
    Period {
        /// The file.
        path: PathBuf,
        /// Microseconds.
        period: u64,
    },
}

/// Where a limit goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The group's folder under a v1 mount.
    V1(PathBuf),
    /// Its folder in the v2 tree.
    V2(PathBuf),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Controllers whose v1 groups are needed.
    pub v1: ControllerSet,
    /// v2 controllers that a limit asks for, and what it limits.
    pub required: Vec<(Controller, &'static str)>,
    /// v2 controllers that are enabled where they are there, for accounting.
    pub optional: ControllerSet,
    /// Writes, in order.
    pub steps: Vec<Step>,
    /// Devices to be enforced by a program in the v2 tree.
    pub devices: Option<DeviceTable>,
    /// Device rules that are in `steps` allow everything (so an update must take a program off).
    pub devices_given: bool,
    /// What was asked for and has no meaning here.
    pub warnings: Vec<String>,
}

/// Groups that every container has, where they are on v1: for accounting, for fair shares between containers, for
/// pausing and for counting out-of-memory kills. What v2 does without a controller (CPU time, freezing, tracking) is
/// taken from there on a hybrid host.
fn always_on_v1(hierarchy: &Hierarchy) -> ControllerSet {
    use Controller::{Cpu, Cpuacct, Freezer, Memory, Pids, Systemd};
    let mut set = ControllerSet::of(&[Cpu, Memory, Pids]);
    if hierarchy.unified.is_none() {
        set = set.union(ControllerSet::of(&[Cpuacct, Freezer, Systemd]));
    }
    set.intersection(hierarchy.v1_controllers())
}

impl Plan {
    /// Plans the groups of a new container.
    pub fn create(hierarchy: &Hierarchy, path: &GroupPath, resources: &Resources) -> Result<Plan, CgroupError> {
        let mut planner = Planner::new(hierarchy, path, false);
        planner.plan.v1 = always_on_v1(hierarchy);
        let accounted = ControllerSet::of(&[Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Blkio]);
        planner.plan.optional = accounted.minus(hierarchy.v1_controllers());
        // Mounted together with cpu, say: the group comes with an empty cpuset, which nothing could join.
        if let Some(mount) = hierarchy.v1_mount(Controller::Cpuset)
            && !mount.controllers.intersection(planner.plan.v1).is_empty()
        {
            planner.inherit_cpuset(mount.dir.clone());
        }
        planner.run(resources)?;
        Ok(planner.plan)
    }

    /// Plans a change of the limits of a present container. What is not given stays.
    pub fn update(hierarchy: &Hierarchy, path: &GroupPath, resources: &Resources) -> Result<Plan, CgroupError> {
        let mut planner = Planner::new(hierarchy, path, true);
        planner.run(resources)?;
        Ok(planner.plan)
    }
}

pub(super) struct Planner<'a> {
    hierarchy: &'a Hierarchy,
    path: &'a GroupPath,
    pub(super) update: bool,
    pub(super) plan: Plan,
    refused: Option<CgroupError>,
}

impl<'a> Planner<'a> {
    fn new(hierarchy: &'a Hierarchy, path: &'a GroupPath, update: bool) -> Planner<'a> {
        let plan = Plan {
            v1: ControllerSet::EMPTY,
            required: Vec::new(),
            optional: ControllerSet::EMPTY,
            steps: Vec::new(),
            devices: None,
            devices_given: false,
            warnings: Vec::new(),
        };
        Planner { hierarchy, path, update, plan, refused: None }
    }

    fn run(&mut self, resources: &Resources) -> Result<(), CgroupError> {
        self.devices(resources)?;
        if let Some(cpu) = &resources.cpu {
            self.cpu(cpu)?;
        }
        if let Some(memory) = &resources.memory {
            self.memory(memory)?;
        }
        if let Some(pids) = &resources.pids {
            match self.place(Controller::Pids, "the number of processes")? {
                Place::V1(dir) => limit_v1::pids(self, &dir, pids.limit),
                Place::V2(dir) => limit_v2::pids(self, &dir, pids.limit),
            }
        }
        if let Some(io) = &resources.block_io {
            self.block_io(io)?;
        }
        for huge in &resources.hugepage_limits {
            if !is_page_size(&huge.page_size) {
                let reason = format!("page size `{}` is not like `2MB`", huge.page_size.escape_debug());
                return Err(CgroupError::Value { what: "a huge page limit", reason });
            }
            match self.place(Controller::Hugetlb, "huge pages")? {
                Place::V1(dir) => limit_v1::hugetlb(self, &dir, huge),
                Place::V2(dir) => limit_v2::hugetlb(self, &dir, huge),
            }
        }
        limit_v2::raw(self, &resources.unified)?;
        self.refused.take().map_or(Ok(()), Err)
    }

    fn devices(&mut self, resources: &Resources) -> Result<(), CgroupError> {
        if resources.devices.is_empty() {
            return Ok(());
        }
        let table = DeviceTable::new(&resources.devices)?;
        self.plan.devices_given = true;
        // On a hybrid host the v1 controller is used: its writes cost a third of loading a program.
        if let Some(mount) = self.hierarchy.v1_mount(Controller::Devices) {
            if self.update || !table.allows_everything() {
                self.plan.v1.insert(Controller::Devices);
                let dir = self.path.under(&mount.dir);
                limit_v1::devices(self, &dir, &table);
            }
        } else if self.hierarchy.unified.is_some() {
            self.plan.devices = Some(table);
        } else if !table.allows_everything() {
            return Err(self.no_controller(Controller::Devices, "devices"));
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &holm_spec::oci::runtime::Cpu) -> Result<(), CgroupError> {
        if limit_v1::asks_cpu(cpu) {
            match self.place(Controller::Cpu, "CPU time")? {
                Place::V1(dir) => limit_v1::cpu(self, &dir, cpu),
                Place::V2(dir) => limit_v2::cpu(self, &dir, cpu)?,
            }
        }
        let (cpus, mems) = (filled(cpu.cpus.as_deref()), filled(cpu.mems.as_deref()));
        if cpus.is_none() && mems.is_none() {
            return Ok(());
        }
        for list in [cpus, mems].into_iter().flatten() {
            if list.len() > 4096 || !list.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'-') {
                let shown: String = list.chars().take(40).collect();
                let reason = format!("`{}` is not a list like `0-3,7`", shown.escape_debug());
                return Err(CgroupError::Value { what: "the CPU or memory node set", reason });
            }
        }
        let place = self.place(Controller::Cpuset, "CPU or memory node sets")?;
        let dir = match place {
            Place::V1(dir) => {
                if let Some(mount) = self.hierarchy.v1_mount(Controller::Cpuset) {
                    self.inherit_cpuset(mount.dir.clone());
                }
                dir
            }
            Place::V2(dir) => dir,
        };
        if let Some(cpus) = cpus {
            self.write(Write::new(dir.join("cpuset.cpus"), cpus, "the CPU set"));
        }
        if let Some(mems) = mems {
            self.write(Write::new(dir.join("cpuset.mems"), mems, "the memory node set"));
        }
        Ok(())
    }

    fn inherit_cpuset(&mut self, mount: PathBuf) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            self.plan.steps.push(Step::Inherit { mount: mount.clone(), file });
        }
    }

    fn memory(&mut self, memory: &holm_spec::oci::runtime::Memory) -> Result<(), CgroupError> {
        if !limit_v1::asks_memory(memory) {
            return Ok(());
        }
        match self.place(Controller::Memory, "memory")? {
            Place::V1(dir) => limit_v1::memory(self, &dir, memory),
            Place::V2(dir) => limit_v2::memory(self, &dir, memory),
        }
        Ok(())
    }

    fn block_io(&mut self, io: &holm_spec::oci::runtime::BlockIo) -> Result<(), CgroupError> {
        if *io == holm_spec::oci::runtime::BlockIo::default() {
            return Ok(());
        }
        match self.place(Controller::Blkio, "block I/O")? {
            Place::V1(dir) => limit_v1::block_io(self, &dir, io),
            Place::V2(dir) => limit_v2::block_io(self, &dir, io),
        }
        Ok(())
    }

    /// Where a controller's files of this container are; notes that it is needed.
    pub(super) fn place(&mut self, controller: Controller, what: &'static str) -> Result<Place, CgroupError> {
        if let Some(mount) = self.hierarchy.v1_mount(controller) {
            self.plan.v1.insert(controller);
            return Ok(Place::V1(self.path.under(&mount.dir)));
        }
        match (&self.hierarchy.unified, controller.v2_name()) {
            (Some(root), Some(_)) => {
                self.plan.required.push((controller, what));
                Ok(Place::V2(self.path.under(root)))
            }
            _ => Err(self.no_controller(controller, what)),
        }
    }

    /// As [`Planner::place`], for a file that is on v2 only.
    pub(super) fn place_unified(&mut self, controller: Controller, what: &'static str) -> Result<(), CgroupError> {
        if self.hierarchy.v1_mount(controller).is_some() {
            return Err(self.no_controller(controller, what));
        }
        self.plan.required.push((controller, what));
        Ok(())
    }

    /// Notes a value that makes no sense; planning ends with the first of them.
    pub(super) fn refuse(&mut self, what: &'static str, reason: String) {
        self.refused.get_or_insert(CgroupError::Value { what, reason });
    }

    /// The group's folder in the v2 tree.
    pub(super) fn unified_dir(&self) -> Option<PathBuf> {
        self.hierarchy.unified.as_ref().map(|root| self.path.under(root))
    }

    pub(super) fn write(&mut self, write: Write) {
        self.plan.steps.push(Step::Write(write));
    }

    fn no_controller(&self, controller: Controller, what: &'static str) -> CgroupError {
        let mounts = self.hierarchy.v1.iter().map(|m| &m.dir).chain(&self.hierarchy.unified);
        let place = mounts.clone().next().and_then(|d| d.parent()).map_or(PathBuf::new(), PathBuf::from);
        CgroupError::NoController { what, controller: controller.v1_name(), place }
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|t| !t.is_empty())
}

/// `2MB`, `1GB`, `64KB`: what the kernel puts into file names.
fn is_page_size(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_uppercase());
    matches!(&text[digits.len()..], "KB" | "MB" | "GB")
        && (1..=6).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
}
