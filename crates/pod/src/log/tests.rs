//! Lines, pieces, rotation, and reading them back.

use super::*;
use crate::{LogLine, LogQuery};

fn lines(folder: &Path, query: &LogQuery) -> Vec<LogLine> {
    let mut all = Vec::new();
    read::read(folder, query, None, &mut |line| {
        all.push(line);
        true
    })
    .unwrap();
    all
}

fn both() -> LogQuery {
    LogQuery { stdout: true, stderr: true, ..LogQuery::default() }
}

fn texts(folder: &Path, query: &LogQuery) -> Vec<String> {
    lines(folder, query).into_iter().map(|l| l.log).collect()
}

#[test]
fn writer_splits_lines_and_keeps_partial_ones_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path(), LogSpec::default());
    writer.take(1, b"one\ntwo").unwrap();
    assert_eq!(texts(folder.path(), &both()), ["one\n"]);
    writer.take(2, b"err\n").unwrap();
    writer.take(1, b" more\nrest").unwrap();
    writer.finish().unwrap();
    assert_eq!(texts(folder.path(), &both()), ["one\n", "err\n", "two more\n", "rest"]);
    let errors = LogQuery { stderr: true, ..LogQuery::default() };
    assert_eq!(texts(folder.path(), &errors), ["err\n"]);
    assert_eq!(texts(folder.path(), &LogQuery { tail: Some(2), ..both() }), ["two more\n", "rest"]);
    assert_eq!(texts(folder.path(), &LogQuery { tail: Some(0), ..both() }), Vec::<String>::new());
}

#[test]
fn writer_cuts_long_lines_at_16_kib_without_tearing_characters() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path(), LogSpec::default());
    let text = "ä".repeat(PIECE_BYTES);
    writer.take(1, b"x").unwrap();
    writer.take(1, text.as_bytes()).unwrap();
    writer.take(1, b"\n").unwrap();
    let pieces = texts(folder.path(), &both());
    assert_eq!(pieces.concat(), format!("x{text}\n"));
    assert!(pieces.len() == 3 && pieces.iter().all(|p| p.len() <= PIECE_BYTES));
}

#[test]
fn writer_replaces_bytes_that_are_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path(), LogSpec::default());
    writer.take(1, b"a\xffb\n").unwrap();
    assert_eq!(texts(folder.path(), &both()), ["a\u{fffd}b\n"]);
}

#[test]
fn writer_rotates_by_size_and_keeps_the_asked_number_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let spec = LogSpec { max_size_bytes: 300, max_files: 3, ..LogSpec::default() };
    let mut writer = Writer::new(folder.path(), spec);
    for n in 0..40 {
        writer.take(1, format!("line {n}\n").as_bytes()).unwrap();
    }
    let count = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(count <= 3, "{count} files");
    let kept = texts(folder.path(), &both());
    assert_eq!(kept.last().map(String::as_str), Some("line 39\n"));
    let first: u32 = kept[0].trim().strip_prefix("line ").unwrap().parse().unwrap();
    let expected: Vec<_> = (first..40).map(|n| format!("line {n}\n")).collect();
    assert_eq!(kept, expected);
    assert!(first > 20, "old files are gone");
}

#[test]
fn writer_without_a_log_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path(), LogSpec { driver: LogDriver::None, ..LogSpec::default() });
    writer.take(1, b"one\n").unwrap();
    writer.finish().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn reader_takes_times_and_passes_over_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let line = |s: u32| format!("{{\"log\":\"{s}\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:{s:02}Z\"}}\n");
    std::fs::write(folder.path().join(FILE), format!("{}garbage\n{}{}", line(1), line(2), line(3))).unwrap();
    let query = LogQuery { since_ns: Some(2_000_000_000), until_ns: Some(2_500_000_000), ..both() };
    assert_eq!(texts(folder.path(), &query), ["2\n"]);
}
