//! Times: RFC 3339 in both directions, and "2 minutes ago". UTC only.

use std::time::{SystemTime, UNIX_EPOCH};

/// Docker's way to say never.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds since the Unix epoch, now.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Year, month and day of a day since the epoch. *Source*: the proleptic Gregorian calendar, counted from 1 March so that
/// the leap day is the last of a year.
fn civil(day: i64) -> (i64, u32, u32) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day_of_month).unwrap_or(1))
}

/// The day since the epoch of a date.
fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

struct Fields {
    year: i64,
    month: u32,
    day: u32,
    hour: u64,
    minute: u64,
    second: u64,
    nanos: u64,
}

fn fields(time_ns: u64) -> Fields {
    let seconds = time_ns / SECOND_NS;
    let (year, month, day) = civil(i64::try_from(seconds / 86_400).unwrap_or(0));
    let of_day = seconds % 86_400;
    Fields {
        year,
        month,
        day,
        hour: of_day / 3600,
        minute: of_day / 60 % 60,
        second: of_day % 60,
        nanos: time_ns % SECOND_NS,
    }
}

/// RFC 3339 with as many digits of a second as there are; docker's "never" for 0.
pub fn rfc3339(time_ns: u64) -> String {
    if time_ns == 0 {
        return NEVER.to_owned();
    }
    let Fields { year, month, day, hour, minute, second, nanos } = fields(time_ns);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanos != 0 {
        text.push_str(format!(".{nanos:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// RFC 3339 with exactly nine digits of a second, as in logs and events.
pub fn rfc3339_nanos(time_ns: u64) -> String {
    let Fields { year, month, day, hour, minute, second, nanos } = fields(time_ns);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Go's default form, as docker's `CreatedAt`: `2026-11-23 01:02:03 +0000 UTC`.
pub fn go_form(time_ns: u64) -> String {
    let Fields { year, month, day, hour, minute, second, .. } = fields(time_ns);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// Reads RFC 3339, also without zone, seconds or time of day. *Units*: nanoseconds since the Unix epoch.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || parts.next().is_some() {
        return None;
    }
    let midnight = day_of(year, month, day) * 86_400;
    if rest.is_empty() {
        return to_ns(midnight, 0);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |text| number(text, 2))?;
    if hour > 23 || minute > 59 || second > 60 || parts.next().is_some() {
        return None;
    }
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
    to_ns(midnight + hour * 3600 + minute * 60 + second - zone_offset_s(zone)?, nanos)
}

fn zone_offset_s(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.as_bytes().first() {
        None | Some(b'Z' | b'z') => return (zone.len() <= 1).then_some(0),
        Some(b'-') => (-1, &zone[1..]),
        Some(_) => (1, &zone[1..]),
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (number(hours, 2)? * 3600 + number(minutes, 2)? * 60))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn to_ns(seconds: i64, nanos: u64) -> Option<u64> {
    u64::try_from(seconds).ok()?.checked_mul(SECOND_NS)?.checked_add(nanos)
}

/// A point in time as flags give it: RFC 3339, Unix seconds with a fraction, or a duration before now (`10m`).
pub fn parse_point(text: &str, now_ns: u64) -> Option<u64> {
    if let Some(time) = parse_rfc3339(text) {
        return Some(time);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !whole.is_empty() && digits(whole) && digits(fraction) && fraction.len() <= 9 {
        let nanos: u64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
        return whole.parse::<u64>().ok()?.checked_mul(SECOND_NS)?.checked_add(nanos);
    }
    let before = holm_spec::quantity::parse_duration(text.strip_prefix('-').unwrap_or(text)).ok()?;
    now_ns.checked_sub(u64::try_from(before.as_nanos()).ok()?)
}

/// A span of time in docker's words: `2 minutes`, `About an hour`.
pub fn span(nanos: u64) -> String {
    let seconds = nanos / SECOND_NS;
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago, in docker's words; `N/A` for never.
pub fn ago(time_ns: u64, now_ns: u64) -> String {
    if time_ns == 0 { "N/A".to_owned() } else { format!("{} ago", span(now_ns.saturating_sub(time_ns))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        for (ns, text) in [
            (951_782_400 * SECOND_NS, "2000-02-29T00:00:00Z"),
            (1_700_000_000 * SECOND_NS + 5_000_000, "2023-11-14T22:13:20.005Z"),
            (4_102_444_799 * SECOND_NS, "2099-12-31T23:59:59Z"),
            (SECOND_NS, "1970-01-01T00:00:01Z"),
        ] {
            assert_eq!(rfc3339(ns), text);
            assert_eq!(parse_rfc3339(text), Some(ns));
        }
        assert_eq!(rfc3339(0), NEVER);
        assert_eq!(rfc3339_nanos(1_700_000_000 * SECOND_NS), "2023-11-14T22:13:20.000000000Z");
        assert_eq!(go_form(1_700_000_000 * SECOND_NS), "2023-11-14 22:13:20 +0000 UTC");
    }

    #[test]
    fn zones_and_short_forms_are_read() {
        let expected = Some(1_700_000_000 * SECOND_NS);
        for text in
            ["2023-11-14T23:13:20+01:00", "2023-11-14T17:13:20-05:00", "2023-11-14T22:13:20", "2023-11-14 22:13:20Z"]
        {
            assert_eq!(parse_rfc3339(text), expected, "{text}");
        }
        assert_eq!(parse_rfc3339("2023-11-14"), Some(1_699_920_000 * SECOND_NS));
        for bad in [
            "",
            "2023",
            "2023-13-01",
            "2023-11-14T25:00",
            "2023-11-14T22:13:20+1",
            "2023-11-14Tx",
            "äöüäöüä",
            "2023-11-14T22:13:20ZZ",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn points_are_absolute_or_ago() {
        let now = 1_700_000_000 * SECOND_NS;
        assert_eq!(parse_point("10m", now), Some(now - 600 * SECOND_NS));
        assert_eq!(parse_point("1699999999.5", now), Some(now - SECOND_NS / 2));
        assert_eq!(parse_point("2023-11-14T22:13:20Z", 0), Some(now));
        assert_eq!(parse_point("yesterday", now), None);
        assert_eq!(parse_point("900000h", now), None);
    }

    #[test]
    fn spans_have_dockers_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (3 * 86_400, "3 days"),
            (20 * 86_400, "2 weeks"),
            (90 * 86_400, "3 months"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(span(seconds * SECOND_NS), text);
        }
        assert_eq!(ago(0, 5), "N/A");
    }
}
