//! `--device` and `--device-cgroup-rule`.

use holm_spec::container::DeviceSpec;

use crate::error::Failure;

/// The devices of the flags.
pub fn devices(texts: &[String]) -> Result<Vec<DeviceSpec>, Failure> {
    texts.iter().map(|text| device(text)).collect()
}

fn device(text: &str) -> Result<DeviceSpec, Failure> {
    let bad = |why: &str| Failure::flag("--device", text, why).with_hint("--device /dev/fuse:/dev/fuse:rwm");
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, permissions) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, last] if is_permissions(last) => (host, host, last),
        [host, inside] => (host, inside, "rwm"),
        [host, inside, permissions] => (host, inside, permissions),
        _ => return Err(bad("it must be PATH[:PATH-INSIDE[:PERMISSIONS]]")),
    };
    if !host.starts_with('/') && host.contains('=') {
        return Err(bad("CDI devices are not in this version"));
    }
    if !host.starts_with('/') || !inside.starts_with('/') {
        return Err(bad("paths must be absolute"));
    }
    if inside.split('/').any(|part| part == "..") {
        return Err(bad("the path inside must not contain .."));
    }
    if !is_permissions(permissions) {
        return Err(bad("permissions are any of r, w and m"));
    }
    Ok(DeviceSpec {
        host_path: host.to_owned(),
        container_path: inside.to_owned(),
        permissions: permissions.to_owned(),
    })
}

fn is_permissions(text: &str) -> bool {
    let once = |c: char| text.matches(c).count() <= 1;
    !text.is_empty() && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm') && once(c))
}

/// The raw rules of the flags: `TYPE MAJOR:MINOR PERMISSIONS`.
pub fn rules(texts: &[String]) -> Result<Vec<String>, Failure> {
    let number = |s: &str| s == "*" || s.parse::<u32>().is_ok_and(|_| s.bytes().all(|b| b.is_ascii_digit()));
    let good = |text: &str| match text.split(' ').collect::<Vec<_>>()[..] {
        [kind, device, permissions] => {
            let both = device.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor));
            matches!(kind, "a" | "b" | "c") && both && is_permissions(permissions)
        }
        _ => false,
    };
    for text in texts {
        if !good(text) {
            let why = "it must be TYPE MAJOR:MINOR PERMISSIONS";
            return Err(
                Failure::flag("--device-cgroup-rule", text, why).with_hint("--device-cgroup-rule 'c 10:200 rwm'")
            );
        }
    }
    Ok(texts.to_vec())
}
