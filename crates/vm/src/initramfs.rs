//! The guest's first file system: the agent as `/init`, modules in load order, a console, and empty folders to mount on.
//!
//! Owns its form alone: a `newc` archive, not packed, since unpacking costs the guest more than reading does. The same
//! input makes the same bytes.
//!
//! *Source*: kernel documentation, driver-api/early-userspace/buffer-format.rst.

use crate::kernel::module::Module;

/// Where the agent finds the modules, and the list of their file names, one a line, in the order to load.
pub const MODULE_FOLDER: &str = "modules";
/// The list's name in that folder.
pub const MODULE_ORDER: &str = "order";
const FOLDERS: [&str; 6] = ["dev", "proc", "sys", "run", "tmp", MODULE_FOLDER];

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_444;
const PROGRAM: u32 = 0o100_555;
const CONSOLE: u32 = 0o020_600;
const NULL: u32 = 0o020_666;

/// Makes the archive.
///
/// # Panics
/// If one of the files has 4 GiB or more, which the form cannot say.
pub fn build(agent: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.add(folder, FOLDER, (0, 0), &[]);
    }
    archive.add("dev/console", CONSOLE, (5, 1), &[]);
    archive.add("dev/null", NULL, (1, 3), &[]);
    archive.add("init", PROGRAM, (0, 0), agent);
    let mut order = String::new();
    for module in modules {
        let file = format!("{}.ko", module.name);
        archive.add(&format!("{MODULE_FOLDER}/{file}"), FILE, (0, 0), &module.bytes);
        order.push_str(&file);
        order.push('\n');
    }
    archive.add(&format!("{MODULE_FOLDER}/{MODULE_ORDER}"), FILE, (0, 0), order.as_bytes());
    archive.finish()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        self.put(name, self.entries, mode, device, content);
    }

    fn put(&mut self, name: &str, inode: u32, mode: u32, device: (u32, u32), content: &[u8]) {
        let length = |bytes: usize| u32::try_from(bytes).expect("less than 4 GiB");
        let links = if mode == FOLDER { 2 } else { 1 };
        // Inode, mode, owner, group, links, time, length, device of the file system, own device, length of the name, check.
        let fields = [inode, mode, 0, 0, links, 0, length(content.len()), 0, 0, device.0, device.1];
        self.bytes.extend(b"070701");
        for field in fields.into_iter().chain([length(name.len() + 1), 0]) {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad(4);
        self.bytes.extend(content);
        self.pad(4);
    }

    fn finish(mut self) -> Vec<u8> {
        self.put("TRAILER!!!", 0, 0, (0, 0), &[]);
        self.pad(512);
        self.bytes
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn archive_is_what_cpio_reads() {
        let module = |name: &str| Module { name: name.to_owned(), bytes: b"code".to_vec() };
        let archive = build(b"agent", &[module("b"), module("a")]);
        assert_eq!(archive, build(b"agent", &[module("b"), module("a")]));
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("busybox")
            .args(["cpio", "-idv"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}");
        for name in ["dev/console", "dev/null", "init", "modules/b.ko", "modules/order", "proc", "run", "sys", "tmp"] {
            assert!(text.lines().any(|line| line == name), "{name} in:\n{text}");
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!((read("init"), read("modules/order")), ("agent".to_owned(), "b.ko\na.ko\n".to_owned()));
        let device = std::os::unix::fs::MetadataExt::rdev(&folder.path().join("dev/console").metadata().unwrap());
        assert_eq!(device, rustix::fs::makedev(5, 1));
    }
}
