//! `holm-bench [--record FILE] [NAME…]`: every benchmark, or those named, beside the peers in one run.
//!
//! Prints tables of ratios with spread, writes `target/bench/NAME.json`, and with `--record` a page for docs/.

mod elsewhere;
mod exec;
mod floor;
mod machine;
mod memory;
mod names;
mod network;
mod parallel;
mod peer;
mod report;
mod runner;
mod start;
mod unpack;

use std::process::ExitCode;

use report::Table;

/// A benchmark by name.
type Benchmark = (&'static str, fn(&peer::Peers) -> Vec<Table>);

const BENCHMARKS: [Benchmark; 8] = [
    ("start", start::measure),
    ("exec", exec::measure),
    ("memory", memory::measure),
    ("parallel", parallel::measure),
    ("unpack", unpack::measure),
    ("names", names::measure),
    ("network", network::measure),
    ("machine", machine::measure),
];

fn main() -> ExitCode {
    let mut record = None;
    let mut names = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--time" => {
                elsewhere::serve(&args.collect::<Vec<_>>());
                return ExitCode::SUCCESS;
            }
            "--record" => record = args.next(),
            name if BENCHMARKS.iter().any(|(known, _)| *known == name) => names.push(arg),
            _ => {
                let known: Vec<_> = BENCHMARKS.iter().map(|(name, _)| *name).collect();
                eprintln!("usage: holm-bench [--record FILE] [{}]…", known.join("|"));
                return ExitCode::from(2);
            }
        }
    }
    peer::enter_own_mounts();
    let peers = peer::Peers::start();
    let mut tables = Vec::new();
    for (name, measure) in BENCHMARKS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        for table in measure(&peers) {
            println!("{}", table.to_text());
            table.write_json();
            tables.push(table);
        }
    }
    if let Some(path) = record {
        std::fs::write(&path, report::page(&tables)).unwrap_or_else(|error| panic!("cannot write `{path}`: {error}"));
    }
    ExitCode::SUCCESS
}
