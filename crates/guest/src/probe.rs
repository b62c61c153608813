//! The probe of `holm compare`: this same program, copied into a container or a virtual machine and run there as an ordinary
//! process, says how fast things are and what is seen from inside.
//!
//! Owns the measuring alone; writes one document to standard output. What fails is left out of it.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use holm_spec::probe::{DISK_BYTES, ProbeReport};
use rustix::fs::{Advice, OFlags};

/// How long each loop runs.
const SPAN: Duration = Duration::from_millis(200);
/// Where the disk is written: the root file system.
const FILE: &str = "/holm-probe.data";
/// Round trips that count, and those before them that do not.
const ROUND_TRIPS: usize = 50;
const WARM_UP: usize = 5;
/// How long a peer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Devices that are named.
const DEVICES_MAX: usize = 256;

/// Measures, and answers on standard output. `peer` is an address at which every byte comes back.
pub(crate) fn run(peer: Option<&str>) -> ExitCode {
    let disk = disk().ok();
    // Whatever became of it.
    let _ = fs::remove_file(FILE);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let report = ProbeReport {
        steps_per_s: Some(rate(100_000, &mut arithmetic())),
        calls_per_s: Some(rate(1_000, &mut || _ = black_box(rustix::process::getppid()))),
        write_bytes_per_s: disk.map(|(written, _)| written),
        read_bytes_per_s: disk.and_then(|(_, read)| read),
        round_trip_ns: peer.and_then(|peer| peer.parse().ok()).and_then(|peer| round_trip(peer).ok()),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
        processes: processes(),
        processor: value_of(&read("/proc/cpuinfo"), "model name"),
        kernel_log: reads_kernel_log(),
        devices: devices(),
        memory_bytes: value_of(&read("/proc/meminfo"), "MemTotal")
            .trim_end_matches(" kB")
            .parse::<u64>()
            .map_or(0, |kib| kib * 1024),
    };
    let written = serde_json::to_vec(&report).map_err(io::Error::from).and_then(|text| io::stdout().write_all(&text));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How often a second `step` can be done. The clock is looked at after every `batch`.
fn rate(batch: u64, step: &mut dyn FnMut()) -> u64 {
    let begun = Instant::now();
    let mut done = 0;
    loop {
        for _ in 0..batch {
            step();
        }
        done += batch;
        let passed = begun.elapsed();
        if passed >= SPAN {
            return per_second(done, passed);
        }
    }
}

fn per_second(count: u64, passed: Duration) -> u64 {
    let rate = u128::from(count) * 1_000_000_000 / passed.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// A step of the generator xorshift64*: each depends on the one before, and no compiler foresees it.
fn arithmetic() -> impl FnMut() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state = black_box(state.wrapping_mul(0x2545_f491_4f6c_dd1d));
    }
}

/// Bytes a second that were written with all that a flush takes, and that were read.
fn disk() -> io::Result<(u64, Option<u64>)> {
    let mut piece = vec![0u8; 1 << 20];
    for (n, byte) in piece.iter_mut().enumerate() {
        *byte = (n * 31 % 251).to_le_bytes()[0];
    }
    let pieces = DISK_BYTES >> 20;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(FILE)?;
    let begun = Instant::now();
    for _ in 0..pieces {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let written = per_second(DISK_BYTES, begun.elapsed());
    Ok((written, read_back(&mut piece).ok()))
}

fn read_back(piece: &mut [u8]) -> io::Result<u64> {
    let mut file = File::open(FILE)?;
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    let begun = Instant::now();
    let mut total = 0;
    loop {
        match file.read(piece)? {
            0 => return Ok(per_second(total, begun.elapsed())),
            count => total += count as u64,
        }
    }
}

fn round_trip(peer: SocketAddr) -> io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&peer, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for n in 0..WARM_UP + ROUND_TRIPS {
        let begun = Instant::now();
        let mut byte = [n.to_le_bytes()[0]];
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        if n >= WARM_UP {
            times.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn processes() -> u32 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let count = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether a line comes out of it: what is masked opens, too, and is empty.
fn reads_kernel_log() -> bool {
    let mut line = [0; 8192];
    ["/dev/kmsg", "/proc/kmsg"].iter().any(|path| {
        let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
        file.and_then(|mut file| file.read(&mut line)).is_ok_and(|count| count > 0)
    })
}

fn devices() -> Vec<String> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names.truncate(DEVICES_MAX);
    names
}

/// What stands behind `name` and a colon in a table of lines.
fn value_of(table: &str, name: &str) -> String {
    let line = table.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_behind_their_names() {
        let table = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nMemTotal:       1024 kB\n";
        assert_eq!(value_of(table, "model name"), "Some CPU @ 2 GHz");
        assert_eq!(value_of(table, "MemTotal"), "1024 kB");
        assert_eq!(value_of(table, "bogomips"), "");
    }

    #[test]
    fn rates_are_counts_a_second() {
        assert_eq!(per_second(500, Duration::from_millis(250)), 2000);
        assert!(per_second(1, Duration::ZERO) > 0);
        assert!(rate(10, &mut || ()) > 0);
    }
}
