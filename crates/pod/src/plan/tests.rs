//! Every rule of the plan, as data.

use holm_spec::container::*;
use holm_spec::oci::runtime::Process;

use super::tests_support::spec;
use super::*;

fn image() -> RunConfig {
    serde_json::from_value(serde_json::json!({
        "Entrypoint": ["/entry"], "Cmd": ["arg"], "Env": ["PATH=/image", "A=1"], "WorkingDir": "/work", "StopSignal": "SIGQUIT",
    }))
    .unwrap()
}

fn facts() -> Facts {
    Facts { user: ResolvedUser { home: "/root".into(), ..ResolvedUser::default() }, ..Facts::default() }
}

fn planned(spec: &ContainerSpec) -> Spec {
    plan(spec, &image(), &facts(), "holm/x").unwrap()
}

fn process_of(spec: &ContainerSpec) -> Process {
    planned(spec).process.unwrap()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn arguments_follow_dockers_table() {
    for (entrypoint, command, expected) in [
        (None, None, &["/entry", "arg"][..]),
        (None, Some(&["x"][..]), &["/entry", "x"]),
        (None, Some(&[]), &["/entry", "arg"]),
        (Some(&["/mine"][..]), None, &["/mine"]),
        (Some(&["/mine"]), Some(&["x"]), &["/mine", "x"]),
        (Some(&[]), Some(&["x"]), &["x"]),
        (Some(&[""]), Some(&["x"]), &["x"]),
    ] {
        let mut spec = spec();
        spec.entrypoint = entrypoint.map(words);
        spec.command = command.map(words);
        assert_eq!(process_of(&spec).args, words(expected), "{entrypoint:?} {command:?}");
    }
    let mut none = spec();
    none.entrypoint = Some(Vec::new());
    let error = plan(&none, &image(), &facts(), "holm/x").unwrap_err();
    assert_eq!(error.exit_code(), 125);
}

#[test]
fn environment_is_layered_and_image_entries_without_value_are_dropped() {
    let mut spec = spec();
    spec.env = words(&["A=2", "B=3", "TERM=mine", "=x", "GONE"]);
    spec.tty = true;
    let mut image = image();
    image.env = Some(words(&["A=1", "SECRET", "*", "GONE=1", "Z=a\0b"]));
    let env = plan(&spec, &image, &facts(), "holm/x").unwrap().process.unwrap().env;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env, words(&[path, "HOSTNAME=abababababab", "TERM=mine", "A=2", "B=3", "HOME=/root"]));
    spec.env = words(&["HOME="]);
    let home = |spec: &ContainerSpec| process_of(spec).env.into_iter().find(|e| e.starts_with("HOME="));
    assert_eq!(home(&spec).as_deref(), Some("HOME=/root"), "an empty HOME is none");
    spec.env = words(&["HOME=/mine"]);
    assert_eq!(home(&spec).as_deref(), Some("HOME=/mine"));
}

#[test]
fn working_folder_is_absolute_and_clean() {
    for (asked, expected) in
        [(None, "/work"), (Some("/a//b/../c"), "/a/c"), (Some("rel"), "/rel"), (Some("/../.."), "/")]
    {
        let mut spec = spec();
        spec.working_dir = asked.map(str::to_owned);
        assert_eq!(process_of(&spec).cwd, Path::new(expected));
    }
}

#[test]
fn rights_are_dockers_unless_asked_otherwise() {
    let process = process_of(&spec());
    let caps = process.capabilities.unwrap();
    assert_eq!((caps.bounding.len(), caps.effective.len(), caps.inheritable.len(), caps.ambient.len()), (14, 14, 0, 0));
    assert!(!process.no_new_privileges);
    let mut user = facts();
    user.user.uid = 1000;
    let caps = plan(&spec(), &image(), &user, "x/y").unwrap().process.unwrap().capabilities.unwrap();
    assert_eq!(
        (caps.bounding.len(), caps.effective.len(), caps.permitted.len()),
        (14, 0, 0),
        "as execve would leave it"
    );
    let mut asked = spec();
    asked.security.cap_drop = words(&["ALL"]);
    asked.security.cap_add = words(&["net_raw"]);
    asked.security.no_new_privileges = Some(true);
    let process = process_of(&asked);
    assert_eq!(process.capabilities.unwrap().bounding, words(&["CAP_NET_RAW"]));
    assert!(process.no_new_privileges);
    asked.security.cap_add = words(&["nonsense"]);
    assert!(plan(&asked, &image(), &facts(), "x/y").is_err());
}

