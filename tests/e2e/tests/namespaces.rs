//! Namespaces and what lives in them: network, PIDs, host name, IPC, users, time, sysctls, /dev and /proc.

use holm_kit::{BUSYBOX, Leaks, Scratch};

fn own(namespace: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap().display().to_string()
}

#[test]
fn namespaces_are_new_by_default_and_the_hosts_when_asked() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for namespace in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let path = format!("/proc/self/ns/{namespace}");
        let inside = scratch.run(["--rm", "--network", "none", BUSYBOX, "readlink", &path]).ok();
        assert_ne!(inside.text(), own(namespace), "{namespace}");
    }
    for (option, namespace) in
        [("--network=host", "net"), ("--pid=host", "pid"), ("--ipc=host", "ipc"), ("--uts=host", "uts")]
    {
        let path = format!("/proc/self/ns/{namespace}");
        scratch.run(["--rm", option, BUSYBOX, "readlink", &path]).ok().says(&own(namespace));
    }
    leaks.assert_none();
}

#[test]
fn network_none_has_a_loopback_that_is_up_and_nothing_else() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script =
        "ls /sys/class/net; ping -c1 -W2 127.0.0.1 >/dev/null 2>&1; ip addr show lo | grep -c 'inet 127.0.0.1'";
    scratch.run(["--rm", "--network", "none", BUSYBOX, "sh", "-c", script]).ok().says("lo\n1");
    leaks.assert_none();
}

#[test]
fn network_that_does_not_exist_is_a_clear_error() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", "--network", "mynet", BUSYBOX, "true"]).fails(125).complains("mynet");
    leaks.assert_none();
}

#[test]
fn namespaces_of_another_container_are_joined() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("host", &["--network", "none", "--ipc", "shareable"], &["sleep", "1000"]);
    let inside = |namespace: &str| {
        let path = format!("/proc/self/ns/{namespace}");
        scratch.holm(["exec", "host", "readlink", &path]).ok().text().to_owned()
    };
    for (option, namespace) in [("--network", "net"), ("--pid", "pid"), ("--ipc", "ipc")] {
        let expected = inside(namespace);
        let option = format!("{option}=container:host");
        let path = format!("/proc/self/ns/{namespace}");
        scratch.run(["--rm", &option, BUSYBOX, "readlink", &path]).ok().says(&expected);
    }
    scratch.run(["--rm", "--pid=container:host", BUSYBOX, "ps"]).ok().mentions("sleep 1000");
    scratch.run(["--rm", "--network=container:absent", BUSYBOX, "true"]).fails(125).complains("absent");
    scratch.holm(["rm", "-f", "host"]).ok();
    scratch.run(["--name", "x", "--network=container:host", BUSYBOX, "true"]).fails(125);
    scratch.holm(["rm", "-f", "x"]).run();
    leaks.assert_none();
}

#[test]
fn user_namespace_maps_root_to_another_id() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "cat /proc/self/uid_map; id -u; touch /made && stat -c %u /made /bin/busybox";
    // The machine's own /etc/subuid and /etc/subgid stay as they are: the command sees others.
    let ids = scratch.write("subid", "holm:2147483648:1073741824\n");
    let ids = ids.display();
    let cover = format!("mount --bind {ids} /etc/subuid && mount --bind {ids} /etc/subgid && exec \"$@\"");
    let line = scratch.run(["--rm", "--userns", "auto", BUSYBOX, "sh", "-c", script]);
    let output = line.through(["unshare", "--mount", "sh", "-c", &cover, "sh"]).ok();
    let words: Vec<_> = output.text().split_whitespace().collect();
    assert_eq!(words[0], "0", "{output}");
    assert_ne!(words[1], "0", "{output}");
    assert_eq!(&words[3..], ["0", "0", "0"], "{output}");
    leaks.assert_none();
}

#[test]
fn sysctls_of_own_namespaces_only() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let read = ["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"];
    let options = ["--rm", "--network=none", "--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096"];
    scratch.run(options).arg(BUSYBOX).args(read).ok().says("1\n4096");
    scratch.run(["--rm", "--sysctl", "kernel.panic=7", BUSYBOX, "true"]).fails(125).complains("kernel.panic");
    let output = scratch.run(["--rm", "--network=host", "--sysctl", "net.ipv4.ip_forward=1", BUSYBOX, "true"]).run();
    assert_eq!(output.exit_code(), 125, "{output}");
    leaks.assert_none();
}

#[test]
fn devices_are_the_usual_ones_and_those_asked_for() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
                  head -c 4 /dev/zero | wc -c; test -d /dev/pts -a -d /dev/shm -a -L /dev/fd -a -L /dev/ptmx && echo ok; \
                  stat -c %a /dev/shm /dev/null; ls /dev | wc -l";
    let output = scratch.sh(script).ok();
    assert!(output.text().starts_with("4\nok\n1777\n666\n"), "{output}");
    let count: u32 = output.text().lines().last().unwrap().parse().unwrap();
    assert!(count < 25, "{output}");
    let device = ["--rm", "--device", "/dev/full:/dev/brim:r", BUSYBOX, "sh", "-c"];
    let script = "head -c 1 /dev/brim | wc -c; (echo x > /dev/brim) 2>/dev/null || echo denied";
    scratch.run(device).arg(script).ok().says("1\ndenied");
    scratch.run(["--rm", "--device", "/dev/no-such", BUSYBOX, "true"]).fails(125).complains("/dev/no-such");
    leaks.assert_none();
}

#[test]
fn shm_hosts_and_resolver_follow_their_flags() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    scratch.sh(script).ok().says("65536");
    scratch.run(["--rm", "--shm-size", "8m", BUSYBOX, "sh", "-c", script]).ok().says("8192");
    let options =
        ["--rm", "--add-host", "far.example:192.0.2.7", "--dns", "192.0.2.53", "--dns-search", "isle.example"];
    let output = scratch.run(options).args([BUSYBOX, "cat", "/etc/hosts", "/etc/resolv.conf"]).ok();
    let output = output.mentions("192.0.2.7").mentions("far.example").mentions("127.0.0.1");
    output.mentions("nameserver 192.0.2.53").mentions("search isle.example");
    leaks.assert_none();
}

#[test]
fn root_is_read_only_when_asked_and_tmpfs_stays_writable() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "touch /x 2>/dev/null || echo refused; touch /run/x && echo written; touch /dev/shm/x && echo shm";
    scratch
        .run(["--rm", "--read-only", "--tmpfs", "/run", BUSYBOX, "sh", "-c", script])
        .ok()
        .says("refused\nwritten\nshm");
    scratch.sh("touch /x && echo written").ok().says("written");
    leaks.assert_none();
}
