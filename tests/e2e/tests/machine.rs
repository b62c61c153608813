//! What the machine that runs the tests does not have: control groups v2 alone, systemd as PID 1, AppArmor, an older
//! kernel, and a reboot. Machines are booted for it; a few, since each takes its time, with many checks on each.

#[path = "machine/apparmor.rs"]
mod apparmor;
#[path = "machine/boot.rs"]
mod boot;
#[path = "machine/device.rs"]
mod device;
#[path = "machine/kernel.rs"]
mod kernel;
#[path = "machine/kvm.rs"]
mod kvm;
#[path = "machine/limit.rs"]
mod limit;
#[path = "machine/network.rs"]
mod network;
#[path = "machine/process.rs"]
mod process;
#[path = "machine/systemd.rs"]
mod systemd;

use holm_kit::{BUSYBOX, Entry, Image, Layer, Machine, Tar, busybox_layer, has_command, requires};

/// `holm run -d --name NAME OPTIONS BUSYBOX COMMAND` in the machine.
#[track_caller]
fn detached(machine: &Machine, name: &str, options: &str, command: &str) {
    machine.run(format!("holm run -d --name {name} --network none {options} {BUSYBOX} {command}")).ok();
}

/// A value out of `holm inspect` in the machine.
#[track_caller]
fn inspect(machine: &Machine, name: &str, format: &str) -> String {
    machine.says(format!("holm inspect --format '{format}' {name}"))
}

/// What control files of a container's group hold, one a line, lines of one file joined by commas.
#[track_caller]
fn control(machine: &Machine, name: &str, files: &[&str]) -> Vec<String> {
    let group = inspect(machine, name, "{{.State.CgroupPath}}");
    let script = format!("cd /sys/fs/cgroup/{group} && for f in {}; do paste -sd, $f; done", files.join(" "));
    machine.says(script).lines().map(str::to_owned).collect()
}

/// Nothing of any container may be left.
fn nothing_is_left(machine: &mut Machine) {
    assert_eq!(machine.says("holm ps -aq"), "");
    machine.wait_until_says("find /sys/fs/cgroup -name container -o -path '*/holm/*' -type d", "");
    machine.wait_until_says("pgrep holm-pod", "");
    assert_eq!(machine.says("grep -c ' overlay ' /proc/self/mountinfo || true"), "0");
    assert_eq!(machine.says("ls /run/holm/containers /var/lib/holm/trash /var/lib/holm/names"), EMPTY_FOLDERS);
}

const EMPTY_FOLDERS: &str = "/run/holm/containers:\n\n/var/lib/holm/names:\n\n/var/lib/holm/trash:";

/// An image of busybox and forty layers with a file each: more than fit the shortest way to name them to an old kernel.
fn many_layers() -> Entry {
    let small = |n: usize| Layer::plain(&Tar::new().with(Entry::file(format!("layer-{n}"), "here")).finish());
    let image = Image::new(std::iter::once(busybox_layer()).chain((0..40).map(small)));
    Entry::file("root/layers.tar", image.docker_archive("localhost/layers:test"))
}

fn can_boot() -> bool {
    cfg!(target_arch = "x86_64") && ["qemu-system-x86_64", "debootstrap", "mke2fs"].iter().all(|name| has_command(name))
}

#[test]
fn control_groups_v2_and_apparmor_of_another_kernel() {
    requires!(can_boot(), "needs qemu-system-x86_64, debootstrap and mke2fs: run tools/setup.sh test");
    let mut machine = Machine::boot([many_layers()]);
    machine.check_all(&[
        ("info tells what the machine is", kernel::info_tells_what_the_machine_is),
        ("limits reach v2 files and update changes them", limit::reach_the_files_and_update_changes_them),
        ("limits hold", limit::hold),
        ("out of memory", limit::out_of_memory_is_reported),
        ("stats", limit::stats_are_those_of_the_group),
        ("group inside", limit::group_inside_is_the_container_s_own),
        ("devices", device::rules_hold),
        ("devices after update", device::rules_survive_an_update),
        ("pause", process::pause_stops_and_unpause_lets_go),
        ("kill", process::all_processes_of_the_group_are_killed),
        ("user namespaces", kernel::user_namespace_of_its_own),
        ("many layers", kernel::many_layers_by_the_old_way),
        ("AppArmor confines", apparmor::profile_confines),
        ("AppArmor unknown profile", apparmor::unknown_profile_is_refused),
        ("nothing is left", nothing_is_left),
        ("kernel log", kernel::log_is_calm),
    ]);
}

#[test]
fn systemd_driver_and_reboot() {
    requires!(can_boot(), "needs qemu-system-x86_64, debootstrap and mke2fs: run tools/setup.sh test");
    let mut machine = Machine::boot([]);
    machine.check_all(&[
        ("scope", systemd::container_is_in_a_scope_with_its_limits),
        ("slice", systemd::parent_slice_is_taken),
        ("out of memory in a scope", systemd::out_of_memory_restarts_in_the_scope),
        ("restart in a scope", systemd::restarts_find_their_name_free),
        ("end of a scope", systemd::stopped_scope_and_killed_supervisor_leave_nothing),
        ("nothing is left", nothing_is_left),
        ("reboot", boot::reboot_starts_what_the_policies_want),
        ("loss of power", boot::loss_of_power_starts_what_the_policies_want),
        ("unit stopped", boot::unit_stops_and_starts_its_containers),
    ]);
}

#[test]
fn networks_and_sctp_of_another_kernel() {
    requires!(can_boot(), "needs qemu-system-x86_64, debootstrap and mke2fs: run tools/setup.sh test");
    requires!(has_command("socat"), "needs socat: run tools/setup.sh test");
    let mut machine = Machine::boot([network::socat()]);
    machine.check_all(&[
        ("a neighbour", network::neighbour_is_made),
        ("names and ports", network::names_and_ports_work),
        ("SCTP", network::sctp_is_published_and_found_by_name),
        ("nothing is left", nothing_is_left),
        ("kernel log", kernel::log_is_calm),
    ]);
}

#[test]
fn virtual_machines_on_kvm() {
    requires!(can_boot(), "needs qemu-system-x86_64, debootstrap and mke2fs: run tools/setup.sh test");
    let mut machine = Machine::boot_with_kvm();
    machine.check_all(&[
        ("KVM is chosen", kvm::it_is_chosen_and_told),
        ("hypervisor is shut in", kvm::hypervisor_is_shut_in_with_the_device),
        ("control group", kvm::control_group_lets_the_device_through),
        ("programs run", kvm::programs_run_in_it),
        ("KVM is insisted on", kvm::it_can_be_insisted_on),
        ("KVM for root alone", kvm::device_for_root_alone_is_told),
        ("nothing is left", nothing_is_left),
        ("kernel log", kernel::log_is_calm),
    ]);
}
