//! Registries that cut off, lie, refuse, loop and talk without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holm_image::progress::Silent;
use holm_image::pull::PullError;
use holm_image::pull::platform::parse_platform;
use holm_image::registry::RegistryError;
use holm_kit::{Image, sha256};

use crate::server::{Reply, Seen, Server, honest, start_of};
use crate::setup::{Place, content, image, noise, story};

pub fn serve(image: &Image, rule: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let image = image.clone();
    Server::start(move |seen| rule(seen).unwrap_or_else(|| honest(&image, seen)))
}

fn layer(image: &Image, n: usize) -> String {
    image.layers[n].blob.digest()
}

#[test]
fn pull_of_a_good_image_stores_it_and_a_second_one_fetches_no_blob() {
    let image = image(3, 200_000);
    let server = serve(&image, |_| None);
    let place = Place::new();
    let reference = format!("{}/app:1", server.host());
    let stored = place.pull(&reference).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(stored.manifest_digest.as_str(), image.manifest().digest());
    assert_eq!(stored.names.join(" "), reference);
    for n in 0..3 {
        assert_eq!(content(&stored, n), noise(n as u64, 200_000));
        assert!(place.store.has_blob(&layer(&image, n).parse().expect("digest")));
    }
    assert_eq!(server.count("/blobs/"), 4);
    assert_eq!(place.pull(&reference).expect("again").id, stored.id);
    assert_eq!(server.count("/blobs/"), 4);
}

#[test]
fn pull_cut_in_the_middle_resumes_by_range() {
    let image = image(1, 1_000_000);
    let digest = layer(&image, 0);
    let (good, wanted) = (image.clone(), digest.clone());
    let server = serve(&image, move |seen| match honest(&good, seen) {
        Reply::Full(status, headers, body) if seen.path.ends_with(&wanted) && seen.nth < 3 => {
            Some(Reply::Cut(status, headers, body, 200_000))
        }
        _ => None,
    });
    let place = Place::new();
    let stored = place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(content(&stored, 0), noise(0, 1_000_000));
    let ranges: Vec<_> = server.seen().into_iter().filter(|seen| seen.path.ends_with(&digest)).collect();
    let starts: Vec<_> = ranges.iter().map(start_of).collect();
    assert_eq!(starts, [None, Some(200_000), Some(400_000), Some(600_000)]);
}

#[test]
fn pull_cut_in_the_middle_survives_a_registry_without_ranges() {
    let image = image(1, 500_000);
    for odd in ["ignored", "416", "wrong range"] {
        let (good, wanted) = (image.clone(), layer(&image, 0));
        let server = serve(&image, move |seen| {
            if !seen.path.ends_with(&wanted) {
                return None;
            }
            let Reply::Full(_, headers, body) = honest(&good, &Seen { range: None, ..seen.clone() }) else {
                return None;
            };
            match (seen.range.is_some(), odd) {
                (true, "416") => Some(Reply::status(416)),
                (true, "wrong range") => {
                    let headers = vec![("Content-Range", format!("bytes 7-{}/{}", body.len() - 1, body.len()))];
                    Some(Reply::Full(206, headers, body[7..].to_vec()))
                }
                _ if seen.nth == 0 => Some(Reply::Cut(200, headers, body, 300_000)),
                _ => Some(Reply::Full(200, headers, body)),
            }
        });
        let place = Place::new();
        let stored = place.pull(&format!("{}/app", server.host())).unwrap_or_else(|e| panic!("{odd}: {}", story(&e)));
        assert_eq!(content(&stored, 0), noise(0, 500_000), "{odd}");
    }
}

#[test]
fn pull_given_up_is_resumed_by_the_next_one() {
    let image = image(1, 600_000);
    let (good, wanted) = (image.clone(), layer(&image, 0));
    let broken = serve(&image, move |seen| match honest(&good, seen) {
        Reply::Full(status, headers, body) if seen.path.ends_with(&wanted) => {
            let end = if seen.range.is_some() { 0 } else { 250_000 };
            Some(Reply::Cut(status, headers, body, end))
        }
        _ => None,
    });
    let place = Place::new();
    let error = place.pull(&format!("{}/app", broken.host())).expect_err("cut every time");
    assert!(matches!(error, PullError::Registry(RegistryError::Connection { .. })), "{}", story(&error));
    assert!(place.is_empty());
    assert_eq!(broken.count(&layer(&image, 0)), 4, "the attempts are bounded");
    let server = serve(&image, |_| None);
    let stored = place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(content(&stored, 0), noise(0, 600_000));
    let ranged: Vec<_> = server.seen().iter().filter_map(start_of).collect();
    assert_eq!(ranged, [250_000]);
}

