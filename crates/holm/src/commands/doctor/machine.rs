//! The checks of what virtual machines need beyond what containers do.

use holm_pod::host::{Lack, MachineHost};

use super::check::{Check, of_network};
use super::fact::Facts;
use crate::format::quantity;

/// The smallest machine and its hypervisor, with something to spare.
const MEMORY_MIN_BYTES: u64 = 512 << 20;

/// What virtual machines need.
pub fn checks(host: &MachineHost, facts: &Facts) -> Vec<Check> {
    vec![
        hypervisor(host),
        accelerator(host),
        kernel(host),
        of_network("tap", &facts.tap, "tun"),
        share_server(host),
        memory(facts.memory_free_bytes),
    ]
}

fn lacking(name: &'static str, lack: &Lack) -> Check {
    Check { fix: lack.hint.clone(), ..Check::missing(name, lack.message.clone(), "") }
}

fn hypervisor(host: &MachineHost) -> Check {
    match &host.hypervisor {
        Err(lack) => lacking("hypervisor", lack),
        Ok(found) => {
            let shown = format!("{} ({}): {}", found.name, found.program.display(), found.machines.join(" "));
            if found.machines.iter().any(|machine| machine == "microvm") {
                return Check::ok("hypervisor", shown);
            }
            let fix = "a QEMU with the machine microvm: apt-get install qemu-system-x86";
            Check::missing("hypervisor", shown, fix)
        }
    }
}

fn accelerator(host: &MachineHost) -> Check {
    match &host.accelerator {
        Err(lack) => lacking("accelerator", lack),
        Ok(found) if !found.emulated => Check::ok("accelerator", "KVM"),
        Ok(found) => {
            let shown = format!("{}; machines are emulated: slow, and not a security boundary", found.reason);
            Check::note(
                "accelerator",
                shown,
                "a host with KVM that works: its own processors, or nested virtualization",
            )
        }
    }
}

fn kernel(host: &MachineHost) -> Check {
    match &host.kernel {
        Err(lack) => lacking("guest kernel", lack),
        Ok(found) => {
            let modules = if found.modules.is_some() { "with its modules" } else { "everything built in" };
            Check::ok("guest kernel", format!("{} ({}), {modules}", found.release, found.path.display()))
        }
    }
}

fn share_server(host: &MachineHost) -> Check {
    match &host.share_server {
        Some(path) => Check::ok("virtiofsd", path.display().to_string()),
        None => {
            let fix = "apt-get install virtiofsd; on Debian 12 it is in qemu-system-common";
            Check::note("virtiofsd", "not found: no folders of the host in machines", fix)
        }
    }
}

fn memory(free: u64) -> Check {
    let shown = format!("{} can be had", quantity::binary(free));
    if free >= MEMORY_MIN_BYTES {
        return Check::ok("memory", shown);
    }
    Check::note("memory", shown, "end something: a machine takes its memory and some 60 MiB")
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;
    use holm_pod::host::{AcceleratorFound, HypervisorFound, KernelFound};

    fn whole() -> MachineHost {
        let machines = vec!["microvm".to_owned(), "q35".to_owned()];
        let program = "/usr/bin/qemu-system-x86_64".into();
        MachineHost {
            hypervisor: Ok(HypervisorFound { name: "QEMU 9.1.0".to_owned(), program, machines }),
            accelerator: Ok(AcceleratorFound { name: "kvm", emulated: false, reason: String::new() }),
            kernel: Ok(KernelFound { release: "6.1".to_owned(), path: "/boot/vmlinuz-6.1".into(), modules: None }),
            share_server: Some("/usr/libexec/virtiofsd".into()),
        }
    }

    #[test]
    fn a_whole_host_is_fine() {
        let host = whole();
        let checks = [hypervisor(&host), accelerator(&host), kernel(&host), share_server(&host), memory(8 << 30)];
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:?}");
    }

    #[test]
    fn what_is_amiss_is_told() {
        let lack = || Lack { message: "none".to_owned(), hint: Some("get one".to_owned()) };
        let host = MachineHost { kernel: Err(lack()), hypervisor: Err(lack()), accelerator: Err(lack()), ..whole() };
        for check in [hypervisor(&host), accelerator(&host), kernel(&host)] {
            assert_eq!((check.verdict, check.fix.as_deref()), (Verdict::Missing, Some("get one")), "{check:?}");
        }
        let emulated = AcceleratorFound { name: "tcg", emulated: true, reason: "no device".to_owned() };
        let check = accelerator(&MachineHost { accelerator: Ok(emulated), ..whole() });
        assert_eq!(check.verdict, Verdict::Note);
        assert!(check.found.contains("no device") && check.found.contains("not a security boundary"));
        assert_eq!(share_server(&MachineHost { share_server: None, ..whole() }).verdict, Verdict::Note);
        assert_eq!(memory(64 << 20).verdict, Verdict::Note);
        let mut old = whole();
        if let Ok(found) = &mut old.hypervisor {
            found.machines = vec!["q35".to_owned()];
        }
        assert_eq!(hypervisor(&old).verdict, Verdict::Missing);
    }
}
