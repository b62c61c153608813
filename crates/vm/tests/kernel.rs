//! A distribution's kernel: found in its unpacked package, unpacked to what a hypervisor boots, with its modules in order.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use holm_kit::{Holm, guest_kernel, has_command, requires};
use holm_vm::accel::host_tsc_khz;
use holm_vm::cache::{self, GuestKernel};
use holm_vm::kernel::elf::Elf;
use holm_vm::kernel::image::Image;
use holm_vm::kernel::module::{Bus, ModInfo, Module, ModuleTree, wanted};
use holm_vm::kernel::{KernelRequest, KernelSource};

#[test]
fn debian_kernel_is_unpacked_and_its_modules_are_in_loading_order() {
    let package = guest_kernel();
    let source = KernelSource::find(KernelRequest { kernel: Some(&package), modules: None }).unwrap();
    let folder = source.modules.clone().unwrap();
    let release = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let file = std::fs::read(&source.kernel).unwrap();
    let bootable = Image::recognise(&file).unwrap().bootable().unwrap();
    assert_eq!(bootable.release.as_ref(), Some(&release));
    let vmlinux = bootable.vmlinux.unwrap();
    assert!(Elf::parse(&vmlinux).unwrap().notes().any(|note| note.name == b"Xen" && note.kind == 18));
    assert_eq!(Image::recognise(&vmlinux).unwrap().release(), Some(release.clone()), "by the banner");
    let tree = ModuleTree::open(&folder).unwrap();
    for bus in [Bus::Mmio, Bus::Pci] {
        check_order(&tree.resolve(wanted(bus), Some(&release)).unwrap());
    }
}

/// A module's needs are not behind it; what is no file at all is built in, or it could not have been resolved.
fn check_order(modules: &[Module]) {
    let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    assert!(names.contains(&"overlay"), "{names:?}");
    for (at, module) in modules.iter().enumerate() {
        for need in ModInfo::parse(&module.bytes).unwrap().depends {
            assert!(!names[at..].contains(&need.as_str()), "{need} is not before {} in {names:?}", module.name);
        }
    }
}

#[test]
fn prepared_kernel_boots_to_the_agent_which_loads_every_module() {
    requires!(cfg!(target_arch = "x86_64") && has_command("qemu-system-x86_64"), "no emulator for this kernel");
    let folder = tempfile::tempdir().unwrap();
    let agent = folder.path().join("init");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/init.c");
    Holm::program("gcc").args(["-O1", "-static", "-o"]).arg(&agent).arg(source).limit(Duration::from_secs(60)).ok();
    let kernel = KernelSource::find(KernelRequest { kernel: Some(&guest_kernel()), modules: None }).unwrap();
    let made =
        cache::prepare(&folder.path().join("cache"), &kernel, &std::fs::read(&agent).unwrap(), Bus::Mmio).unwrap();
    let modules = ModuleTree::open(kernel.modules.as_ref().unwrap()).unwrap();
    let modules = modules.resolve(wanted(Bus::Mmio), Some(&made.release)).unwrap();
    let said = boot(&made);
    assert!(said.contains(&format!("hello, {} modules", modules.len())), "{said}");
    assert!(!said.contains("refused"), "{said}");
    cache::prune(&folder.path().join("cache"), &HashSet::new()).unwrap();
    assert!(!made.image.exists());
}

/// What the machine says until it turns itself off.
fn boot(made: &GuestKernel) -> String {
    let words = "console=ttyS0 quiet reboot=t panic=-1 tsc=reliable no_timer_check tsc_early_khz=";
    let words = format!("{words}{}", host_tsc_khz().expect("a time-stamp counter"));
    let line = Holm::program("qemu-system-x86_64").args(["-M", "microvm,accel=tcg", "-cpu", "max", "-m", "256"]);
    let line = line.args(["-nodefaults", "-serial", "stdio", "-display", "none", "-no-reboot", "-kernel"]);
    let line = line.arg(&made.image).arg("-initrd").arg(&made.initramfs).arg("-append").arg(words);
    line.limit(Duration::from_secs(120)).ok().stdout
}
