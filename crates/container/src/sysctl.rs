//! Which sysctls a container may have: those of its own namespaces, and no others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use holm_sys::process::clone_flag;

use crate::error::StartError;
use crate::namespace::NamespacePlan;

const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Turns sysctls into paths below `/proc`. *Errors*: one that would change the host, or that is no name.
pub(crate) fn plan(
    sysctls: &BTreeMap<String, String>,
    namespaces: &NamespacePlan,
) -> Result<Vec<(PathBuf, String)>, StartError> {
    sysctls.iter().map(|(name, value)| Ok((path(name, namespaces)?, value.clone()))).collect()
}

fn path(name: &str, namespaces: &NamespacePlan) -> Result<PathBuf, StartError> {
    let own = |flag: u64| namespaces.new & flag != 0 || namespaces.joins.iter().any(|(_, f)| *f == flag);
    // `net/ipv4/conf/eth0.1/x` is written with slashes so that dots can stand in names.
    let dotted = if name.contains('/') { name.replace('/', ".") } else { name.to_owned() };
    let allowed = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        own(clone_flag::NEWIPC)
    } else if dotted.starts_with("net.") {
        own(clone_flag::NEWNET)
    } else if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
        own(clone_flag::NEWUTS)
    } else {
        false
    };
    if !allowed {
        let shown: String = name.escape_debug().take(100).collect();
        return Err(StartError::refused(format!(
            "set sysctl `{shown}`: it does not belong to a namespace of the container's own"
        )));
    }
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let clean = relative.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !clean {
        return Err(StartError::refused(format!("set sysctl `{}`: not a name", name.escape_debug())));
    }
    Ok(PathBuf::from("sys").join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, new: u64) -> Option<String> {
        let plan = NamespacePlan { new, ..NamespacePlan::default() };
        path(name, &plan).ok().map(|p| p.display().to_string())
    }

    #[test]
    fn only_sysctls_of_own_namespaces_pass() {
        let (net, ipc) = (clone_flag::NEWNET, clone_flag::NEWIPC);
        assert_eq!(check("net.ipv4.ip_forward", net).as_deref(), Some("sys/net/ipv4/ip_forward"));
        assert_eq!(
            check("net/ipv4/conf/eth0.1/forwarding", net).as_deref(),
            Some("sys/net/ipv4/conf/eth0.1/forwarding")
        );
        assert_eq!(check("net.ipv4.ip_forward", ipc), None);
        assert_eq!(check("kernel.shmmax", ipc).as_deref(), Some("sys/kernel/shmmax"));
        for bad in
            ["kernel.core_pattern", "vm.swappiness", "net/../kernel/core_pattern", "net..x", "net.", "kernel.shmmaxx"]
        {
            assert_eq!(check(bad, net | ipc | clone_flag::NEWUTS), None, "{bad}");
        }
    }
}
