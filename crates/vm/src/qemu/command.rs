//! The command line of QEMU for a machine.
//!
//! Owns its words. Everything that can be is named by descriptor; the kernel, the initramfs and a saved memory have a path in
//! the jail. Nothing that comes from an image or a user stands in it but numbers and checked words.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Facts, Files, jail};
use crate::disk::image::Format;
use crate::machine::{Accelerator, Boot, DiskFile, Firmware, Machine, Origin, Profile};

/// Which descriptors lead to us.
pub(super) struct Ends {
    pub(super) channel: usize,
    pub(super) qmp: usize,
    pub(super) console: usize,
}

/// Of every kernel. It restarts instead of standing still when it dies, and a restart ends the machine.
const KERNEL: &str = "console=ttyS0 quiet reboot=t panic=-1 cryptomgr.notests";
/// Under translation: what only protects from other guests of one processor is left out, as translation protects from
/// none; what is measured against clocks that do not exist is given. See the figures in `docs/`.
const KERNEL_TCG: &str =
    " tsc=reliable no_timer_check mitigations=off noreplace-smp audit=0 nokaslr init_on_alloc=0 tsc_early_khz=";
/// Name of the port on which QEMU's guest agent listens. *Source*: QEMU, docs/interop/qemu-ga.rst.
const GUEST_AGENT: &str = "org.qemu.guest_agent.0";
/// Most memory for translated code, MiB.
const TRANSLATED_MIB: u32 = 64;

struct Line<'a> {
    args: Vec<String>,
    files: &'a mut Files,
    profile: Profile,
}

/// The arguments, the program first. The files of the machine are added to `files`.
pub(super) fn line(program: &Path, facts: &Facts, machine: Machine, ends: &Ends, files: &mut Files) -> Vec<String> {
    let mut line = Line { args: vec![program.to_string_lossy().into_owned()], files, profile: machine.profile };
    line.base(&machine);
    let memory_mib = machine.memory_bytes.div_ceil(1 << 20);
    line.option("-m", format!("{memory_mib}M"));
    line.option("-smp", machine.cpus.to_string());
    let whole = matches!(machine.boot, Boot::Firmware(_));
    let mut kernel = KERNEL.to_owned();
    match machine.accelerator {
        Accelerator::Kvm => {
            line.option("-accel", "kvm");
            line.option("-cpu", "host");
        }
        Accelerator::Tcg { tsc_khz } => {
            line.option("-accel", format!("tcg,tb-size={TRANSLATED_MIB}"));
            line.option("-cpu", "max");
            kernel += KERNEL_TCG;
            kernel += &tsc_khz.to_string();
        }
    }
    match machine.boot {
        Boot::Direct { .. } => {
            line.option("-kernel", jail::KERNEL);
            line.option("-initrd", jail::INITRAMFS);
            line.option("-append", kernel);
            line.channels(ends, holm_spec::guest::PORT);
        }
        Boot::Firmware(firmware) => {
            line.firmware(firmware);
            line.channels(ends, GUEST_AGENT);
        }
    }
    line.device("virtio-rng", ",rng=rng");
    let panics = if machine.profile == Profile::Microvm { "pvpanic" } else { "pvpanic-pci" };
    if facts.has(panics) {
        line.option("-device", panics);
    }
    let shared = !machine.shares.is_empty();
    for (n, disk) in machine.disks.into_iter().enumerate() {
        line.disk(n, disk, whole && n == 0);
    }
    for nic in machine.links {
        let fd = line.files.add(nic.tap);
        line.option("-netdev", format!("tap,id=link{},fd={fd},vhost=off", nic.n));
        let mac = nic.mac.unwrap_or_else(|| holm_spec::guest::placeholder_mac(nic.n));
        // Nothing is booted from a network, whatever programs for that are installed.
        let rom = if whole { ",romfile=" } else { "" };
        line.device("virtio-net", &format!(",netdev=link{},mac={mac}{rom}", nic.n));
    }
    for (n, share) in machine.shares.into_iter().enumerate() {
        let fd = line.files.add(share.server);
        line.option("-chardev", format!("socket,id=share{n},fd={fd}"));
        line.device("vhost-user-fs", &format!(",chardev=share{n},tag={}", share.tag));
    }
    line.memory(machine.origin, memory_mib, shared);
    line.args
}

