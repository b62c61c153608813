//! Challenges, tokens and logins against a server that answers as the test wants.

use holm_image::pull::PullError;
use holm_image::registry::{Credential, CredentialStore, RegistryError, login, logout};

use crate::server::{Reply, Seen, Server, honest};
use crate::setup::{Place, image, story};

fn password() -> Credential {
    Credential::Password { username: "me".to_owned(), password: "secret".to_owned() }
}

/// A registry that takes only `good-token`; `token` answers for the token service at `/token`.
fn behind_tokens(token: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
    let image = image(2, 1000);
    Server::start(move |seen| {
        if seen.path.starts_with("/token") {
            return token(seen);
        }
        if seen.authorization.as_deref() == Some("Bearer good-token") {
            return honest(&image, seen);
        }
        let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test service\"", seen.host);
        Reply::Full(401, vec![("WWW-Authenticate", challenge)], br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#.to_vec())
    })
}

#[test]
fn token_is_fetched_once_for_all_requests() {
    for answer in [r#"{"token": "good-token"}"#, r#"{"access_token": "good-token", "expires_in": 300}"#] {
        let server = behind_tokens(move |_| Reply::json(answer));
        Place::new().pull(&format!("{}/a/b", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
        let seen = server.seen();
        let tokens: Vec<_> = seen.iter().filter(|seen| seen.path.starts_with("/token")).collect();
        assert_eq!(tokens.len(), 1, "{seen:?}");
        assert_eq!(tokens[0].path, "/token?service=test%20service&scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(tokens[0].authorization, None);
    }
}

#[test]
fn token_request_carries_the_password_or_the_identity_token() {
    let server = behind_tokens(|_| Reply::json(r#"{"token": "good-token"}"#));
    let mut place = Place::new();
    place.options.credential = Some(password());
    place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    let token = server.seen().into_iter().find(|seen| seen.path.starts_with("/token")).expect("token request");
    assert_eq!(token.authorization.as_deref(), Some("Basic bWU6c2VjcmV0"));
    assert!(token.path.contains("account=me"));

    let server = behind_tokens(|_| Reply::json(r#"{"access_token": "good-token"}"#));
    let mut place = Place::new();
    place.options.credential = Some(Credential::IdentityToken("id&1".to_owned()));
    place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    let token = server.seen().into_iter().find(|seen| seen.path.starts_with("/token")).expect("token request");
    assert_eq!(token.method, "POST");
    let form = String::from_utf8(token.body).expect("text");
    assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=id%261"), "{form}");
}

#[test]
fn token_that_ends_early_is_renewed() {
    let image = image(1, 1000);
    let server = Server::start(move |seen| {
        if seen.path.starts_with("/token") {
            return Reply::json(format!(r#"{{"token": "token-{}"}}"#, seen.nth));
        }
        // Each token is good for the manifest or for the blobs, not for both.
        let wanted = if seen.path.contains("/blobs/") { "Bearer token-1" } else { "Bearer token-0" };
        if seen.authorization.as_deref() == Some(wanted) {
            return honest(&image, seen);
        }
        let challenge = format!("Bearer realm=\"http://{}/token\"", seen.host);
        Reply::Full(401, vec![("WWW-Authenticate", challenge)], Vec::new())
    });
    Place::new().pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(server.count("/token"), 2);
}

#[test]
fn token_service_that_fails_is_reported() {
    for (answer, expected) in
        [(401, "refuses access (401)"), (403, "refuses access (403)"), (500, "answered 500"), (404, "answered 404")]
    {
        let server = behind_tokens(move |_| Reply::status(answer));
        let error = Place::new().pull(&format!("{}/app", server.host())).expect_err("no token");
        assert!(story(&error).contains(expected) && story(&error).contains("spoilt"), "{}", story(&error));
    }
    for garbage in ["", "[]", "{}", r#"{"token": ""}"#, r#"{"token": "a b\r\nX: y"}"#, r#"{"token": 3}"#] {
        let server = behind_tokens(move |_| Reply::json(garbage));
        let error = Place::new().pull(&format!("{}/app", server.host())).expect_err("no token");
        assert!(story(&error).contains("token service"), "{garbage}: {}", story(&error));
    }
    let server = behind_tokens(|_| Reply::Endless);
    let error = Place::new().pull(&format!("{}/app", server.host())).expect_err("endless");
    assert!(story(&error).contains("over 1048576 bytes"), "{}", story(&error));
    let server = behind_tokens(|seen| Reply::redirect(302, seen.path.clone()));
    let error = Place::new().pull(&format!("{}/app", server.host())).expect_err("loop");
    assert!(story(&error).contains("redirects more than 5 times"), "{}", story(&error));
    let server = behind_tokens(|_| Reply::json(r#"{"token": "wrong"}"#));
    let error = Place::new().pull(&format!("{}/app", server.host())).expect_err("refused");
    assert!(
        matches!(&error, PullError::Registry(RegistryError::Refused { logged_in: false, .. })),
        "{}",
        story(&error)
    );
    assert!(error.hint().expect("hint").ends_with(&format!("holm login {}", server.host())), "{:?}", error.hint());
}

#[test]
fn token_service_on_another_host_gets_no_password_by_redirect() {
    let other = Server::start(|_| Reply::json(r#"{"token": "good-token"}"#));
    let target = format!("http://{}/elsewhere", other.host());
    let server = behind_tokens(move |_| Reply::redirect(307, target.clone()));
    let mut place = Place::new();
    place.options.credential = Some(password());
    place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert!(other.seen().iter().all(|seen| seen.authorization.is_none()) && other.count("elsewhere") == 1);
}

#[test]
fn login_is_kept_only_if_the_registry_takes_it() {
    let server = Server::start(|seen| match seen.authorization.as_deref() {
        Some("Basic bWU6c2VjcmV0") => Reply::json("{}"),
        _ => Reply::Full(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())], Vec::new()),
    });
    let mut place = Place::new();
    let path = place.folder.path().join("config/auth.json");
    place.options.credential_store = CredentialStore { own: Some(path.clone()), others: Vec::new() };
    let wrong = Credential::Password { username: "me".to_owned(), password: "guess".to_owned() };
    let error = login(&place.options, &server.host(), &wrong, false).expect_err("wrong password");
    assert!(matches!(error, RegistryError::Refused { status: 401, logged_in: true, .. }), "{}", story(&error));
    assert!(!path.exists());
    let done = login(&place.options, &server.host(), &password(), false).expect("right password");
    assert_eq!((done.registry, &done.path), (server.host(), &path));
    let found = place.options.credential_store.find(&server.host(), "any/thing").expect("find");
    assert_eq!(found, Some(password()));
    assert!(logout(&place.options.credential_store, &server.host()).expect("logout"));
    assert!(!logout(&place.options.credential_store, &server.host()).expect("logout"));
    assert!(login(&place.options, "not a host", &password(), false).is_err());
}

#[test]
fn credential_program_is_asked_and_told() {
    let place = Place::new();
    let bin = place.folder.path().join("bin");
    std::fs::create_dir(&bin).expect("mkdir");
    let program = bin.join("docker-credential-holm-test");
    let kept = place.folder.path().join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat > {0};;\nget) cat > /dev/null; [ -f {0} ] || {{ echo credentials not found in native keychain; exit 1; }}; \
         cat {0};;\nerase) rm {0};;\nesac\n",
        kept.display()
    );
    std::fs::write(&program, script).expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("chmod");
    let own = place.folder.path().join("auth.json");
    std::fs::write(&own, r#"{"credsStore": "x", "credHelpers": {"q.io": "holm-test"}}"#).expect("write");
    // The program is found by PATH, which belongs to the whole process: run the test again as a child with its own.
    if std::env::var_os("HOLM_TEST_CHILD").is_none() {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let status = std::process::Command::new(std::env::current_exe().expect("exe"))
            .args(["--exact", "credential::credential_program_is_asked_and_told"])
            .env("PATH", path)
            .env("HOLM_TEST_CHILD", place.folder.path())
            .output()
            .expect("run");
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        return;
    }
    let parent = std::path::PathBuf::from(std::env::var_os("HOLM_TEST_CHILD").expect("folder"));
    let store = CredentialStore { own: Some(parent.join("auth.json")), others: Vec::new() };
    assert_eq!(store.find("q.io", "a").expect("nothing yet"), None);
    store.store("q.io", &password()).expect("store");
    assert_eq!(store.find("q.io", "a").expect("find"), Some(password()));
    let text = std::fs::read_to_string(parent.join("auth.json")).expect("read");
    assert!(!text.contains("secret") && text.contains("q.io"), "{text}");
    store.remove("q.io").expect("remove");
    assert_eq!(store.find("q.io", "a").expect("gone"), None);
}
