//! A comparison as a document and as a table.

use std::fs;

use holm_spec::probe::ProbeReport;
use serde_json::{Map, Value, json};

use super::measure::{Comparison, MEASURES, Side, digits};
use crate::error::printable;
use crate::format::quantity;
use crate::format::table;

/// Devices that are named in the table.
const DEVICES_SHOWN: usize = 8;

/// What the host is, to hold what is seen inside against.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Release of its kernel.
    pub kernel: String,
    /// By which kernels that were started differ.
    pub boot_id: String,
    /// Its processes.
    pub processes: usize,
}

impl Host {
    /// Looks at this host.
    pub fn look() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            processes: entries.filter(|e| e.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)).count(),
        }
    }

    fn shares_kernel(&self, inside: &ProbeReport) -> bool {
        !self.boot_id.is_empty() && self.boot_id == inside.boot_id
    }
}

/// The comparison as JSON.
pub fn document(comparison: &Comparison<'_>, host: &Host) -> Value {
    let machine = comparison.vm.machine.clone().unwrap_or_default();
    json!({
        "Image": comparison.image,
        "Command": comparison.command,
        "Runs": comparison.runs,
        "Machine": {
            "Hypervisor": machine.hypervisor, "Accelerator": machine.accelerator, "Emulated": machine.emulated,
            "Reason": machine.reason, "Profile": machine.profile, "Cpus": machine.cpus,
            "MemoryBytes": machine.memory_bytes,
        },
        "Host": {"Kernel": host.kernel, "Processes": host.processes},
        "Container": side(&comparison.container, host),
        "Vm": side(&comparison.vm, host),
        "Notes": notes(comparison),
    })
}

fn side(side: &Side, host: &Host) -> Value {
    let medians: Map<String, Value> =
        MEASURES.iter().map(|measure| (measure.name.to_owned(), json!(side.median(measure)))).collect();
    let inside = side.probe();
    let mut value = Value::Object(medians);
    value["CommandCode"] = json!(side.samples.last().and_then(|values| values.command_code));
    value["Inside"] = json!({
        "Kernel": inside.kernel, "SharesHostKernel": host.shares_kernel(&inside), "Processes": inside.processes,
        "Processor": inside.processor, "KernelLog": inside.kernel_log, "Devices": inside.devices,
        "MemoryBytes": inside.memory_bytes,
    });
    value
}

/// What numbers alone do not say.
fn notes(comparison: &Comparison<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(machine) = comparison.vm.machine.as_ref().filter(|machine| machine.emulated) {
        notes.push(format!(
            "Virtual machines are emulated here ({}): their times are of the emulator, many times those with KVM, and \
             emulation is not a security boundary.",
            machine.reason
        ));
    }
    notes.push(
        "Memory is the proportional set size of the supervisor and all below it: programs, attendant, hypervisor."
            .to_owned(),
    );
    if comparison.container.probe().round_trip_ns.is_none() {
        notes.push("Round trips were not measured: there is no network to the host.".to_owned());
    }
    let code = |side: &Side| side.samples.last().and_then(|values| values.command_code);
    let (container, vm) = (code(&comparison.container), code(&comparison.vm));
    if let (Some(container), Some(vm)) = (container, vm)
        && (container, vm) != (0, 0)
    {
        notes.push(format!("Your command ended with {container} in the container and with {vm} in the machine."));
    }
    notes
}

/// The comparison for people.
pub fn text(comparison: &Comparison<'_>, host: &Host) -> String {
    let mut rows = vec![["MEASURE", "CONTAINER", "VM", "VM : CONTAINER"].map(str::to_owned).to_vec()];
    for measure in &MEASURES {
        let (container, vm) = (comparison.container.median(measure), comparison.vm.median(measure));
        if container.is_none() && vm.is_none() {
            continue;
        }
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| measure.unit.shown(value));
        let ratio = match (container, vm) {
            (Some(container), Some(vm)) if container > 0.0 => digits(vm / container),
            _ => "-".to_owned(),
        };
        rows.push(vec![measure.title.to_owned(), shown(container), shown(vm), ratio]);
    }
    let (container, vm) = (comparison.container.probe(), comparison.vm.probe());
    let mut line = |title: &str, value: &dyn Fn(&ProbeReport) -> String| {
        rows.push(vec![title.to_owned(), value(&container), value(&vm), String::new()]);
    };
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    line("kernel inside", &|inside| inside.kernel.clone());
    line("the host's own kernel", &|inside| yes(host.shares_kernel(inside)));
    line("processes seen", &|inside| format!("{} of the host's {}", inside.processes, host.processes));
    rows.last_mut().into_iter().for_each(|row| row[2] = vm.processes.to_string());
    let mut line = |title: &str, value: &dyn Fn(&ProbeReport) -> String| {
        rows.push(vec![title.to_owned(), value(&container), value(&vm), String::new()]);
    };
    line("processor seen", &|inside| table::shortened(&inside.processor, 32));
    line("memory seen", &|inside| quantity::binary(inside.memory_bytes));
    line("kernel log readable", &|inside| yes(inside.kernel_log));
    line("entries of /dev", &|inside| inside.devices.len().to_string());
    let mut text = heading(comparison);
    text.push_str(&table::render(&rows, None));
    text.push_str(&devices(&container, &vm));
    for note in notes(comparison) {
        text.push_str(&printable(&note));
        text.push('\n');
    }
    text
}

