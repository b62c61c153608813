//! Plans of machines, without running any.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::disk::image::Format;
use crate::machine::{DiskFile, HostUser, Nic, Share, Throttle};

struct Boot {
    folder: tempfile::TempDir,
}

impl Boot {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kernel", "initramfs"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        Self { folder }
    }

    fn machine(&self, profile: Profile) -> Machine {
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let throttle = Throttle { write_bps: 1_000_000, ..Throttle::default() };
        Machine {
            boot: crate::machine::Boot::Direct {
                kernel: self.folder.path().join("kernel"),
                initramfs: self.folder.path().join("initramfs"),
            },
            accelerator: Accelerator::Tcg { tsc_khz: 2_000_000 },
            profile,
            cpus: 2,
            memory_bytes: 100_000_001,
            disks: vec![
                DiskFile { file: null(), read_only: true, format: Format::Raw, serial: "root".into(), throttle: None },
                DiskFile {
                    file: null(),
                    read_only: false,
                    format: Format::Raw,
                    serial: "changes".into(),
                    throttle: Some(throttle),
                },
            ],
            links: vec![Nic { tap: null(), n: 0, mac: None }, Nic { tap: null(), n: 1, mac: None }],
            shares: vec![Share { tag: "volume-0".into(), server: null() }],
            user: HostUser { uid: 600_001, gid: 600_002 },
            origin: Origin::Cold,
        }
    }
}

fn qemu() -> Qemu {
    let all = ["microvm", "q35"].map(str::to_owned).to_vec();
    let facts = Facts {
        identity: String::new(),
        version: (7, 2, 0),
        machines: all,
        devices: vec!["pvpanic".to_owned(), "vhost-user-fs-device".to_owned(), "vhost-user-fs-pci".to_owned()],
    };
    Qemu { program: "/usr/bin/qemu-system-x86_64".into(), facts }
}

/// The value after an option, or after each of several of its name.
fn options<'a>(args: &'a [String], name: &str) -> Vec<&'a str> {
    args.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1].as_str()).collect()
}

#[test]
fn every_descriptor_is_used_once_and_no_path_of_the_user_is_named() {
    for profile in [Profile::Microvm, Profile::Q35] {
        let files = Boot::new();
        let plan = qemu().plan(files.machine(profile)).unwrap();
        let args = &plan.spec.process.as_ref().unwrap().args;
        let used: Vec<usize> = args
            .iter()
            .flat_map(|arg| arg.split(','))
            .filter_map(|part| part.strip_prefix("fd=").and_then(|n| n.parse().ok()))
            .collect();
        let all: BTreeSet<usize> = (3..3 + plan.files.len()).collect();
        assert_eq!((used.len(), used.into_iter().collect::<BTreeSet<_>>()), (8, all), "{args:?}");
        let here = files.folder.path().to_str().unwrap();
        assert!(!args.iter().any(|arg| arg.contains(here)), "{args:?}");
        assert_eq!(options(args, "-m"), ["96M"]);
        assert!(options(args, "-append")[0].ends_with("tsc_early_khz=2000000"));
        assert!(options(args, "-machine")[0].ends_with(",memory-backend=memory"), "shares need memory to share");
        let devices = options(args, "-device");
        let bus = if profile == Profile::Microvm { "device" } else { "pci" };
        let disk = "virtio-blk-BUS,drive=disk1,serial=changes,werror=report,rerror=report";
        for wanted in ["virtio-net-BUS,netdev=link1,mac=02:00:00:00:68:01", disk] {
            assert!(devices.contains(&wanted.replace("BUS", bus).as_str()), "{devices:?}");
        }
        assert_eq!(devices.contains(&"pvpanic"), profile == Profile::Microvm, "this one has no PCI form of it");
    }
}

