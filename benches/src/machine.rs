//! Virtual machines: a cold boot beside a plain QEMU with the same kernel, a start from a template, and what a machine keeps.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::peer::{IMAGE, Peers};
use crate::report::Table;
use crate::runner::{Contender, in_turns};

const ROUNDS: usize = 9;
/// What the first process says.
const WORD: &str = "the-first-word";

/// Measures it. Without QEMU there is nothing to measure.
pub fn measure(peers: &Peers) -> Vec<Table> {
    if Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("machines are left out: no qemu-system-x86_64");
        return Vec::new();
    }
    let kernel = holm_kit::guest_kernel();
    let image = first_file(&kernel.join("boot"), "vmlinuz-");
    let initramfs = initramfs(peers.folder());
    let holm = |options: &'static [&'static str]| {
        let mut command = peers.holm();
        command.env("HOLM_KERNEL", &kernel).args(["run", "--rm", "--network", "none", "--isolation", "vm"]);
        command.args(options).args([IMAGE, "echo", WORD]);
        command
    };
    warm_up(&mut || first_word(&mut holm(&[])), peers);
    let rows = vec![
        Contender::new("holm, cold", || first_word(&mut holm(&["--no-template"]))),
        Contender::new("holm, from a template", || first_word(&mut holm(&[]))),
        Contender::new("qemu-system, by hand", || first_word(&mut plain(&image, &initramfs))),
    ];
    let samples = in_turns(ROUNDS, rows);
    let title = "A virtual machine, to the first line of its first process";
    let cold = Table::new("machine", title, "ms", samples[..1].iter().chain(&samples[2..]).cloned().collect());
    let warm = Table::new("machine-template", title, "ms", samples[..2].iter().rev().cloned().collect());
    vec![cold.at_most_of("qemu-system, by hand", 1.25), warm.at_most_of("holm, cold", 0.4)]
}

/// Runs machines until one began from a template.
fn warm_up(once: &mut dyn FnMut() -> Duration, peers: &Peers) {
    let made = || {
        let templates = peers.scratch.data_root().join("machines/templates");
        fs::read_dir(templates).into_iter().flatten().flatten().any(|entry| entry.path().join("key").exists())
    };
    let start = Instant::now();
    while !made() {
        assert!(start.elapsed() < Duration::from_secs(300), "no template was made");
        once();
    }
    once();
}

/// Time from the start of a command to the word; then it may end.
fn first_word(command: &mut Command) -> Duration {
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let found = lines.map_while(Result::ok).any(|line| line.contains(WORD)).then(|| start.elapsed());
    child.wait().expect("wait for a child");
    found.unwrap_or_else(|| panic!("{command:?} did not say its word"))
}

/// The command line that people write: a PC, the packed kernel, its console on the serial line.
fn plain(kernel: &Path, initramfs: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "pc", "-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot"]);
    command.args(["-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    command
}

/// An initramfs whose first process says the word and switches the machine off.
fn initramfs(folder: &Path) -> PathBuf {
    let tree = folder.join("plain-initramfs");
    fs::create_dir_all(tree.join("bin")).expect("make a folder");
    fs::create_dir_all(tree.join("dev")).expect("make a folder");
    fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("copy busybox");
    let init = format!("#!/bin/busybox sh\n/bin/busybox echo {WORD}\n/bin/busybox poweroff -f\n");
    fs::write(tree.join("init"), init).expect("write init");
    let made = folder.join("plain-initramfs.cpio");
    let script = "chmod 755 init && mknod dev/console c 5 1 && find . | busybox cpio -o -H newc >\"$0\"";
    let status = Command::new("sh").args(["-c", script]).arg(&made).current_dir(&tree).status().expect("run sh");
    assert!(status.success(), "no initramfs: {status}");
    made
}

fn first_file(folder: &Path, start: &str) -> PathBuf {
    let mut found = fs::read_dir(folder).expect("list a folder").flatten().map(|entry| entry.path());
    found.find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(start))).expect("a kernel")
}
