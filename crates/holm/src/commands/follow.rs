//! `logs` and `events`: what happened and happens.

use std::io::Write;

use holm_pod::{Event, EventQuery, LogLine, LogQuery};
use serde_json::{Value, json};

use super::Outcome;
use super::context::Context;
use super::filter::{Filter, Filters};
use crate::args::container::{Events, Logs};
use crate::error::{Failure, printable};
use crate::format::template::Template;
use crate::format::time;
use crate::output;

fn point(flag: &str, text: Option<&str>) -> Result<Option<u64>, Failure> {
    let now = time::now_ns();
    text.map(|text| {
        time::parse_point(text, now).ok_or_else(|| {
            Failure::flag(flag, text, "it must be a time")
                .with_code(1)
                .with_hint(format!("{flag} 10m, {flag} 2026-01-31T12:00:00Z or {flag} 1700000000"))
        })
    })
    .transpose()
}

/// `holm logs`
pub fn logs(context: &Context, flags: &Logs) -> Outcome {
    let tail = match flags.tail.as_deref() {
        None | Some("all" | "-1") => None,
        Some(text) => {
            Some(text.parse().map_err(|_| Failure::flag("--tail", text, "it must be a number, or all").with_code(1))?)
        }
    };
    let query = LogQuery {
        follow: flags.follow,
        since_ns: point("--since", flags.since.as_deref())?,
        until_ns: point("--until", flags.until.as_deref())?,
        tail,
        stdout: true,
        stderr: true,
    };
    let engine = context.engine()?;
    let id = context.find(&engine, &flags.container)?;
    let mut failure = None;
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
    let mut at_line_start = true;
    let mut sink = |line: LogLine| {
        let result = write_line(&mut out, &line, flags.timestamps && at_line_start, flags.follow);
        at_line_start = line.log.ends_with('\n');
        failure = result.err().map(|error| output::failed(&error));
        failure.is_none()
    };
    engine.logs(&id, &query, &mut sink).map_err(Failure::from)?;
    match failure {
        Some(failure) => Err(failure),
        None => out.flush().map(|()| 0).map_err(|error| output::failed(&error)),
    }
}

fn write_line(out: &mut impl Write, line: &LogLine, stamp: bool, flush: bool) -> std::io::Result<()> {
    let stamp = if stamp { format!("{} ", line.time) } else { String::new() };
    if line.stream == "stderr" {
        // Both streams keep their order where they go to one place.
        out.flush()?;
        let mut error = std::io::stderr().lock();
        error.write_all(stamp.as_bytes())?;
        return error.write_all(line.log.as_bytes());
    }
    out.write_all(stamp.as_bytes())?;
    out.write_all(line.log.as_bytes())?;
    if flush { out.flush() } else { Ok(()) }
}

const EVENT_FILTERS: &[&str] = &["container", "event", "image", "label", "network", "type", "volume"];

/// `holm events`
pub fn events(context: &Context, flags: &Events) -> Outcome {
    let filters = Filters::parse(&flags.filter, EVENT_FILTERS)?;
    let template = match flags.format.as_deref() {
        Some("json") => Some("{{json .}}"),
        other => other,
    };
    let parsed = template.map(|text| Template::parse(text).map_err(|e| e.into_failure(text))).transpose()?;
    let since_ns = point("--since", flags.since.as_deref())?;
    let until_ns = point("--until", flags.until.as_deref())?;
    let past = until_ns.is_some_and(|until| until <= time::now_ns());
    let query = EventQuery { since_ns, until_ns, follow: !past };
    let engine = context.engine()?;
    let mut failure = None;
    let mut sink = |event: Event| {
        if !fits(&filters, &event) {
            return true;
        }
        let text = match (&parsed, template) {
            (Some(parsed), Some(text)) => parsed.render(&document(&event)).map_err(|e| e.into_failure(text)),
            _ => Ok(line(&event)),
        };
        failure = text.and_then(|text| output::line(&text)).err();
        failure.is_none()
    };
    engine.events(query, &mut sink).map_err(Failure::from)?;
    failure.map_or(Ok(0), Err)
}

fn fits(filters: &Filters, event: &Event) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map_or("", String::as_str);
    let of = |kind: &str, value: &str| {
        let named =
            event.id == value || attribute("name") == value || (value.len() >= 4 && event.id.starts_with(value));
        event.kind == kind && named
    };
    filters.any("type", |kind| kind == event.kind)
        && filters.any("event", |action| event.action == action || event.action.split(':').next() == Some(action))
        && filters.any("container", |name| of("container", name))
        && filters.any("volume", |name| of("volume", name))
        && filters.any("network", |name| of("network", name))
        && filters.any("image", |name| of("image", name) || attribute("image") == name)
        && Filter::labels_fit(filters, &event.attributes)
}

fn line(event: &Event) -> String {
    let pairs: Vec<String> = event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let text = format!("{} {} {} ({})", event.kind, event.action, event.id, pairs.join(", "));
    format!("{} {}", time::rfc3339_nanos(event.time_ns), printable(&text))
}

/// Docker's form of an event.
fn document(event: &Event) -> Value {
    json!({
        "status": event.action,
        "id": event.id,
        "from": event.attributes.get("image").cloned().unwrap_or_default(),
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time_ns / 1_000_000_000,
        "timeNano": event.time_ns,
        // The names that docker's templates know.
        "ID": event.id,
        "Status": event.action,
        "From": event.attributes.get("image").cloned().unwrap_or_default(),
        "Scope": "local",
        "Time": event.time_ns / 1_000_000_000,
        "TimeNano": event.time_ns,
    })
}
