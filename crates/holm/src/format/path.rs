//! A packet's way as a person reads it: a line or two for each hop, then where it ends, why, and what to type.
//!
//! Signs and colours only repeat what words say.

use std::fmt::Write as _;
use std::io::IsTerminal;

use holm_network::path::{Hop, Mark, Report};

use crate::error::printable;

/// How it looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// With colours.
    pub colour: bool,
    /// Columns; lines are not broken where it is not known.
    pub width: Option<usize>,
}

impl Look {
    /// As fits standard output.
    pub fn of_terminal(width: Option<usize>) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { colour, width }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Column at which the text of a hop stands.
const INDENT: usize = 21;

/// The whole report.
pub fn render(report: &Report, look: Look) -> String {
    let mut text = String::new();
    let kind =
        report.port.map_or_else(|| " (ICMP echo)".to_owned(), |_| format!(" ({})", report.protocol.to_uppercase()));
    let title = format!("{} → {}", printable(&report.from), printable(&report.to));
    let address = report.address.map(|a| a.to_string()).filter(|a| !report.to.contains(a.as_str()));
    let address = address.map(|a| format!(", {a}")).unwrap_or_default();
    let _ = writeln!(text, "{}{kind}{address}\n", look.paint("1", &title));
    for hop in &report.hops {
        write_hop(&mut text, hop, look);
    }
    text.push('\n');
    match (&report.stops_at, &report.reason) {
        (Some(place), Some(reason)) => {
            let _ = writeln!(text, "{} at: {}", look.paint("1;31", "stops"), place.word());
            write_folded(&mut text, "reason:   ", reason, look);
            if let Some(hint) = &report.hint {
                // Whole, so that it can be copied.
                let _ = writeln!(text, "{}     {}", look.paint("1;36", "hint:"), printable(hint));
            }
        }
        _ => {
            let _ = writeln!(text, "{}", look.paint("1;32", "reachable"));
        }
    }
    text
}

fn write_hop(text: &mut String, hop: &Hop, look: Look) {
    let (sign, word, code) = match hop.mark {
        Mark::Ok => ("✓", "ok", "32"),
        Mark::Note => ("!", "note", "33"),
        Mark::Stop => ("✗", "stop", "1;31"),
    };
    let sign = look.paint(code, &format!("{sign} {word:<4}"));
    let place = look.paint("1", &format!("{:<11}", hop.hop.word()));
    let lead = format!("{sign}  {place}  ");
    fold(text, &lead, &printable(&hop.looked_at), look);
    let blank = " ".repeat(INDENT);
    let found = printable(&hop.found);
    fold(text, &blank, &if hop.mark == Mark::Stop { found } else { format!("→ {found}") }, look);
    for detail in &hop.details {
        let before = text.len();
        fold(text, &format!("{blank}  "), &printable(detail), look);
        if look.colour {
            let faint = look.paint("2", text[before..].trim_end_matches('\n'));
            text.truncate(before);
            let _ = writeln!(text, "{faint}");
        }
    }
}

fn write_folded(text: &mut String, title: &str, words: &str, look: Look) {
    fold_at(text, &look.paint("1", title), title.len(), &printable(words), look);
}

fn fold(text: &mut String, lead: &str, words: &str, look: Look) {
    let extra = lead.chars().take_while(|c| *c == ' ').count().saturating_sub(INDENT);
    fold_at(text, lead, INDENT + extra, words, look);
}

/// Writes words behind a lead of this many columns; lines too long go on below their beginning.
fn fold_at(text: &mut String, lead: &str, column: usize, words: &str, look: Look) {
    let room = look.width.map_or(usize::MAX, |width| width.saturating_sub(column).max(30));
    text.push_str(lead);
    let mut used = 0;
    for word in words.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            let _ = write!(text, "\n{}", " ".repeat(column));
            used = 0;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_network::path::Place;

    fn report() -> Report {
        let hop = |hop, mark, looked_at: &str, found: &str| Hop {
            hop,
            mark,
            looked_at: looked_at.into(),
            found: found.into(),
            details: vec!["inet holm/forward: known connections - accept".into()],
            hint: None,
        };
        Report {
            from: "web".into(),
            to: "db:80".into(),
            protocol: "tcp",
            port: Some(80),
            address: None,
            reachable: false,
            traced: true,
            stops_at: Some(Place::Socket),
            reason: Some("nothing listens on 80/tcp in `db\x1b[2J`".into()),
            hint: Some("holm logs db".into()),
            hops: vec![
                hop(Place::Name, Mark::Ok, "`db` asked of 10.0.0.1:53", "10.0.0.3, for 5 s"),
                hop(Place::Socket, Mark::Stop, "sockets of `db`", "nothing listens on 80/tcp in `db\x1b[2J`"),
            ],
        }
    }

    #[test]
    fn each_hop_says_in_words_what_was_found_and_the_end_why_and_what_to_type() {
        let plain = render(&report(), Look { colour: false, width: None });
        let expected = "web → db:80 (TCP)\n\n\
            ✓ ok    name         `db` asked of 10.0.0.1:53\n\
            \u{20}                    → 10.0.0.3, for 5 s\n\
            \u{20}                      inet holm/forward: known connections - accept\n\
            ✗ stop  socket       sockets of `db`\n\
            \u{20}                    nothing listens on 80/tcp in `db\\u{1b}[2J`\n\
            \u{20}                      inet holm/forward: known connections - accept\n\n\
            stops at: socket\nreason:   nothing listens on 80/tcp in `db\\u{1b}[2J`\nhint:     holm logs db\n";
        assert_eq!(plain, expected);
    }

    #[test]
    fn narrow_terminals_get_folded_lines_and_colour_changes_no_words() {
        let look = Look { colour: false, width: Some(60) };
        let narrow = render(&report(), look);
        assert!(narrow.lines().all(|line| line.chars().count() <= 60 || !line.trim().contains(' ')), "{narrow}");
        let coloured = render(&report(), Look { colour: true, ..look });
        let mut stripped = String::new();
        for part in coloured.split('\x1b') {
            stripped.push_str(part.strip_prefix('[').map_or(part, |rest| rest.split_once('m').map_or("", |(_, t)| t)));
        }
        assert_eq!(stripped, narrow);
    }
}
