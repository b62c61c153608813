//! `doctor`: what Holm needs on this host, what was found of it, and what to type where something is missing.
//!
//! Facts are gathered first, by looking and by trying; the checks are functions of them. Leaves nothing behind but the
//! caches that a start fills too: what is tried is tried in a network namespace that ends with this process.

mod cgroup;
mod check;
mod fact;
mod machine;
mod network;

use std::fmt::Write as _;

use holm_pod::host::{Depth, Question};
use serde_json::{Value, json};

use super::Outcome;
use super::context::Context;
use crate::args::system::Doctor;
use crate::error::{Failure, printable};
use crate::settings::Settings;
use crate::{intent, output};
use check::{Check, Verdict};
use fact::Facts;

/// `holm doctor`
pub fn doctor(context: &Context, flags: &Doctor) -> Outcome {
    let machines = flags.isolation.as_deref().unwrap_or(&context.settings.isolation.value) == "vm";
    let question = question(&context.settings, Depth::Examined)?;
    // Before anything is tried, since that puts this process into a network namespace of its own.
    let host = holm_pod::host::look(&context.roots(), question);
    let facts = Facts::gather();
    let for_containers = check::containers(&facts);
    let for_machines = machine::checks(&host, &facts);
    let works = works(&for_containers) && (!machines || works(&for_machines));
    let sections = [("containers", for_containers), ("virtual machines", for_machines)];
    match flags.output.as_deref() {
        Some("json") => {
            let document = document(if machines { "vm" } else { "container" }, works, &sections);
            let text = serde_json::to_string_pretty(&document);
            output::line(&text.map_err(|e| Failure::because("cannot write the answer", &e))?)?;
        }
        _ => output::print(&text(&sections))?,
    }
    Ok(u8::from(!works))
}

/// What the settings ask of virtual machines.
pub fn question(settings: &Settings, depth: Depth) -> Result<Question<'_>, Failure> {
    let kernel = Some(settings.kernel.value.as_str()).filter(|path| !path.is_empty());
    Ok(Question {
        accelerator: intent::machine::accelerator(Some(&settings.accel.value))?,
        kernel: kernel.map(std::path::Path::new),
        depth,
    })
}

fn works(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Missing)
}

fn document(isolation: &str, works: bool, sections: &[(&str, Vec<Check>)]) -> Value {
    let checks: Vec<Value> = sections
        .iter()
        .flat_map(|(section, checks)| {
            checks.iter().map(move |check| {
                json!({
                    "For": section, "Name": check.name, "Verdict": check.verdict.word(), "Found": check.found,
                    "Fix": check.fix,
                })
            })
        })
        .collect();
    json!({"Isolation": isolation, "Works": works, "Checks": checks})
}

/// A line for each check, and one below it with what to type, which must never be cut.
fn text(sections: &[(&str, Vec<Check>)]) -> String {
    let mut text = String::new();
    for (section, checks) in sections {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}For {section}:");
        for check in checks {
            let _ = writeln!(text, "  {:<8} {}: {}", check.verdict.word(), check.name, printable(&check.found));
            if let Some(fix) = &check.fix {
                let _ = writeln!(text, "  {:<8}   fix: {}", "", printable(fix));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_what_to_type() {
        let fix = "apt-get install something-with-a-long-name".to_owned();
        let missing =
            Check { name: "thing", verdict: Verdict::Missing, found: "none\x1b".to_owned(), fix: Some(fix.clone()) };
        let sections = [("containers", vec![Check::ok("kernel", "6.1")]), ("virtual machines", vec![missing])];
        let value = document("vm", false, &sections);
        assert_eq!((&value["Checks"][1]["Verdict"], &value["Checks"][1]["Fix"]), (&json!("missing"), &json!(fix)));
        let text = text(&sections);
        assert!(text.contains("ok       kernel: 6.1\n\nFor virtual machines:\n  missing  thing: none"), "{text}");
        assert!(text.ends_with(&format!("fix: {fix}\n")) && !text.contains('\x1b'), "{text}");
        assert!(works(&sections[0].1) && !works(&sections[1].1));
    }
}
