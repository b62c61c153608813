//! A real registry (`docker-registry`) on loopback, with TLS by a throw-away authority and users by htpasswd.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Holm, Scratch, wait_until};

/// What a registry asks of its clients.
#[derive(Clone, Copy, Default)]
pub struct RegistryOptions {
    /// TLS with a throw-away authority.
    pub tls: bool,
    /// The user `holm` with the password `island`.
    pub auth: bool,
}

/// A registry that runs until it is dropped.
pub struct Registry {
    folder: TempDir,
    process: Child,
    port: u16,
    options: RegistryOptions,
}

impl Registry {
    /// The user.
    pub const USER: &str = "holm";
    /// Its password.
    pub const PASSWORD: &str = "island";

    /// Starts one with TLS and users.
    pub fn secure() -> Self {
        Self::start(RegistryOptions { tls: true, auth: true })
    }

    /// Starts one.
    ///
    /// # Panics
    /// If `docker-registry`, `openssl` or `htpasswd` fail.
    pub fn start(options: RegistryOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("holm-registry-").tempdir().expect("make a folder");
        let path = folder.path().to_owned();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n",
            path.join("data").display()
        );
        let port = free_port();
        config += &format!("http:\n  addr: 127.0.0.1:{port}\n");
        if options.tls {
            make_certificates(&path);
            config += &format!("  tls:\n    certificate: {0}/server.crt\n    key: {0}/server.key\n", path.display());
        }
        if options.auth {
            make_users(&path);
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}/htpasswd\n", path.display());
        }
        fs::write(path.join("config.yml"), config).expect("write the registry's settings");
        let log = fs::File::create(path.join("log")).expect("make a log");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(path.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("copy a descriptor"))
            .stderr(log)
            .spawn()
            .expect("start docker-registry");
        let registry = Self { folder, process, port, options };
        wait_until("the registry listens", Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }

    /// `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `localhost:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A folder as `skopeo` and `podman` want it by `--cert-dir`.
    pub fn certificate_folder(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Where it keeps its blobs.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `USER:PASSWORD`.
    pub fn credentials() -> String {
        format!("{}:{}", Self::USER, Self::PASSWORD)
    }

    /// Lets Holm on these roots trust the authority, by the folder that docker has for it too.
    pub fn trust(&self, scratch: &Scratch) {
        let folder = scratch.path().join(".config/containers/certs.d").join(self.host());
        fs::create_dir_all(&folder).expect("make a folder");
        fs::copy(self.certificate(), folder.join("ca.crt")).expect("copy a certificate");
    }

    /// Copies an OCI layout folder in by skopeo.
    #[track_caller]
    pub fn push_layout(&self, layout: &Path, tag: &str, name: &str) {
        let source = format!("oci:{}:{tag}", layout.display());
        let target = format!("docker://{}", self.reference(name));
        self.skopeo(["copy"], "--dest-").args([source, target]).limit(Duration::from_secs(180)).ok();
    }

    /// A skopeo command with its options of this prefix (`--dest-`, `--src-` or `--`) set for this registry.
    pub fn skopeo<const N: usize>(&self, command: [&str; N], prefix: &str) -> Holm {
        let mut line = Holm::program("skopeo").arg("--insecure-policy").args(command);
        if self.options.tls {
            line = line.arg(format!("{prefix}cert-dir={}", self.certificate_folder().display()));
        } else {
            line = line.arg(format!("{prefix}tls-verify=false"));
        }
        if self.options.auth {
            line = line.arg(format!("{prefix}creds={}", Self::credentials()));
        }
        line
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a port");
    listener.local_addr().expect("its address").port()
}

fn make_users(folder: &Path) {
    let output = Holm::program("htpasswd").args(["-nbB", "-C", "4", Registry::USER, Registry::PASSWORD]).ok();
    fs::write(folder.join("htpasswd"), output.stdout).expect("write users");
}

fn make_certificates(folder: &Path) {
    let openssl = |args: &[&str]| Holm::program("openssl").args(args).folder(folder).ok();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=throw-away", "-keyout", "ca.key", "-out", "ca.crt"];
    openssl(&[&authority[..], &key[..]].concat());
    let request = ["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
    openssl(&[&request[..], &key[..]].concat());
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("write names");
    let sign =
        "x509 -req -days 2 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out server.crt";
    openssl(&sign.split(' ').collect::<Vec<_>>());
    fs::create_dir(folder.join("certs")).expect("make a folder");
    fs::copy(folder.join("ca.crt"), folder.join("certs/ca.crt")).expect("copy a certificate");
}
