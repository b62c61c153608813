//! Profiles from files: plain, Docker's and Podman's forms, and bad ones.

use crate::seccomp::{Arch, MAX_PROFILE_BYTES, SeccompError, compile, load_profile_for};

const KERNEL: (u32, u32) = (5, 15);

fn load(text: &str, caps: &[&str]) -> Result<holm_spec::oci::runtime::Seccomp, SeccompError> {
    load_profile_for(text.as_bytes(), caps, KERNEL, Arch::X86_64)
}

/// The names of the rules that apply.
#[track_caller]
fn check(conditions: &str, caps: &[&str], applies: bool) {
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"name":"bpf","action":"SCMP_ACT_ALLOW",{conditions}}}]}}"#
    );
    assert_eq!(load(&text, caps).unwrap().syscalls.len(), usize::from(applies), "{conditions} {caps:?}");
}

#[test]
fn conditions_choose_the_rules() {
    check(r#""includes":{}"#, &[], true);
    check(r#""includes":null,"excludes":null,"args":null,"comment":"x""#, &[], true);
    check(r#""includes":{"caps":["CAP_BPF"]}"#, &[], false);
    check(r#""includes":{"caps":["CAP_BPF"]}"#, &["CAP_BPF"], true);
    check(r#""includes":{"caps":["CAP_BPF"]}"#, &["BPF"], true);
    check(r#""includes":{"caps":["CAP_BPF","CAP_KILL"]}"#, &["CAP_BPF"], false);
    check(r#""excludes":{"caps":["CAP_BPF","CAP_KILL"]}"#, &["CAP_BPF"], false);
    check(r#""excludes":{"caps":["CAP_BPF"]}"#, &[], true);
    check(r#""includes":{"arches":["amd64","x32"]}"#, &[], true);
    check(r#""includes":{"arches":["arm64"]}"#, &[], false);
    check(r#""excludes":{"arches":["amd64"]}"#, &[], false);
    check(r#""includes":{"minKernel":"4.8"}"#, &[], true);
    check(r#""includes":{"minKernel":"5.15"}"#, &[], true);
    check(r#""includes":{"minKernel":"5.16"}"#, &[], false);
    check(r#""excludes":{"minKernel":"5.15"}"#, &[], false);
    check(r#""includes":{"caps":["CAP_BPF"],"minKernel":"6.0"}"#, &["CAP_BPF"], false);
}

#[test]
fn dockers_form_becomes_a_plain_profile() {
    let text = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
        ],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"name": "personality", "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}
        ]
    }"#;
    let profile = load(text, &[]).unwrap();
    assert_eq!(profile.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert_eq!(profile.syscalls.len(), 3);
    assert_eq!(profile.syscalls[1].args[0].value, 8);
    assert_eq!(profile.syscalls[2].errno_ret, Some(38));
    compile(&profile, Arch::X86_64).unwrap();
}

#[test]
fn podmans_error_names_are_understood() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSYS",
        "syscalls":[{"names":["mount"],"action":"SCMP_ACT_ERRNO","errno":"EPERM","errnoRet":1},
                    {"names":["bpf"],"action":"SCMP_ACT_ERRNO","errno":"EINVAL"}]}"#;
    let profile = load(text, &[]).unwrap();
    assert_eq!(profile.default_errno_ret, Some(38));
    assert_eq!(profile.syscalls[1].errno_ret, Some(22));
}

#[test]
fn bad_files_are_refused() {
    for bad in [
        "",
        "[]",
        "{}",
        "{\"defaultAction\":1}",
        r#"{"defaultAction":"SCMP_ACT_ALLOW"} trailing"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"]}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"x"}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"x","includes":{"minKernel":"new"}}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrno":"EWHAT"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"x",
            "args":[{"index":-1,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
    ] {
        assert!(load(bad, &[]).is_err(), "{bad}");
    }
    let deep = "[".repeat(100_000);
    assert!(load(&deep, &[]).is_err());
}

#[test]
fn file_beyond_the_bound_is_refused_with_both_sizes() {
    let mut text = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#.to_owned();
    text.push_str(&" ".repeat(MAX_PROFILE_BYTES - text.len()));
    assert!(load(&text, &[]).is_ok());
    text.push(' ');
    let error = load(&text, &[]).unwrap_err().to_string();
    assert!(error.contains("1048577") && error.contains("1048576"), "{error}");
}