impl Line<'_> {
    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.args.push(name.to_owned());
        self.args.push(value.into());
    }

    /// A virtio device on the machine's bus.
    fn device(&mut self, name: &str, rest: &str) {
        let bus = match self.profile {
            Profile::Microvm => "device",
            Profile::Q35 => "pci",
        };
        self.option("-device", format!("{name}-{bus}{rest}"));
    }

    fn base(&mut self, machine: &Machine) {
        let mut name = match (machine.profile, machine.accelerator) {
            // Without a clock the kernel looks for one for seconds.
            (Profile::Microvm, Accelerator::Kvm) => "microvm,rtc=on",
            (Profile::Microvm, Accelerator::Tcg { .. }) => "microvm",
            (Profile::Q35, _) => "q35",
        }
        .to_owned();
        name += match machine.boot {
            Boot::Direct { .. } => "",
            // Without graphics the BIOS and those who ask it to print speak on the serial console.
            Boot::Firmware(Firmware::Bios) => ",graphics=off",
            Boot::Firmware(Firmware::Uefi { .. }) => ",graphics=off,pflash0=code,pflash1=variables",
        };
        if !machine.shares.is_empty() || !matches!(machine.origin, Origin::Cold) {
            name += ",memory-backend=memory";
        }
        self.option("-machine", name);
        // A whole machine restarts when its guest wants to; one of Holm's ends.
        let last = if matches!(machine.boot, Boot::Direct { .. }) { "-no-reboot" } else { "-S" };
        for word in ["-nodefaults", "-no-user-config", last] {
            self.args.push(word.to_owned());
        }
        self.option("-display", "none");
        self.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        if machine.profile == Profile::Microvm {
            self.option("-global", "virtio-mmio.force-legacy=false");
        }
    }

    fn firmware(&mut self, firmware: Firmware) {
        let Firmware::Uefi { code, variables } = firmware else { return };
        for (set, name, file, read_only) in [(100, "code", code, "on"), (101, "variables", variables, "off")] {
            let fd = self.files.add(file);
            self.option("-add-fd", format!("fd={fd},set={set}"));
            let form = format!("node-name={name}-file,filename=/dev/fdset/{set},read-only={read_only},locking=off");
            self.option("-blockdev", format!("driver=file,{form}"));
            self.option("-blockdev", format!("driver=raw,node-name={name},file={name}-file,read-only={read_only}"));
        }
    }

    fn channels(&mut self, ends: &Ends, port: &str) {
        for (name, fd) in [("agent", ends.channel), ("qmp", ends.qmp), ("console", ends.console)] {
            self.option("-chardev", format!("socket,id={name},fd={fd}"));
        }
        self.option("-mon", "chardev=qmp,mode=control");
        self.option("-serial", "chardev:console");
        self.device("virtio-serial", ",id=serial,max_ports=2");
        self.option("-device", format!("virtserialport,bus=serial.0,nr=1,chardev=agent,name={port}"));
        self.option("-object", "rng-builtin,id=rng");
    }

    fn disk(&mut self, n: usize, disk: DiskFile, boots: bool) {
        let read_only = if disk.read_only { "on" } else { "off" };
        let fd = self.files.add(disk.file);
        self.option("-add-fd", format!("fd={fd},set={n}"));
        let file = format!("/dev/fdset/{n}");
        let form = format!("node-name=file{n},filename={file},read-only={read_only},locking=off,discard=unmap");
        self.option("-blockdev", format!("driver=file,{form}"));
        let mut below = format!("file{n}");
        if let Some(t) = disk.throttle {
            let limits = serde_json::json!({
                "bps-read": t.read_bps, "bps-write": t.write_bps, "iops-read": t.read_iops, "iops-write": t.write_iops,
            });
            let group =
                serde_json::json!({ "qom-type": "throttle-group", "id": format!("limit{n}"), "limits": limits });
            self.option("-object", group.to_string());
            self.option(
                "-blockdev",
                format!("driver=throttle,node-name=slow{n},throttle-group=limit{n},file={below},read-only={read_only}"),
            );
            below = format!("slow{n}");
        }
        match disk.format {
            Format::Raw => {
                let top = format!("driver=raw,node-name=disk{n},file={below},read-only={read_only},discard=unmap");
                self.option("-blockdev", top);
            }
            // Whatever its header says by now, no other file is opened for it.
            Format::Qcow2 => {
                let top = serde_json::json!({
                    "driver": "qcow2", "node-name": format!("disk{n}"), "file": below, "backing": null,
                    "read-only": disk.read_only, "discard": "unmap",
                });
                self.option("-blockdev", top.to_string());
            }
        }
        let first = if boots { ",bootindex=0" } else { "" };
        // The guest is told of what the host cannot do, such as to find room. By default it would stand still, for nobody to see.
        let errors = "werror=report,rerror=report";
        self.device("virtio-blk", &format!(",drive=disk{n},serial={},{errors}{first}", disk.serial));
    }

    fn memory(&mut self, origin: Origin, mib: u64, shared: bool) {
        let file = |line: &mut Self, memory: OwnedFd| {
            let fd = line.files.add(memory);
            let form = format!("memory-backend-file,id=memory,size={mib}M,mem-path=/proc/self/fd/{fd},share=on");
            line.option("-object", form);
        };
        match origin {
            Origin::Cold if shared => {
                self.option("-object", format!("memory-backend-memfd,id=memory,size={mib}M,share=on"));
            }
            Origin::Cold => {}
            Origin::Template { memory } => file(self, memory),
            Origin::Restore { memory } => {
                file(self, memory);
                self.option("-incoming", "defer");
            }
        }
    }
}
