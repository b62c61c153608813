//! A real `docker-registry` with TLS by a throw-away authority and users, with `skopeo` at the other side.

use std::fs;

use holm_image::progress::Silent;
use holm_image::pull::PullError;
use holm_image::push::push;
use holm_image::registry::{Credential, CredentialStore, RegistryError, login};
use holm_kit::{Holm, Registry, RegistryOptions};

use crate::setup::{Place, content, image, noise, story};

fn user() -> Credential {
    Credential::Password { username: Registry::USER.to_owned(), password: Registry::PASSWORD.to_owned() }
}

#[test]
fn image_pushed_by_skopeo_is_pulled_over_tls_with_a_login() {
    let registry = Registry::secure();
    let image = image(4, 300_000);
    let mut place = Place::new();
    let layout = place.folder.path().join("layout");
    image.write_layout(&layout, "x");
    registry.push_layout(&layout, "x", "team/app:1");
    let reference = registry.reference("team/app:1");

    let error = place.pull(&reference).expect_err("unknown authority");
    assert!(matches!(error, PullError::Registry(RegistryError::Certificate { .. })), "{}", story(&error));
    assert!(error.hint().expect("hint").contains("--tls-verify=false"));

    let certs = place.folder.path().join("certs.d");
    fs::create_dir_all(certs.join(registry.host())).expect("mkdir");
    fs::copy(registry.certificate(), certs.join(registry.host()).join("ca.crt")).expect("copy");
    place.options.cert_dirs = vec![certs];
    let error = place.pull(&reference).expect_err("nobody logged in");
    assert!(matches!(error, PullError::Registry(RegistryError::Refused { logged_in: false, .. })), "{}", story(&error));
    assert!(error.hint().expect("hint").ends_with(&format!("holm login {}", registry.host())), "{:?}", error.hint());

    let own = Some(place.folder.path().join("auth.json"));
    place.options.credential_store = CredentialStore { own, others: Vec::new() };
    let wrong = Credential::Password { username: "holm".to_owned(), password: "guess".to_owned() };
    assert!(matches!(
        login(&place.options, &registry.host(), &wrong, false),
        Err(RegistryError::Refused { status: 401, .. })
    ));
    login(&place.options, &registry.host(), &user(), false).unwrap_or_else(|error| panic!("{}", story(&error)));
    let stored = place.pull(&reference).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(stored.manifest_digest.as_str(), image.manifest().digest());
    for n in 0..4 {
        assert_eq!(content(&stored, n), noise(n as u64, 300_000));
    }
    let error = place.pull(&registry.reference("team/absent:1")).expect_err("absent");
    let text = story(&error);
    assert!(text.contains("manifest unknown") && text.contains("team/absent:1"), "{text}");
}

#[test]
fn registry_of_an_unknown_authority_is_trusted_when_told() {
    let registry = Registry::start(RegistryOptions { tls: true, auth: false });
    let image = image(1, 1000);
    let mut place = Place::new();
    let layout = place.folder.path().join("layout");
    image.write_layout(&layout, "x");
    registry.push_layout(&layout, "x", "app:1");
    place.options.ca_file = Some(registry.certificate());
    place.pull(&registry.reference("app:1")).unwrap_or_else(|error| panic!("{}", story(&error)));

    let mut place = Place::new();
    place.options.tls_verify = Some(false);
    place.pull(&registry.reference("app:1")).unwrap_or_else(|error| panic!("{}", story(&error)));

    let mut place = Place::new();
    let junk = place.folder.path().join("junk.crt");
    fs::write(&junk, "no certificate").expect("write");
    place.options.ca_file = Some(junk);
    let error = place.pull(&registry.reference("app:1")).expect_err("a bad file");
    assert!(story(&error).contains("junk.crt"), "{}", story(&error));
}

#[test]
fn image_pushed_by_us_is_read_by_skopeo_with_the_same_digest() {
    let registry = Registry::secure();
    let image = image(3, 200_000);
    let mut place = Place::new();
    let layout = place.folder.path().join("layout");
    image.write_layout(&layout, "x");
    registry.push_layout(&layout, "x", "first:1");
    place.options.ca_file = Some(registry.certificate());
    place.options.credential = Some(user());
    place.pull(&registry.reference("first:1")).unwrap_or_else(|error| panic!("{}", story(&error)));
    let other = Registry::secure();
    let mut bundle = fs::read(registry.certificate()).expect("read");
    bundle.extend(fs::read(other.certificate()).expect("read"));
    let both = place.folder.path().join("both.crt");
    fs::write(&both, bundle).expect("write");
    place.options.ca_file = Some(both);
    let source = registry.reference("first:1");
    // To another registry (every blob is sent), then to another repository of the first (every blob is mounted).
    for (target, registry) in [(other.reference("second:2"), &other), (registry.reference("third/x:3"), &registry)] {
        let pushed = push(&place.store, &place.resolver, &place.options, &source, Some(&target), &Silent)
            .unwrap_or_else(|error| panic!("{}", story(&error)));
        assert_eq!(pushed.digest.as_str(), image.manifest().digest());
        let copy = place.folder.path().join("copy");
        let _ = fs::remove_dir_all(&copy);
        registry
            .skopeo(["copy"], "--src-")
            .args([format!("docker://{target}"), format!("oci:{}:x", copy.display())])
            .ok();
        let seen = registry.skopeo(["inspect"], "--").arg(format!("docker://{target}")).ok();
        assert_eq!(seen.json()["Digest"], image.manifest().digest());
    }
    place.store.tag(&source, &other.reference("empty:1")).expect("tag");
}

#[test]
fn registry_on_loopback_may_be_plain_http() {
    let registry = Registry::start(RegistryOptions::default());
    let image = image(2, 100_000);
    let place = Place::new();
    let layout = place.folder.path().join("layout");
    image.write_layout(&layout, "x");
    registry.push_layout(&layout, "x", "app:1");
    let stored = place.pull(&registry.reference("app:1")).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(stored.manifest_digest.as_str(), image.manifest().digest());
    let mut strict = Place::new();
    strict.options.tls_verify = Some(true);
    let error = strict.pull(&registry.reference("app:1")).expect_err("no TLS there");
    assert!(story(&error).contains("plain HTTP"), "{}", story(&error));
    assert!(error.hint().expect("hint").contains("--tls-verify=false"), "{:?}", error.hint());
}

#[test]
fn docker_schema_2_images_keep_their_form() {
    let registry = Registry::start(RegistryOptions::default());
    let image = image(2, 10_000);
    let place = Place::new();
    let layout = place.folder.path().join("layout");
    image.write_layout(&layout, "x");
    Holm::program("skopeo")
        .args(["--insecure-policy", "copy", "--format", "v2s2", "--dest-tls-verify=false"])
        .args([format!("oci:{}:x", layout.display()), format!("docker://{}", registry.reference("app:1"))])
        .ok();
    let reference = registry.reference("app:1");
    let stored = place.pull(&reference).unwrap_or_else(|error| panic!("{}", story(&error)));
    let target = registry.reference("copy:1");
    let pushed = push(&place.store, &place.resolver, &place.options, &reference, Some(&target), &Silent).expect("push");
    assert_eq!(pushed.digest, stored.manifest_digest);
    let seen = registry.skopeo(["inspect", "--raw"], "--").arg(format!("docker://{target}")).ok();
    assert_eq!(seen.json()["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
}
