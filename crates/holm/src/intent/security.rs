//! Capabilities and `--security-opt`.

use std::path::Path;

use holm_spec::container::{Profile, SecuritySpec};

use super::environment::read_capped;
use crate::args::create::SecurityFlags;
use crate::error::Failure;

/// Most bytes of a seccomp profile.
const PROFILE_MAX_BYTES: u64 = 4 << 20;

/// Capabilities of Linux 6.18, without `CAP_`. *Source*: linux/capability.h.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What the flags let a container do.
pub fn security(flags: &SecurityFlags, read_only: bool, folder: &Path) -> Result<SecuritySpec, Failure> {
    let mut spec = SecuritySpec {
        privileged: flags.privileged,
        cap_add: capabilities("--cap-add", &flags.cap_add)?,
        cap_drop: capabilities("--cap-drop", &flags.cap_drop)?,
        read_only_rootfs: read_only,
        ..SecuritySpec::default()
    };
    for option in &flags.security_opt {
        apply(&mut spec, option, folder)?;
    }
    Ok(spec)
}

fn capabilities(flag: &str, texts: &[String]) -> Result<Vec<String>, Failure> {
    let one = |text: &String| {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            return Ok("ALL".to_owned());
        }
        if CAPABILITIES.contains(&name) {
            return Ok(format!("CAP_{name}"));
        }
        Err(Failure::flag(flag, text, "there is no such capability").with_hint(format!("{flag} NET_ADMIN, or ALL")))
    };
    texts.iter().map(one).collect()
}

fn apply(spec: &mut SecuritySpec, option: &str, folder: &Path) -> Result<(), Failure> {
    let bad = |why: String| {
        Failure::flag("--security-opt", option, why)
            .with_hint("options are seccomp=, apparmor=, label=, mask=, unmask=, systempaths= and no-new-privileges")
    };
    // Docker takes a colon, too, from its early days.
    let (key, value) = match option.split_once('=').or_else(|| option.split_once(':')) {
        Some((key, value)) => (key, Some(value)),
        None => (option, None),
    };
    let needed = || value.filter(|v| !v.is_empty()).ok_or_else(|| bad(format!("`{key}` needs a value")));
    match key {
        "no-new-privileges" => {
            let on = value.map_or(Ok(true), crate::args::go_bool).map_err(bad)?;
            spec.no_new_privileges = Some(on);
        }
        "seccomp" => spec.seccomp = seccomp(needed()?, folder).map_err(bad)?,
        "apparmor" => {
            spec.apparmor = match needed()? {
                "unconfined" => Profile::Unconfined,
                name => Profile::Named(name.to_owned()),
            }
        }
        "label" => {
            let label = needed()?;
            let part = label.split(':').next().unwrap_or(label);
            if !matches!(part, "disable" | "user" | "role" | "type" | "level" | "filetype" | "nested") {
                return Err(bad(format!("there is no label part `{part}`")));
            }
            spec.selinux.push(label.to_owned());
        }
        "mask" => spec.mask.extend(paths(needed()?).map_err(bad)?),
        "unmask" if needed()?.eq_ignore_ascii_case("all") => spec.unmask.push("ALL".to_owned()),
        "unmask" => spec.unmask.extend(paths(needed()?).map_err(bad)?),
        "systempaths" if needed()? == "unconfined" => spec.unmask.push("ALL".to_owned()),
        "systempaths" => return Err(bad("`systempaths` takes unconfined only".to_owned())),
        _ => return Err(bad(format!("there is no option `{key}`"))),
    }
    Ok(())
}

fn paths(text: &str) -> Result<Vec<String>, String> {
    let one = |path: &str| {
        if path.starts_with('/') { Ok(path.to_owned()) } else { Err(format!("`{path}` is no absolute path")) }
    };
    text.split(':').map(one).collect()
}

/// The profile that `value` names. A file is checked to be there and to be a JSON object; what it means, the runtime says.
fn seccomp(value: &str, folder: &Path) -> Result<Profile, String> {
    match value {
        "unconfined" => return Ok(Profile::Unconfined),
        "builtin" | "default" => return Ok(Profile::Default),
        _ => {}
    }
    let path = folder.join(value);
    let bytes = read_capped(&path, PROFILE_MAX_BYTES)?;
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(serde_json::Value::Object(_)) => {}
        Ok(_) => return Err("the profile is not a JSON object".to_owned()),
        Err(error) => return Err(format!("the profile is not JSON: {error}")),
    }
    path.into_os_string().into_string().map(Profile::Named).map_err(|_| "the path is not UTF-8".to_owned())
}
