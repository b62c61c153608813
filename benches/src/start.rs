//! Start to end of a container that does nothing, from an unpacked image.

use std::process::Command;

use crate::floor;
use crate::peer::{IMAGE, Peers};
use crate::report::Table;
use crate::runner::{Contender, in_turns, time};

const ROUNDS: usize = 60;

/// Measures it.
pub fn measure(peers: &Peers) -> Vec<Table> {
    let holm = move |options: &[&str]| {
        let mut command = peers.holm();
        command.args(["run", "--rm"]).args(options).args([IMAGE, "true"]);
        command
    };
    let mut rows = vec![
        Contender::new("holm run", move || time(&mut holm(&["--network", "none"]))),
        Contender::new("holm run, host network", move || time(&mut holm(&["--network", "host"]))),
        Contender::new("holm run, limits, volume, tmpfs", move || {
            let limits = ["--network", "none", "--memory", "64m", "--cpus", "1", "--pids-limit", "100"];
            time(&mut holm(&[&limits[..], &["-v", "bench:/data", "--tmpfs", "/run"]].concat()))
        }),
        Contender::new("floor: bare system calls", floor::contender(peers)),
    ];
    let bundle = peers.bundle("true", &["true"]);
    let bundle = bundle.to_str().expect("a path");
    rows.extend(peers.contender("crun", &["run", "--bundle", bundle, "bench-true"]));
    rows.extend(peers.contender("runc", &["run", "--bundle", bundle, "bench-true"]));
    if peers.podman().is_some() {
        rows.push(
            Contender::new("podman run", move || time(with_true(&mut peers.podman_run().expect("podman")))).every(5),
        );
    }
    if peers.docker().is_some() {
        rows.push(
            Contender::new("docker run", move || {
                let mut docker = peers.docker().expect("docker");
                time(with_true(docker.args(["run", "--network", "none"])))
            })
            .every(5),
        );
    }
    let table = Table::new("start", "Start to end: run --rm --network none IMAGE true", "ms", in_turns(ROUNDS, rows));
    vec![table.at_most_of("podman run", 0.04).at_most_of("docker run", 0.04).at_most_of("crun run", 1.0)]
}

fn with_true(command: &mut Command) -> &mut Command {
    command.args(["--rm", IMAGE, "true"])
}
