//! When a registry is asked at all.

use holm_image::progress::Silent;
use holm_image::pull::platform::parse_platform;
use holm_image::pull::{PullError, PullPolicy, ensure, pull_all_tags};

use crate::server::{Reply, Server, honest};
use crate::setup::{Place, image, story};

fn get(place: &Place, reference: &str, policy: PullPolicy) -> Result<String, PullError> {
    ensure(&place.store, &place.resolver, &place.options, reference, None, policy, &Silent).map(|i| i.id.to_string())
}

#[test]
fn policies_decide_who_is_asked() {
    let image = image(1, 1000);
    let (old, new) = (image.clone(), image.clone().set("User", "nobody".into()));
    let server = Server::start(move |seen| {
        let manifests_before = seen.nth;
        let by_tag = seen.path.ends_with("/manifests/1");
        match honest(&new, seen) {
            Reply::Full(404, ..) => honest(&old, seen),
            _ if by_tag && manifests_before == 0 => honest(&old, seen),
            reply => reply,
        }
    });
    let place = Place::new();
    let reference = format!("{}/app:1", server.host());
    assert!(matches!(get(&place, &reference, PullPolicy::Never), Err(PullError::NotPresent(_))));
    assert_eq!(server.seen().len(), 0);
    let first = get(&place, &reference, PullPolicy::Missing).unwrap_or_else(|error| panic!("{}", story(&error)));
    let asked = server.seen().len();
    assert_eq!(get(&place, &reference, PullPolicy::Missing).expect("present"), first);
    assert_eq!(get(&place, &reference, PullPolicy::Never).expect("present"), first);
    assert_eq!(get(&place, &first, PullPolicy::Missing).expect("by id"), first);
    assert_eq!(get(&place, &first["sha256:".len()..][..12], PullPolicy::Never).expect("by short id"), first);
    assert_eq!(server.seen().len(), asked, "nobody was asked");
    let second = get(&place, &reference, PullPolicy::Newer).expect("newer");
    assert_ne!(first, second);
    assert_eq!(get(&place, &reference, PullPolicy::Always).expect("always"), second);
    let port = server.port;
    drop(server);
    assert_eq!(get(&place, &reference, PullPolicy::Newer).expect("what is there will do"), second);
    let error = get(&place, &reference, PullPolicy::Always).expect_err("nobody there");
    assert!(story(&error).contains(&format!("127.0.0.1:{port}")), "{}", story(&error));
}

#[test]
fn missing_pulls_again_for_another_platform() {
    let mut other = image(1, 1000);
    other.architecture = "s390x".to_owned();
    let server = Server::start(move |seen| honest(&other, seen));
    let place = Place::new();
    let reference = format!("{}/app:1", server.host());
    get(&place, &reference, PullPolicy::Missing).expect("pull");
    let wanted = parse_platform("linux/amd64").expect("platform");
    let before = server.count("/manifests/");
    ensure(&place.store, &place.resolver, &place.options, &reference, Some(&wanted), PullPolicy::Missing, &Silent)
        .expect("pull");
    assert_eq!(server.count("/manifests/"), before + 1);
}

#[test]
fn all_tags_follow_the_pages_of_the_list() {
    let image = image(1, 1000);
    let server = Server::start(move |seen| match seen.path.split_once("/tags/list?") {
        Some((_, "n=1000")) => {
            let link = "</v2/app/tags/list?n=1000&last=b>; rel=\"next\"".to_owned();
            Reply::Full(200, vec![("Link", link)], br#"{"name": "app", "tags": ["a", "b"]}"#.to_vec())
        }
        Some(_) => Reply::json(r#"{"name": "app", "tags": ["c"]}"#),
        None => honest(&image, seen),
    });
    let place = Place::new();
    let host = holm_image::pull::platform::host_platform();
    let repository = format!("{}/app", server.host());
    let images = pull_all_tags(&place.store, &place.resolver, &place.options, &repository, &host, &Silent)
        .unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(images.len(), 3);
    assert_eq!(images[2].names, ["a", "b", "c"].map(|tag| format!("{repository}:{tag}")));
    let tagged = format!("{repository}:x");
    assert!(pull_all_tags(&place.store, &place.resolver, &place.options, &tagged, &host, &Silent).is_err());
}
