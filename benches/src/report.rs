//! Tables: as text for a terminal, as JSON for programs, as a page for docs/benchmarks.md.

use std::fmt::Write;
use std::fs;

use serde_json::json;

use crate::runner::Sample;

/// A promise: a contender's median at most so many times another's, or at most so much.
pub struct Target {
    /// What is promised, in words.
    pub text: String,
    /// The value reached.
    pub reached: f64,
    /// The most it may be.
    pub most: f64,
}

/// One comparison.
pub struct Table {
    /// Its name, also of its JSON file.
    pub name: String,
    /// What was measured.
    pub title: String,
    /// Unit of the values.
    pub unit: &'static str,
    /// One row per contender, Holm's first.
    pub rows: Vec<Sample>,
    /// The promises that it holds or breaks.
    pub targets: Vec<Target>,
}

impl Table {
    /// A table without promises.
    pub fn new(name: &str, title: &str, unit: &'static str, rows: Vec<Sample>) -> Self {
        Self { name: name.to_owned(), title: title.to_owned(), unit, rows, targets: Vec::new() }
    }

    fn median(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name).map(Sample::median)
    }

    /// Adds the promise that Holm's median is at most `most` times that of `peer`, where the peer was measured.
    pub fn at_most_of(mut self, peer: &str, most: f64) -> Self {
        if let (Some(own), Some(other)) = (self.rows.first().map(Sample::median), self.median(peer)) {
            let text = format!("at most {most:.2} of {peer}");
            self.targets.push(Target { text, reached: own / other, most });
        }
        self
    }

    /// Adds the promise that Holm's median is at most this.
    pub fn at_most(mut self, most: f64) -> Self {
        if let Some(own) = self.rows.first().map(Sample::median) {
            let text = format!("at most {most} {}", self.unit);
            self.targets.push(Target { text, reached: own, most });
        }
        self
    }

    fn cells(&self) -> Vec<[String; 7]> {
        let own = self.rows.first().map_or(f64::NAN, Sample::median);
        let number = |value: f64| if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        let row = |sample: &Sample| {
            [
                sample.name.clone(),
                number(sample.median()),
                number(sample.quantile(0.0)),
                number(sample.quantile(0.9)),
                number(sample.quantile(1.0)),
                sample.values.len().to_string(),
                format!("{:.2}", sample.median() / own),
            ]
        };
        self.rows.iter().map(row).collect()
    }

    fn head(&self) -> [String; 7] {
        ["", "median", "min", "p90", "max", "n", "x holm"].map(str::to_owned)
    }

    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut out = format!("\n{} ({})\n", self.title, self.unit);
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        for cells in [self.head()].into_iter().chain(self.cells()) {
            let numbers = cells[1..].iter().map(|cell| format!("{cell:>9}")).collect::<String>();
            let _ = writeln!(out, "  {:<width$}{numbers}", cells[0]);
        }
        for target in &self.targets {
            let _ = writeln!(out, "  {}", target.line());
        }
        out
    }

    fn to_markdown(&self) -> String {
        let mut out = format!("\n## {} ({})\n\n", self.title, self.unit);
        let _ = writeln!(out, "| {} |\n|---|--:|--:|--:|--:|--:|--:|", self.head().join(" | "));
        for cells in self.cells() {
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        for target in &self.targets {
            let _ = writeln!(out, "\n{}", target.line());
        }
        out
    }

    /// Writes `target/bench/NAME.json`.
    pub fn write_json(&self) {
        let rows = self.rows.iter().map(|row| {
            json!({ "name": row.name, "median": row.median(), "min": row.quantile(0.0), "p90": row.quantile(0.9),
                    "max": row.quantile(1.0), "values": row.values })
        });
        let targets = self.targets.iter().map(|target| {
            json!({ "text": target.text, "reached": target.reached, "most": target.most, "kept": target.kept() })
        });
        let document = json!({
            "name": self.name, "title": self.title, "unit": self.unit, "machine": machine(),
            "rows": rows.collect::<Vec<_>>(), "targets": targets.collect::<Vec<_>>(),
        });
        let folder = holm_kit::target_folder().join("bench");
        fs::create_dir_all(&folder).expect("make a folder for results");
        let path = folder.join(format!("{}.json", self.name));
        fs::write(&path, format!("{document:#}\n")).expect("write results");
    }
}

impl Target {
    fn kept(&self) -> bool {
        self.reached <= self.most
    }

    fn line(&self) -> String {
        let verdict = if self.kept() { "kept" } else { "MISSED" };
        format!("target {}: {:.3}, {verdict}", self.text, self.reached)
    }
}

/// The machine in a line: kernel, processor, cores, memory.
fn machine() -> String {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_start_matches([':', ' ', '\t']).to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory: u64 =
        first("/proc/meminfo", "MemTotal").split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let system = first("/etc/os-release", "PRETTY_NAME=");
    let processor = first("/proc/cpuinfo", "model name\t");
    let system = system.trim_matches('"');
    format!("{system}, Linux {}, {processor}, {cores} cores, {} GiB", kernel.trim(), memory >> 20)
}

/// The page of all tables.
pub fn page(tables: &[Table]) -> String {
    let date = std::process::Command::new("date").arg("+%Y-%m-%d").output().expect("run date").stdout;
    let versions = ["docker", "podman", "runc", "crun"].map(|name| {
        let output = holm_kit::Holm::program(name).arg("--version").run();
        output.text().lines().next().unwrap_or_default().to_owned()
    });
    let mut out = format!(
        "# Benchmarks\n\nThe last whole run of `make bench`: {}, {}.\nPeers: {}.\n\nContenders take turns in one run. What each keeps until the next boot is on a tmpfs, as `/run` is on most hosts. The \
         last column is the median in multiples of Holm's. Where a peer is missing\nits row is absent. Rows of Holm's own \
         in other circumstances are its weaker cases.\n",
        String::from_utf8_lossy(&date).trim(),
        machine(),
        versions.join("; "),
    );
    for table in tables {
        out.push_str(&table.to_markdown());
    }
    out
}