#[test]
fn pull_over_a_damaged_left_over_starts_again() {
    let image = image(1, 400_000);
    let digest = layer(&image, 0);
    let place = Place::new();
    let partial = place.folder.path().join("images/partial").join(digest.replace(':', "-"));
    std::fs::write(&partial, noise(99, 100_000)).expect("write a damaged left-over");
    let server = serve(&image, |_| None);
    let stored = place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(content(&stored, 0), noise(0, 400_000));
    assert_eq!(server.count(&digest), 2);
}

/// Pulls from a registry that spoils its first layer's blob.
fn spoilt(reply: impl Fn(Vec<u8>) -> Reply + Send + Sync + 'static) -> String {
    let image = image(2, 100_000);
    let (good, wanted) = (image.clone(), layer(&image, 0));
    let server = serve(&image, move |seen| match honest(&good, seen) {
        Reply::Full(_, _, body) if seen.path.ends_with(&wanted) => Some(reply(body)),
        _ => None,
    });
    let place = Place::new();
    let started = Instant::now();
    let error = place.pull(&format!("{}/app", server.host())).expect_err("spoilt");
    assert!(place.is_empty());
    assert!(!place.store.has_blob(&layer(&image, 0).parse().expect("digest")));
    assert!(!place.store.has_layer(&image.layers[0].diff_id.parse().expect("digest")));
    assert!(started.elapsed() < Duration::from_secs(15));
    story(&error)
}

#[test]
fn blob_that_is_not_what_was_asked_for_is_refused() {
    let flipped = |mut body: Vec<u8>| {
        let last = body.len() - 1;
        body[last] ^= 1;
        body
    };
    let text = spoilt(move |body| Reply::Full(200, vec![], flipped(body)));
    assert!(text.contains("digest") || text.contains("unpack"), "{text}");
    let text = spoilt(|body| Reply::Full(200, vec![], body[1..].to_vec()));
    assert!(text.contains("announces"), "{text}");
    let text = spoilt(|body| Reply::Unannounced([body, vec![0]].concat()));
    assert!(text.contains("more than"), "{text}");
    let text = spoilt(|body| Reply::Unannounced(body[..50_000].to_vec()));
    assert!(text.contains("closed after 50000 of"), "{text}");
    let text = spoilt(|_| Reply::Endless);
    assert!(text.contains("cannot"), "{text}");
    let text = spoilt(|_| Reply::Raw(b"\x00\xff garbage\r\n\r\n".to_vec()));
    assert!(text.contains("connection"), "{text}");
    let text = spoilt(|_| Reply::status(404));
    assert!(text.contains("404") && text.contains("spoilt (TEST)"), "{text}");
    let text = spoilt(|body| Reply::Full(206, vec![], body));
    assert!(text.contains("part nobody asked for"), "{text}");
}

