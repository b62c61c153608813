//! What the container uses and which processes it has, from the kernel's files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holm_container::cgroup::Cgroup;
use holm_spec::guest::{ProcessRow, Stats};

use crate::error::Error;

/// Most bytes of a command line.
const MAX_COMMAND_BYTES: usize = 4096;
/// Most bytes of all rows, in a message that may have a megabyte: some are escaped there.
const MAX_ROWS_BYTES: usize = 400 * 1024;

pub(crate) fn stats(group: &Cgroup) -> Result<Stats, Error> {
    let read = group.stats()?;
    Ok(Stats {
        cpu_ns: read.cpu.usage_ns,
        memory_bytes: read.memory.usage_bytes,
        memory_limit_bytes: read.memory.limit_bytes.unwrap_or_else(machine_memory),
        pids: read.pids.current,
        read_bytes: read.block.read_bytes,
        written_bytes: read.block.write_bytes,
        links: links(Path::new("/sys/class/net")),
    })
}

fn machine_memory() -> u64 {
    rustix::system::sysinfo().totalram.saturating_mul(rustix::system::sysinfo().mem_unit.into())
}

/// Bytes received and sent by each link but loopback.
fn links(folder: &Path) -> Vec<(String, u64, u64)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let count = |link: &Path, name: &str| {
        let text = fs::read_to_string(link.join("statistics").join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let of = |link: fs::DirEntry| {
        let (name, path) = (link.file_name().into_string().ok()?, link.path());
        (name != "lo").then(|| (name, count(&path, "rx_bytes"), count(&path, "tx_bytes")))
    };
    let mut links: Vec<_> = entries.flatten().filter_map(of).collect();
    links.sort();
    links
}

/// The container's processes, as many as fit into an answer.
pub(crate) fn processes(group: &Cgroup) -> Result<Vec<ProcessRow>, Error> {
    let mut bytes = 0;
    // One that ended since has no files.
    let rows = group.procs()?.into_iter().filter_map(|pid| row(Path::new("/proc"), pid));
    Ok(rows
        .take_while(|row| {
            bytes += row.stat.len() + row.command.len() + 64;
            bytes < MAX_ROWS_BYTES
        })
        .collect())
}

fn row(proc: &Path, pid: i32) -> Option<ProcessRow> {
    let folder = proc.join(pid.to_string());
    let stat = String::from_utf8_lossy(&fs::read(folder.join("stat")).ok()?).trim_end().to_owned();
    let mut command = fs::read(folder.join("cmdline")).unwrap_or_default();
    command.truncate(MAX_COMMAND_BYTES);
    let words: Vec<_> = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let command = words.join(" ").trim_end().to_owned();
    Some(ProcessRow { pid, stat, uid: fs::metadata(&folder).ok()?.uid(), command })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_described_by_its_files() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let row = row(Path::new("/proc"), pid).unwrap();
        assert!(row.stat.starts_with(&format!("{pid} (")) && !row.command.is_empty() && !row.command.contains('\0'));
        assert_eq!(super::row(Path::new("/proc/self/none"), pid), None);
    }

    #[test]
    fn links_are_counted_without_loopback() {
        let root = tempfile::tempdir().unwrap();
        for (link, rx) in [("lo", "1"), ("eth1", "3\n"), ("eth0", "2\n")] {
            let folder = root.path().join(link).join("statistics");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("rx_bytes"), rx).unwrap();
        }
        assert_eq!(links(root.path()), [("eth0".to_owned(), 2, 0), ("eth1".to_owned(), 3, 0)]);
    }
}
