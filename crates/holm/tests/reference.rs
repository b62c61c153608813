//! `docs/reference/`: one page per command, made from the same definitions as its help. The test fails when pages are stale;
//! `HOLM_UPDATE_REFERENCE=1 cargo test -p holm --test reference` writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference")
}

/// Text inside a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}

fn synopsis(arg: &Arg) -> String {
    let names =
        arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let value = if arg.get_action().takes_values() && !names.is_empty() { format!(" {names}") } else { String::new() };
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|name| format!("--{name}"));
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    if flags.is_empty() { names } else { flags.join(", ") + &value }
}

fn table(text: &mut String, title: &str, args: &[&Arg]) {
    if args.is_empty() {
        return;
    }
    let _ = write!(text, "\n## {title}\n\n| | |\n|---|---|\n");
    for arg in args {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "| `{}` | {} |", synopsis(arg).replace('|', "\\|"), cell(&help));
    }
}

fn page(command: &Command, name: &str) -> String {
    let mut text = format!("# {name}\n\n{}.\n", command.get_about().map(ToString::to_string).unwrap_or_default());
    let usage = command.clone().bin_name(name).render_usage().to_string();
    let _ = write!(text, "\n```\n{}\n```\n", usage.trim_start_matches("Usage: ").trim());
    let aliases: Vec<String> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    if !aliases.is_empty() {
        let _ = write!(text, "\nAlso: {}.\n", aliases.join(", "));
    }
    let children: Vec<&Command> = command.get_subcommands().filter(|child| !child.is_hide_set()).collect();
    if !children.is_empty() {
        text.push_str("\n## Commands\n\n| | |\n|---|---|\n");
        for child in &children {
            let about = child.get_about().map(ToString::to_string).unwrap_or_default();
            let file = format!("{name} {}", child.get_name()).replace(' ', "-");
            let _ = writeln!(text, "| [`{}`]({file}.md) | {} |", child.get_name(), cell(&about));
        }
    }
    let shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version"))
        .filter(|arg| name == "holm" || !arg.is_global_set())
        .collect();
    let (positional, flags): (Vec<&Arg>, Vec<&Arg>) = shown.into_iter().partition(|arg| arg.is_positional());
    table(&mut text, "Arguments", &positional);
    let mut headings: Vec<Option<&str>> = Vec::new();
    flags.iter().map(|arg| arg.get_help_heading()).for_each(|heading| {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    });
    for heading in headings {
        let args: Vec<&Arg> = flags.iter().copied().filter(|arg| arg.get_help_heading() == heading).collect();
        table(&mut text, heading.unwrap_or("Options"), &args);
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if let Some(examples) = after.trim().strip_prefix("Examples:") {
        let lines: Vec<&str> = examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let _ = write!(text, "\n## Examples\n\n```\n{}\n```\n", lines.join("\n"));
    }
    text
}

fn pages(command: &Command, name: &str, found: &mut BTreeMap<String, String>) {
    found.insert(format!("{}.md", name.replace(' ', "-")), page(command, name));
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        pages(child, &format!("{name} {}", child.get_name()), found);
    }
}

#[test]
fn reference_pages_are_those_of_the_definitions() {
    let mut wanted = BTreeMap::new();
    pages(&holm_cli::args::full_tree(), "holm", &mut wanted);
    let folder = folder();
    if std::env::var_os("HOLM_UPDATE_REFERENCE").is_some() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("make the folder");
        for (name, text) in &wanted {
            std::fs::write(folder.join(name), text).expect("write a page");
        }
    }
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).expect("list the pages") {
        let path = entry.expect("a page").path();
        let name = path.file_name().expect("its name").to_string_lossy().into_owned();
        found.insert(name, std::fs::read_to_string(&path).expect("read a page"));
    }
    let hint = "HOLM_UPDATE_REFERENCE=1 cargo test -p holm --test reference";
    let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted), "pages and commands differ: {hint}");
    for (name, text) in &wanted {
        assert!(found[name] == *text, "docs/reference/{name} is stale: {hint}");
    }
}
