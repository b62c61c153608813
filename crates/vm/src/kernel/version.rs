//! The order of kernel releases, as people read them: 6.9 before 6.10, 6.10-rc1 before 6.10.

use std::cmp::Ordering;

/// Compares two releases part by part: numbers as numbers, words as words.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (parts(a), parts(b));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(more)) => end_against(more),
            (Some(more), None) => end_against(more).reverse(),
            (Some(a), Some(b)) => match (number(a), number(b)) {
                (Some(a), Some(b)) => a.cmp(&b),
                (Some(_), None) => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (None, None) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A release that ends before `part`: older than one with a part more, newer than its own candidates.
fn end_against(part: &str) -> Ordering {
    if part == "rc" { Ordering::Greater } else { Ordering::Less }
}

/// A number without leading zeros is larger when it is longer.
fn number(part: &str) -> Option<(usize, &str)> {
    let digits = part.trim_start_matches('0');
    part.starts_with(|c: char| c.is_ascii_digit()).then_some((digits.len(), digits))
}

/// Runs of digits and runs of letters; the rest separates.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let digits = rest.starts_with(|c: char| c.is_ascii_digit());
        let inside = |c: char| if digits { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
        let length = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(length);
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_as_people_read_them() {
        let sorted = [
            "",
            "5.15.0-9-generic",
            "5.15.0-119-generic",
            "6.1.0-9-amd64",
            "6.1.0-56-amd64",
            "6.1.0-56-cloud-amd64",
            "6.9.3",
            "6.10-rc1",
            "6.10-rc12",
            "6.10",
            "6.10.1",
            "6.18.44-fc-v657",
            "99999999999999999999999.1",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
        assert_eq!(compare("6.01-é", "6.1"), Ordering::Equal);
    }
}
