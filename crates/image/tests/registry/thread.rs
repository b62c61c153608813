//! A process that pulls must be free to enter name spaces afterwards: no call may leave a thread behind.

use std::time::Duration;

use holm_image::push::push;
use holm_kit::wait_until;

use crate::server::{Reply, Server, honest};
use crate::setup::{Place, image, story};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("list threads").count()
}

/// A thread that was joined is still listed for the moment that the kernel needs to put it away.
#[track_caller]
fn check(before: usize, when: &str) {
    wait_until(&format!("{before} threads are left {when}"), Duration::from_secs(2), || threads() == before);
}

#[test]
fn pull_and_push_leave_no_thread_behind() {
    // Threads are counted in a process of its own, where no other test runs and no server either.
    let Some(host) = std::env::var_os("HOLM_TEST_REGISTRY") else { return parent() };
    let host = host.into_string().expect("text");
    let mut place = Place::new();
    place.options.idle_timeout = Duration::from_millis(300);
    place.options.max_attempts = 2;
    let before = threads();
    let good = format!("{host}/good:1");
    place.pull(&good).unwrap_or_else(|error| panic!("{}", story(&error)));
    check(before, "after a pull");
    for bad in ["missing-layer", "cut-layer", "silent-layer", "no-manifest"] {
        place.store = holm_image::store::Store::open(&place.folder.path().join(bad)).expect("store");
        place.pull(&format!("{host}/{bad}:1")).expect_err(bad);
        check(before, bad);
    }
    place.store = holm_image::store::Store::open(place.folder.path()).expect("store");
    let pushed = push(&place.store, &place.resolver, &place.options, &good, None, &holm_image::progress::Silent);
    pushed.expect_err("the registry takes nothing");
    check(before, "after a push");
    place.pull("no-such-host.invalid/app:1").expect_err("no such host");
    check(before, "after a failed look-up");
}

fn parent() {
    let image = image(4, 300_000);
    let first = image.layers[0].blob.digest();
    let server = Server::start(move |seen| {
        if !matches!(seen.method.as_str(), "GET") {
            return Reply::status(403);
        }
        let bad = seen.path.ends_with(&first);
        match (seen.path.split('/').nth(2), honest(&image, seen)) {
            (Some("missing-layer"), _) if bad => Reply::status(404),
            (Some("silent-layer"), _) if bad => Reply::Silence,
            (Some("cut-layer"), Reply::Full(status, headers, body)) if bad => Reply::Cut(status, headers, body, 1000),
            (Some("no-manifest"), _) => Reply::status(404),
            (_, reply) => reply,
        }
    });
    let output = std::process::Command::new(std::env::current_exe().expect("exe"))
        .args(["--exact", "thread::pull_and_push_leave_no_thread_behind", "--nocapture"])
        .env("HOLM_TEST_REGISTRY", server.host())
        .output()
        .expect("run");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
