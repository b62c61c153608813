//! Whether this machine runs virtual machines in hardware, found out by running something, and how fast its clock ticks.
//!
//! A `/dev/kvm` that opens proves nothing: where KVM is itself made in software, instructions of a guest's kernel are
//! emulated a thousand times slower, and some not at all, so that no kernel comes up. So a processor is made and given
//! the kind of instructions that a kernel has. The verdict holds until the next boot and is kept in the run root.
//!
//! Owns the question and its answer; what follows from it is for who plans the machine.

mod access;
#[cfg_attr(target_arch = "x86_64", path = "accel/x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "accel/other.rs")]
mod examine;
mod tsc;
mod watch;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use access::group;
pub use tsc::host_tsc_khz;

const DEVICE: &str = "/dev/kvm";
/// A change of what is examined wants another number.
const RECIPE: u32 = 1;

/// What was found out about KVM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It runs a guest's kernel in hardware.
    Works,
    /// There is no device.
    NoDevice,
    /// The caller may not open the device.
    NoPermission,
    /// A guest's kernel would be emulated, so much slower that Holm's own emulator is the better one.
    Emulated {
        /// What a loop of two instructions takes a round: less than 1 in hardware.
        ns_per_iteration: u32,
    },
    /// It fails where every kernel would.
    CannotRunLinux(String),
    /// It works, and a hypervisor, which is no root, could not open it.
    RootOnly,
}

impl Verdict {
    /// Whether machines can use it.
    pub fn works(&self) -> bool {
        matches!(self, Self::Works)
    }

    /// One clause that says what was found.
    pub fn reason(&self) -> String {
        match self {
            Self::Works => format!("`{DEVICE}` runs guests in hardware"),
            Self::NoDevice => format!("there is no `{DEVICE}`"),
            Self::NoPermission => format!("`{DEVICE}` may not be opened by this user"),
            Self::Emulated { ns_per_iteration } => format!(
                "`{DEVICE}` emulates a guest's kernel: {ns_per_iteration} ns for what takes less than 1 ns in hardware"
            ),
            Self::CannotRunLinux(why) => format!("`{DEVICE}` cannot run Linux: {why}"),
            Self::RootOnly => format!("`{DEVICE}` is for root alone, and the hypervisor is not run as root"),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Works => return None,
            Self::NoDevice => {
                "turn on virtualization in the firmware, or nested virtualization where this machine is itself a guest; \
                 then `modprobe kvm_intel` or `modprobe kvm_amd`"
            }
            Self::NoPermission => "`usermod -aG kvm USER`, and log in again",
            Self::RootOnly => {
                "`groupadd -rf kvm`, `chgrp kvm /dev/kvm`, `chmod 660 /dev/kvm`, as udev does where it runs"
            }
            Self::Emulated { .. } | Self::CannotRunLinux(_) => {
                "use a machine with its own processors or with nested virtualization; here machines run by emulation"
            }
        };
        Some(text.to_owned())
    }
}

/// What a plan needs to know of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accelerator {
    /// About KVM.
    pub kvm: Verdict,
    /// Rate of the time-stamp counter, for guests that cannot measure it. *Units*: kHz. `None`: the processor has none.
    pub tsc_khz: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    recipe: u32,
    boot_id: String,
    tsc_khz: Option<u32>,
    /// Of a device that opened.
    kvm: Option<Verdict>,
}

impl Accelerator {
    /// Looks the answers up in `run_root`, or finds them out, which takes some ten milliseconds once per boot, and at
    /// most two seconds. Whether the device is there and opens is looked at each time.
    ///
    /// *Order*: the caller has a single thread.
    pub fn detect(run_root: &Path) -> Self {
        let device = open();
        if let Some(known) = known(run_root, device.as_ref().err()) {
            return known;
        }
        let measurement = tsc::Measurement::start();
        let examined = device.map(|device| watch::examine(&device));
        let tsc_khz = measurement.and_then(tsc::Measurement::finish);
        let record = Record { recipe: RECIPE, boot_id: boot_id(), tsc_khz, kvm: examined.as_ref().ok().cloned() };
        keep(&path(run_root), &record);
        Self { kvm: examined.unwrap_or_else(|verdict| verdict), tsc_khz }
    }

    /// The answers that are kept in `run_root`, if they are of this boot. Finds nothing out.
    pub fn known(run_root: &Path) -> Option<Self> {
        known(run_root, open().as_ref().err())
    }
}

fn path(run_root: &Path) -> PathBuf {
    run_root.join("accelerator.json")
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// What is kept, for a device that opened or did not, which is looked at each time.
fn known(run_root: &Path, closed: Option<&Verdict>) -> Option<Accelerator> {
    let record: Record = serde_json::from_slice(&fs::read(path(run_root)).ok()?).ok()?;
    let boot_id = boot_id();
    if record.recipe != RECIPE || record.boot_id != boot_id || boot_id.is_empty() {
        return None;
    }
    let kvm = closed.cloned().or(record.kvm)?;
    Some(Accelerator { kvm, tsc_khz: record.tsc_khz })
}

/// Opens the device, which only says that it is there.
fn open() -> Result<File, Verdict> {
    OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Verdict::NoPermission,
        // Without the module the node may be there and open with ENODEV.
        _ => Verdict::NoDevice,
    })
}

/// Keeps a record. Where that fails the next caller finds out again, so a failure is no error.
fn keep(path: &Path, record: &Record) {
    let partial = path.with_extension(format!("{}.tmp", std::process::id()));
    let text = serde_json::to_vec(record).unwrap_or_default();
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_this_boot_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("accelerator.json");
        let first = Accelerator::detect(root.path());
        assert_eq!(Accelerator::detect(root.path()), first);
        assert!(first.kvm.works() || first.kvm.hint().is_some(), "{}", first.kvm.reason());
        let mut record: Record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record.tsc_khz = Some(1);
        keep(&path, &record);
        assert_eq!(Accelerator::detect(root.path()).tsc_khz, Some(1), "kept");
        record.boot_id = "another".to_owned();
        keep(&path, &record);
        assert_eq!(Accelerator::detect(root.path()).tsc_khz.is_some(), cfg!(target_arch = "x86_64"));
        assert_ne!(Accelerator::detect(root.path()).tsc_khz, Some(1), "of another boot");
        fs::write(&path, "{").unwrap();
        Accelerator::detect(root.path());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_answer_says_what_and_what_to_do() {
        let verdicts = [
            Verdict::NoDevice,
            Verdict::NoPermission,
            Verdict::Emulated { ns_per_iteration: 900 },
            Verdict::CannotRunLinux("why".to_owned()),
            Verdict::RootOnly,
        ];
        for verdict in verdicts {
            let text = serde_json::to_string(&verdict).unwrap();
            assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
            assert!(!verdict.works() && verdict.reason().contains(DEVICE) && verdict.hint().is_some(), "{verdict:?}");
        }
    }
}
