//! Many containers on one network at once, and kills at many points: no address twice, nothing left.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use holm_kit::{BUSYBOX, Holm, NetHost, Scratch};

/// Addresses, endpoints and networks that are up, as they stand on disk.
fn records(scratch: &Scratch) -> Vec<String> {
    let mut found = Vec::new();
    let live = scratch.run_root().join("network/live");
    for network in std::fs::read_dir(live).into_iter().flatten().flatten() {
        for part in ["addresses", "endpoints"] {
            let entries = std::fs::read_dir(network.path().join(part)).into_iter().flatten().flatten();
            let names = entries.map(|e| e.file_name().to_string_lossy().into_owned()).filter(|n| !n.starts_with('.'));
            found.extend(names.map(|name| format!("{part} {name}")));
        }
    }
    found
}

#[test]
fn five_hundred_containers_at_once_have_five_hundred_addresses_and_leave_nothing() {
    let _turn = crate::alone();
    const COUNT: usize = 500;
    const AT_ONCE: usize = 50;
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    scratch.holm(["network", "create", "--subnet", "10.9.0.0/22", "many"]).ok();
    let names: Vec<String> = (0..COUNT).map(|at| format!("c{at}")).collect();
    let start = Instant::now();
    for some in names.chunks(AT_ONCE) {
        let run = |name: &String| {
            let options = ["-d", "--name", name, "--network", "many", "--stop-timeout", "0", BUSYBOX, "sleep", "10000"];
            scratch.run(options).limit(Duration::from_secs(180)).start()
        };
        let running: Vec<_> = some.iter().map(run).collect();
        running.into_iter().for_each(|run| drop(run.finish().ok()));
    }
    let up = start.elapsed();
    let addresses =
        scratch.holm(["inspect", "--format", "{{.NetworkSettings.Networks.many.IPAddress}}"]).args(&names).ok();
    let different: BTreeSet<&str> = addresses.text().lines().collect();
    assert_eq!(different.len(), COUNT, "addresses given twice");
    let ports = host.command("nft", ["list", "set", "bridge", "holm", "sender4"]).ok();
    assert_eq!(ports.stdout.matches("10.9.").count(), COUNT);
    let start = Instant::now();
    for some in names.chunks(AT_ONCE) {
        let rm = |names: &[String]| scratch.holm(["rm", "-f"]).args(names).limit(Duration::from_secs(180)).start();
        let running: Vec<_> = some.chunks(5).map(rm).collect();
        running.into_iter().for_each(|run| drop(run.finish().ok()));
    }
    let _ = writeln!(std::io::stderr(), "{COUNT} containers on a network: up in {up:?}, gone in {:?}", start.elapsed());
    assert_eq!(records(&scratch), Vec::<String>::new());
    host.assert_clean();
    // Its record goes last.
    let record = scratch.run_root().join("network/live/many");
    holm_kit::wait_until("the network's record is gone", Duration::from_secs(5), || !record.exists());
}

#[test]
fn kills_at_many_points_leave_no_address_link_or_rule() {
    let _turn = crate::alone();
    const POINTS: u32 = 40;
    let host = NetHost::new();
    let scratch = Scratch::on(&host);
    scratch.holm(["network", "create", "net"]).ok();
    let run = || {
        scratch.run([
            "-d",
            "--name",
            "c",
            "--network",
            "net",
            "-p",
            "8080:80",
            "--stop-timeout",
            "0",
            BUSYBOX,
            "sleep",
            "1000",
        ])
    };
    let whole = run().ok().elapsed;
    let check = |what: &str| {
        scratch.holm(["ps", "-a"]).ok();
        let output = scratch.holm(["rm", "-f", "c"]).run().calm();
        assert!(output.exit_code() == 0 || output.stderr.contains("cannot find"), "{what}: {output}");
        let start = Instant::now();
        while !records(&scratch).is_empty() && start.elapsed() < Duration::from_secs(5) {
            scratch.holm(["ps", "-a"]).ok();
        }
        assert_eq!(records(&scratch), Vec::<String>::new(), "{what}");
    };
    check("whole");
    for point in 0..POINTS {
        let delay = whole * point / (POINTS - 4);
        let running = run().start();
        let start = Instant::now();
        while start.elapsed() < delay {
            std::hint::spin_loop();
        }
        // The command's whole tree: the supervisor and the keeper that it may have made are killed too at every other point.
        if point % 2 == 0 {
            running.signal(9);
        } else {
            kill_all(&scratch);
        }
        running.finish();
        check(&format!("killed after {delay:?} of {whole:?}"));
    }
    host.assert_clean();
}

/// Kills every process of Holm's on these roots.
fn kill_all(scratch: &Scratch) {
    let root = scratch.path().display().to_string();
    let found = Holm::program("pgrep").args(["-f", &format!("{root}|{}", scratch.cgroup())]).run();
    for pid in found.text().lines().filter_map(|pid| pid.parse().ok()) {
        if pid != i32::try_from(std::process::id()).unwrap_or(0) {
            holm_kit::kill(pid, 9);
        }
    }
}
