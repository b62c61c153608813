//! Uploads to registries with wishes of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use holm_image::progress::Silent;
use holm_image::push::push;
use holm_kit::{Image, sha256};

use crate::server::{Reply, Seen, Server, honest};
use crate::setup::{Place, image, noise, story};

/// What an upload server holds, and how it wants to be spoken to.
#[derive(Default)]
struct Wishes {
    /// Refuse bodies in one piece with this status.
    whole_refused: Option<u16>,
    /// Forget the first uploads in the middle.
    cut_first: usize,
    /// Blobs that the repository `other` has.
    mountable: bool,
}

type Held = Arc<Mutex<HashMap<String, Vec<u8>>>>;

fn upload_server(wishes: Wishes) -> (Server, Held) {
    let held = Held::default();
    let store = held.clone();
    let partial = Mutex::new(Vec::new());
    let server = Server::start(move |seen| handle(&wishes, &store, &partial, seen));
    (server, held)
}

fn handle(wishes: &Wishes, store: &Held, partial: &Mutex<Vec<u8>>, seen: &Seen) -> Reply {
    let mut held = store.lock().expect("lock");
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    let last = path.rsplit('/').next().unwrap_or_default();
    let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).map(|d| d.replace("%3A", ":"));
    match seen.method.as_str() {
        "GET" => Reply::json("{}"),
        "HEAD" if held.contains_key(last) => Reply::status(200),
        "HEAD" => Reply::status(404),
        "POST" if query.contains("mount=") && wishes.mountable => Reply::Full(201, vec![], vec![]),
        "POST" => {
            partial.lock().expect("lock").clear();
            // A relative location with a query of its own.
            Reply::Full(202, vec![("Location", "/upload/here?state=a%2Fb".to_owned())], vec![])
        }
        "PATCH" => {
            let mut partial = partial.lock().expect("lock");
            let start = format!("{}-", partial.len());
            if !seen.content_range.as_deref().is_some_and(|range| range.starts_with(&start)) {
                return Reply::status(416);
            }
            partial.extend_from_slice(&seen.body);
            Reply::Full(202, vec![("Location", format!("http://{}/upload/here?state=next", seen.host))], vec![])
        }
        "PUT" if path.contains("/manifests/") => {
            held.insert(last.to_owned(), seen.body.clone());
            Reply::Full(201, vec![], vec![])
        }
        "PUT" if !seen.body.is_empty() && wishes.whole_refused.is_some() => {
            Reply::status(wishes.whole_refused.unwrap_or(400))
        }
        "PUT" if !seen.body.is_empty() && seen.nth < wishes.cut_first => Reply::Raw(Vec::new()),
        "PUT" => {
            let bytes = [partial.lock().expect("lock").as_slice(), &seen.body].concat();
            assert!(query.starts_with("state="), "the location's own query is kept: {query}");
            if digest.as_deref() != Some(&sha256(&bytes)) {
                return Reply::status(400);
            }
            held.insert(sha256(&bytes), bytes);
            Reply::Full(201, vec![], vec![])
        }
        _ => Reply::status(405),
    }
}

