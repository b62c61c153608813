//! Whole machines: real boots of real disks. Most boot a sector of the test's own, which speaks on the serial port.

#[path = "sector.rs"]
mod sector;

use std::time::Duration;

use holm_kit::{Holm, Leaks, NetHost, Scratch, Terminal, wait_until};
use sector::{BANNER, disk};

/// How long a machine may take for one thing on a busy host that emulates it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine of the sector, made and started.
fn start(scratch: &Scratch, name: &str, image: &std::path::Path, more: &[&str]) {
    make(scratch, name, image, more);
    vm(scratch, ["start", name]).ok();
}

fn make(scratch: &Scratch, name: &str, image: &std::path::Path, more: &[&str]) {
    vm(scratch, ["create", "--memory", "64m", "--cpus", "1", "--name", name]).args(more).arg(image).ok();
}

fn vm<const N: usize>(scratch: &Scratch, args: [&str; N]) -> Holm {
    // Its control group is below that of the roots, which the leak check looks at.
    scratch.holm(["vm"]).args(args).env("HOLM_CGROUP_PARENT", scratch.cgroup()).limit(PATIENCE)
}

fn status(scratch: &Scratch, name: &str) -> String {
    vm(scratch, ["inspect", "-f", "{{.State.Status}}", name]).ok().text().to_owned()
}

/// At the console, with the guest awake.
fn console(scratch: &Scratch, name: &str) -> Terminal {
    let log = scratch.data_root().join("vms").join(name).join("console.log");
    wait_until("the guest speaks", PATIENCE, || std::fs::read_to_string(&log).is_ok_and(|text| text.contains(BANNER)));
    let mut at = Terminal::start(vm(scratch, ["console", name]), 24, 80);
    at.expect(BANNER);
    at
}

#[test]
fn a_disk_boots_by_bios_answers_at_its_console_and_obeys_the_power_button() {
    let scratch = Scratch::new();
    let leaks = Leaks::before(&scratch);
    let image = disk(&scratch);
    start(&scratch, "box", &image, &[]);
    let mut at = console(&scratch, "box");
    at.send("x");
    at.expect("x");
    at.send("+");
    at.expect("+");
    at.send("?");
    at.expect("11.");
    assert_eq!(status(&scratch, "box"), "running");
    vm(&scratch, ["start", "box"]).fails(1).complains("runs already");
    vm(&scratch, ["rm", "box"]).fails(1).complains("it runs");
    vm(&scratch, ["exec", "box", "true"]).fails(1).complains("no guest agent answers").complains("qemu-guest-agent");
    vm(&scratch, ["stop", "-t", "-1", "box"]).ok();
    assert_eq!(at.finish().0, 0);
    assert_eq!(status(&scratch, "box"), "stopped");
    // The disk outlives the machine's memory.
    vm(&scratch, ["start", "box"]).ok();
    let mut at = console(&scratch, "box");
    at.send("?");
    at.expect("01.");
    vm(&scratch, ["rm", "-f", "box"]).ok();
    vm(&scratch, ["inspect", "box"]).fails(1).complains("cannot find machine `box`");
    leaks.assert_none();
}

#[test]
fn a_guest_that_does_not_obey_is_switched_off_when_its_time_is_over() {
    let scratch = Scratch::new();
    let image = disk(&scratch);
    start(&scratch, "box", &image, &[]);
    let mut at = console(&scratch, "box");
    at.send("d!");
    at.expect("!");
    vm(&scratch, ["stop", "-t", "1", "box"]).ok();
    assert_eq!(status(&scratch, "box"), "stopped");
}

