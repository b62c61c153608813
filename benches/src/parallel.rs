//! Many containers at once: started, stopped, removed.

use std::process::Command;

use crate::peer::{IMAGE, Peers};
use crate::report::Table;
use crate::runner::{Sample, time_at_once};

const ROUNDS: usize = 3;

/// Gives a command line of an engine, where it is installed.
type Engine<'a> = &'a dyn Fn() -> Option<Command>;

/// Measures it: milliseconds for each container, of a hundred for Holm, of fewer for those that need seconds each.
pub fn measure(peers: &Peers) -> Vec<Table> {
    let holm = || Some(peers.holm());
    let podman = || peers.podman();
    let docker = || peers.docker();
    let engines: [(&str, Engine<'_>, usize); 4] =
        [("holm, 100", &holm, 100), ("holm, 16", &holm, 16), ("podman, 16", &podman, 16), ("docker, 16", &docker, 16)];
    let mut phases: Vec<(&str, Vec<Sample>)> = ["start", "stop", "remove"].map(|phase| (phase, Vec::new())).to_vec();
    for (name, engine, count) in engines {
        if engine().is_none() {
            continue;
        }
        let rounds: Vec<_> = (0..ROUNDS).map(|_| once(engine, name.starts_with("podman"), count)).collect();
        for (at, (_, samples)) in phases.iter_mut().enumerate() {
            samples.push(Sample::new(name, rounds.iter().map(|round| round[at]).collect()));
        }
    }
    let table = |(phase, samples): (&str, Vec<Sample>)| {
        let title = format!("Many at once: {phase}, time for each container");
        Table::new(&format!("parallel-{phase}"), &title, "ms", samples).at_most_of("podman, 16", 0.1)
    };
    phases.into_iter().map(table).collect()
}

fn once(engine: Engine<'_>, is_podman: bool, count: usize) -> [f64; 3] {
    let with = |at: usize, verb: &[&str]| {
        let mut command = engine().expect("an engine");
        command.args(verb);
        if verb[0] == "run" {
            command.args(["-d", "--network", "none", "--name", &format!("bench-many-{at}")]);
            if is_podman {
                command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]);
            }
            command.args([IMAGE, "sleep", "100000"]);
        } else {
            command.arg(format!("bench-many-{at}"));
        }
        command
    };
    [&["run"][..], &["stop", "-t", "0"], &["rm"]].map(|verb| {
        let commands = (0..count).map(|at| with(at, verb)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a hundred")]
        let count = count as f64;
        time_at_once(commands).as_secs_f64() * 1000.0 / count
    })
}
