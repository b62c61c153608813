//! Attacks on the kernel and the runtime from inside: forbidden calls, devices, /proc, the runtime's own executable.

use std::path::PathBuf;
use std::sync::OnceLock;

use holm_kit::{BUSYBOX, Holm, Leaks, Scratch, holm_binary, sha256};

use crate::probe::built;

/// The attacker's program, static, as a path on the host.
pub fn probe() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("probe")).clone()
}

fn with_probe() -> String {
    format!("{}:/probe:ro", probe().display())
}

#[test]
fn calls_that_break_out_are_refused() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let output = scratch.run(["--rm", "-v", &with_probe(), BUSYBOX, "/probe", "calls"]).ok();
    let allowed: Vec<_> = output.text().lines().filter(|line| line.ends_with("=ALLOWED")).collect();
    assert_eq!(allowed, ["getpid=ALLOWED"], "{output}");
    assert!(output.stdout.contains("unknown=ENOSYS"), "{output}");
    leaks.assert_none();
}

#[test]
fn calls_stay_refused_in_an_exec_and_for_other_users() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("c", &["-v", &with_probe()], &["sleep", "1000"]);
    for user in ["root", "app"] {
        let output = scratch.holm(["exec", "-u", user, "c", "/probe", "calls"]).ok();
        assert_eq!(output.text().matches("=ALLOWED").count(), 1, "{output}");
    }
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}

#[test]
fn proc_and_sys_are_masked_and_read_only() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let refused = |script: &str| {
        let script = format!("({script}) 2>/dev/null && echo ALLOWED || echo refused");
        scratch.sh(&script).ok().says("refused");
    };
    refused("echo h > /proc/sysrq-trigger");
    refused("echo x > /proc/sys/kernel/core_pattern");
    refused("echo 1 > /proc/sys/kernel/panic");
    refused("echo 1 > /sys/kernel/mm/ksm/run");
    refused("mkdir /sys/fs/cgroup/x");
    refused("mount -o remount,rw /sys");
    refused("mount -t cgroup none /tmp");
    refused("mount -t proc none /tmp");
    refused("umount /proc/kcore");
    refused("chroot / mknod /tmp/disk b 8 0 && head -c1 /tmp/disk");
    refused("ls /proc/acpi/* /proc/scsi/* /sys/firmware/* | grep .");
    let script = "for f in kcore keys timer_list interrupts latency_stats sched_debug; do \
                  test -e /proc/$f && head -c 1 /proc/$f; done | wc -c";
    scratch.sh(script).ok().says("0");
    scratch.sh("find / -xdev -name release_agent; find /sys /proc -maxdepth 4 -name release_agent").ok().says("");
    leaks.assert_none();
}

#[test]
fn devices_of_the_host_stay_closed_even_with_mknod() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let disk = "mknod /tmp/d b $(cat /sys/class/block/*/dev | head -n 1 | tr : ' ') 2>/dev/null; \
                head -c 1 /tmp/d >/dev/null 2>&1 && echo READ || echo refused";
    scratch.sh(disk).ok().says("refused");
    scratch.run(["--rm", "--cap-add", "MKNOD", BUSYBOX, "sh", "-c", disk]).ok().says("refused");
    let memory = "mknod /tmp/m c 1 1 2>/dev/null; head -c 1 /tmp/m >/dev/null 2>&1 && echo READ || echo refused";
    scratch.run(["--rm", "--cap-add", "MKNOD", BUSYBOX, "sh", "-c", memory]).ok().says("refused");
    leaks.assert_none();
}

