//! Limits on control groups v2, as the kernel keeps them.

use holm_kit::{BUSYBOX, Machine};

use crate::{control, detached, inspect};

const FILES: [&str; 9] = [
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "cpu.max",
    "cpu.weight",
    "pids.max",
    "cpuset.cpus.effective",
    "io.max",
    "io.weight",
];

pub fn reach_the_files_and_update_changes_them(machine: &mut Machine) {
    let memory = "--memory 64m --memory-swap 96m --memory-reservation 32m";
    let cpu = "--cpus 0.5 --cpu-shares 512 --cpuset-cpus 1 --pids-limit 33";
    let io = "--device-read-bps /dev/vda:1mb --device-write-iops /dev/vda:77 --blkio-weight 300";
    detached(machine, "box", &format!("{memory} {cpu} {io}"), "sleep 1000");
    let throttle = "254:0 rbps=1048576 wbps=max riops=max wiops=77";
    let before = ["67108864", "33554432", "33554432", "50000 100000", "59", "33", "1", throttle, "default 2930"];
    assert_eq!(control(machine, "box", &FILES), before);
    let memory = "--memory 96m --memory-swap 192m --memory-reservation 48m";
    machine
        .run(format!(
            "holm update {memory} --cpus 0.25 --cpu-shares 1024 --cpuset-cpus 0 --pids-limit 44 --blkio-weight 500 box"
        ))
        .ok();
    let after = ["100663296", "100663296", "50331648", "25000 100000", "100", "44", "0", throttle, "default 4950"];
    assert_eq!(control(machine, "box", &FILES), after);
    machine.run("holm update --memory-swap -1 --pids-limit -1 box").ok();
    assert_eq!(control(machine, "box", &["memory.max", "memory.swap.max", "pids.max"]), ["100663296", "max", "max"]);
    machine.run("holm update --memory 1k box").code(125);
    machine.run("holm rm -f box").ok();
}

pub fn hold(machine: &mut Machine) {
    detached(machine, "busy", "--cpus 0.1", "sh -c 'while :; do :; done'");
    let group = inspect(machine, "busy", "{{.State.CgroupPath}}");
    machine.wait_until_says(&format!("grep -c '^nr_throttled [1-9]' /sys/fs/cgroup/{group}/cpu.stat"), "1");
    machine.run("holm rm -f busy").ok();
    let bomb = "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done";
    detached(machine, "bomb", "--pids-limit 20", &format!("sh -c '{bomb}'"));
    machine.wait_until_says("holm inspect -f '{{.State.Status}}' bomb", "exited");
    let log = machine.run("holm logs bomb").ok();
    assert!(log.stderr.contains("can't fork"), "{log}");
    machine.run("holm rm bomb").ok();
    let script = "grep Cpus_allowed_list /proc/self/status | cut -f2";
    machine.run(format!("holm run --rm --network none --cpuset-cpus 1 {BUSYBOX} sh -c '{script}'")).ok().says("1");
}

pub fn out_of_memory_is_reported(machine: &mut Machine) {
    let options = "--network none --memory 16m --memory-swap 16m";
    machine.run(format!("holm run --name hog {options} {BUSYBOX} sh -c 'exec tail /dev/zero'")).code(137);
    assert_eq!(inspect(machine, "hog", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    machine.run(format!("holm run --name calm {options} {BUSYBOX} true")).ok();
    assert_eq!(inspect(machine, "calm", "{{.State.OOMKilled}}"), "false");
    machine
        .run("holm events --since 10m --until 0s --filter event=oom --format '{{.Actor.Attributes.name}}'")
        .ok()
        .says("hog");
    machine.run("holm rm hog calm").ok();
}

pub fn stats_are_those_of_the_group(machine: &mut Machine) {
    let script = "dd if=/dev/disk of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null; touch /ready; sleep 1000";
    detached(machine, "read", "--memory 48m --device /dev/vda:/dev/disk:r", &format!("sh -c '{script}'"));
    machine.wait_until_says("holm exec read ls /ready 2>/dev/null", "/ready");
    let format = "{{.PIDs}} {{.MemUsage}} {{.BlockIO}}";
    let stats = machine.says(format!("holm stats --no-stream --format '{format}' read"));
    let words: Vec<&str> = stats.split(' ').collect();
    assert_eq!((words[0], words[3]), ("1", "48MiB"), "{stats}");
    assert!(words[1] != "0B" && words[4].starts_with("1.0"), "{stats}");
    assert!(words[4].ends_with("MB"), "{stats}");
    machine.run("holm rm -f read").ok();
}

pub fn group_inside_is_the_container_s_own(machine: &mut Machine) {
    let script = "cat /proc/self/cgroup /sys/fs/cgroup/memory.max; echo 1 >/sys/fs/cgroup/pids.max";
    let output = machine.run(format!("holm run --rm --network none --memory 40m {BUSYBOX} sh -c '{script}'"));
    output.code(1).says("0::/\n41943040");
    let parent = "--cgroup-parent /deep/er";
    machine.run(format!("holm run --rm --network none {parent} --memory 40m {BUSYBOX} true")).ok();
    machine.run("rmdir /sys/fs/cgroup/deep/er /sys/fs/cgroup/deep").ok();
}
