//! Health checks.

use std::time::Duration;

use holm_kit::{Leaks, Scratch, wait_until};

fn becomes(scratch: &Scratch, name: &str, status: &str) {
    wait_until(&format!("`{name}` becomes {status}"), Duration::from_secs(20), || {
        scratch.inspect(name, "{{.State.Health.Status}}") == status
    });
}

#[test]
fn health_follows_the_check_and_its_log_is_kept() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let check = ["--health-cmd", "echo seen; test -e /well", "--health-interval", "100ms", "--health-retries", "2"];
    scratch.detached("h", &check, &["sleep", "1000"]);
    becomes(&scratch, "h", "unhealthy");
    scratch.holm(["exec", "h", "touch", "/well"]).ok();
    becomes(&scratch, "h", "healthy");
    let log = scratch.holm(["inspect", "--format", "{{json .State.Health}}", "h"]).ok();
    let health = log.json();
    let last = health["Log"].as_array().and_then(|log| log.last()).unwrap_or_else(|| panic!("no log in {health}"));
    assert_eq!(last["ExitCode"], 0);
    assert!(last["Output"].as_str().unwrap().contains("seen"));
    assert!(health["Log"].as_array().unwrap().len() <= 5);
    scratch.holm(["ps", "--filter", "health=healthy", "--format", "{{.Names}} {{.Status}}"]).ok().mentions("(healthy)");
    scratch.holm(["exec", "h", "rm", "/well"]).ok();
    becomes(&scratch, "h", "unhealthy");
    scratch.holm(["rm", "-f", "h"]).ok();
    leaks.assert_none();
}

#[test]
fn check_that_takes_too_long_counts_as_failed_and_is_killed() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let check = ["--health-cmd", "sleep 777", "--health-interval", "100ms", "--health-timeout", "200ms"];
    scratch.detached("slow", &[&check[..], &["--health-retries", "1"]].concat(), &["sleep", "1000"]);
    becomes(&scratch, "slow", "unhealthy");
    scratch.holm(["stop", "-t", "0", "slow"]).ok();
    scratch.holm(["rm", "slow"]).ok();
    leaks.assert_none();
}

#[test]
fn health_is_absent_without_a_check_and_with_no_healthcheck() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("plain", &[], &["sleep", "1000"]);
    assert_eq!(scratch.inspect("plain", "{{if .State.Health}}yes{{else}}no{{end}}"), "no");
    scratch.detached("off", &["--no-healthcheck"], &["sleep", "1000"]);
    assert_eq!(scratch.inspect("off", "{{if .State.Health}}yes{{else}}no{{end}}"), "no");
    scratch.holm(["rm", "-f", "plain", "off"]).ok();
    leaks.assert_none();
}