#[test]
fn runtime_cannot_be_overwritten_through_its_executable() {
    let scratch = Scratch::with_busybox();
    let copy = scratch.path().join("holm-copy");
    std::fs::copy(holm_binary(), &copy).unwrap();
    let before = sha256(&std::fs::read(&copy).unwrap());
    let holm = |args: &[&str]| {
        let mut line = Holm::program(&copy).args(args);
        line = line.env("HOLM_DATA_ROOT", scratch.data_root()).env("HOLM_RUN_ROOT", scratch.run_root());
        line.env("HOME", scratch.path()).env("HOLM_NETWORK", "none")
    };
    let leaks = Leaks::before(&scratch);
    let prepare = "printf '#!/proc/self/exe\\n' > /bin/trap; chmod 755 /bin/trap; echo ready; exec /probe exe 4";
    let mount = with_probe();
    let group = scratch.cgroup();
    for options in [&[][..], &["--privileged"][..]] {
        let line = ["run", "--rm", "--cgroup-parent", group, "--name", "thief", "-v", &mount];
        let mut thief = holm(&[&line[..], options, &[BUSYBOX, "sh", "-c", prepare]].concat()).start();
        thief.read_until("ready");
        for _ in 0..40 {
            let output = holm(&["exec", "thief", "/bin/trap"]).run().calm();
            if output.stderr.contains("no such container") || output.stderr.contains("not running") {
                break;
            }
            holm(&["exec", "thief", "true"]).run();
        }
        let output = thief.finish();
        assert!(output.stdout.contains("wrote=0"), "{options:?}: {output}");
        assert_eq!(sha256(&std::fs::read(&copy).unwrap()), before, "{options:?}: the runtime was overwritten");
    }
    holm(&["run", "--rm", "--cgroup-parent", group, "--entrypoint", "/proc/self/exe", BUSYBOX, "--version"])
        .run()
        .calm();
    assert_eq!(sha256(&std::fs::read(&copy).unwrap()), before);
    leaks.assert_none();
}

#[test]
fn no_descriptor_of_the_command_or_supervisor_comes_inside() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let count = |output: &holm_kit::Output| output.text().lines().count();
    let script = "exec 7</ 8</etc 9</proc 33</tmp; exec \"$@\"";
    let with_extra = |line: Holm| line.through(["bash", "-c", script, "bash"]);
    let output = with_extra(scratch.run(["--rm", "-v", &with_probe(), BUSYBOX, "/probe", "fds"])).ok();
    assert_eq!(count(&output), 3, "{output}");
    with_extra(scratch.run(["-d", "--name", "c", "-v", &with_probe(), BUSYBOX, "sleep", "1000"])).ok();
    let output = with_extra(scratch.holm(["exec", "c", "/probe", "fds"])).ok();
    assert_eq!(count(&output), 3, "{output}");
    let output = scratch.holm(["exec", "-t", "c", "/probe", "fds"]).ok();
    assert_eq!(count(&output), 3, "{output}");
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}

#[test]
fn working_folder_through_a_descriptor_never_leads_outside() {
    let scratch = Scratch::with_busybox();
    scratch.write("canary", "of the host");
    let leaks = Leaks::before(&scratch);
    let up = "../".repeat(12);
    let script = format!(
        "cat ./{up}{} 2>/dev/null && echo ESCAPED; true",
        &scratch.path().join("canary").display().to_string()[1..]
    );
    scratch.detached("c", &[], &["sleep", "1000"]);
    for number in 3..24 {
        for folder in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../..")] {
            let run = scratch.run(["--rm", "-w", &folder, BUSYBOX, "sh", "-c", &script]).run().calm();
            assert!(!run.stdout.contains("ESCAPED"), "{run}");
            let exec = scratch.holm(["exec", "-w", &folder, "c", "sh", "-c", &script]).run().calm();
            assert!(!exec.stdout.contains("ESCAPED"), "{exec}");
        }
    }
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}

#[test]
fn state_is_private_to_root_and_no_socket_is_abstract() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("c", &["--network", "host"], &["sleep", "1000"]);
    for root in [scratch.data_root(), scratch.run_root()] {
        let mode = std::fs::metadata(&root).unwrap().permissions().mode();
        assert_eq!(mode & 0o077 & !0o011, 0, "{}: {mode:o}", root.display());
    }
    for folder in ["data/containers", "run/containers"].map(|name| scratch.path().join(name)) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", entry.path().display());
        }
    }
    let sockets = scratch.holm(["exec", "c", "cat", "/proc/net/unix"]).ok();
    assert!(!sockets.stdout.lines().any(|line| line.contains(" @") && line.contains("holm")), "{sockets}");
    scratch.holm(["rm", "-f", "c"]).ok();
    leaks.assert_none();
}
