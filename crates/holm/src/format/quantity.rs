//! Sizes and shares for people, in docker's forms.

use std::fmt::Write as _;

/// A size in powers of 1000 with up to four digits, as docker writes image sizes: `117MB`, `1.24kB`.
pub fn decimal(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], significant(4))
}

/// The same with three digits, as docker writes sizes of containers: `12.3MB`.
pub fn decimal_short(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], significant(3))
}

/// A size in powers of 1024, as docker writes memory: `12.5MiB`.
pub fn binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], significant(4))
}

fn scaled(bytes: u64, base: f64, units: &[&str], show: impl Fn(f64) -> String) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with four digits at most")]
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    let mut text = show(size);
    let _ = write!(text, "{}", units[unit]);
    text
}

/// C's `%.Ng` for numbers from 0 to 1023.
fn significant(digits: usize) -> impl Fn(f64) -> String {
    move |number| {
        let whole = match number {
            n if n < 10.0 => 1,
            n if n < 100.0 => 2,
            n if n < 1000.0 => 3,
            _ => 4,
        };
        let text = format!("{number:.*}", digits.saturating_sub(whole));
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

/// `part` of `whole` in percent; 0 of nothing.
pub fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_dockers_forms() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_240, "1.24kB"),
            (117_000_000, "117MB"),
            (1_234_567_890, "1.235GB"),
        ] {
            assert_eq!(decimal(bytes), text);
        }
        for (bytes, text) in [(12_345_678, "12.3MB"), (1_234, "1.23kB")] {
            assert_eq!(decimal_short(bytes), text);
        }
        for (bytes, text) in [(0, "0B"), (1 << 20, "1MiB"), ((25 << 20) / 2, "12.5MiB"), (1023, "1023B")] {
            assert_eq!(binary(bytes), text);
        }
        assert!((percent(1, 4) - 25.0).abs() < f64::EPSILON);
    }
}
