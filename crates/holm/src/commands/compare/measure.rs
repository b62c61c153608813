//! What is measured, as plain values: samples, what is made of them, and how a number is shown. Measures nothing.

use std::time::Duration;

use holm_spec::probe::{ProbeReport, REPORT_MAX_BYTES};
use holm_spec::state::MachineState;

/// One run of everything, of one kind.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Until the first output of `echo`, everything started anew.
    pub first_output: Option<Duration>,
    /// The same from a template.
    pub first_output_template: Option<Duration>,
    /// `true`, from start to end.
    pub exit: Option<Duration>,
    /// The person's own command, from start to end.
    pub command: Option<Duration>,
    /// What it ended with.
    pub command_code: Option<i32>,
    /// Memory on the host, bytes.
    pub memory_bytes: Option<u64>,
    /// What the probe said.
    pub probe: ProbeReport,
}

/// All runs of one kind.
#[derive(Debug, Default)]
pub struct Side {
    /// In order.
    pub samples: Vec<Values>,
    /// The machine of the last.
    pub machine: Option<MachineState>,
}

/// Both kinds.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// The image, as it was named.
    pub image: &'a str,
    /// The person's own command.
    pub command: &'a [String],
    /// Runs of each kind.
    pub runs: u16,
    /// As a container.
    pub container: Side,
    /// As a virtual machine.
    pub vm: Side,
}

/// How a number is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Bytes, in powers of 1024.
    Bytes,
    /// Bytes a second, in powers of 1000.
    BytesPerS,
    /// A second.
    PerS,
}

/// One line of numbers.
#[derive(Clone, Copy)]
pub struct Measure {
    /// Its field in the document.
    pub name: &'static str,
    /// What it says.
    pub title: &'static str,
    /// How it is shown.
    pub unit: Unit,
    /// Its value in a run.
    pub value: fn(&Values) -> Option<f64>,
}

/// Every line of numbers, in order.
pub const MEASURES: [Measure; 10] = [
    Measure { name: "FirstOutputMs", title: "first output, cold", unit: Unit::Ms, value: |v| ms(v.first_output) },
    Measure {
        name: "FirstOutputTemplateMs",
        title: "first output, from template",
        unit: Unit::Ms,
        value: |v| ms(v.first_output_template),
    },
    Measure { name: "ExitMs", title: "`true`, start to end", unit: Unit::Ms, value: |v| ms(v.exit) },
    Measure { name: "CommandMs", title: "your command, start to end", unit: Unit::Ms, value: |v| ms(v.command) },
    Measure { name: "MemoryBytes", title: "memory on the host", unit: Unit::Bytes, value: |v| number(v.memory_bytes) },
    Measure { name: "StepsPerS", title: "arithmetic, steps", unit: Unit::PerS, value: |v| number(v.probe.steps_per_s) },
    Measure { name: "CallsPerS", title: "system calls", unit: Unit::PerS, value: |v| number(v.probe.calls_per_s) },
    Measure {
        name: "WriteBytesPerS",
        title: "disk, written and flushed",
        unit: Unit::BytesPerS,
        value: |v| number(v.probe.write_bytes_per_s),
    },
    Measure {
        name: "ReadBytesPerS",
        title: "disk, read",
        unit: Unit::BytesPerS,
        value: |v| number(v.probe.read_bytes_per_s),
    },
    Measure {
        name: "RoundTripUs",
        title: "round trip to the host (TCP)",
        unit: Unit::Us,
        value: |v| number(v.probe.round_trip_ns).map(|ns| ns / 1000.0),
    },
];

fn ms(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64() * 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn number(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

impl Side {
    /// The median of a measure over the runs that have it.
    pub fn median(&self, measure: &Measure) -> Option<f64> {
        median(self.samples.iter().filter_map(measure.value).collect())
    }

    /// What the probe saw in the last run.
    pub fn probe(&self) -> ProbeReport {
        self.samples.last().map(|values| values.probe.clone()).unwrap_or_default()
    }
}

/// The middle of some numbers; the mean of both middles where they are even.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Reads what the probe said. It may have been anybody who said it, so its size and its lists have limits.
pub fn parse(output: &[u8]) -> Result<ProbeReport, String> {
    if output.len() > REPORT_MAX_BYTES {
        return Err(format!("{} bytes are more than a report has ({REPORT_MAX_BYTES})", output.len()));
    }
    serde_json::from_slice(output).map_err(|error| error.to_string())
}

impl Unit {
    /// The number with its unit, three digits.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Ms => format!("{} ms", digits(value)),
            Self::Us => format!("{} µs", digits(value)),
            Self::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]),
            Self::BytesPerS => scaled(value, 1000.0, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"]),
            Self::PerS => scaled(value, 1000.0, &["/s", "thousand/s", "million/s", "billion/s"]),
        }
    }
}

fn scaled(mut value: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{} {}", digits(value), units[unit])
}

/// Three digits of a number, more where it is larger than that.
pub fn digits(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_the_middle() {
        for (values, expected) in
            [(vec![], None), (vec![5.0], Some(5.0)), (vec![9.0, 1.0, 4.0], Some(4.0)), (vec![4.0, 1.0], Some(2.5))]
        {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
        let with = |ms| Values { exit: Some(Duration::from_millis(ms)), ..Values::default() };
        let side = Side { samples: vec![with(30), with(10), Values::default(), with(20)], machine: None };
        let measure = |name| MEASURES.iter().find(|measure| measure.name == name).unwrap();
        assert_eq!(side.median(measure("ExitMs")), Some(20.0));
        assert_eq!(side.median(measure("CommandMs")), None);
    }

    #[test]
    fn reports_of_the_probe_are_read_and_nonsense_is_not() {
        let report = parse(br#"{"StepsPerS":5,"RoundTripNs":null,"Kernel":"6.1","Devices":["null"],"New":1}"#).unwrap();
        assert_eq!((report.steps_per_s, report.round_trip_ns, report.kernel.as_str()), (Some(5), None, "6.1"));
        assert_eq!(report.devices, ["null"]);
        for bad in [&b""[..], b"x", br#"{"StepsPerS":-1}"#, br#"{"Devices":"all"}"#, b"[]x"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&vec![b' '; REPORT_MAX_BYTES + 1]).unwrap_err().contains("more than"));
    }

    #[test]
    fn numbers_have_units_that_fit() {
        for (unit, value, text) in [
            (Unit::Ms, 7.654, "7.65 ms"),
            (Unit::Ms, 1834.2, "1834 ms"),
            (Unit::Us, 45.0, "45.0 µs"),
            (Unit::Bytes, 3.5 * 1024.0 * 1024.0, "3.50 MiB"),
            (Unit::BytesPerS, 250e6, "250 MB/s"),
            (Unit::PerS, 2.5e6, "2.50 million/s"),
        ] {
            assert_eq!(unit.shown(value), text);
        }
    }
}
