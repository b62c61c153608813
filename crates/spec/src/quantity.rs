//! Quantities as people type them: byte sizes, CPU counts and durations, parsed without rounding surprises.

use std::time::Duration;

/// Why a text is not a quantity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuantityError {
    /// Not a byte size.
    #[error("cannot read `{0}` as a size: use a number with b, k, m, g or t, as in 512m")]
    Size(String),
    /// Not a count of CPUs.
    #[error("cannot read `{0}` as a number of CPUs: use a decimal number above 0, as in 1.5")]
    Cpus(String),
    /// Not a duration.
    #[error("cannot read `{0}` as a duration: use numbers with ns, us, ms, s, m or h, as in 1m30s")]
    Duration(String),
}

fn shown(text: &str) -> String {
    text.escape_default().take(60).collect()
}

/// Parses a byte size as docker does: an optional decimal part, a unit of 1024, `b`, `k`, `m`, `g`, `t` or `p`, with
/// an optional `b` or `ib` behind. *Units*: bytes.
pub fn parse_size_bytes(text: &str) -> Result<u64, QuantityError> {
    let bad = || QuantityError::Size(shown(text));
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(bad()),
    };
    scaled(number, 1u128 << shift).and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)
}

/// Parses a number of CPUs (`1.5`). *Units*: billionths of a CPU.
pub fn parse_nano_cpus(text: &str) -> Result<u64, QuantityError> {
    let bad = || QuantityError::Cpus(shown(text));
    let nanos = scaled(text.trim(), 1_000_000_000).and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)?;
    if nanos == 0 { Err(bad()) } else { Ok(nanos) }
}

/// Parses a duration as Go does (`300ms`, `1m30s`, `1.5h`); a bare number means seconds.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let bad = || QuantityError::Duration(shown(text));
    let text_trimmed = text.trim();
    if !text_trimmed.is_empty() && text_trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return text_trimmed.parse().map(Duration::from_secs).map_err(|_| bad());
    }
    let mut rest = text_trimmed;
    let mut total: u128 = 0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_len);
        let nanos = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(bad()),
        };
        total = total.checked_add(scaled(number, nanos).ok_or_else(bad)?).ok_or_else(bad)?;
        rest = next;
    }
    u64::try_from(total).map(Duration::from_nanos).map_err(|_| bad())
}

/// `number` (decimal, at most 12 digits behind the point are used) times `unit`, exact and truncated.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || whole.len() > 20 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part = &part[..part.len().min(12)];
    let fraction: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let divisor = 10u128.pow(u32::try_from(part.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(fraction.checked_mul(unit)? / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("1024", 1024), ("6m", 6 << 20), ("1.5G", 3 << 29), ("4MiB", 4 << 20), (".5k", 512), ("10b", 10)]
        {
            assert_eq!(parse_size_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "m", "1x", "-1", "1..5", "1e3", "99999999999t", "1 m m", "."] {
            assert!(parse_size_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus_are_exact_and_above_zero() {
        assert_eq!(parse_nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_nano_cpus(".01"), Ok(10_000_000));
        for bad in ["0", "0.0", "-1", "", "one", "1,5"] {
            assert!(parse_nano_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_follow_go() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        for bad in ["", "s", "1x", "-1s", "1s2", "1m-3s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