#[test]
fn guarded_paths_open_only_when_asked() {
    let linux = |spec: &ContainerSpec| planned(spec).linux.unwrap();
    let default = linux(&spec());
    assert!(default.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert!(default.readonly_paths.contains(&"/proc/sys".to_owned()));
    let mut open = spec();
    open.security.unmask = words(&["/proc/kcore"]);
    open.security.mask = words(&["/mine"]);
    let open = linux(&open).masked_paths;
    assert!(!open.contains(&"/proc/kcore".to_owned()) && open.contains(&"/mine".to_owned()));
    let mut privileged = spec();
    privileged.security.privileged = true;
    let privileged = linux(&privileged);
    assert!(privileged.masked_paths.is_empty() && privileged.readonly_paths.is_empty());
    let rules = privileged.resources.unwrap().devices;
    assert!(rules.len() == 1 && rules[0].allow);
}

#[test]
fn namespaces_follow_their_modes() {
    use NamespaceKind::*;
    let kinds = |spec: &ContainerSpec| -> Vec<_> {
        planned(spec).linux.unwrap().namespaces.into_iter().map(|n| (n.kind, n.path.is_some())).collect()
    };
    let all = [(Mount, false), (Pid, false), (Ipc, false), (Uts, false), (Cgroup, false), (Network, false)];
    assert_eq!(kinds(&spec()), all);
    let mut host = spec();
    host.sandbox.network = NetworkMode::Host;
    host.sandbox.pid = NamespaceMode::Host;
    host.sandbox.uts = NamespaceMode::Path("/proc/1/ns/uts".into());
    host.sandbox.time = true;
    assert_eq!(kinds(&host), [(Mount, false), (Ipc, false), (Uts, true), (Cgroup, false), (Time, false)]);
    let mut other = spec();
    let id: holm_spec::ContainerId = "cd".repeat(32).parse().unwrap();
    other.sandbox.network = NetworkMode::Container(id.clone());
    assert!(plan(&other, &image(), &facts(), "x/y").is_err(), "it does not run");
    let mut known = facts();
    known.pids.insert(id.to_string(), 77);
    let linux = plan(&other, &image(), &known, "x/y").unwrap().linux.unwrap();
    assert!(linux.namespaces.iter().any(|n| n.path.as_deref() == Some(Path::new("/proc/77/ns/net"))));
    assert_eq!(joined_containers(&other), [&id]);
}

#[test]
fn host_name_is_the_hosts_with_its_network() {
    let mut spec = spec();
    assert_eq!(planned(&spec).hostname.as_deref(), Some("abababababab"));
    spec.sandbox.network = NetworkMode::Host;
    let mut facts = facts();
    facts.host_name = "machine".into();
    assert_eq!(plan(&spec, &image(), &facts, "x/y").unwrap().hostname.as_deref(), Some("machine"));
    spec.sandbox.hostname = Some("mine".into());
    assert_eq!(plan(&spec, &image(), &facts, "x/y").unwrap().hostname.as_deref(), Some("mine"));
}

fn mount_spec(kind: MountKind, destination: &str) -> MountSpec {
    MountSpec {
        kind,
        source: "/src".into(),
        destination: destination.into(),
        read_only: false,
        propagation: None,
        no_copy: false,
        non_recursive: false,
        create_source: false,
        subpath: None,
        options: Vec::new(),
    }
}

#[test]
fn asked_mounts_replace_defaults_and_come_in_order_of_depth() {
    let mut spec = spec();
    spec.mounts = vec![
        mount_spec(MountKind::Bind, "/a/b"),
        mount_spec(MountKind::Tmpfs, "/a"),
        mount_spec(MountKind::Bind, "/dev/shm/"),
    ];
    let mut facts = facts();
    facts.sources = vec!["/src".into(), PathBuf::new(), "/src".into()];
    let mounts = plan(&spec, &image(), &facts, "x/y").unwrap().mounts;
    let order: Vec<_> = mounts.iter().map(|m| m.destination.to_str().unwrap()).collect();
    let at = |path: &str| order.iter().position(|p| *p == path).unwrap();
    assert!(at("/a") < at("/a/b") && at("/dev") < at("/dev/shm"), "{order:?}");
    assert_eq!(order.iter().filter(|p| **p == "/dev/shm").count(), 1);
    assert_eq!(mounts[at("/dev/shm")].kind.as_deref(), Some("bind"));
    let mut over = spec.clone();
    over.mounts = vec![mount_spec(MountKind::Bind, "/dev")];
    facts.sources = vec!["/src".into()];
    let mounts = plan(&over, &image(), &facts, "x/y").unwrap().mounts;
    assert_eq!(mounts[0].destination, Path::new("/dev"), "before what lies below it");
}

#[test]
fn mount_options_follow_what_was_asked() {
    let check = |change: &dyn Fn(&mut MountSpec), kind, expected: &[&str]| {
        let mut spec = spec();
        let mut mount = mount_spec(kind, "/in");
        change(&mut mount);
        spec.mounts = vec![mount];
        let mut facts = facts();
        facts.sources = vec!["/src".into()];
        let mounts = plan(&spec, &image(), &facts, "x/y").unwrap().mounts;
        assert_eq!(mounts.last().unwrap().options, words(expected));
    };
    check(&|_| {}, MountKind::Bind, &["rbind", "rprivate", "rw"]);
    check(&|m| m.read_only = true, MountKind::Bind, &["rbind", "rprivate", "rro"]);
    check(&|m| (m.read_only, m.non_recursive) = (true, true), MountKind::Volume, &["bind", "rprivate", "ro"]);
    check(&|m| m.propagation = Some("rshared".into()), MountKind::Bind, &["rbind", "rshared", "rw"]);
    check(&|m| m.options = words(&["exec"]), MountKind::Tmpfs, &["nosuid", "nodev", "noexec", "mode=1777", "exec"]);
}

#[test]
fn mount_destinations_must_be_absolute_and_not_the_root() {
    for bad in ["relative", "/", "/..", "/a/.."] {
        let mut spec = spec();
        spec.mounts = vec![mount_spec(MountKind::Tmpfs, bad)];
        let mut facts = facts();
        facts.sources = vec![PathBuf::new()];
        assert!(plan(&spec, &image(), &facts, "x/y").is_err(), "{bad}");
    }
}

#[test]
fn limits_become_resources() {
    let mut asked = spec();
    asked.limits.memory_bytes = Some(1 << 20);
    asked.limits.nano_cpus = Some(1_500_000_000);
    asked.limits.pids = Some(7);
    let resources = planned(&asked).linux.unwrap().resources.unwrap();
    let (memory, cpu) = (resources.memory.unwrap(), resources.cpu.unwrap());
    assert_eq!((memory.limit, memory.swap), (Some(1 << 20), Some(2 << 20)), "swap is as much again");
    assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
    assert_eq!(resources.pids.unwrap().limit, 7);
    let none = planned(&spec()).linux.unwrap().resources.unwrap();
    assert!(none.memory.is_none() && none.cpu.is_none() && none.pids.is_none());
}

#[test]
fn contradicting_limits_are_refused() {
    let cases: [&dyn Fn(&mut Limits); 5] = [
        &|l| (l.memory_bytes, l.memory_swap_bytes) = (Some(2 << 20), Some(1 << 20)),
        &|l| l.memory_swap_bytes = Some(1 << 20),
        &|l| (l.nano_cpus, l.cpu_quota_us) = (Some(1), Some(1)),
        &|l| l.device_read_bps = vec![("/no/device".into(), 1)],
        &|l| l.memory_bytes = Some(u64::MAX),
    ];
    for (n, change) in cases.iter().enumerate() {
        let mut spec = spec();
        change(&mut spec.limits);
        assert!(plan(&spec, &image(), &facts(), "x/y").is_err(), "case {n}");
    }
    let mut unlimited = spec();
    (unlimited.limits.memory_bytes, unlimited.limits.memory_swap_bytes) = (Some(1 << 20), Some(-1));
    assert_eq!(planned(&unlimited).linux.unwrap().resources.unwrap().memory.unwrap().swap, Some(-1));
}

#[test]
fn device_rules_deny_first_and_take_what_was_asked() {
    let mut spec = spec();
    spec.device_cgroup_rules = words(&["c 42:* rw"]);
    let mut facts = facts();
    facts.devices = vec![HostDevice {
        kind: 'b',
        path: "/dev/disk".into(),
        major: 8,
        minor: 1,
        mode: 0o660,
        uid: 0,
        gid: 6,
        permissions: "r".into(),
    }];
    let linux = plan(&spec, &image(), &facts, "x/y").unwrap().linux.unwrap();
    let rules = linux.resources.unwrap().devices;
    assert!(!rules[0].allow && rules[1..].iter().all(|r| r.allow));
    let last = &rules[rules.len() - 1];
    assert_eq!((last.major, last.minor, last.access.as_deref()), (Some(42), None, Some("rw")));
    assert!(rules.iter().any(|r| r.major == Some(8) && r.access.as_deref() == Some("r")));
    assert_eq!((linux.devices.len(), linux.devices[0].gid), (1, Some(6)));
    for bad in ["", "c 1:3", "x 1:3 r", "c 1 r", "c 1:3 q", "c 1:-3 r", "c 1:3 r more"] {
        spec.device_cgroup_rules = words(&[bad]);
        assert!(plan(&spec, &image(), &facts, "x/y").is_err(), "{bad}");
    }
}

#[test]
fn stop_signal_is_the_specs_then_the_images() {
    let mut spec = spec();
    assert_eq!(stop_signal(&spec, &image()), 3);
    assert_eq!(stop_signal(&spec, &RunConfig::default()), 15);
    for (text, number) in [("SIGINT", 10 - 8), ("usr1", 10), ("9", 9), ("RTMIN+3", 37), ("RTMAX", 64), ("nonsense", 15)]
    {
        spec.stop_signal = Some(text.into());
        assert_eq!(stop_signal(&spec, &image()), number, "{text}");
    }
}

#[test]
fn labels_steer_nothing() {
    let mut labelled = spec();
    labelled.labels.insert("io.holm.privileged".into(), "true".into());
    assert_eq!(planned(&labelled), planned(&spec()));
}

#[test]
fn exec_takes_the_containers_environment_rights_and_folder() {
    let spec = spec();
    let running = planned(&spec);
    let asked = Process { args: words(&["x"]), env: words(&["A=9"]), terminal: true, ..Process::default() };
    let process = exec_process(&spec, &running, &asked, None, false).unwrap();
    assert_eq!(process.cwd, Path::new("/work"));
    assert!(process.env.contains(&"A=9".to_owned()) && process.env.contains(&"TERM=xterm".to_owned()));
    assert_eq!(process.capabilities.as_ref().unwrap().effective.len(), 14);
    let user = ResolvedUser { uid: 5, gid: 6, home: "/h".into(), ..ResolvedUser::default() };
    let process = exec_process(&spec, &running, &asked, Some(&user), false).unwrap();
    assert!(process.env.contains(&"HOME=/h".to_owned()) && process.capabilities.unwrap().effective.is_empty());
    assert_eq!((process.user.uid, process.user.gid), (5, 6));
    let all = exec_process(&spec, &running, &asked, None, true).unwrap();
    assert!(all.capabilities.unwrap().effective.len() > 30);
}
