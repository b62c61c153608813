//! Documents and files that a program can check: crate directions, module documents, sizes, `unsafe`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates", "tests", "benches"] {
        sources(&workspace().join(folder), &mut found);
    }
    found
}

/// Crates and what they may depend on, from the table in ARCHITECTURE.md.
fn allowed() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let names = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = text.lines().filter(|line| line.starts_with("| `holm"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (names(cells[1])[0].clone(), names(cells[2]))
    })
    .collect()
}

#[test]
fn crates_depend_only_downwards_as_the_table_says() {
    let allowed = allowed();
    for entry in std::fs::read_dir(workspace().join("crates")).unwrap() {
        let manifest = std::fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|l| l.strip_prefix("name = ")).unwrap().trim_matches('"').to_owned();
        let may = allowed.get(&name).unwrap_or_else(|| panic!("{name} is missing in ARCHITECTURE.md"));
        let section = manifest.split("[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        for line in section.lines().filter(|l| l.starts_with("holm")) {
            let dependency = line.split(['.', ' ', '=']).next().unwrap();
            assert!(may.iter().any(|m| m == dependency), "{name} may not depend on {dependency}");
        }
    }
}

#[test]
fn every_file_opens_with_what_it_owns() {
    let silent: Vec<_> = all_sources()
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|n| n != "tests.rs"))
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "without a module document: {silent:?}");
}

#[test]
fn no_file_outgrows_its_reader() {
    let is_test = |path: &Path| path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs");
    for path in all_sources().into_iter().filter(|path| !is_test(path)) {
        let text = std::fs::read_to_string(&path).unwrap();
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
        assert!(own.lines().count() <= 1000, "{} has {} lines, the limit is 1000", path.display(), own.lines().count());
    }
}

#[test]
fn unsafe_lives_in_sys_alone() {
    for path in all_sources() {
        let outside = !path.components().any(|c| c.as_os_str() == "sys" || c.as_os_str() == "tests");
        if outside && !path.starts_with(workspace().join("benches")) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.lines().any(|l| l.contains("unsafe {") || l.contains("unsafe fn")), "{}", path.display());
        }
    }
}