/// Pulls where the manifest is answered by `reply`.
pub fn manifest_answer(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (PullError, usize) {
    let image = image(1, 1000);
    let server = serve(&image, move |seen| seen.path.contains("/manifests/").then(|| reply(seen)));
    let place = Place::new();
    let error = place.pull(&format!("{}/app:1", server.host())).expect_err("a bad manifest");
    assert!(place.is_empty());
    (error, server.count("/manifests/"))
}

#[test]
fn manifest_that_cannot_be_used_is_refused() {
    let docker =
        |body: &str| Reply::Full(200, vec![("Content-Type", "text/html".to_owned())], body.as_bytes().to_vec());
    for (body, expected) in [
        ("<html>", "malformed"),
        ("{}", "schema version"),
        (r#"{"schemaVersion": 1, "fsLayers": []}"#, "schema version 1"),
        (r#"{"schemaVersion": 2}"#, "neither"),
        (r#"{"schemaVersion": 2, "manifests": [], "layers": [], "config": {}}"#, "both"),
        (r#"{"schemaVersion": 2, "manifests": []}"#, "no platform"),
    ] {
        let (error, _) = manifest_answer(move |_| docker(body));
        assert!(story(&error).contains(expected), "{body}: {}", story(&error));
    }
    let artifact = format!(
        r#"{{"schemaVersion": 2, "artifactType": "application/x.chart",
            "config": {{"mediaType": "application/x.chart", "size": 2, "digest": "{}"}}, "layers": []}}"#,
        sha256(b"{}")
    );
    let (error, _) = manifest_answer(move |_| docker(&artifact));
    assert!(story(&error).contains("application/x.chart"), "{}", story(&error));
    let (error, count) = manifest_answer(|_| Reply::Endless);
    assert!(story(&error).contains("over 4194304 bytes"), "{}", story(&error));
    assert_eq!(count, 1);
    let (error, _) = manifest_answer(|seen| {
        let wrong = sha256(b"something else");
        match honest(&image(1, 1000), seen) {
            Reply::Full(_, _, body) => Reply::Full(200, vec![("Docker-Content-Digest", wrong)], body),
            other => other,
        }
    });
    assert!(matches!(error, PullError::Registry(RegistryError::Digest { .. })), "{}", story(&error));
}

#[test]
fn manifest_by_digest_is_checked_over_its_bytes() {
    let image = image(1, 1000);
    let other = crate::setup::image(2, 1000).manifest();
    let server = serve(&image, move |seen| {
        let reply = Reply::Full(200, vec![("Content-Type", other.media_type.clone())], other.bytes.clone());
        seen.path.contains("/manifests/").then_some(reply)
    });
    let place = Place::new();
    let reference = format!("{}/app@{}", server.host(), image.manifest().digest());
    let error = place.pull(&reference).expect_err("another manifest");
    assert!(matches!(error, PullError::Registry(RegistryError::Digest { .. })), "{}", story(&error));
    let server = serve(&image, |_| None);
    let reference = format!("{}/app@{}", server.host(), image.manifest().digest());
    assert_eq!(place.pull(&reference).expect("pull by digest").names, [reference]);
}

#[test]
fn index_gives_the_manifest_of_the_platform() {
    let image = image(1, 1000);
    let manifest = image.manifest();
    let index = |architecture: &str, size: usize| {
        format!(
            r#"{{"schemaVersion": 2, "manifests": [
              {{"mediaType": "{0}", "digest": "{1}", "size": 3, "platform": {{"os": "plan9", "architecture": "mips"}}}},
              {{"mediaType": "{0}", "digest": "{2}", "size": {size},
                "platform": {{"os": "linux", "architecture": "{architecture}"}}}}]}}"#,
            manifest.media_type,
            sha256(b"abc"),
            manifest.digest()
        )
    };
    let serve_index = |index: String| {
        serve(&image, move |seen| seen.path.ends_with("/manifests/1").then(|| Reply::json(index.clone())))
    };
    let place = Place::new();
    let server = serve_index(index("s390x", manifest.bytes.len()));
    let reference = format!("{}/app:1", server.host());
    let error = place.pull(&reference).expect_err("no such platform");
    let text = story(&error);
    assert!(text.contains("plan9/mips, linux/s390x") && text.contains("linux/"), "{text}");
    assert_eq!(error.hint().as_deref(), Some("choose one with --platform os/architecture"));
    let wanted = parse_platform("linux/s390x").expect("platform");
    let pulled = holm_image::pull::pull(&place.store, &place.resolver, &place.options, &reference, &wanted, &Silent);
    assert_eq!(pulled.expect("pull").manifest_digest.as_str(), manifest.digest());
    let server = serve_index(index("s390x", 7));
    let reference = format!("{}/app:1", server.host());
    let lied = holm_image::pull::pull(&place.store, &place.resolver, &place.options, &reference, &wanted, &Silent);
    assert!(matches!(lied, Err(PullError::Size(..))), "{lied:?}");
}

#[test]
fn server_errors_are_tried_again_and_then_reported() {
    let image = image(1, 1000);
    let server = serve(&image, |seen| match seen.nth {
        0 if seen.path.contains("/manifests/") => {
            Some(Reply::Full(429, vec![("Retry-After", "86400".to_owned())], Vec::new()))
        }
        1 if seen.path.contains("/manifests/") => Some(Reply::status(503)),
        0 if seen.path.contains("/blobs/") => Some(Reply::Raw(Vec::new())),
        _ => None,
    });
    Place::new().pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    let (error, count) = manifest_answer(|_| Reply::status(500));
    assert_eq!(count, 4);
    let text = story(&error);
    assert!(
        text.contains("answered 500: spoilt (TEST)") && text.contains("/app:1`") && text.contains("127.0.0.1"),
        "{text}"
    );
    let (error, count) = manifest_answer(|_| Reply::status(404));
    assert_eq!(count, 1);
    assert!(error.hint().expect("hint").contains("holm login 127.0.0.1"), "{:?}", error.hint());
    let (error, _) =
        manifest_answer(|_| Reply::Full(400, vec![], b"{\"errors\":[{\"message\":\"\\u001b[2J\\nboo\"}]}".to_vec()));
    assert!(story(&error).chars().all(|c| !c.is_control()), "{}", story(&error));
}

