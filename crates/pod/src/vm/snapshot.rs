//! Saved moments of a whole machine: within the disk's own file with memory, or copies of the disk of one that does not run.
//!
//! ```text
//! snapshots/<name>.json     the record, written when the moment is whole
//! snapshots/<name>.disk     the copy, for one without memory; <name>.nvram with UEFI
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holm_spec::Name;
use holm_spec::vm::{DiskFormat, VmSnapshot, VmSpec};
use holm_vm::disk::copy;
use holm_vm::qmp::Qmp;
use rustix::io::Errno;
use serde_json::json;

use super::record::{length, make_file, names};
use super::{boot, disk_file, failed};
use crate::Error;
use crate::layout::{now_ns, read_json, with_parents, write_json};

/// The folder in that of the machine.
const FOLDER: &str = "snapshots";
/// How long QEMU may take to save or load a machine's memory.
const JOB: Duration = Duration::from_secs(600);
/// Time between two looks at a job.
const PACE: Duration = Duration::from_millis(20);
/// The one job at a time.
const JOB_ID: &str = "moment";

/// The saved moments of the machine whose folder this is, the oldest first.
pub(super) fn list(folder: &Path) -> Result<Vec<VmSnapshot>, Error> {
    let folder = folder.join(FOLDER);
    let mut found = Vec::new();
    for name in names(&folder)?.into_iter().filter(|name| name.ends_with(".json") && !name.starts_with('.')) {
        found.extend(read_json::<VmSnapshot>(&folder.join(name))?);
    }
    found.sort_by_key(|snapshot| snapshot.created_at_ns);
    Ok(found)
}

fn record(folder: &Path, name: &Name, memory: bool) -> Result<(), Error> {
    let snapshot = VmSnapshot { name: name.clone(), created_at_ns: now_ns(), memory };
    make_folder(folder)?;
    write_json(&folder.join(FOLDER), &format!("{name}.json"), &snapshot)
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    let path = folder.join(FOLDER);
    match with_parents(folder, || rustix::fs::mkdir(&path, rustix::fs::Mode::RWXU)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(Error::io("make folder", path.display().to_string(), e)),
    }
}

/// What is copied, and where the copies are.
fn files(folder: &Path, spec: &VmSpec, name: &Name) -> Vec<(PathBuf, PathBuf)> {
    let of = |own: &str, kept: &str| (folder.join(own), folder.join(FOLDER).join(format!("{name}.{kept}")));
    let all = [of(disk_file(spec.format), "disk"), of(boot::VARIABLES, "nvram")];
    all.into_iter().filter(|(own, _)| own.exists()).collect()
}

/// Copies the disk of a machine that does not run. *Order*: the caller is responsible for it.
pub(super) fn copy_disk(
    folder: &Path,
    spec: &VmSpec,
    name: &Name,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    make_folder(folder)?;
    for (own, kept) in files(folder, spec, name) {
        copy_file(&own, &kept, progress)?;
    }
    record(folder, name, false)
}

/// Puts the copies in the place of the disk, each in one step. *Order*: the caller is responsible for the machine.
pub(super) fn copy_back(
    folder: &Path,
    spec: &VmSpec,
    name: &Name,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    for (own, kept) in files(folder, spec, name) {
        copy_file(&kept, &own, progress)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Error> {
    let shown = from.display().to_string();
    let source = File::open(from).map_err(|e| Error::io("open", &shown, e))?;
    let fresh = to.with_extension("new");
    // One that was cut off.
    let _ = rustix::fs::unlink(&fresh);
    copy::copy(&source, &make_file(&fresh)?, length(&source, &shown)?, progress)?;
    rustix::fs::rename(&fresh, to).map_err(|e| Error::io("replace", to.display().to_string(), e))
}

/// Saves a running machine, memory included.
pub(super) fn save(folder: &Path, spec: &VmSpec, name: &str, qmp: &mut Qmp) -> Result<(), Error> {
    let trouble = |message: String, hint: Option<&str>| failed("save", spec.name.as_str(), message, hint);
    let moment: Name = name.parse().map_err(|e: holm_spec::IdError| trouble(e.to_string(), None))?;
    if spec.format == DiskFormat::Raw {
        let message = "its disk is raw, which has no place for memory".to_owned();
        return Err(trouble(message, Some("stop it first to save its disk alone, or use a qcow2")));
    }
    job(qmp, "snapshot-save", name).map_err(|message| trouble(message, None))?;
    record(folder, &moment, true)
}

/// Goes back to a moment with memory. A machine that ran goes on there; one that stood still does not.
pub(super) fn load(spec: &VmSpec, name: &str, qmp: &mut Qmp) -> Result<(), Error> {
    job(qmp, "snapshot-load", name).map_err(|message| failed("restore", spec.name.as_str(), message, None))
}

/// Has QEMU do one thing in the background and waits for it. The error is a text.
fn job(qmp: &mut Qmp, command: &str, tag: &str) -> Result<(), String> {
    let arguments = json!({ "job-id": JOB_ID, "tag": tag, "vmstate": "disk0", "devices": ["disk0"] });
    let text = |e: holm_vm::qmp::Error| crate::error::chain(&e);
    qmp.execute(command, Some(arguments), &[], JOB).map_err(text)?;
    let give_up = Instant::now() + JOB;
    loop {
        let jobs = qmp.execute("query-jobs", None, &[], JOB).map_err(text)?;
        let job = jobs.as_array().into_iter().flatten().find(|job| job["id"] == JOB_ID);
        let job = job.ok_or("QEMU has forgotten what it was doing")?;
        if job["status"] == "concluded" {
            let error = job["error"].as_str().map(|e| e.escape_debug().take(300).collect::<String>());
            qmp.execute("job-dismiss", Some(json!({ "id": JOB_ID })), &[], JOB).map_err(text)?;
            return error.map_or(Ok(()), Err);
        }
        if Instant::now() > give_up {
            return Err("QEMU does not come to an end of it".to_owned());
        }
        std::thread::sleep(PACE);
    }
}
