//! Flags to intent, as data: what docker's users type on the left, what the container is asked to be on the right.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use holm_cli::args::{self, Command};
use holm_cli::error::Failure;
use holm_cli::intent::{Around, Identity, container_spec};
use holm_spec::ContainerId;
use serde_json::{Value, json};

fn intent(line: &[&str]) -> Result<Value, Failure> {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("env"), "\u{feff}# comment\n\nA=1\n  B=two words \nFROM_HOST\nMISSING\nC=a=b\n")
        .expect("env");
    std::fs::write(folder.path().join("bad env"), "A B=1\n").expect("env");
    std::fs::write(folder.path().join("labels"), "x=1\ny\n").expect("labels");
    std::fs::write(folder.path().join("profile.json"), "{\"defaultAction\":\"SCMP_ACT_ERRNO\"}").expect("profile");
    std::fs::write(folder.path().join("broken.json"), "{\"defaultAction\":").expect("profile");
    std::fs::write(folder.path().join("list.json"), "[]").expect("profile");
    std::fs::write(folder.path().join("subuid"), "someone:100000:65536\nholm:200000:200000\n").expect("subuid");
    let at = |text: &str| text.replace("%", &folder.path().display().to_string());
    let arguments: Vec<OsString> = ["run"].iter().chain(line).map(|text| OsString::from(at(text))).collect();
    let run = match args::parse(&arguments).map(|invocation| invocation.command) {
        Ok(Command::Run(run)) => run,
        other => panic!("{line:?}: {other:?}"),
    };
    let subuid = at("%/subuid");
    let around = Around {
        default_network: "none",
        machine: holm_cli::intent::MachineDefaults::NONE,
        variable: &|name| (name == "FROM_HOST").then(|| "here".to_owned()),
        folder: PathBuf::from("/home/here"),
        container: &|name| match name {
            "db" => Ok(ContainerId::from_random(&[0xdb; 32])),
            _ => Err(Failure::new(format!("cannot find container `{name}`"))),
        },
        used_ids: &|| Ok(vec![(200_000, 65_536)]),
        subuid: Path::new(&subuid),
    };
    let identity =
        Identity { id: ContainerId::from_random(&[1; 32]), name: "web".parse().expect("name"), created_at_ns: 1 };
    let spec = container_spec(&run.container, identity, &around)?;
    let text = serde_json::to_string(&spec).expect("json").replace(&at("%"), "%");
    Ok(serde_json::from_str(&text).expect("json"))
}

/// `expected` is pairs of a JSON pointer and the value there; null means absent.
fn check(line: &str, expected: &[(&str, Value)]) {
    let words: Vec<&str> = line.split('|').collect();
    let spec = intent(&words).unwrap_or_else(|failure| panic!("{line}: {failure:?}"));
    for (pointer, value) in expected {
        assert_eq!(spec.pointer(pointer).unwrap_or(&Value::Null), value, "{line}: {pointer} in {spec:#}");
    }
}

fn refused(line: &str, flag: &str, why: &str) {
    let words: Vec<&str> = line.split('|').collect();
    let failure = intent(&words).map(|spec| spec.to_string()).expect_err(line);
    let text = failure.render(false);
    assert_eq!(failure.code, 125, "{line}: {text}");
    assert!(text.contains(flag) && text.contains(why), "{line}: {text}");
}

#[test]
fn nothing_asked_leaves_the_defaults() {
    check(
        "a",
        &[
            ("/image", json!("a")),
            ("/command", Value::Null),
            ("/entrypoint", Value::Null),
            ("/tty", json!(false)),
            ("/sandbox/network/mode", json!("none")),
            ("/sandbox/pid/mode", json!("private")),
            ("/sandbox/userns/mode", json!("host")),
            ("/security/seccomp/choice", json!("default")),
            ("/security/no_new_privileges", Value::Null),
            ("/limits", json!({})),
            ("/log/driver", json!("json-file")),
            ("/restart/name", json!("no")),
            ("/auto_remove", json!(false)),
        ],
    );
}

#[test]
fn process_flags() {
    check(
        "-it|--rm|-w|/srv|-u|1000:1000|--group-add|audio|--entrypoint|/bin/sh|--init|a|-c|x",
        &[
            ("/interactive", json!(true)),
            ("/tty", json!(true)),
            ("/auto_remove", json!(true)),
            ("/working_dir", json!("/srv")),
            ("/user", json!("1000:1000")),
            ("/group_add", json!(["audio"])),
            ("/entrypoint", json!(["/bin/sh"])),
            ("/command", json!(["-c", "x"])),
            ("/init", json!(true)),
        ],
    );
    check("--entrypoint=|a|x", &[("/entrypoint", json!([])), ("/command", json!(["x"]))]);
    check("--entrypoint|[\"a\",\"b\"]|a", &[("/entrypoint", json!(["a", "b"]))]);
    refused("-w|srv|a", "--workdir", "absolute");
    refused("-u|a:b:c|a", "--user", "USER[:GROUP]");
    refused("-u|4294967296|a", "--user", "2147483647");
}

