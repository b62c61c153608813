use super::*;
use crate::kernel::KernelRequest;
use crate::kernel::image::tests::{Section, elf};

const PVH: &[u8] = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\0\0\0\x01";

struct Machine {
    folder: tempfile::TempDir,
    source: KernelSource,
}

impl Machine {
    /// An ELF kernel and the modules that machines need, all without needs of their own.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("boot/vmlinuz-6.1.0");
        let modules = folder.path().join("lib/modules/6.1.0/kernel");
        fs::create_dir_all(kernel.parent().unwrap()).unwrap();
        fs::create_dir_all(&modules).unwrap();
        fs::write(&kernel, elf(62, &[Section { name: ".rodata", content: b"Linux version 6.1.0 (me)" }], PVH)).unwrap();
        for module in wanted(Bus::Pci).iter().chain(wanted(Bus::Mmio)).chain(wanted(Bus::MmioSharing)) {
            let bytes = elf(62, &[Section { name: ".modinfo", content: b"vermagic=6.1.0 SMP\0depends=\0" }], &[]);
            fs::write(modules.join(format!("{}.ko", module.name)), bytes).unwrap();
        }
        let request = KernelRequest { kernel: Some(folder.path()), modules: None };
        let source = KernelSource::find(request).unwrap();
        Self { folder, source }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache/vm")
    }

    fn prepare(&self, agent: &[u8]) -> GuestKernel {
        prepare(&self.cache(), &self.source, agent, Bus::Pci).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names = list(&self.cache()).unwrap();
        names.sort();
        names
    }
}

#[test]
fn second_machine_finds_what_the_first_made() {
    let machine = Machine::new();
    let first = machine.prepare(b"agent");
    assert_eq!(first.release, "6.1.0");
    assert_eq!(fs::read(&first.image).unwrap(), fs::read(&machine.source.kernel).unwrap());
    let inode = |made: &GuestKernel| made.initramfs.metadata().unwrap().ino();
    let second = machine.prepare(b"agent");
    assert_eq!((&first, inode(&first)), (&second, inode(&second)));
    let other_agent = machine.prepare(b"another agent");
    assert!(other_agent.image == first.image && other_agent.initramfs != first.initramfs);
    assert!(other_agent.digest != first.digest);
    let on_mmio = prepare(&machine.cache(), &machine.source, b"agent", Bus::Mmio).unwrap();
    assert!(on_mmio.image == first.image && on_mmio.initramfs != first.initramfs);
}

#[test]
fn damaged_cache_is_made_anew() {
    let machine = Machine::new();
    let first = machine.prepare(b"agent");
    let content = fs::read(&first.initramfs).unwrap();
    let spoil: [&dyn Fn(); 4] = [
        &|| fs::remove_file(&first.image).unwrap(),
        &|| fs::write(&first.initramfs, "cut").unwrap(),
        &|| {
            let record = machine.names().into_iter().find(|name| name.starts_with("made-")).unwrap();
            fs::write(machine.cache().join(record), "{").unwrap();
        },
        &|| fs::write(machine.cache().join(PARTIAL), "left by a kill").unwrap(),
    ];
    for damage in spoil {
        damage();
        assert_eq!(machine.prepare(b"agent"), first);
        assert_eq!(fs::read(&first.initramfs).unwrap(), content);
        assert!(first.image.exists());
    }
}

#[test]
fn changed_kernel_is_another_one() {
    let machine = Machine::new();
    let first = machine.prepare(b"agent");
    let newer = elf(62, &[Section { name: ".rodata", content: b"Linux version 6.1.0 (you)" }], PVH);
    fs::write(machine.source.kernel.with_extension("new"), newer).unwrap();
    fs::rename(machine.source.kernel.with_extension("new"), &machine.source.kernel).unwrap();
    let second = machine.prepare(b"agent");
    assert!(first.image != second.image && first.initramfs == second.initramfs);
}

#[test]
fn makers_at_the_same_time_make_one() {
    let machine = Machine::new();
    let made: Vec<GuestKernel> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| machine.prepare(b"agent"))).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(machine.names().len(), 4, "{:?}", machine.names());
}

#[test]
fn prune_leaves_what_is_kept() {
    let machine = Machine::new();
    let (first, second) = (machine.prepare(b"agent"), machine.prepare(b"another agent"));
    fs::write(machine.cache().join(PARTIAL), "left by a kill").unwrap();
    prune(&machine.cache(), &HashSet::from([second.digest.clone()])).unwrap();
    assert!(!first.initramfs.exists() && second.initramfs.exists() && second.image.exists());
    assert_eq!(machine.names().len(), 4, "{:?}", machine.names());
    prune(&machine.cache(), &HashSet::new()).unwrap();
    assert_eq!(machine.names(), [LOCK]);
    prune(&machine.folder.path().join("nothing"), &HashSet::new()).unwrap();
}
