//! Where a pull is led: redirects, mirrors, search registries, proxies; and who gets to see credentials there.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use holm_image::pull::PullError;
use holm_image::reference::{RegistriesConf, Resolver};
use holm_image::registry::{Credential, ProxySettings};

use crate::hostile::{manifest_answer, serve};
use crate::server::{Reply, Server};
use crate::setup::{Place, image, story};

#[test]
fn redirect_to_another_host_carries_no_credentials() {
    let image = image(2, 50_000);
    let other = serve(&image, |_| None);
    let target = format!("http://{}", other.host());
    let server = serve(&image, move |seen| match (&seen.authorization, seen.path.contains("/blobs/")) {
        (None, _) if seen.path != "/token" => {
            Some(Reply::Full(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())], Vec::new()))
        }
        (_, true) => Some(Reply::redirect(307, format!("{target}{}", seen.path))),
        _ => None,
    });
    let mut place = Place::new();
    let credential = Credential::Password { username: "me".to_owned(), password: "secret".to_owned() };
    place.options.credential = Some(credential);
    place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(other.count("/blobs/"), 3);
    assert!(other.seen().iter().all(|seen| seen.authorization.is_none()), "{:?}", other.seen());
    assert!(server.seen().iter().any(|seen| seen.authorization.is_some()));
}

#[test]
fn redirects_without_end_or_to_nowhere_are_refused() {
    let (error, count) = manifest_answer(|seen| Reply::redirect(302, seen.path.clone()));
    assert!(story(&error).contains("redirects more than 6 times"), "{}", story(&error));
    assert_eq!(count, 7);
    for location in ["file:///etc/passwd", "http://user:pw@127.0.0.1/", ""] {
        let (error, _) = manifest_answer(move |_| Reply::redirect(301, location));
        let text = story(&error);
        assert!(
            text.contains("without a usable Location") || text.contains("404") || text.contains("more than"),
            "{text}"
        );
    }
}

#[test]
fn mirror_that_fails_is_passed_over_and_gets_no_given_credential() {
    let image = image(1, 1000);
    let down = Server::start(|_| Reply::status(500));
    let demanding =
        Server::start(|_| Reply::Full(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())], Vec::new()));
    let server = serve(&image, |_| None);
    let conf = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/m\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        server.host(),
        down.host(),
        demanding.host()
    );
    let mut place = Place::new();
    place.resolver = Resolver::from_conf(RegistriesConf::parse(&conf).expect("conf"));
    place.options.credential = Some(Credential::Password { username: "me".into(), password: "secret".into() });
    let reference = format!("{}/app:1", server.host());
    let stored = place.pull(&reference).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(stored.names.join(" "), reference);
    assert!(down.count("/v2/m/app/manifests/1") > 0 && demanding.count("/v2/app/manifests/1") > 0);
    assert!(demanding.seen().iter().all(|seen| seen.authorization.is_none()));
    drop(server);
    let error = place.pull(&reference).expect_err("all down");
    assert!(matches!(&error, PullError::Everywhere { attempts, .. } if attempts.len() == 3), "{}", story(&error));
}

#[test]
fn search_registries_are_asked_in_order() {
    let image = image(1, 1000);
    let empty = Server::start(|seen| if seen.path == "/v2/" { Reply::json("{}") } else { Reply::status(404) });
    let server = serve(&image, |_| None);
    let conf = format!("unqualified-search-registries = [\"{}\", \"{}\"]", empty.host(), server.host());
    let mut place = Place::new();
    place.resolver = Resolver::from_conf(RegistriesConf::parse(&conf).expect("conf"));
    let stored = place.pull("app:2").unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(stored.names, [format!("{}/app:2", server.host())]);
    assert_eq!(empty.count("/v2/app/manifests/2"), 1);
}

/// A proxy that takes one `CONNECT` after another and leads all of them to `target`. Returns its address and what it
/// was asked.
fn proxy_to(target: u16) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind");
    let address = format!("http://me:pw@{}", listener.local_addr().expect("address"));
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noting = asked.clone();
    // Ends with the process: nothing else may wait for it.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let noting = noting.clone();
            std::thread::spawn(move || tunnel(client, target, &noting));
        }
    });
    (address, asked)
}

fn tunnel(mut client: TcpStream, target: u16, asked: &std::sync::Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    asked.lock().expect("lock").push(String::from_utf8_lossy(&head).into_owned());
    let mut server = TcpStream::connect(("127.0.0.1", target)).expect("connect");
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("answer");
    let (mut from_client, mut to_server) = (client.try_clone().expect("clone"), server.try_clone().expect("clone"));
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn proxy_is_used_where_it_is_meant_to_be() {
    let image = image(1, 100_000);
    let server = serve(&image, |_| None);
    let (proxy, asked) = proxy_to(server.port);
    let mut place = Place::new();
    place.options.tls_verify = Some(false);
    place.options.proxy = ProxySettings { https: Some(proxy.clone()), http: Some(proxy), no_proxy: String::new() };
    place.pull("registry.example:5000/app").unwrap_or_else(|error| panic!("{}", story(&error)));
    let heads = asked.lock().expect("lock").clone();
    assert!(heads.iter().all(|head| head.starts_with("CONNECT registry.example:5000 HTTP/1.1\r\n")), "{heads:?}");
    assert!(heads.iter().all(|head| head.contains("Proxy-Authorization: Basic bWU6cHc=")), "{heads:?}");
    place.pull(&format!("{}/app", server.host())).unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(asked.lock().expect("lock").len(), heads.len(), "loopback is reached directly");
}

#[test]
fn proxy_that_cannot_be_spoken_to_is_not_gone_around() {
    let mut place = Place::new();
    let socks = Some("socks5://127.0.0.1:1".to_owned());
    place.options.proxy = ProxySettings { https: socks.clone(), http: socks, no_proxy: String::new() };
    let error = place.pull("registry.example:5000/app").expect_err("SOCKS");
    assert!(story(&error).contains("SOCKS"), "{}", story(&error));
}