#[test]
fn environment_and_labels() {
    check("-e|A=1|-e|FROM_HOST|-e|MISSING|-e|A=2|-e|EMPTY=|a", &[("/env", json!(["FROM_HOST=here", "A=2", "EMPTY="]))]);
    check("-e|A=flag|--env-file|%/env|a", &[("/env", json!(["B=two words ", "FROM_HOST=here", "C=a=b", "A=flag"]))]);
    check("-l|a=b=c|-l|k|--label-file|%/labels|a", &[("/labels", json!({"a": "b=c", "k": "", "x": "1", "y": ""}))]);
    check("--annotation|a=b|a", &[("/annotations", json!({"a": "b"}))]);
    refused("-e|=x|a", "--env", "needs a name");
    refused("--env-file|%/none|a", "--env-file", "cannot read the file");
    refused("--env-file|%/bad env|a", "--env-file", "white space");
    refused("-l|=x|a", "--label", "needs a name");
}

#[test]
fn volumes_in_short_form() {
    check(
        "-v|/data|a",
        &[
            ("/mounts/0/kind", json!("volume")),
            ("/mounts/0/source", json!("")),
            ("/mounts/0/destination", json!("/data")),
        ],
    );
    check(
        "-v|data:/data:ro,nocopy|a",
        &[
            ("/mounts/0/kind", json!("volume")),
            ("/mounts/0/source", json!("data")),
            ("/mounts/0/read_only", json!(true)),
            ("/mounts/0/no_copy", json!(true)),
        ],
    );
    check(
        "-v|/a/../b/:/x/./y/:rshared,z|a",
        &[
            ("/mounts/0/kind", json!("bind")),
            ("/mounts/0/source", json!("/b")),
            ("/mounts/0/destination", json!("/x/y")),
            ("/mounts/0/propagation", json!("rshared")),
            ("/mounts/0/options", json!(["z"])),
            ("/mounts/0/create_source", json!(true)),
            ("/mounts/0/read_only", json!(false)),
        ],
    );
    check("-v|./x:/y|-v|..:/z|a", &[("/mounts/0/source", json!("/home/here/x")), ("/mounts/1/source", json!("/home"))]);
    refused("-v|dir/x:/y|a", "--volume", "./dir/x");
    refused("-v|/x:y|a", "--volume", "absolute");
    refused("-v|/x:/|a", "--volume", "root");
    refused("-v|/x:/y:bogus|a", "--volume", "`bogus`");
    refused("-v|/x:ro|a", "--volume", "no source");
    refused("-v|vol:/y:rshared|a", "--volume", "host paths");
    refused("-v|/a:/y|-v|/b:/y/|a", "--volume", "mounted at `/y` already");
    refused("-v|a:b:c:d|a", "--volume", "[SOURCE:]TARGET[:OPTIONS]");
    refused("-v|:/x|a", "--volume", "empty");
}

#[test]
fn mounts_in_long_form_and_tmpfs() {
    check(
        "--mount|type=bind,src=/a,dst=/b,ro,bind-propagation=rslave|a",
        &[
            ("/mounts/0/kind", json!("bind")),
            ("/mounts/0/source", json!("/a")),
            ("/mounts/0/destination", json!("/b")),
            ("/mounts/0/read_only", json!(true)),
            ("/mounts/0/propagation", json!("rslave")),
            ("/mounts/0/create_source", json!(false)),
        ],
    );
    check(
        "--mount|\"source=/a,b\",type=bind,target=/c,readonly=false|a",
        &[("/mounts/0/source", json!("/a,b")), ("/mounts/0/read_only", json!(false))],
    );
    check(
        "--mount|source=data,target=/d,volume-nocopy,volume-subpath=x/y|a",
        &[("/mounts/0/kind", json!("volume")), ("/mounts/0/no_copy", json!(true)), ("/mounts/0/subpath", json!("x/y"))],
    );
    check(
        "--mount|type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770|a",
        &[
            ("/mounts/0/kind", json!("tmpfs")),
            ("/mounts/0/options", json!(["noexec", "nosuid", "nodev", "size=1048576", "mode=1770"])),
        ],
    );
    check(
        "--tmpfs|/run:rw,exec,size=64k|a",
        &[
            ("/mounts/0/destination", json!("/run")),
            ("/mounts/0/options", json!(["noexec", "nosuid", "nodev", "exec", "size=65536"])),
        ],
    );
    refused("--mount|type=bind,target=/b|a", "--mount", "needs a source");
    refused("--mount|type=nfs,target=/b|a", "--mount", "bind, volume or tmpfs");
    refused("--mount|type=bind,src=/a|a", "--mount", "target is missing");
    refused("--mount|type=tmpfs,src=/a,target=/b|a", "--mount", "no source");
    refused("--mount|type=bind,src=/a,dst=/b,colour=red|a", "--mount", "no key `colour`");
    refused("--mount|type=volume,src=vol,dst=/b,volume-subpath=../x|a", "--mount", "without ..");
    refused("--mount|type=bind,src=/a,dst=/b,ro=maybe|a", "--mount", "true or false");
    refused("--mount|\"type=bind|a", "--mount", "not closed");
    refused("--tmpfs|/t:colour=red|a", "--tmpfs", "`colour`");
}