#[test]
fn silence_ends_at_the_idle_limit() {
    let image = image(1, 1000);
    let server = serve(&image, |seen| seen.path.contains("/manifests/").then_some(Reply::Silence));
    let mut place = Place::new();
    place.options.idle_timeout = Duration::from_millis(200);
    place.options.max_attempts = 2;
    let started = Instant::now();
    let error = place.pull(&format!("{}/app", server.host())).expect_err("silence");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(story(&error).contains("timeout"), "{}", story(&error));
    assert_eq!(server.count("/manifests/"), 2);
}

#[test]
fn first_layer_that_fails_stops_the_others_at_once() {
    let image = image(3, 1000);
    let (bad, silent) = (layer(&image, 1), [layer(&image, 0), layer(&image, 2)]);
    let waiting = Arc::new((std::sync::Mutex::new(0), std::sync::Condvar::new()));
    let arrivals = waiting.clone();
    let server = serve(&image, move |seen| {
        if silent.iter().any(|digest| seen.path.ends_with(digest)) {
            *arrivals.0.lock().expect("lock") += 1;
            arrivals.1.notify_all();
            return Some(Reply::Silence);
        }
        if seen.path.ends_with(&bad) {
            // Fail only when both others hang, so that there is something to stop.
            let guard = arrivals.0.lock().expect("lock");
            drop(arrivals.1.wait_timeout_while(guard, Duration::from_secs(10), |n| *n < 2).expect("wait"));
            return Some(Reply::status(404));
        }
        None
    });
    let mut place = Place::new();
    place.options.idle_timeout = Duration::from_secs(60);
    let started = Instant::now();
    let error = place.pull(&format!("{}/app", server.host())).expect_err("a layer is missing");
    assert!(matches!(error, PullError::Registry(RegistryError::NotFound { .. })), "{}", story(&error));
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    assert_eq!(*waiting.0.lock().expect("lock"), 2);
}

#[test]
fn two_pulls_of_one_image_share_the_download() {
    let image = image(3, 300_000);
    let both = Arc::new(std::sync::Barrier::new(2));
    let server = {
        let both = both.clone();
        // The manifest is held back until both pulls ask for it, so that their layers overlap.
        serve(&image, move |seen| {
            if seen.path.contains("/manifests/") {
                both.wait();
            }
            None
        })
    };
    let place = Place::new();
    let reference = format!("{}/app", server.host());
    let results = std::thread::scope(|scope| {
        let pulls = [(); 2].map(|()| scope.spawn(|| place.pull(&reference).map(|image| image.id)));
        pulls.map(|pull| pull.join().expect("join"))
    });
    let [a, b] = results.map(|result| result.unwrap_or_else(|error| panic!("{}", story(&error))));
    assert_eq!(a, b);
    for n in 0..3 {
        assert_eq!(server.count(&layer(&image, n)), 1, "layer {n}");
    }
    assert_eq!(server.count("/blobs/"), 4);
}

#[test]
fn same_layer_twice_is_fetched_once() {
    let one = image(1, 10_000);
    let twice = Image::new([one.layers[0].clone(), one.layers[0].clone()]);
    let server = serve(&twice, |_| None);
    let place = Place::new();
    let stored = place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(stored.layers.len(), 1);
    assert_eq!(server.count(&layer(&one, 0)), 1);
}

#[test]
fn progress_is_told_of_each_layer_once() {
    #[derive(Default)]
    struct Tally {
        started: AtomicUsize,
        bytes: AtomicUsize,
        done: AtomicUsize,
    }
    impl holm_image::progress::Progress for Tally {
        fn start(&self, _: &str, _: &str, _: Option<u64>) {
            self.started.fetch_add(1, Ordering::SeqCst);
        }
        fn advance(&self, _: &str, bytes: u64) {
            self.bytes.fetch_add(bytes as usize, Ordering::SeqCst);
        }
        fn done(&self, _: &str, _: &str) {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
    }
    let image = image(4, 30_000);
    let server = serve(&image, |_| None);
    let place = Place::new();
    let tally = Tally::default();
    let host = holm_image::pull::platform::host_platform();
    let reference = format!("{}/app", server.host());
    holm_image::pull::pull(&place.store, &place.resolver, &place.options, &reference, &host, &tally).expect("pull");
    let total: usize = image.layers.iter().map(|layer| layer.blob.bytes.len()).sum();
    assert_eq!(tally.started.load(Ordering::SeqCst), 4);
    assert_eq!(tally.done.load(Ordering::SeqCst), 4);
    assert_eq!(tally.bytes.load(Ordering::SeqCst), total);
}
