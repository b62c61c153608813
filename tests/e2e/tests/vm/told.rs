//! What is told of virtual machines: `doctor`, `info`, and the comparison with containers.

use holm_kit::{BUSYBOX, Isolation, Leaks, NetHost, Output, Scratch};
use serde_json::Value;

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output}"))
}

/// The verdict and the fix of a check.
#[track_caller]
fn check<'a>(document: &'a Value, name: &str) -> (&'a str, &'a Value) {
    let checks = document["Checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["Name"] == name);
    let found = found.unwrap_or_else(|| panic!("no check `{name}` in {document}"));
    assert!(found["Found"].as_str().is_some_and(|text| !text.is_empty()), "{found}");
    (found["Verdict"].as_str().expect("a verdict"), &found["Fix"])
}

#[test]
fn doctor_finds_what_the_tests_need_and_leaves_nothing() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let found = scratch.holm(["doctor", "--isolation", "vm", "-o", "json"]).ok();
    let document = json(&found);
    assert_eq!((&document["Works"], &document["Isolation"]), (&Value::Bool(true), &"vm".into()), "{document}");
    for name in ["kernel", "system calls", "privilege", "overlayfs", "seccomp", "nftables", "bridge", "veth", "tap"] {
        assert_eq!(check(&document, name), ("ok", &Value::Null), "{name}");
    }
    for name in ["hypervisor", "guest kernel"] {
        assert_eq!(check(&document, name).0, "ok", "{name}");
    }
    scratch.holm(["doctor"]).ok().mentions("For containers:").mentions("For virtual machines:");
    leaks.assert_none();
}

#[test]
fn doctor_tells_what_is_missing_with_what_to_type() {
    let scratch = Scratch::new();
    let lame = |args: &[&str]| {
        let folder = scratch.make_folder("no-programs");
        scratch.holm(args).env("HOLM_KERNEL", "/no/such/kernel").env("PATH", folder)
    };
    let document = json(&lame(&["doctor", "--isolation", "vm", "-o", "json"]).run().code(1));
    assert_eq!(document["Works"], false);
    let (verdict, fix) = check(&document, "hypervisor");
    assert!(verdict == "missing" && fix.as_str().is_some_and(|fix| fix.contains("qemu-system-x86")), "{document}");
    assert_eq!(check(&document, "guest kernel").0, "missing");
    // Containers work without.
    assert_eq!(json(&lame(&["doctor", "-o", "json"]).ok())["Works"], true);
}

#[test]
fn info_tells_of_machines_what_is_known() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let before = json(&scratch.holm(["info", "-f", "{{json .VirtualMachines}}"]).ok());
    assert_eq!(before["Accelerator"], Value::Null, "nothing was tried yet: {before}");
    let hints: Vec<&Value> = before["Missing"].as_array().unwrap().iter().map(|lack| &lack["Hint"]).collect();
    assert!(!hints.is_empty() && hints.iter().all(|hint| hint.is_string()), "{before}");
    scratch.holm(["doctor"]).ok();
    let after = json(&scratch.holm(["info", "-f", "{{json .VirtualMachines}}"]).ok());
    assert!(after["Hypervisor"].as_str().is_some_and(|name| name.starts_with("QEMU ")), "{after}");
    assert!(after["Accelerator"] == "kvm" || after["Emulated"] == true && after["Reason"] != "", "{after}");
    assert!(after["Kernel"].is_string() && after["KernelPath"].is_string() && after["Missing"] == Value::Array(vec![]));
    scratch.holm(["info"]).ok().mentions("Virtual machines:\n Hypervisor: QEMU ");
}

#[test]
fn comparison_measures_both_and_they_have_different_kernels() {
    let host = NetHost::new();
    let mut scratch = Scratch::on(&host);
    scratch.isolate(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let command = ["compare", "--runs", "1", "-o", "json", BUSYBOX, "--", "sh", "-c", "exit 3"];
    let document = json(&scratch.holm(command).env("HOLM_CGROUP_PARENT", scratch.cgroup()).ok());
    for side in ["Container", "Vm"] {
        let side = &document[side];
        for name in [
            "FirstOutputMs",
            "ExitMs",
            "CommandMs",
            "MemoryBytes",
            "StepsPerS",
            "CallsPerS",
            "WriteBytesPerS",
            "ReadBytesPerS",
            "RoundTripUs",
        ] {
            assert!(side[name].as_f64().is_some_and(|number| number > 0.0), "{name}: {document}");
        }
        assert_eq!((&side["CommandCode"], &side["Inside"]["KernelLog"]), (&3.into(), &false.into()), "{document}");
        assert!(side["Inside"]["Devices"].as_array().is_some_and(|list| list.contains(&"null".into())), "{document}");
    }
    let inside = |side: &str| document[side]["Inside"].clone();
    assert_eq!(inside("Container")["Kernel"], document["Host"]["Kernel"]);
    assert_ne!(inside("Vm")["Kernel"], document["Host"]["Kernel"]);
    assert_eq!(inside("Container")["SharesHostKernel"], true);
    assert_eq!(inside("Vm")["SharesHostKernel"], false);
    let emulated = document["Notes"].to_string().contains("not a security boundary");
    assert_eq!(document["Machine"]["Emulated"], emulated, "{document}");
    scratch.holm(["ps", "-aq"]).ok().says("");
    leaks.assert_none();
    host.assert_clean();
}

#[test]
fn comparison_that_fails_says_why_and_leaves_nothing() {
    let scratch = Scratch::isolated(Isolation::Vm);
    let leaks = Leaks::before(&scratch);
    let compare =
        |args: &[&str]| scratch.holm(["compare", "--runs", "1"]).args(args).env("HOLM_CGROUP_PARENT", scratch.cgroup());
    compare(&["localhost/none"]).env("HOLM_PULL", "never").fails(1).complains("localhost/none");
    compare(&[BUSYBOX]).env("HOLM_KERNEL", "/no/such/kernel").fails(1).complains("/no/such/kernel");
    scratch.holm(["ps", "-aq"]).ok().says("");
    leaks.assert_none();
}