#[test]
fn limits() {
    check(
        "-m|512m|--memory-swap|1g|--memory-reservation|256m|--memory-swappiness|10|--cpus|1.5|-c|512|--pids-limit|100|a",
        &[
            ("/limits/memory_bytes", json!(512 << 20)),
            ("/limits/memory_swap_bytes", json!(1 << 30)),
            ("/limits/memory_reservation_bytes", json!(256 << 20)),
            ("/limits/memory_swappiness", json!(10)),
            ("/limits/nano_cpus", json!(1_500_000_000)),
            ("/limits/cpu_shares", json!(512)),
            ("/limits/pids", json!(100)),
        ],
    );
    check(
        "--cpu-quota|50000|--cpu-period|100000|--cpuset-cpus|0-1,3|--cpuset-mems|0|--oom-score-adj|-500|--oom-kill-disable|a",
        &[
            ("/limits/cpu_quota_us", json!(50_000)),
            ("/limits/cpu_period_us", json!(100_000)),
            ("/limits/cpuset_cpus", json!("0-1,3")),
            ("/limits/oom_score_adj", json!(-500)),
            ("/limits/oom_kill_disable", json!(true)),
        ],
    );
    check(
        "--memory-swap|-1|--pids-limit|-1|--memory-swappiness|-1|a",
        &[
            ("/limits/memory_swap_bytes", json!(-1)),
            ("/limits/pids", json!(-1)),
            ("/limits/memory_swappiness", Value::Null),
        ],
    );
    check("--pids-limit|0|--cpus|0|-m|0|a", &[("/limits", json!({}))]);
    check(
        "--blkio-weight|300|--device-read-bps|/dev/sda:1mb|--device-write-iops|/dev/sda:100|--shm-size|128m|a",
        &[
            ("/limits/blkio_weight", json!(300)),
            ("/limits/device_read_bps", json!([["/dev/sda", 1 << 20]])),
            ("/limits/device_write_iops", json!([["/dev/sda", 100]])),
            ("/sandbox/shm_size_bytes", json!(128 << 20)),
        ],
    );
    check(
        "--ulimit|nofile=1024:2048|--ulimit|core=-1|--ulimit|nofile=512|a",
        &[(
            "/ulimits",
            json!([{"type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX}, {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}]),
        )],
    );
}

#[test]
fn bad_limits() {
    refused("-m|5x|a", "--memory", "5x");
    refused("-m|-5|a", "--memory", "-5");
    refused("--cpus|many|a", "--cpus", "many");
    refused("--cpus|0.001|a", "--cpus", "0.01");
    refused("--cpus|1|--cpu-quota|5000|a", "--cpus", "--cpu-quota");
    refused("--memory-swap|1g|a", "--memory-swap", "without --memory");
    refused("-m|1g|--memory-swap|512m|a", "--memory-swap", "1073741824");
    refused("-m|8m|--memory-reservation|9m|a", "--memory-reservation", "8388608");
    refused("-m|6291455b|a", "--memory", "at least 6291456 bytes");
    refused("--cpu-shares|1|a", "--cpu-shares", "262144");
    refused("--cpuset-cpus|3-1|a", "--cpuset-cpus", "ranges");
    refused("--oom-score-adj|-2000|a", "--oom-score-adj", "-1000");
    refused("--blkio-weight|5|a", "--blkio-weight", "10 to 1000");
    refused("--pids-limit|-2|a", "--pids-limit", "-1");
    refused("--memory-swappiness|101|a", "--memory-swappiness", "0 to 100");
    refused("--ulimit|nofile=2:1|a", "--ulimit", "soft limit");
    refused("--ulimit|bogus=1|a", "--ulimit", "`bogus`");
    refused("--device-read-bps|sda:1|a", "--device-read-bps", "/dev/");
}

#[test]
fn devices_and_security() {
    check(
        "--device|/dev/fuse|--device|/dev/a:/dev/b:r|--device|/dev/c:rw|--device-cgroup-rule|c 1:* rwm|a",
        &[
            ("/devices/0", json!({"host_path": "/dev/fuse", "container_path": "/dev/fuse", "permissions": "rwm"})),
            ("/devices/1", json!({"host_path": "/dev/a", "container_path": "/dev/b", "permissions": "r"})),
            ("/devices/2", json!({"host_path": "/dev/c", "container_path": "/dev/c", "permissions": "rw"})),
            ("/device_cgroup_rules", json!(["c 1:* rwm"])),
        ],
    );
    check(
        "--cap-add|net_admin,SYS_TIME|--cap-drop|ALL|--privileged|--read-only|a",
        &[
            ("/security/cap_add", json!(["CAP_NET_ADMIN", "CAP_SYS_TIME"])),
            ("/security/cap_drop", json!(["ALL"])),
            ("/security/privileged", json!(true)),
            ("/security/read_only_rootfs", json!(true)),
        ],
    );
    check(
        "--security-opt|no-new-privileges|--security-opt|seccomp=unconfined|--security-opt|apparmor=own|--security-opt|label=disable|a",
        &[
            ("/security/no_new_privileges", json!(true)),
            ("/security/seccomp/choice", json!("unconfined")),
            ("/security/apparmor", json!({"choice": "named", "value": "own"})),
            ("/security/selinux", json!(["disable"])),
        ],
    );
    check(
        "--security-opt|no-new-privileges:false|--security-opt|seccomp=%/profile.json|--security-opt|unmask=/proc/kcore:/sys/firmware|a",
        &[
            ("/security/no_new_privileges", json!(false)),
            ("/security/seccomp", json!({"choice": "named", "value": "%/profile.json"})),
            ("/security/unmask", json!(["/proc/kcore", "/sys/firmware"])),
        ],
    );
    check(
        "--security-opt|systempaths=unconfined|--security-opt|mask=/secret|a",
        &[("/security/unmask", json!(["ALL"])), ("/security/mask", json!(["/secret"]))],
    );
    refused("--device|dev/fuse|a", "--device", "absolute");
    refused("--device|/dev/a:/dev/b:x|a", "--device", "r, w and m");
    refused("--device-cgroup-rule|c 1:2|a", "--device-cgroup-rule", "MAJOR:MINOR");
    refused("--cap-add|NOPE|a", "--cap-add", "no such capability");
    refused("--security-opt|nope=1|a", "--security-opt", "`nope`");
    refused("--security-opt|seccomp=%/none.json|a", "--security-opt", "cannot read the file");
    refused("--security-opt|seccomp=%/broken.json|a", "--security-opt", "not JSON");
    refused("--security-opt|seccomp=%/list.json|a", "--security-opt", "JSON object");
}

#[test]
fn namespaces_and_network() {
    let db = "db".repeat(32);
    check(
        "--network|container:db|--pid|host|--ipc|shareable|--uts|host|--cgroupns|host|a",
        &[
            ("/sandbox/network", json!({"mode": "container", "from": db})),
            ("/sandbox/pid/mode", json!("host")),
            ("/sandbox/ipc/mode", json!("private")),
            ("/sandbox/uts/mode", json!("host")),
            ("/sandbox/cgroupns/mode", json!("host")),
        ],
    );
    check(
        "--network|none|-h|box.example|--domainname|nis|--expose|80-81/udp|--expose|7|-P|a",
        &[
            ("/sandbox/hostname", json!("box.example")),
            ("/sandbox/domainname", json!("nis")),
            ("/sandbox/exposed", json!(["80/udp", "81/udp", "7/tcp"])),
            ("/sandbox/publish_all", json!(true)),
        ],
    );
    check(
        "--net=host|--dns|1.1.1.1|--dns-search|example.com|--dns-opt|ndots:2|--add-host|db:10.0.0.7|--add-host|v6=[::1]|a",
        &[
            ("/sandbox/network/mode", json!("host")),
            ("/sandbox/dns", json!(["1.1.1.1"])),
            ("/sandbox/dns_options", json!(["ndots:2"])),
            ("/sandbox/extra_hosts", json!(["db:10.0.0.7", "v6:::1"])),
        ],
    );
    check(
        "--network|ns:/run/netns/blue|--sysctl|net.core.somaxconn=99|--cgroup-parent|/x/y|a",
        &[
            ("/sandbox/network", json!({"mode": "path", "from": "/run/netns/blue"})),
            ("/sandbox/sysctls", json!({"net.core.somaxconn": "99"})),
            ("/sandbox/cgroup_parent", json!("/x/y")),
        ],
    );
    check(
        "--userns|auto|a",
        &[("/sandbox/userns", json!({"mode": "mapped", "from": {"host_id": 265_536, "size": 65_536}}))],
    );
    check("--userns|auto:size=1000|a", &[("/sandbox/userns/from/size", json!(1000))]);
    refused("--userns|auto:size=200000|a", "--userns", "200000 free ids");
    refused("--network|web|--network|web|a", "--network", "named twice");
    refused("--network|web|--network|host|a", "--network", "together with others");
    refused("-p|80:99999|a", "--publish", "no port");
    refused("--expose|0|a", "--expose", "no port");
    refused("--network|container:db|--dns|1.1.1.1|a", "--dns", "is shared");
    refused("--pid|nope|a", "--pid", "no such mode");
    refused("-h|-x|a", "--hostname", "letters");
    refused("--dns|nope|a", "--dns", "address");
    refused("--add-host|db|a", "--add-host", "NAME:ADDRESS");
    refused("--sysctl|nope|a", "--sysctl", "KEY=VALUE");
    refused("--cgroup-parent|../x|a", "--cgroup-parent", "below");
    refused("--isolation|zone|a", "--isolation", "no such kind");
}

#[test]
fn isolation() {
    check("a", &[("/sandbox/isolation/kind", json!("container"))]);
    check(
        "--isolation|vm|--kernel|/boot/k|--accel|tcg|--machine|q35|--no-template|a",
        &[(
            "/sandbox/isolation",
            json!({"kind": "vm", "machine":
                {"kernel": "/boot/k", "accelerator": "tcg", "profile": "q35", "template": false}}),
        )],
    );
    refused("--kernel|/boot/k|a", "--kernel", "without --isolation vm");
    refused("--isolation|vm|--accel|xen|a", "--accel", "no such accelerator");
    refused("--isolation|vm|--machine|pc|a", "--machine", "no such kind");
    for (flags, flag) in [
        ("--network|host", "--network host"),
        ("--network|container:db", "a joined network"),
        ("--network|cni:x", "a CNI network"),
        ("--pid|host", "--pid"),
        ("--ipc|host", "--ipc"),
        ("--uts|host", "--uts"),
        ("--device|/dev/null", "--device"),
    ] {
        refused(&format!("--isolation|vm|{flags}|a"), flag, "with --isolation vm");
    }
}

#[test]
fn life() {
    check(
        "--restart|on-failure:3|--stop-signal|SIGQUIT|--stop-timeout|-1|--log-opt|max-size=10m|--log-opt|max-file=3|a",
        &[
            ("/restart", json!({"name": "on-failure", "maximum_retry_count": 3})),
            ("/stop_signal", json!("SIGQUIT")),
            ("/stop_timeout_s", json!(-1)),
            ("/log", json!({"driver": "json-file", "max_size_bytes": 10 << 20, "max_files": 3})),
        ],
    );
    check(
        "--health-cmd|curl -f localhost|--health-interval|5s|--health-retries|2|--health-start-period|1m|a",
        &[(
            "/healthcheck",
            json!({"Test": ["CMD-SHELL", "curl -f localhost"], "Interval": 5_000_000_000u64, "Retries": 2, "StartPeriod": 60_000_000_000u64}),
        )],
    );
    check(
        "--no-healthcheck|--log-driver|none|--rm|--restart|no|a",
        &[("/healthcheck/Test", json!(["NONE"])), ("/log/driver", json!("none"))],
    );
    refused("--restart|sometimes|a", "--restart", "no such policy");
    refused("--restart|always:3|a", "--restart", "only on-failure");
    refused("--rm|--restart|always|a", "--restart", "--rm");
    refused("--stop-signal|NOPE|a", "--stop-signal", "no such signal");
    refused("--stop-timeout|-2|a", "--stop-timeout", "-1");
    refused("--health-interval|x|a", "--health-interval", "duration");
    refused("--no-healthcheck|--health-cmd|x|a", "--no-healthcheck", "--health");
    refused("--log-driver|syslog|a", "--log-driver", "no such driver");
    refused("--log-opt|tag=x|a", "--log-opt", "`tag`");
    refused("-a|nowhere|a", "--attach", "stdin");
}