#[test]
fn moments_bring_memory_and_disk_back() {
    let scratch = Scratch::new();
    let raw = disk(&scratch);
    let image = scratch.path().join("disk.qcow2");
    Holm::program("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).args([&raw, &image]).ok();
    start(&scratch, "box", &image, &["--disk-size", "64m"]);
    let mut at = console(&scratch, "box");
    at.send("+");
    at.expect("+");
    at.send("?");
    at.expect("11.");
    vm(&scratch, ["snapshot", "box", "one"]).ok();
    vm(&scratch, ["snapshot", "box", "one"]).fails(1).complains("has a moment `one` already");
    at.send("+");
    at.expect("+");
    at.send("?");
    at.expect("22.");
    vm(&scratch, ["restore", "box", "one"]).ok();
    at.send("?");
    at.expect("11.");
    at.send("+");
    at.expect("+");
    at.send("+");
    at.expect("+");
    at.send("?");
    at.expect("33.");
    // Also from standing still.
    vm(&scratch, ["stop", "box"]).ok();
    at.finish();
    vm(&scratch, ["restore", "box", "one"]).ok();
    let mut at = Terminal::start(vm(&scratch, ["console", "box"]), 24, 80);
    at.send("?");
    at.expect("11.");
    vm(&scratch, ["restore", "box", "two"]).fails(1).complains("has no moment `two`");
    vm(&scratch, ["rm", "-f", "box"]).ok();
}

#[test]
fn a_raw_disk_is_saved_while_the_machine_stands_still() {
    let scratch = Scratch::new();
    let image = disk(&scratch);
    start(&scratch, "box", &image, &[]);
    let mut at = console(&scratch, "box");
    vm(&scratch, ["snapshot", "box", "live"]).fails(1).complains("its disk is raw");
    vm(&scratch, ["stop", "box"]).ok();
    at.finish();
    vm(&scratch, ["snapshot", "box", "clean"]).ok();
    vm(&scratch, ["start", "box"]).ok();
    at = console(&scratch, "box");
    at.send("+");
    at.expect("+");
    at.send("?");
    at.expect("11.");
    vm(&scratch, ["restore", "box", "clean"]).fails(1).complains("it runs");
    vm(&scratch, ["stop", "box"]).ok();
    vm(&scratch, ["restore", "box", "clean"]).ok();
    vm(&scratch, ["start", "box"]).ok();
    at = console(&scratch, "box");
    at.send("?");
    at.expect("00.");
    vm(&scratch, ["rm", "-f", "box"]).ok();
}

#[test]
fn images_that_would_open_files_of_the_host_are_refused_and_nothing_is_left() {
    let scratch = Scratch::new();
    vm(&scratch, ["ls"]).ok();
    let leaks = Leaks::before(&scratch);
    let raw = disk(&scratch);
    let image = scratch.path().join("over.qcow2");
    let create = ["create", "-f", "qcow2", "-F", "raw", "-b"];
    Holm::program("qemu-img").args(create).args([&raw, &image]).ok();
    vm(&scratch, ["create", "--name", "box"]).arg(&image).fails(1).complains("backing file");
    vm(&scratch, ["create", "--name", "box", "--disk-size", "1k"]).arg(&raw).fails(1).complains("can only grow");
    vm(&scratch, ["create", "--name", "../box"]).arg(&raw).fails(125).complains("--name");
    vm(&scratch, ["create", "--name", "box", "/no/such/disk"]).fails(1).complains("/no/such/disk");
    leaks.assert_none();
}

#[test]
fn a_killed_supervisor_takes_its_machine_along_and_the_next_command_tells() {
    let scratch = Scratch::new();
    let image = disk(&scratch);
    start(&scratch, "box", &image, &[]);
    let hypervisor: i32 = vm(&scratch, ["inspect", "-f", "{{.State.Pid}}", "box"]).ok().text().parse().expect("a PID");
    let status_file = std::fs::read_to_string(format!("/proc/{hypervisor}/status")).expect("its status");
    let parent = status_file.lines().find_map(|line| line.strip_prefix("PPid:")).expect("its parent");
    holm_kit::kill(parent.trim().parse().expect("a PID"), 9);
    wait_until("the hypervisor dies too", PATIENCE, || !holm_kit::alive(hypervisor));
    assert_eq!(status(&scratch, "box"), "stopped");
    let told = vm(&scratch, ["inspect", "-f", "{{.State.Error}}", "box"]).ok();
    assert_eq!(told.text(), "its supervisor was killed");
    vm(&scratch, ["start", "box"]).ok();
    vm(&scratch, ["rm", "-f", "box"]).ok();
}

#[test]
fn two_at_once_have_places_on_a_network_where_names_find_them() {
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    let image = disk(&scratch);
    scratch.holm(["network", "create", "net"]).ok();
    start(&scratch, "one", &image, &["--network", "net", "-p", "8080:80"]);
    start(&scratch, "two", &image, &["--network", "net:mac=02:42:00:00:00:77"]);
    let address = |name: &str| {
        vm(&scratch, ["ls", "--format", "{{.Name}} {{.Address}}"])
            .ok()
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned))
            .expect("its address")
    };
    let (first, second) = (address("one"), address("two"));
    assert_ne!(first, second);
    let seen = scratch.run(["--rm", "--network", "net", holm_kit::BUSYBOX, "nslookup", "two"]).ok();
    seen.mentions(&second);
    vm(&scratch, ["ls"]).ok().mentions("8080->80/tcp");
    vm(&scratch, ["inspect", "two"]).ok().mentions("02:42:00:00:00:77");
    // The guest was told its address, so it has the same again.
    vm(&scratch, ["stop", "one", "two"]).ok();
    vm(&scratch, ["start", "two", "one"]).ok();
    assert_eq!((address("one"), address("two")), (first, second));
    scratch.holm(["network", "rm", "net"]).fails(1);
    vm(&scratch, ["rm", "-f", "one", "two"]).ok();
    scratch.holm(["network", "rm", "net"]).ok();
    host.assert_clean();
}

#[test]
fn uefi_speaks_on_the_console_and_keeps_its_variables() {
    if !std::path::Path::new("/usr/share/OVMF").exists() {
        return holm_kit::skip("uefi_speaks_on_the_console_and_keeps_its_variables", "ovmf is not installed");
    }
    let scratch = Scratch::new();
    let image = disk(&scratch);
    make(&scratch, "box", &image, &["--firmware", "uefi", "--memory", "256m"]);
    let folder = scratch.data_root().join("vms/box");
    let fresh = std::fs::read(folder.join("nvram.fd")).expect("its variables");
    vm(&scratch, ["start", "box"]).ok();
    let spoken = || std::fs::read_to_string(folder.join("console.log")).is_ok_and(|text| text.contains("BdsDxe"));
    wait_until("UEFI speaks", PATIENCE, spoken);
    vm(&scratch, ["stop", "-t", "0", "box"]).ok();
    assert!(fresh != std::fs::read(folder.join("nvram.fd")).expect("its variables"));
    vm(&scratch, ["rm", "box"]).ok();
}
