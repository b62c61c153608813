//! The machine's devices: the channel's port, and binding the others to their drivers once the host has said what they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holm_spec::guest::PORT;

use crate::error::{Doing, Error};

/// How long a device may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
const BUS: &str = "/sys/bus/virtio";

/// Waits until the channel's port is there; its device file.
pub(crate) fn wait_for_port() -> Result<PathBuf, Error> {
    wait_for(|| Ok(find_port(Path::new("/sys/class/virtio-ports"))))?
        .ok_or_else(|| Error::refused(format!("find the port `{PORT}` of the host's")))
}

fn find_port(ports: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(ports).ok()?.flatten();
    let is_ours = |folder: &Path| fs::read_to_string(folder.join("name")).is_ok_and(|name| name.trim() == PORT);
    let found = entries.map(|entry| entry.path()).find(|folder| is_ours(folder))?;
    Some(Path::new("/dev").join(found.file_name()?))
}

/// Looks again and again, with a short pause, until there is something or patience ends.
fn wait_for<T>(mut look: impl FnMut() -> Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    let start = Instant::now();
    loop {
        match look()? {
            None if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            other => return Ok(other),
        }
    }
}

/// Binds every device that has no driver yet.
pub(crate) fn bind_all() -> Result<(), Error> {
    let devices = Path::new(BUS).join("devices");
    let what = || format!("list `{}`", devices.display());
    for entry in fs::read_dir(&devices).doing(what)? {
        let entry = entry.doing(what)?;
        if !entry.path().join("driver").exists() {
            // One without a driver among the modules stays as it is; who needs it says so.
            let _ = fs::write(Path::new(BUS).join("drivers_probe"), entry.file_name().as_encoded_bytes());
        }
    }
    Ok(())
}

/// The device file of the disk with this serial; waits for it, binding what comes.
pub(crate) fn disk(serial: &str) -> Result<PathBuf, Error> {
    let found = wait_binding(|| Ok(find_disk(Path::new("/sys/block"), serial)))?;
    found.ok_or_else(|| Error::refused(format!("find the disk with serial `{}`", serial.escape_debug())))
}

fn find_disk(blocks: &Path, serial: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(blocks).ok()?.flatten();
    let is_it = |folder: &Path| fs::read_to_string(folder.join("serial")).is_ok_and(|text| text.trim() == serial);
    let found = entries.map(|entry| entry.path()).find(|folder| is_it(folder))?;
    Some(Path::new("/dev").join(found.file_name()?))
}

/// Waits until `look` finds what it looks for, binding devices that come meanwhile.
pub(crate) fn wait_binding<T>(mut look: impl FnMut() -> Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    wait_for(|| {
        let found = look()?;
        if found.is_none() {
            bind_all()?;
        }
        Ok(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_what_they_say_of_themselves() {
        let root = tempfile::tempdir().unwrap();
        for (folder, file, text) in
            [("vport0p1", "name", "other\n"), ("vport0p2", "name", "holm.agent.0\n"), ("vda", "serial", "root")]
        {
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join(file), text).unwrap();
        }
        assert_eq!(find_port(root.path()), Some("/dev/vport0p2".into()));
        assert_eq!(find_disk(root.path(), "root"), Some("/dev/vda".into()));
        assert_eq!(find_disk(root.path(), "roo"), None);
        assert_eq!(find_port(&root.path().join("none")), None);
    }
}
