//! The devices of a plan: nodes and access rules.

use holm_spec::container::ContainerSpec;
use holm_spec::oci::runtime::{Device, DeviceRule};

use super::HostDevice;
use crate::Error;

/// What every container may use: make any node, and open these. *Source*: moby daemon/pkg/oci/defaults.go; `tun` has been
/// in runc's own list since 1.2.4.
const ALLOWED: [(&str, Option<i64>, Option<i64>, &str); 11] = [
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(136), None, "rwm"),
    ("c", Some(10), Some(200), "rwm"),
];

/// What a hypervisor may open: what its libraries might, and no terminal. *Source*: kernel Documentation/admin-guide/devices.txt.
const HYPERVISOR: [(i64, i64); 5] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)];
/// `/dev/kvm`.
const KVM: (i64, i64) = (10, 232);

/// The rules of a hypervisor, with `/dev/kvm` or without.
pub(super) fn of_hypervisor(kvm: bool) -> Vec<DeviceRule> {
    let none = DeviceRule { allow: false, access: Some("rwm".to_owned()), ..DeviceRule::default() };
    let allowed = HYPERVISOR.into_iter().chain(kvm.then_some(KVM)).map(|(major, minor)| DeviceRule {
        allow: true,
        kind: Some("c".to_owned()),
        major: Some(major),
        minor: Some(minor),
        access: Some("rw".to_owned()),
    });
    std::iter::once(none).chain(allowed).collect()
}

pub(super) fn nodes(devices: &[HostDevice]) -> Vec<Device> {
    devices
        .iter()
        .map(|d| Device {
            kind: d.kind.to_string(),
            path: d.path.clone(),
            major: d.major.into(),
            minor: d.minor.into(),
            file_mode: Some(d.mode & 0o777),
            uid: Some(d.uid),
            gid: Some(d.gid),
        })
        .collect()
}

pub(super) fn rules(spec: &ContainerSpec, devices: &[HostDevice]) -> Result<Vec<DeviceRule>, Error> {
    if spec.security.privileged {
        return Ok(vec![DeviceRule { allow: true, access: Some("rwm".to_owned()), ..DeviceRule::default() }]);
    }
    let mut list = vec![DeviceRule { allow: false, access: Some("rwm".to_owned()), ..DeviceRule::default() }];
    let rule = |kind: &str, major, minor, access: &str| DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    list.extend(ALLOWED.iter().map(|(kind, major, minor, access)| rule(kind, *major, *minor, access)));
    list.extend(
        devices.iter().map(|d| rule(&d.kind.to_string(), Some(d.major.into()), Some(d.minor.into()), &d.permissions)),
    );
    for text in &spec.device_cgroup_rules {
        list.push(parse_rule(text)?);
    }
    Ok(list)
}

/// `c 1:3 rwm`, with `*` for any number and `a` for any kind.
fn parse_rule(text: &str) -> Result<DeviceRule, Error> {
    let wrong = || Error::invalid(format!("device rule `{}`", text.escape_default()), "expected the form `c 1:3 rwm`");
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(numbers), Some(access), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(wrong());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<u32>().map(|n| Some(i64::from(n))).map_err(|_| wrong()),
    };
    if !matches!(kind, "a" | "b" | "c") || access.is_empty() || !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(wrong());
    }
    Ok(DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major: number(major)?,
        minor: number(minor)?,
        access: Some(access.to_owned()),
    })
}