/// A store that holds `image` under `name`.
fn with_image(image: &Image, name: &str) -> Place {
    let image = image.clone();
    let source = Server::start(move |seen| honest(&image, seen));
    let place = Place::new();
    let pulled = place.pull(&format!("{}/src:1", source.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    place.store.tag(pulled.id.as_str(), name).expect("tag");
    place
}

fn check_pushed(image: &Image, wishes: Wishes) -> Server {
    let (server, held) = upload_server(wishes);
    let name = format!("{}/app:1", server.host());
    let place = with_image(image, &name);
    let pushed = push(&place.store, &place.resolver, &place.options, &name, None, &Silent)
        .unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(pushed.digest.as_str(), image.manifest().digest());
    assert_eq!(pushed.size_bytes, image.manifest().bytes.len() as u64);
    assert_eq!(pushed.reference.to_string(), name);
    let held = held.lock().expect("lock");
    assert_eq!(held.get("1"), Some(&image.manifest().bytes));
    for blob in image.blobs().into_iter().filter(|blob| blob.digest() != image.manifest().digest()) {
        assert_eq!(held.get(&blob.digest()).map(Vec::len), Some(blob.bytes.len()));
    }
    drop(held);
    server
}

#[test]
fn push_sends_every_blob_whole() {
    let server = check_pushed(&image(1, 50_000), Wishes::default());
    let last = server.seen().into_iter().next_back().expect("requests");
    assert!(last.method == "PUT" && last.path.contains("/manifests/1"), "the manifest goes last: {last:?}");
}

#[test]
fn push_falls_back_to_chunks_where_one_piece_is_refused() {
    let mut big = image(1, 1000);
    let noise = noise(7, 40 << 20);
    let tar = holm_kit::Tar::new().with(holm_kit::Entry::file("big", noise)).finish();
    big.layers = vec![holm_kit::Layer::gzip(&tar)];
    let server = check_pushed(&big, Wishes { whole_refused: Some(413), ..Wishes::default() });
    let patches: Vec<_> = server.seen().into_iter().filter(|seen| seen.method == "PATCH").collect();
    assert_eq!(patches.len(), 3, "two for the layer, one for the configuration");
}

#[test]
fn push_cut_in_the_middle_starts_that_blob_again() {
    check_pushed(&image(1, 50_000), Wishes { cut_first: 1, ..Wishes::default() });
}

#[test]
fn push_of_blobs_that_are_there_sends_only_the_manifest() {
    let image = image(2, 1000);
    let (server, held) = upload_server(Wishes::default());
    for blob in image.blobs() {
        held.lock().expect("lock").insert(blob.digest(), blob.bytes);
    }
    let name = format!("{}/app:1", server.host());
    let place = with_image(&image, &name);
    push(&place.store, &place.resolver, &place.options, &name, None, &Silent).expect("push");
    let methods: Vec<_> = server.seen().into_iter().map(|seen| seen.method).filter(|method| method != "HEAD").collect();
    assert_eq!(methods, ["PUT"]);
}

#[test]
fn push_mounts_from_a_repository_of_the_same_registry() {
    let image = image(2, 1000);
    let (server, _) = upload_server(Wishes { mountable: true, ..Wishes::default() });
    let name = format!("{}/app:1", server.host());
    let place = with_image(&image, &name);
    place.store.tag(&name, &format!("{}/other/repo:x", server.host())).expect("tag");
    push(&place.store, &place.resolver, &place.options, &name, None, &Silent).expect("push");
    let posts: Vec<_> = server.seen().into_iter().filter(|seen| seen.method == "POST").collect();
    assert_eq!(posts.len(), 3);
    assert!(posts.iter().all(|seen| seen.path.contains("from=other%2Frepo")), "{posts:?}");
}

#[test]
fn push_refuses_a_digest_and_what_is_not_there() {
    let place = Place::new();
    let name = format!("127.0.0.1:1/app@{}", sha256(b"x"));
    assert!(push(&place.store, &place.resolver, &place.options, &name, None, &Silent).is_err());
    let error = push(&place.store, &place.resolver, &place.options, "127.0.0.1:1/app:1", None, &Silent);
    assert!(story(&error.expect_err("absent")).contains("127.0.0.1:1/app:1"));
}

#[test]
fn push_refused_is_reported_with_the_registrys_words() {
    let image = image(1, 1000);
    let server = Server::start(|seen| match seen.method.as_str() {
        "GET" => Reply::json("{}"),
        "HEAD" => Reply::status(404),
        _ => Reply::Full(403, vec![], br#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#.to_vec()),
    });
    let name = format!("{}/app:1", server.host());
    let place = with_image(&image, &name);
    let error = push(&place.store, &place.resolver, &place.options, &name, None, &Silent).expect_err("refused");
    let text = story(&error);
    assert!(text.contains("403") && text.contains("not yours (DENIED)"), "{text}");
    assert_eq!(error.hint(), Some(format!("holm login {}", server.host())));
}