fn heading(comparison: &Comparison<'_>) -> String {
    let machine = comparison.vm.machine.clone().unwrap_or_default();
    let runs = if comparison.runs == 1 { "1 run".to_owned() } else { format!("medians of {} runs", comparison.runs) };
    printable(&format!(
        "{}, {runs}; machines by {} ({}), {}, {} CPU, {}",
        comparison.image,
        machine.hypervisor,
        machine.accelerator,
        machine.profile,
        machine.cpus,
        quantity::binary(machine.memory_bytes)
    )) + "\n\n"
}

/// The devices that only one of both has.
fn devices(container: &ProbeReport, vm: &ProbeReport) -> String {
    let only = |one: &ProbeReport, other: &ProbeReport| -> String {
        let mut names: Vec<&str> =
            one.devices.iter().filter(|name| !other.devices.contains(name)).map(String::as_str).collect();
        let more = names.len().saturating_sub(DEVICES_SHOWN);
        names.truncate(DEVICES_SHOWN);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{rest}", names.join(" "))
    };
    let (in_container, in_vm) = (only(container, vm), only(vm, container));
    let mut text = String::from("\n");
    for (kind, names) in [("container", in_container), ("machine", in_vm)] {
        if !names.is_empty() {
            text.push_str(&printable(&format!("Only the {kind} has in /dev: {names}")));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::measure::Values;
    use super::*;
    use holm_spec::state::MachineState;
    use std::time::Duration;

    fn comparison() -> Comparison<'static> {
        let values = |ms, kernel: &str, boot: &str| Values {
            exit: Some(Duration::from_millis(ms)),
            memory_bytes: Some(ms << 20),
            probe: ProbeReport { kernel: kernel.into(), boot_id: boot.into(), processes: 2, ..ProbeReport::default() },
            ..Values::default()
        };
        let machine = MachineState { emulated: true, reason: "no device".into(), ..MachineState::default() };
        Comparison {
            image: "an/image",
            command: &[],
            runs: 1,
            container: Side { samples: vec![values(10, "6.18", "a")], machine: None },
            vm: Side { samples: vec![values(1000, "6.1", "b\x1b[2J")], machine: Some(machine) },
        }
    }

    fn host() -> Host {
        Host { kernel: "6.18".into(), boot_id: "a".into(), processes: 99 }
    }

    #[test]
    fn documents_hold_both_sides() {
        let value = document(&comparison(), &host());
        assert_eq!((&value["Container"]["ExitMs"], &value["Vm"]["ExitMs"]), (&json!(10.0), &json!(1000.0)));
        assert_eq!(value["Container"]["Inside"]["SharesHostKernel"], true);
        assert_eq!(value["Vm"]["Inside"]["SharesHostKernel"], false);
        assert_eq!(value["Vm"]["CommandMs"], Value::Null);
        assert_eq!(value["Machine"]["Emulated"], true);
        assert!(value["Notes"][0].as_str().unwrap().contains("not a security boundary"));
    }

    #[test]
    fn tables_leave_out_what_nobody_measured_and_say_what_numbers_do_not() {
        let text = text(&comparison(), &host());
        let exit = text.lines().find(|line| line.starts_with("`true`")).unwrap();
        assert_eq!(exit.split_whitespace().collect::<Vec<_>>()[4..], ["10.0", "ms", "1000", "ms", "100"], "{text}");
        assert!(!text.contains("your command") && !text.contains('\x1b'), "{text}");
        assert!(text.contains("2 of the host's 99") && text.contains("emulated here (no device)"), "{text}");
    }
}
