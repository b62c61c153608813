//! Containers made for real, without control groups or filters: the lifecycle and what the program sees.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use holm_container::rootfs::Rootfs;
use holm_container::{Create, Join, Stdio};
use holm_spec::oci::runtime::{Namespace, NamespaceKind, Process};
use support::{busybox, null, pipe, run, run_in, spec, wait};

fn check(root: &Path, script: &str, expected: &str) {
    let (code, text) = run(root, &spec(&["sh", "-c", script]), false).unwrap();
    assert_eq!((code, text.as_str()), (0, expected), "{script}");
}

fn program_sees_its_own_world(root: &Path) {
    check(root, "echo $$; cat /proc/sys/kernel/hostname", "1\nbox\n");
    check(root, "ls /dev/pts /dev/null /dev/fd/0", "/dev/fd/0\n/dev/null\n\n/dev/pts:\nptmx\n");
    check(
        root,
        "cat /proc/interrupts; ls /sys/firmware; echo 1 2>/dev/null >/proc/sys/kernel/core_pattern || echo no",
        "no\n",
    );
    check(root, "cat /sys/class/net/lo/flags", "0x9\n");
    check(root, "echo x >/dev/null && cat /dev/null", "");
}

fn exit_codes_are_the_programs_or_say_why(root: &Path) {
    assert_eq!(run(root, &spec(&["sh", "-c", "exit 7"]), false).unwrap().0, 7);
    assert_eq!(run(root, &spec(&["sh", "-c", "exit 9"]), true).unwrap().0, 9);
    assert_eq!(run(root, &spec(&["nothing"]), false).unwrap_err().exit_code(), 127);
    assert_eq!(run(root, &spec(&["/nothing"]), false).unwrap_err().exit_code(), 127);
    assert_eq!(run(root, &spec(&["/etc"]), false).unwrap_err().exit_code(), 126);
}

fn init_reaps_and_ends_as_the_program(root: &Path) {
    let (code, text) = run(root, &spec(&["sh", "-c", "echo $$; (sleep 0 &); exit 3"]), true).unwrap();
    assert_eq!((code, text.trim()), (3, "2"));
}

fn cwd_through_a_descriptor_is_refused(root: &Path) {
    for n in 0..32 {
        let mut spec = spec(&["true"]);
        spec.process.as_mut().unwrap().cwd = format!("/proc/self/fd/{n}").into();
        let error = run(root, &spec, false).unwrap_err();
        assert!(error.to_string().contains("working folder"), "{n}: {error}");
    }
}

fn linked_proc_is_refused(root: &Path) {
    std::fs::remove_dir(root.join("proc")).unwrap();
    std::os::unix::fs::symlink("tmp", root.join("proc")).unwrap();
    let error = run(root, &spec(&["true"]), false).unwrap_err();
    assert!(error.to_string().contains("`/proc`"), "{error}");
    std::fs::remove_file(root.join("proc")).unwrap();
    std::fs::create_dir(root.join("proc")).unwrap();
}

fn identity_and_capabilities_are_as_planned(root: &Path) {
    let mut spec = spec(&["sh", "-c", "id -u; id -g; cat /proc/self/status"]);
    let process = spec.process.as_mut().unwrap();
    process.user.uid = 1000;
    process.user.gid = 1001;
    process.user.additional_gids = vec![1001, 5];
    process.no_new_privileges = true;
    let (_, text) = run(root, &spec, false).unwrap();
    assert!(text.starts_with("1000\n1001\n"), "{text}");
    for line in ["Groups:\t5 1001", "CapInh:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(text.contains("CapBnd:\t00000000a80425fb"), "{text}");
}

fn created_container_waits_for_start_and_exec_joins_it(root: &Path) {
    let rootfs = Rootfs::directory(root).unwrap();
    let (mut output, write) = pipe();
    let spec = spec(&["sh", "-c", "echo started; sleep 1000"]);
    let stdio = Stdio::Fds { stdin: null(), stdout: write, stderr: null() };
    let request = Create {
        id: "test",
        spec: &spec,
        bundle: None,
        rootfs: &rootfs,
        stdio,
        cgroup: None,
        seccomp: None,
        start_now: false,
        init: false,
        hold_mounts: false,
        files: Vec::new(),
    };
    let mut made = holm_container::create(request, None).unwrap();
    made.start().unwrap();
    let mut line = [0; 8];
    output.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"started\n");
    let (mut output, write) = pipe();
    let process = Process {
        args: vec![
            "sh".into(),
            "-c".into(),
            "cat /proc/sys/kernel/hostname; readlink /proc/self/exe; ps | grep -c sleep".into(),
        ],
        env: vec!["PATH=/bin".into()],
        cwd: "/tmp".into(),
        ..Process::default()
    };
    let join = Join {
        id: "test",
        init: made.pidfd.as_fd(),
        init_pid: made.pid,
        spec: &spec,
        process: &process,
        stdio: Stdio::Fds { stdin: null(), stdout: write, stderr: null() },
        cgroup: None,
        seccomp: None,
    };
    let joined = holm_container::exec(join).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("box\n/bin/busybox\n"), "{text}");
    assert_eq!(wait(&joined.pidfd), 0);
    rustix::process::pidfd_send_signal(&made.pidfd, rustix::process::Signal::KILL).unwrap();
    assert_eq!(wait(&made.pidfd), 137);
}

