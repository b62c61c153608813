//! Whole machines as JSON: rows of lists, and everything.

use holm_pod::Vm;
use holm_spec::vm::{DiskFormat, FirmwareKind};
use serde_json::{Value, json};

use super::list::Columns;
use super::{quantity, time};

/// The columns of `vm ls`.
pub const COLUMNS: Columns = Columns {
    titles: &[
        ("Name", "NAME"),
        ("Status", "STATUS"),
        ("CPUs", "CPUS"),
        ("Memory", "MEMORY"),
        ("Address", "ADDRESS"),
        ("Ports", "PORTS"),
        ("Image", "IMAGE"),
        ("ID", "ID"),
    ],
    default: "{{.Name}}\t{{.Status}}\t{{.CPUs}}\t{{.Memory}}\t{{.Address}}\t{{.Ports}}\t{{.Image}}",
};

fn status(vm: &Vm) -> &'static str {
    match (vm.running, vm.state.started_at_ns) {
        (true, _) => "running",
        (false, 0) => "created",
        (false, _) => "stopped",
    }
}

/// A machine in a list.
pub fn row(vm: &Vm) -> Value {
    let addresses: Vec<String> =
        vm.endpoints.iter().flat_map(|e| &e.addresses).map(|address| address.addr().to_string()).collect();
    let ports: Vec<String> = vm
        .endpoints
        .iter()
        .flat_map(|e| &e.ports)
        .map(|port| {
            let host = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
            format!("{host}:{}->{}/{}", port.host_port, port.container_port, port.protocol)
        })
        .collect();
    json!({
        "Name": vm.spec.name.as_str(),
        "ID": vm.spec.id.as_str(),
        "Status": status(vm),
        "CPUs": vm.spec.cpus.to_string(),
        "Memory": quantity::binary(vm.spec.memory_bytes),
        "Address": addresses.join(", "),
        "Ports": ports.join(", "),
        "Image": vm.spec.image,
    })
}

/// Everything about a machine.
pub fn inspect(vm: &Vm) -> Value {
    let spec = &vm.spec;
    let when = |ns: u64| if ns == 0 { Value::Null } else { time::rfc3339_nanos(ns).into() };
    let networks: serde_json::Map<String, Value> = vm
        .endpoints
        .iter()
        .map(|e| {
            let addresses: Vec<String> = e.addresses.iter().map(ToString::to_string).collect();
            let one = json!({
                "Addresses": addresses, "MacAddress": e.mac.to_string(), "HostLink": e.host_link, "Ports": e.ports,
            });
            (e.network.to_string(), one)
        })
        .collect();
    let snapshots: Vec<Value> = vm
        .snapshots
        .iter()
        .map(|s| json!({ "Name": s.name.as_str(), "Created": when(s.created_at_ns), "Memory": s.memory }))
        .collect();
    json!({
        "Id": spec.id.as_str(),
        "Name": spec.name.as_str(),
        "Created": when(spec.created_at_ns),
        "Image": spec.image,
        "State": {
            "Status": status(vm),
            "Running": vm.running,
            "Pid": if vm.running { vm.state.pid } else { 0 },
            "StartedAt": when(vm.state.started_at_ns),
            "FinishedAt": when(vm.state.finished_at_ns),
            "Accelerator": vm.state.accelerator,
            "Error": vm.state.error,
        },
        "CPUs": spec.cpus,
        "MemoryBytes": spec.memory_bytes,
        "Firmware": if spec.firmware == FirmwareKind::Uefi { "uefi" } else { "bios" },
        "Disk": {
            "Format": if spec.format == DiskFormat::Raw { "raw" } else { "qcow2" },
            "GrownToBytes": spec.disk_bytes,
        },
        "Seed": spec.seed.as_ref().map(|seed| json!({
            "HostName": seed.host_name, "HasUserData": !seed.user_data.is_empty(), "SshKeys": seed.ssh_keys,
        })),
        "Asked": { "Networks": spec.networks, "Ports": spec.ports, "Accelerator": spec.accelerator },
        "Networks": networks,
        "Snapshots": snapshots,
        "Folder": vm.folder.display().to_string(),
        "ConsoleLog": vm.folder.join("console.log").display().to_string(),
    })
}
