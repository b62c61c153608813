//! Users, groups, capabilities: who the program is inside.

use holm_kit::{BUSYBOX, Leaks, Scratch};

/// The `Cap` lines of a process's status as `name=hex`.
const CAPS: &str = "grep ^Cap /proc/self/status | tr -d '\\t' | tr '\\n' ' '";

#[test]
fn user_by_name_number_and_group_is_resolved_in_the_image() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let ids = "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' ')";
    let check = |user: &str, expected: &str| {
        scratch.run(["--rm", "-u", user, BUSYBOX, "sh", "-c", ids]).ok().says(expected);
    };
    check("root", "0 0 0");
    check("app", "1000 1000 29 1000 2000");
    check("1000", "1000 1000 29 1000 2000");
    check("app:audio", "1000 29 29");
    check("app:2000", "1000 2000 2000");
    check("12345", "12345 0 0");
    check("12345:54321", "12345 54321 54321");
    scratch
        .run(["--rm", "-u", "12345:54321", "--group-add", "audio", "--group-add", "77", BUSYBOX, "sh", "-c", ids])
        .ok()
        .says("12345 54321 29 77 54321");
    leaks.assert_none();
}

#[test]
fn user_that_is_no_user_is_refused() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    for user in ["nobody-here", "4294967296", "-1", "0x0", "app:nope", "99999999999999999999", "a:b:c", "1000:-5"] {
        let output = scratch.run(["--rm", &format!("--user={user}"), BUSYBOX, "id", "-u"]).run().calm();
        assert!(matches!(output.exit_code(), 125 | 126), "user {user}: {output}");
        assert_eq!(output.text(), "", "user {user}: {output}");
    }
    leaks.assert_none();
}

#[test]
fn home_is_that_of_the_user_in_the_image() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", "-u", "app", BUSYBOX, "sh", "-c", "echo $HOME"]).ok().says("/home/app");
    scratch.run(["--rm", "-u", "12345", BUSYBOX, "sh", "-c", "echo $HOME"]).ok().says("/");
    scratch.run(["--rm", "-u", "app", "-e", "HOME=/x", BUSYBOX, "sh", "-c", "echo $HOME"]).ok().says("/x");
    leaks.assert_none();
}

#[test]
fn capabilities_are_few_and_never_inheritable() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let root = scratch.sh(CAPS).ok();
    let set = |line: &str, name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(&format!("{name}:")).map(str::to_owned));
        u64::from_str_radix(word.unwrap_or_default().trim(), 16).unwrap_or_else(|_| panic!("{name} in {line}"))
    };
    assert_eq!(set(root.text(), "CapInh"), 0);
    assert_eq!(set(root.text(), "CapAmb"), 0);
    let bounding = set(root.text(), "CapBnd");
    assert_eq!(bounding, set(root.text(), "CapEff"));
    for (number, name) in
        [(21, "SYS_ADMIN"), (16, "SYS_MODULE"), (19, "SYS_PTRACE"), (12, "NET_ADMIN"), (25, "SYS_TIME")]
    {
        assert_eq!(bounding >> number & 1, 0, "CAP_{name} in {root}");
    }
    for (number, name) in [(0, "CHOWN"), (6, "SETGID"), (7, "SETUID"), (5, "KILL"), (10, "NET_BIND_SERVICE")] {
        assert_eq!(bounding >> number & 1, 1, "no CAP_{name} in {root}");
    }
    let user = scratch.run(["--rm", "-u", "app", BUSYBOX, "sh", "-c", CAPS]).ok();
    assert_eq!((set(user.text(), "CapEff"), set(user.text(), "CapInh")), (0, 0), "{user}");
    leaks.assert_none();
}

#[test]
fn capabilities_follow_add_drop_and_privileged() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let effective = |options: &[&str]| {
        let script = "grep ^CapEff /proc/self/status | cut -f2";
        let output = scratch.run(["--rm"]).args(options).args([BUSYBOX, "sh", "-c", script]).ok();
        u64::from_str_radix(output.text(), 16).unwrap()
    };
    let usual = effective(&[]);
    assert_eq!(effective(&["--cap-drop", "ALL"]), 0);
    assert_eq!(effective(&["--cap-drop", "ALL", "--cap-add", "CHOWN"]), 1);
    assert_eq!(effective(&["--cap-drop", "cap_chown"]), usual & !1);
    assert_eq!(effective(&["--cap-add", "SYS_TIME"]), usual | 1 << 25);
    let all = effective(&["--privileged"]);
    assert!(all & usual == usual && all >> 21 & 1 == 1, "{all:x}");
    let output = scratch.run(["--rm", "--cap-add", "NO_SUCH", BUSYBOX, "true"]).run();
    assert_eq!(output.exit_code(), 125, "{output}");
    leaks.assert_none();
}

#[test]
fn seccomp_is_on_by_default_and_no_new_privileges_when_asked() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2 | tr '\\n' ' '";
    scratch.sh(script).ok().says("0 2");
    scratch.run(["--rm", "--security-opt", "seccomp=unconfined", BUSYBOX, "sh", "-c", script]).ok().says("0 0");
    let options = ["--rm", "--security-opt", "no-new-privileges", BUSYBOX, "sh", "-c", script];
    scratch.run(options).ok().says("1 2");
    leaks.assert_none();
}