fn files_are_at_three_and_above_whatever_numbers_they_had(root: &Path) {
    let rootfs = Rootfs::directory(root).unwrap();
    let (mut output, write) = pipe();
    let file = |text: &str| {
        let (read, write) = pipe();
        File::from(write).write_all(text.as_bytes()).unwrap();
        OwnedFd::from(read)
    };
    // Higher numbers first, so that each lies where another one belongs or the runtime's own would be.
    let (second, first) = (file("second"), file("first "));
    let spec = spec(&["sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd | wc -l"]);
    let request = Create {
        id: "test",
        spec: &spec,
        bundle: None,
        rootfs: &rootfs,
        stdio: Stdio::Fds { stdin: null(), stdout: write, stderr: null() },
        cgroup: None,
        seccomp: None,
        start_now: true,
        init: false,
        hold_mounts: false,
        files: vec![first, second],
    };
    let made = holm_container::create(request, None).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    // The standard ones, the two, and the folder that is listed.
    assert_eq!(text, "first second6\n");
    assert_eq!(wait(&made.pidfd), 0);
}

fn terminal_is_the_containers_own(root: &Path) {
    let rootfs = Rootfs::directory(root).unwrap();
    let mut spec = spec(&["sh", "-c", "stty size; readlink /proc/self/fd/0; cat"]);
    let process = spec.process.as_mut().unwrap();
    process.terminal = true;
    process.console_size = Some(holm_spec::oci::runtime::ConsoleSize { height: 33, width: 99 });
    let request = Create {
        id: "test",
        spec: &spec,
        bundle: None,
        rootfs: &rootfs,
        stdio: Stdio::Terminal,
        cgroup: None,
        seccomp: None,
        start_now: true,
        init: false,
        hold_mounts: false,
        files: Vec::new(),
    };
    let made = holm_container::create(request, None).unwrap();
    let master = made.console.unwrap();
    rustix::io::ioctl_fionbio(&master, false).unwrap();
    let mut master = File::from(master);
    master.write_all(b"hello\n\x04").unwrap();
    let mut text = Vec::new();
    let mut part = [0; 1024];
    while let Ok(n) = master.read(&mut part) {
        if n == 0 {
            break;
        }
        text.extend_from_slice(&part[..n]);
    }
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("33 99") && text.contains("/dev/pts/0") && text.contains("hello"), "{text}");
    assert_eq!(wait(&made.pidfd), 0);
}

fn user_namespace_maps_root(root: &Path) {
    let map = [holm_spec::oci::runtime::IdMapping { container_id: 0, host_id: 100_000, size: 65_536 }];
    let mut spec = spec(&["sh", "-c", "id -u; cat /proc/self/uid_map; echo x >/dev/null"]);
    let linux = spec.linux.as_mut().unwrap();
    linux.namespaces.push(Namespace { kind: NamespaceKind::User, path: None });
    linux.uid_mappings = map.to_vec();
    linux.gid_mappings = map.to_vec();
    let (code, text) = run(root, &spec, false).unwrap();
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("0\n"), "{text}");
    assert!(text.contains("100000"), "{text}");
}

fn mapped_overlay_belongs_to_the_containers_root(root: &Path) {
    let map = [holm_spec::oci::runtime::IdMapping { container_id: 0, host_id: 200_000, size: 65_536 }];
    let users = holm_container::namespace::user_namespace(&map, &map).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
    std::fs::create_dir(&upper).unwrap();
    std::fs::create_dir(&work).unwrap();
    let at = holm_container::rootfs::Upper { upper: &upper, work: &work, volatile: true };
    let rootfs = Rootfs::overlay_mapped(&[root.to_owned()], at, users.as_fd(), (200_000, 200_000)).unwrap();
    let mut spec = spec(&["sh", "-c", "echo x >/new; ls -ln /bin/busybox /new"]);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&users));
    let user = Namespace { kind: NamespaceKind::User, path: Some(path.into()) };
    spec.linux.as_mut().unwrap().namespaces.push(user);
    let (code, text) = run_in(&rootfs, &spec, false).unwrap();
    assert_eq!(code, 0, "{text}");
    let owners: Vec<_> = text.lines().map(|l| l.split_whitespace().nth(2).unwrap_or("?")).collect();
    assert_eq!(owners, ["0", "0"], "{text}");
    let on_disk = std::fs::metadata(upper.join("new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&on_disk), 200_000);
}

/// One test, because each step forks and a fork wants a process with one thread of its own making.
#[test]
fn containers_live_as_their_bundles_say() {
    let Some(dir) = busybox() else { return };
    let root = dir.path();
    program_sees_its_own_world(root);
    exit_codes_are_the_programs_or_say_why(root);
    init_reaps_and_ends_as_the_program(root);
    cwd_through_a_descriptor_is_refused(root);
    linked_proc_is_refused(root);
    identity_and_capabilities_are_as_planned(root);
    created_container_waits_for_start_and_exec_joins_it(root);
    files_are_at_three_and_above_whatever_numbers_they_had(root);
    terminal_is_the_containers_own(root);
    user_namespace_maps_root(root);
    mapped_overlay_belongs_to_the_containers_root(root);
}
