//! Certificates that are odd but in daily use: a server's own authority, and clients that must show one.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holm_image::pull::PullError;
use holm_image::registry::RegistryError;
use holm_kit::{Holm, wait_until};

use crate::setup::{Place, story};

/// A `docker-registry` with TLS settings of its own, killed when dropped.
struct Registry {
    child: Child,
    port: u16,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(folder: &Path, tls: &str) -> Registry {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a port").port();
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {0}/data\n\
         http:\n  addr: 127.0.0.1:{port}\n  tls:\n    certificate: {0}/server.crt\n    key: {0}/server.key\n{tls}",
        folder.display()
    );
    fs::write(folder.join("config.yml"), config).expect("write");
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(folder.join("config.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start docker-registry");
    let registry = Registry { child, port };
    wait_until("the registry listens", Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).is_ok());
    registry
}

/// A certificate that is its own authority, as `openssl req -x509` makes them.
fn self_signed(folder: &Path, name: &str, subject: &str) {
    Holm::program("openssl")
        .args(["req", "-x509", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", &format!("/CN={subject}"), "-addext", &format!("subjectAltName=DNS:{subject}")])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")])
        .folder(folder)
        .ok();
}

fn outcome(place: &Place, host: &str) -> RegistryError {
    match place.pull(&format!("{host}/absent:1")).expect_err("the registry is empty") {
        PullError::Registry(error) => error,
        other => panic!("{}", story(&other)),
    }
}

#[test]
fn certificate_that_is_its_own_authority_is_trusted_by_name_only() {
    let mut place = Place::new();
    let folder = place.folder.path().to_owned();
    self_signed(&folder, "server", "localhost");
    let registry = start(&folder, "");
    let host = format!("localhost:{}", registry.port);
    assert!(matches!(outcome(&place, &host), RegistryError::Certificate { .. }));
    let certs = folder.join("certs.d").join(&host);
    fs::create_dir_all(&certs).expect("mkdir");
    fs::copy(folder.join("server.crt"), certs.join("ca.crt")).expect("copy");
    place.options.cert_dirs = vec![folder.join("certs.d")];
    let error = outcome(&place, &host);
    assert!(matches!(error, RegistryError::NotFound { .. }), "{}", story(&error));
    // By its address it is another name, which the certificate does not hold.
    let address = format!("127.0.0.1:{}", registry.port);
    fs::rename(&certs, folder.join("certs.d").join(&address)).expect("rename");
    assert!(matches!(outcome(&place, &address), RegistryError::Certificate { .. }));
    assert!(matches!(outcome(&place, &host), RegistryError::Certificate { .. }), "its folder is gone");
    // Another self-signed certificate of the same name is not the one that was put there.
    let (again, certs) = (folder.join("again"), folder.join("certs.d").join(&host));
    fs::create_dir(&again).expect("mkdir");
    self_signed(&again, "server", "localhost");
    fs::create_dir_all(&certs).expect("mkdir");
    fs::copy(again.join("server.crt"), certs.join("ca.crt")).expect("copy");
    assert!(matches!(outcome(&place, &host), RegistryError::Certificate { .. }));
}

#[test]
fn client_certificate_is_shown_to_the_registry_that_wants_one() {
    let mut place = Place::new();
    let folder = place.folder.path().to_owned();
    self_signed(&folder, "server", "localhost");
    self_signed(&folder, "client", "me");
    let registry = start(&folder, &format!("    clientcas:\n      - {}/client.crt\n", folder.display()));
    let host = format!("localhost:{}", registry.port);
    place.options.ca_file = Some(folder.join("server.crt"));
    place.options.cert_dirs = vec![folder.join("certs.d")];
    let error = outcome(&place, &host);
    assert!(matches!(error, RegistryError::Connection { .. }), "{}", story(&error));
    let certs = folder.join("certs.d").join(&host);
    fs::create_dir_all(&certs).expect("mkdir");
    fs::copy(folder.join("client.crt"), certs.join("client.cert")).expect("copy");
    fs::copy(folder.join("client.key"), certs.join("client.key")).expect("copy");
    let error = outcome(&place, &host);
    assert!(matches!(error, RegistryError::NotFound { .. }), "{}", story(&error));
    // A key that is not the certificate's is an error, not a crash.
    fs::copy(folder.join("server.key"), certs.join("client.key")).expect("copy");
    let error = outcome(&place, &host);
    assert!(!matches!(error, RegistryError::NotFound { .. }), "{}", story(&error));
}
