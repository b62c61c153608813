//! A whole machine of a test's own: another kernel, real systemd as PID 1, control groups v2 alone, AppArmor.
//!
//! Owns the QEMU process and the channel to the agent inside. QEMU emulates the processor, since what tests run on often
//! has no usable KVM. What the machine boots from is made by `disk`, once; each machine has a copy of the root disk, which goes with it.

mod channel;
mod disk;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{BUSYBOX, Entry, Holm, Output, Tar, busybox_root_tar, holm_binary, wait_for, wait_until};
use channel::Channel;
use disk::{BootFiles, Kind};

/// How long a boot may take: some ten seconds on a quiet machine.
const BOOT: Duration = Duration::from_secs(240);
/// How long one script may take.
const SCRIPT: Duration = Duration::from_secs(120);

/// A running machine with two processors, `holm` in its path and the image [`crate::BUSYBOX`].
pub struct Machine {
    qemu: Child,
    channel: Channel,
    boot_id: String,
    kind: Kind,
    files: BootFiles,
    folder: TempDir,
}

impl Machine {
    /// Boots one that has these files besides, named without the first slash, and waits for the agent.
    ///
    /// # Panics
    /// If it does not come up; the message holds its console.
    pub fn boot(more: impl IntoIterator<Item = Entry>) -> Self {
        Self::boot_kind(Kind::Containers, more)
    }

    /// Boots one that has QEMU and its own kernel's file, and in which KVM works: its processors' SVM is emulated. What runs
    /// on that KVM is translated as all else, and its exits are dear.
    ///
    /// # Panics
    /// If it does not come up, or KVM does not.
    pub fn boot_with_kvm() -> Self {
        let machine = Self::boot_kind(Kind::Machines, []);
        // What udev's rules do where it is installed.
        machine.run("modprobe kvm_amd && groupadd -rf kvm && chgrp kvm /dev/kvm && chmod 660 /dev/kvm").ok();
        machine
    }

    fn boot_kind(kind: Kind, more: impl IntoIterator<Item = Entry>) -> Self {
        let files = disk::boot_files(kind);
        let folder = tempfile::Builder::new().prefix("holm-machine-").tempdir().expect("make a folder");
        std::fs::write(folder.path().join("payload.tar"), payload(more)).expect("write a disk");
        Holm::program("cp").args(["--sparse=always"]).arg(&files.root).arg(folder.path().join("root")).ok();
        let (qemu, channel) = power_on(kind, &files, folder.path());
        let mut machine = Self { qemu, channel, boot_id: String::new(), kind, files, folder };
        machine.await_boot();
        machine.run(format!("holm import --change 'CMD sh' /root/busybox.tar {BUSYBOX}")).ok();
        machine
    }

    fn await_boot(&mut self) {
        match self.channel.ready(BOOT) {
            Ok(boot_id) => self.boot_id = boot_id,
            Err(error) => panic!("the machine does not come up: {error}; its console:\n{}", self.console()),
        }
    }

    /// Runs a script of bash's, as root.
    #[track_caller]
    pub fn run(&self, script: impl AsRef<str>) -> Output {
        let script = script.as_ref();
        let start = Instant::now();
        match self.channel.run(script, SCRIPT) {
            Ok(answer) => answer.into_output(script, start.elapsed()),
            Err(error) => panic!("no answer to `{script}`: {error}; the console:\n{}", self.console()),
        }
    }

    /// Runs a script that must succeed; what it says less white space at its ends.
    #[track_caller]
    pub fn says(&self, script: impl AsRef<str>) -> String {
        self.run(script).ok().text().to_owned()
    }

    /// Runs a script until it says this.
    #[track_caller]
    pub fn wait_until_says(&self, script: &str, text: &str) {
        let mut last = String::new();
        let start = Instant::now();
        while start.elapsed() < SCRIPT {
            let output = self.run(script);
            if output.text() == text {
                return;
            }
            last = output.to_string();
        }
        panic!("never said `{text}`:\n{last}");
    }

    /// Starts it again as `systemctl reboot` does: services are stopped, the kernel starts anew, the disk is the same.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.channel.send("systemctl reboot --no-block").expect("send a script");
        wait_until("the machine goes down", BOOT, || self.qemu.try_wait().expect("wait for qemu").is_some());
        self.power_on_again();
    }

    /// Starts it again as after a loss of power: nothing is stopped; what was not written out is lost.
    #[track_caller]
    pub fn lose_power(&mut self) {
        self.run("sync").ok();
        self.power_off();
        self.power_on_again();
    }

    fn power_off(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }

    fn power_on_again(&mut self) {
        let before = std::mem::take(&mut self.boot_id);
        (self.qemu, self.channel) = power_on(self.kind, &self.files, self.folder.path());
        self.await_boot();
        assert_ne!(self.boot_id, before, "the agent was started again, the machine was not");
    }

    /// Runs named checks one after the other on this machine, all of them whatever the others do.
    ///
    /// # Panics
    /// At the end, with the names of those that failed.
    pub fn check_all(&mut self, checks: &[(&str, fn(&mut Machine))]) {
        let mut failed = Vec::new();
        for (name, check) in checks {
            let start = Instant::now();
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| check(self)));
            println!("{name}: {} after {:?}", if result.is_ok() { "ok" } else { "FAILED" }, start.elapsed());
            if result.is_err() {
                failed.push(*name);
            }
        }
        assert!(failed.is_empty(), "failed in the machine: {}", failed.join(", "));
    }

    /// What kernel and systemd said since the machine was last switched on.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("console")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// Starts QEMU and connects to the agent's port. A reboot ends it.
fn power_on(kind: Kind, files: &BootFiles, folder: &Path) -> (Child, Channel) {
    let socket = folder.join("agent");
    let _ = std::fs::remove_file(&socket);
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
    command.args(["-m", kind.memory_mib()]);
    command.args(["-nodefaults", "-no-reboot", "-display", "none"]);
    command.arg("-kernel").arg(&files.kernel).arg("-initrd").arg(&files.initrd);
    let quick = "quiet mitigations=off cryptomgr.notests audit=0 nokaslr init_on_alloc=0 no_timer_check";
    command.arg("-append").arg(format!("console=ttyS0 panic=-1 systemd.show_status=no apparmor=1 {quick}"));
    let drive = |name: &str, options: &str| {
        format!("if=virtio,format=raw,cache=unsafe,{options},file={}", folder.join(name).display())
    };
    command.arg("-drive").arg(drive("root", "read-only=off"));
    command.arg("-drive").arg(drive("payload.tar", "read-only=on"));
    command.arg("-chardev").arg(format!("socket,id=agent,server=on,wait=off,path={}", socket.display()));
    command.args(["-device", "virtio-serial", "-device", "virtserialport,chardev=agent,name=holm.test"]);
    command.arg("-serial").arg(format!("file:{}", folder.join("console").display()));
    let mut qemu = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("start qemu");
    let channel = wait_for("qemu opens its socket", BOOT, || {
        let ended = qemu.try_wait().expect("wait for qemu");
        assert!(ended.is_none(), "qemu ended at once: {ended:?}");
        Channel::connect(&socket).ok()
    });
    (qemu, channel)
}

/// What the test brings along, as a tar that is a disk.
fn payload(more: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let holm = std::fs::read(holm_binary()).expect("read the binary");
    let tar = Tar::new()
        .with(Entry::file("usr/local/bin/holm", holm).mode(0o755))
        .with(Entry::file("root/busybox.tar", busybox_root_tar()));
    tar.with_all(more).finish()
}
