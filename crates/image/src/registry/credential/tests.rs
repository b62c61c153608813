//! Tests of stored credentials: which entry wins, what is written, and credential programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;

fn password(username: &str, password: &str) -> Credential {
    Credential::Password { username: username.to_owned(), password: password.to_owned() }
}

fn auth(pair: &str) -> String {
    BASE64_STANDARD.encode(pair)
}

fn store_of(files: &[&str]) -> (tempfile::TempDir, CredentialStore) {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut others = Vec::new();
    for (n, text) in files.iter().enumerate() {
        let path = dir.path().join(format!("other-{n}.json"));
        fs::write(&path, text).expect("write");
        others.push(path);
    }
    let own = Some(dir.path().join("config/holm/auth.json"));
    (dir, CredentialStore { own, others })
}

#[test]
fn find_takes_the_most_specific_entry() {
    let file = format!(
        r#"{{"auths": {{"q.io": {{"auth": "{}"}}, "q.io/org": {{"auth": "{}"}}, "q.io/org/app": {{"auth": "{}"}}}}}}"#,
        auth("a:1"),
        auth("b:2"),
        auth("c:3")
    );
    let (_dir, store) = store_of(&[&file]);
    for (path, user, pass) in
        [("org/app", "c", "3"), ("org/apple", "b", "2"), ("org/app/x", "c", "3"), ("organ/x", "a", "1"), ("", "a", "1")]
    {
        assert_eq!(store.find("q.io", path).expect("find"), Some(password(user, pass)), "{path}");
    }
    assert_eq!(store.find("q.io.evil", "org/app").expect("find"), None);
    assert_eq!(store.find("sub.q.io", "org/app").expect("find"), None);
}

#[test]
fn find_knows_docker_hub_by_all_its_names() {
    for key in ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"] {
        let (_dir, store) = store_of(&[&format!(r#"{{"auths": {{"{key}": {{"auth": "{}"}}}}}}"#, auth("u:p:q"))]);
        assert_eq!(store.find("docker.io", "library/x").expect("find"), Some(password("u", "p:q")), "{key}");
    }
}

#[test]
fn find_reads_identity_tokens_and_unpadded_text() {
    let (_dir, store) = store_of(&[r#"{"auths": {"a.io": {"auth": "PHRva2VuPjo=", "identitytoken": "tok"}}}"#]);
    assert_eq!(store.find("a.io", "x").expect("find"), Some(Credential::IdentityToken("tok".to_owned())));
    let (_dir, store) = store_of(&[r#"{"auths": {"a.io": {"auth": "dTpw"}, "b.io": {"auth": "dTpwcA"}}}"#]);
    assert_eq!(store.find("b.io", "x").expect("find"), Some(password("u", "pp")));
}

#[test]
fn find_goes_on_to_the_next_file_and_names_a_broken_one() {
    let second = format!(r#"{{"auths": {{"a.io": {{"auth": "{}"}}}}}}"#, auth("u:p"));
    let (_dir, store) = store_of(&[r#"{"auths": {"a.io": {}}}"#, &second]);
    assert_eq!(store.find("a.io", "x").expect("find"), Some(password("u", "p")));
    let (_dir, store) = store_of(&["{ broken"]);
    assert!(store.find("a.io", "x").expect_err("broken").to_string().contains("other-0.json"));
    for bad in ["!!", "dXNlcg=="] {
        let (_dir, store) = store_of(&[&format!(r#"{{"auths": {{"a.io": {{"auth": "{bad}"}}}}}}"#)]);
        assert!(matches!(store.find("a.io", "x"), Err(CredentialError::Entry(..))), "{bad}");
    }
    let (_dir, store) = store_of(&["", "[]"]);
    assert!(matches!(store.find("a.io", "x"), Err(CredentialError::Json(..))));
}

#[test]
fn store_writes_privately_and_keeps_what_it_does_not_know() {
    let (_dir, store) = store_of(&[]);
    let path = store.own.clone().expect("own");
    fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
    fs::write(&path, r#"{"HttpHeaders": {"a": "b"}, "auths": {"old.io": {"auth": "dTpw"}}}"#).expect("write");
    store.store("q.io", &password("me", "secret")).expect("store");
    store.store("docker.io", &password("hub", "x")).expect("store");
    let text = fs::read_to_string(&path).expect("read");
    assert!(text.contains("HttpHeaders") && text.contains("old.io") && text.contains(HUB_KEY), "{text}");
    assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
    assert_eq!(store.find("q.io", "x").expect("find"), Some(password("me", "secret")));
    assert!(store.remove("q.io").expect("remove"));
    assert!(!store.remove("q.io").expect("remove"));
    assert_eq!(store.find("q.io", "x").expect("find"), None);
    assert_eq!(store.find("docker.io", "x").expect("find"), Some(password("hub", "x")));
    assert_eq!(store.remove_all().expect("remove all").len(), 2);
    let left: Vec<_> = fs::read_dir(path.parent().expect("parent")).expect("list").collect();
    assert_eq!(left.len(), 1, "no temporary file stays behind");
}

#[test]
fn debug_shows_no_secret() {
    for credential in [
        password("u", "hunter2"),
        Credential::IdentityToken("hunter2".into()),
        Credential::RegistryToken("hunter2".into()),
    ] {
        assert!(!format!("{credential:?}").contains("hunter2"));
    }
}

#[test]
fn program_with_a_strange_name_is_not_run() {
    let (_dir, store) = store_of(&[r#"{"credsStore": "../../bin/sh"}"#]);
    assert!(matches!(store.find("a.io", "x"), Err(CredentialError::Program(..))));
    let (_dir, store) = store_of(&[r#"{"credsStore": "holm-test-absent", "auths": {"a.io": {"auth": "dTpw"}}}"#]);
    assert_eq!(store.find("a.io", "x").expect("absent program is skipped"), Some(password("u", "p")));
}
