//! `stats`: what containers use, once or as a stream.

use std::time::{Duration, Instant};

use holm_pod::{Container, Engine};
use holm_spec::container::NetworkMode;
use serde_json::{Value, json};

use super::Outcome;
use super::context::Context;
use crate::args::container::Stats;
use crate::error::Failure;
use crate::format::list::{self, Columns, Form};
use crate::format::quantity;
use crate::{output, terminal};

/// Time between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

const COLUMNS: Columns = Columns {
    titles: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    default: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
};

/// One reading.
struct Reading {
    cpu_ns: u64,
    memory_bytes: u64,
    memory_limit_bytes: Option<u64>,
    pids: u64,
    read_bytes: u64,
    write_bytes: u64,
    network: Option<(u64, u64)>,
}

struct Sample {
    container: Container,
    reading: Option<Reading>,
    at: Instant,
}

/// `holm stats`
pub fn stats(context: &Context, flags: &Stats) -> Outcome {
    let engine = context.engine()?;
    let host_memory = host_memory_bytes();
    let form = Form {
        format: flags.format.as_deref(),
        output: None,
        quiet: None,
        name: "Name",
        width: if flags.no_trunc { None } else { terminal::width() },
    };
    let clears = terminal::is_terminal(rustix::stdio::stdout()) && flags.format.is_none();
    let mut before = samples(context, &engine, flags)?;
    loop {
        // CPU is a rate, so one reading says nothing of it.
        std::thread::sleep(INTERVAL);
        let now = samples(context, &engine, flags)?;
        let rows: Vec<Value> = now
            .iter()
            .map(|sample| {
                let older = before.iter().find(|old| old.container.spec.id == sample.container.spec.id);
                row(sample, older, host_memory, flags.no_trunc)
            })
            .collect();
        let text = list::render(COLUMNS, form, &rows)?;
        if flags.no_stream {
            output::print(&text)?;
            return Ok(0);
        }
        output::print(&if clears { format!("\x1b[H\x1b[J{text}") } else { text })?;
        before = now;
    }
}

fn samples(context: &Context, engine: &Engine, flags: &Stats) -> Result<Vec<Sample>, Failure> {
    let containers = if flags.containers.is_empty() {
        let all = engine.list().map_err(Failure::from)?;
        all.into_iter().filter(|container| flags.all || container.state.status.is_live()).collect()
    } else {
        flags.containers.iter().map(|name| context.get(engine, name)).collect::<Result<Vec<_>, _>>()?
    };
    let sample = |container: Container| {
        // One that has just ended has nothing to show.
        let reading = engine.stats(&container.spec.id).ok().map(|stats| Reading {
            cpu_ns: stats.cpu.usage_ns,
            memory_bytes: stats.memory.usage_bytes,
            memory_limit_bytes: stats.memory.limit_bytes,
            pids: stats.pids.current,
            read_bytes: stats.block.read_bytes,
            write_bytes: stats.block.write_bytes,
            network: network_bytes(engine, &container),
        });
        Sample { container, reading, at: Instant::now() }
    };
    Ok(containers.into_iter().map(sample).collect())
}

fn row(sample: &Sample, older: Option<&Sample>, host_memory: u64, no_trunc: bool) -> Value {
    let spec = &sample.container.spec;
    let id = if no_trunc { spec.id.as_str() } else { spec.id.short() };
    let Some(reading) = &sample.reading else {
        return json!({
            "Container": id, "ID": id, "Name": spec.name.as_str(), "CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--",
            "NetIO": "--", "BlockIO": "--", "PIDs": "--",
        });
    };
    let cpu = older.and_then(|old| {
        let used = reading.cpu_ns.saturating_sub(old.reading.as_ref()?.cpu_ns);
        let passed = u64::try_from(sample.at.duration_since(old.at).as_nanos()).ok()?;
        Some(quantity::percent(used, passed))
    });
    let (received, sent) = reading.network.unwrap_or_default();
    let limit = reading.memory_limit_bytes.filter(|limit| *limit < host_memory).unwrap_or(host_memory);
    json!({
        "BlockIO": format!("{} / {}", quantity::decimal_short(reading.read_bytes),
            quantity::decimal_short(reading.write_bytes)),
        "CPUPerc": format!("{:.2}%", cpu.unwrap_or(0.0)),
        "Container": id,
        "ID": id,
        "MemPerc": format!("{:.2}%", quantity::percent(reading.memory_bytes, limit)),
        "MemUsage": format!("{} / {}", quantity::binary(reading.memory_bytes), quantity::binary(limit)),
        "Name": spec.name.as_str(),
        "NetIO": format!("{} / {}", quantity::decimal_short(received), quantity::decimal_short(sent)),
        "PIDs": reading.pids.to_string(),
    })
}

/// Bytes received and sent over the links of a container's own network namespace, loopback left out. The host's is nobody's.
fn network_bytes(engine: &Engine, container: &Container) -> Option<(u64, u64)> {
    if container.spec.sandbox.isolation.machine().is_some() {
        return engine.machine_network_bytes(&container.spec.id).ok();
    }
    let shared = matches!(container.spec.sandbox.network, NetworkMode::Host);
    let pid = Some(container.state.pid).filter(|pid| *pid > 0 && !shared)?;
    std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok().map(|table| of_links(&table))
}

/// The sums of a table of links. *Source*: proc(5): name, a colon, eight numbers of what came and eight of what went.
fn of_links(table: &str) -> (u64, u64) {
    let links = table.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    links.fold((0, 0), |(received, sent), (_, numbers)| {
        let number = |at: usize| numbers.split_ascii_whitespace().nth(at).and_then(|n| n.parse::<u64>().ok());
        (received + number(0).unwrap_or(0), sent + number(8).unwrap_or(0))
    })
}

/// Memory of this machine; 0 where it is not told.
pub fn host_memory_bytes() -> u64 {
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = table.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_of_all_links_but_loopback_are_summed() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n\
                     \u{20}   lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 2 0 0 0 0 0 0 30 1 0 0 0 0 0 0\n\
                     eth1:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
        assert_eq!(super::of_links(table), (105, 37));
    }
}
