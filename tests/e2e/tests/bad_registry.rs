//! Registries that cut off, refuse, stall and lie.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holm_kit::{Answer, BUSYBOX, Blob, FakeRegistry, Image, Leaks, Scratch};

/// Pulls from a registry that spoils what `rule` says, wants a failure that mentions `word`, and nothing left.
#[track_caller]
fn fails(what: &str, word: &str, rule: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> usize {
    let scratch = Scratch::new();
    scratch.holm(["images"]).ok();
    let leaks = Leaks::before(&scratch);
    let registry = FakeRegistry::start(&Image::busybox(), rule);
    let output = scratch.holm(["pull", &registry.reference("x:1")]).limit(Duration::from_secs(90)).run().calm();
    assert_ne!(output.exit_code(), 0, "{what}: {output}");
    assert!(output.stderr.to_lowercase().contains(word), "{what}: no `{word}` in {output}");
    scratch.holm(["images", "-q"]).ok().says("");
    // What came of a blob is kept for the next pull to go on from, until someone tidies up.
    scratch.holm(["image", "prune", "-f"]).ok();
    leaks.assert_none();
    registry.requests().len()
}

fn manifest(path: &str) -> bool {
    path.contains("/manifests/")
}

fn blob(path: &str) -> bool {
    path.contains("/blobs/")
}

fn when(hit: bool, answer: Answer) -> Answer {
    if hit { answer } else { Answer::Honest }
}

#[test]
fn refusals_are_told_and_retries_are_bounded() {
    fails("not found", "404", |path, _| when(manifest(path), Answer::status(404)));
    fails("forbidden", "403", |path, _| when(manifest(path), Answer::status(403)));
    fails("unauthorized without a challenge", "401", |path, _| when(manifest(path), Answer::status(401)));
    let asked = fails("always 500", "500", |path, _| when(manifest(path), Answer::status(500)));
    assert!(asked <= 12, "{asked} requests");
    let asked = fails("always 429", "429", |path, _| {
        when(manifest(path), Answer::Status(429, vec![("Retry-After".into(), "1".into())], Vec::new()))
    });
    assert!(asked <= 12, "{asked} requests");
}

#[test]
fn garbage_is_not_taken_for_a_manifest() {
    let garbage = |body: &'static str| {
        fails(body, "", move |path, _| when(manifest(path), Answer::Body(body.as_bytes().to_vec())));
    };
    garbage("not json");
    garbage("{}");
    garbage(r#"{"schemaVersion":1}"#);
    garbage(r#"{"schemaVersion":2,"config":{},"layers":[]}"#);
    garbage(r#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#);
    fails("a manifest without end", "", |path, _| when(manifest(path), Answer::Body(vec![b' '; 20 << 20])));
    fails("no HTTP", "", |path, _| when(manifest(path), Answer::Raw(b"SSH-2.0-OpenSSH_9\r\n\r\n".to_vec())));
    fails("headers without end", "", |path, _| {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        bytes.extend(b"X-Filler: yes yes yes yes yes yes\r\n".repeat(100_000));
        when(manifest(path), Answer::Raw(bytes))
    });
    fails("redirects in a circle", "", |path, _| {
        when(blob(path), Answer::Status(307, vec![("Location".into(), path.to_owned())], Vec::new()))
    });
}

#[test]
fn blobs_that_are_others_are_refused() {
    fails("another blob", "", |path, _| when(blob(path), Answer::Body(b"something else".to_vec())));
    fails("a longer blob", "", |path, _| when(blob(path), Answer::Body(vec![7; 30 << 20])));
    fails("an empty blob", "", |path, _| when(blob(path), Answer::Body(Vec::new())));
    fails("a connection that always breaks", "", |path, _| when(blob(path), Answer::CutAfter(10)));
}

#[test]
fn connection_that_breaks_is_resumed_where_it_broke() {
    let scratch = Scratch::new();
    let image = Image::busybox();
    let layer = image.layers[0].blob.digest();
    let served = Arc::new(AtomicUsize::new(0));
    let counter = served.clone();
    let registry = FakeRegistry::start(&image, move |path, before| {
        if path.ends_with(&layer) && before < 3 {
            counter.fetch_add(1, Ordering::SeqCst);
            return Answer::CutAfter(150_000);
        }
        Answer::Honest
    });
    let reference = registry.reference("x:1");
    scratch.holm(["pull", "-q", &reference]).ok();
    assert_eq!(served.load(Ordering::SeqCst), 3);
    let leaks = Leaks::before(&scratch);
    scratch.run(["--rm", &reference, "cat", "/etc/motd"]).ok().says("from the image");
    leaks.assert_none();
}

#[test]
fn short_trouble_is_overcome() {
    let scratch = Scratch::new();
    let registry = FakeRegistry::start(&Image::busybox(), |path, before| match before {
        0 if manifest(path) => Answer::status(503),
        0 if blob(path) => Answer::Status(429, vec![("Retry-After".into(), "1".into())], Vec::new()),
        _ => Answer::Honest,
    });
    scratch.holm(["pull", "-q", &registry.reference("x:1")]).ok();
}

#[test]
fn credentials_never_go_to_another_host() {
    let scratch = Scratch::new();
    let image = Image::busybox();
    let other = FakeRegistry::start(&image, |_, _| Answer::Honest);
    let target = format!("http://{}", other.address());
    let registry = FakeRegistry::start(&image, move |path, _| {
        when(blob(path), Answer::Status(307, vec![("Location".into(), format!("{target}{path}"))], Vec::new()))
    });
    let host = registry.reference("");
    let host = host.trim_end_matches('/');
    // "holm:island" in base64.
    let auths = format!(r#"{{"auths":{{"{host}":{{"auth":"aG9sbTppc2xhbmQ="}}}}}}"#);
    let file = scratch.write("auth.json", auths);
    let reference = registry.reference("x:1");
    scratch.holm(["pull", "-q", &reference]).env("REGISTRY_AUTH_FILE", file).ok();
    for request in other.requests() {
        assert!(!request.contains("Basic") && !request.contains("aG9s"), "{request}");
    }
}

#[test]
fn challenge_of_garbage_is_an_error() {
    for challenge in
        ["", "Bearer", "Bearer realm=", "Bearer realm=\"gopher://x\"", "Nonsense x=y", "Bearer realm=\"\\", "Basic"]
    {
        fails(challenge, "", move |_, _| {
            Answer::Status(401, vec![("WWW-Authenticate".into(), challenge.into())], Vec::new())
        });
    }
}

#[test]
fn manifest_that_is_an_index_too_is_refused() {
    let image = Image::busybox();
    let mut both: serde_json::Value = serde_json::from_slice(&image.manifest().bytes).unwrap();
    both["manifests"] = serde_json::json!([image.manifest().descriptor()]);
    let manifest = Blob { bytes: both.to_string().into_bytes(), ..image.manifest() };
    let registry = FakeRegistry::serve(manifest, image.blobs(), |_, _| Answer::Honest);
    let scratch = Scratch::new();
    let output = scratch.holm(["pull", &registry.reference("x:1")]).run().calm();
    assert_ne!(output.exit_code(), 0, "{output}");
}

#[test]
fn registry_that_is_not_there_is_named() {
    let scratch = Scratch::with_busybox();
    let gone = {
        let registry = FakeRegistry::start(&Image::busybox(), |_, _| Answer::Honest);
        registry.reference("x:1")
    };
    let host = gone.split('/').next().unwrap().to_owned();
    let leaks = Leaks::before(&scratch);
    let output = scratch.holm(["pull", &gone]).run().calm();
    assert!(output.exit_code() != 0 && output.stderr.contains(&host), "{output}");
    scratch.holm(["tag", BUSYBOX, &gone]).ok();
    let output = scratch.holm(["push", &gone]).run().calm();
    assert!(output.exit_code() != 0 && output.stderr.contains(&host), "{output}");
    scratch.holm(["rmi", &gone]).ok();
    leaks.assert_none();
}