#[test]
fn what_protects_a_guest_from_its_neighbours_is_left_out_under_translation_alone() {
    let files = Boot::new();
    let machine = Machine { accelerator: Accelerator::Kvm, ..files.machine(Profile::Microvm) };
    let plan = qemu().plan(machine).unwrap();
    let args = &plan.spec.process.as_ref().unwrap().args;
    let line = options(args, "-append")[0];
    assert!(!["nokaslr", "mitigations", "init_on_alloc"].iter().any(|word| line.contains(word)), "{line}");
    assert_eq!((options(args, "-cpu"), options(args, "-accel")), (vec!["host"], vec!["kvm"]));
    assert!(plan.spec.mounts.iter().any(|mount| mount.destination == Path::new("/dev/kvm")));
}

#[test]
fn the_jail_shows_public_files_and_the_two_that_are_booted() {
    let files = Boot::new();
    let plan = qemu().plan(files.machine(Profile::Microvm)).unwrap();
    let shown: Vec<&Path> = plan.spec.mounts.iter().filter_map(|mount| mount.source.as_deref()).collect();
    let own = files.folder.path();
    let public = ["/usr", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache"].map(Path::new);
    let fits = |path: &&Path| public.contains(path) || path.parent() == Some(own);
    assert!(shown.iter().all(fits), "{shown:?}");
    for mount in plan.spec.mounts.iter().filter(|mount| mount.source.is_some()) {
        assert!(mount.options.iter().any(|option| option == "ro" || option == "rro"), "{mount:?}");
    }
    let process = plan.spec.process.unwrap();
    assert!(process.capabilities == Some(Default::default()) && process.no_new_privileges && process.env.is_empty());
    let linux = plan.spec.linux.unwrap();
    assert_eq!(
        (linux.namespaces.len(), linux.uid_mappings[0].host_id, linux.gid_mappings[0].host_id),
        (7, 600_001, 600_002)
    );
    let root = tempfile::tempdir().unwrap();
    plan.root.make(root.path()).unwrap();
    plan.root.make(root.path()).unwrap();
    assert!(root.path().join("machine/kernel").is_file() && root.path().join("usr").is_dir());
}

#[test]
fn machines_that_cannot_be_are_refused_by_name() {
    let files = Boot::new();
    let check = |change: fn(&mut Machine), wanted: &str| {
        let mut machine = files.machine(Profile::Q35);
        change(&mut machine);
        let refused = qemu().plan(machine).unwrap_err().to_string();
        assert!(refused.contains(wanted), "{refused}");
    };
    check(|machine| machine.disks[0].serial = "a,readonly=off".into(), "a disk of serial `a,readonly=off`");
    check(|machine| machine.disks[0].serial = "x".repeat(21), "a disk of serial");
    check(|machine| machine.shares[0].tag = String::new(), "a share of tag ``");
    check(|machine| machine.cpus = 0, "0 processors");
    check(|machine| machine.memory_bytes = 1 << 20, "1048576 bytes of memory");
    let missing = |machine: &mut Machine| {
        let (kernel, initramfs) = ("/nonexistent".into(), "/nonexistent".into());
        machine.boot = crate::machine::Boot::Direct { kernel, initramfs };
    };
    check(missing, "cannot look at `/nonexistent`");
    let kernel = files.folder.path().join("kernel");
    std::fs::set_permissions(&kernel, PermissionsExt::from_mode(0o600)).unwrap();
    check(|_| (), "other users cannot read it");
    let mut less = qemu();
    less.facts.machines.clear();
    let refused = less.plan(files.machine(Profile::Microvm)).unwrap_err();
    assert!(matches!(refused, Error::Lacks { name: "microvm", .. }), "{refused}");
    let missing = Qemu::find("/nonexistent:relative", files.folder.path()).unwrap_err();
    assert_eq!(missing.to_string(), "cannot find `qemu-system-x86_64` in PATH");
    assert!(missing.hint().is_some_and(|hint| hint.contains("qemu-system-x86")));
}
