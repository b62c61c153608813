//! Limits: what the kernel is told, and what happens at them.

use holm_kit::{BUSYBOX, Leaks, Scratch, read_limit};

/// The value of a control file of a running container.
fn limit(scratch: &Scratch, name: &str, files: &[&str]) -> String {
    let id = scratch.inspect(name, "{{.Id}}");
    let group = format!("{}/{id}", scratch.cgroup());
    read_limit(&group, files).unwrap_or_else(|| panic!("none of {files:?} in {group}"))
}

#[test]
fn limits_reach_the_control_groups_and_update_changes_them() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let options = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "33", "--cpu-shares", "512"];
    scratch.detached("box", &options, &["sleep", "1000"]);
    assert_eq!(limit(&scratch, "box", &["memory.limit_in_bytes", "memory.max"]), "67108864");
    assert!(["50000", "50000 100000"].contains(&&*limit(&scratch, "box", &["cpu.cfs_quota_us", "cpu.max"])));
    assert_eq!(limit(&scratch, "box", &["pids.max"]), "33");
    scratch
        .holm(["update", "--memory", "96m", "--memory-swap", "192m", "--cpus", "0.25", "--pids-limit", "44", "box"])
        .ok();
    assert_eq!(limit(&scratch, "box", &["memory.limit_in_bytes", "memory.max"]), "100663296");
    assert!(["25000", "25000 100000"].contains(&&*limit(&scratch, "box", &["cpu.cfs_quota_us", "cpu.max"])));
    assert_eq!(limit(&scratch, "box", &["pids.max"]), "44");
    assert_eq!(scratch.inspect("box", "{{.HostConfig.Memory}}"), "100663296");
    scratch.holm(["restart", "-t", "0", "box"]).ok();
    assert_eq!(limit(&scratch, "box", &["pids.max"]), "44", "a restart forgot the update");
    scratch.holm(["rm", "-f", "box"]).ok();
    leaks.assert_none();
}

#[test]
fn out_of_memory_is_reported_as_such() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let hog = "exec tail /dev/zero";
    scratch.run(["--name", "hog", "--memory", "16m", "--memory-swap", "16m", BUSYBOX, "sh", "-c", hog]).fails(137);
    assert_eq!(scratch.inspect("hog", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    scratch.run(["--name", "calm", "--memory", "16m", BUSYBOX, "true"]).ok();
    assert_eq!(scratch.inspect("calm", "{{.State.OOMKilled}}"), "false");
    scratch.holm(["rm", "hog", "calm"]).ok();
    leaks.assert_none();
}

#[test]
fn smallest_memory_limit_still_starts_a_program() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", "--memory", "6m", BUSYBOX, "echo", "small"]).ok().says("small");
    leaks.assert_none();
}

#[test]
fn process_limit_stops_a_fork_bomb() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "i=0; while [ $i -lt 50 ]; do sleep 100 & i=$((i+1)); done 2>/dev/null; ls /proc | grep -c '^[0-9]'";
    let output = scratch.run(["--rm", "--pids-limit", "20", BUSYBOX, "sh", "-c", script]).run();
    let most: u32 = output.text().lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
    assert!(most <= 20, "{output}");
    leaks.assert_none();
}

#[test]
fn resource_limits_of_the_process_are_set() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "ulimit -n; ulimit -Hn; ulimit -c";
    scratch
        .run(["--rm", "--ulimit", "nofile=100:200", "--ulimit", "core=0", BUSYBOX, "sh", "-c", script])
        .ok()
        .says("100\n200\n0");
    scratch.run(["--rm", "--oom-score-adj", "500", BUSYBOX, "cat", "/proc/self/oom_score_adj"]).ok().says("500");
    for wrong in ["nofile=200:100", "nofile", "nonsense=1", "nofile=x"] {
        let output = scratch.run(["--rm", "--ulimit", wrong, BUSYBOX, "true"]).run().calm();
        assert!(matches!(output.exit_code(), 2 | 125), "{wrong}: {output}");
    }
    leaks.assert_none();
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let wrong: [&[&str]; 9] = [
        &["--memory=1k"],
        &["--memory=-5"],
        &["--memory=12x"],
        &["--cpus=-1"],
        &["--cpus=abc"],
        &["--cpus=99999"],
        &["--pids-limit=x"],
        &["--cpuset-cpus=999"],
        &["--memory=64m", "--memory-swap=1m"],
    ];
    for options in wrong {
        let output = scratch.run(["--rm"]).args(options).args([BUSYBOX, "true"]).run().calm();
        assert!(matches!(output.exit_code(), 2 | 125), "{options:?}: {output}");
    }
    leaks.assert_none();
}

#[test]
fn affinity_is_that_of_the_cpuset_not_of_the_command() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let script = "grep Cpus_allowed_list /proc/self/status | cut -f2";
    scratch.run(["--rm", "--cpuset-cpus", "0", BUSYBOX, "sh", "-c", script]).ok().says("0");
    leaks.assert_none();
}

/// What ran out is a group above the container's; it is its own processes that the kernel kills.
#[test]
fn out_of_memory_of_a_parent_group_is_reported_too() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let set = |file: &str| {
        let folders = holm_kit::controllers().into_iter().map(|(point, _)| point);
        let path = folders.map(|point| point.join(scratch.cgroup().trim_start_matches('/')).join(file));
        path.filter(|path| path.exists()).for_each(|path| std::fs::write(path, "16777216").unwrap());
    };
    scratch.detached("other", &[], &["sleep", "1000"]);
    set("memory.limit_in_bytes");
    set("memory.max");
    let hog = "exec tail /dev/zero";
    scratch.run(["--name", "hog", "--oom-score-adj", "1000", BUSYBOX, "sh", "-c", hog]).fails(137);
    assert_eq!(scratch.inspect("hog", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    let events = scratch.holm(["events", "--since", "1h", "--until", "0s", "--filter", "event=oom"]).ok();
    assert_eq!(events.text().lines().count(), 1, "{events}");
    scratch.holm(["rm", "-f", "hog", "other"]).ok();
    leaks.assert_none();
}
