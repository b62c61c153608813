//! One more process in a running container.

use crate::peer::{IMAGE, Peers};
use crate::report::Table;
use crate::runner::{Contender, in_turns, time};

const ROUNDS: usize = 60;

/// Measures it.
pub fn measure(peers: &Peers) -> Vec<Table> {
    let idle = ["--name", "bench-exec", IMAGE, "sleep", "100000"];
    time(peers.holm().args(["run", "-d", "--network", "none"]).args(idle));
    let mut rows = vec![Contender::new("holm exec", || time(peers.holm().args(["exec", "bench-exec", "true"])))];
    let bundle = peers.bundle("sleep", &["sleep", "100000"]);
    let bundle = bundle.to_str().expect("a path");
    for name in ["crun", "runc"] {
        if let Some(mut run) = peers.contender(name, &["run", "--detach", "--bundle", bundle, "bench-exec"]) {
            (run.once)();
            rows.extend(peers.contender(name, &["exec", "bench-exec", "true"]));
        }
    }
    if let Some(mut podman) = peers.podman_run() {
        time(podman.arg("-d").args(idle));
        let once = || time(peers.podman().expect("podman").args(["exec", "bench-exec", "true"]));
        rows.push(Contender::new("podman exec", once).every(5));
    }
    if let Some(mut docker) = peers.docker() {
        time(docker.args(["run", "-d", "--network", "none"]).args(idle));
        let once = || time(peers.docker().expect("docker").args(["exec", "bench-exec", "true"]));
        rows.push(Contender::new("docker exec", once).every(5));
    }
    let table = Table::new("exec", "One more process: exec CONTAINER true", "ms", in_turns(ROUNDS, rows));
    for name in ["crun", "runc"] {
        if let Some(mut delete) = peers.contender(name, &["delete", "--force", "bench-exec"]) {
            (delete.once)();
        }
    }
    let engines = [Some(peers.holm()), peers.podman(), peers.docker()];
    for mut engine in engines.into_iter().flatten() {
        time(crate::peer::force_remove(&mut engine, "bench-exec"));
    }
    vec![table.at_most_of("podman exec", 0.1).at_most_of("docker exec", 0.25).at_most_of("runc exec", 0.5)]
}
